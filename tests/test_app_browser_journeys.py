"""Ways through the app from the first to the last step, as people go them, in a real browser.

Others are in test_app_browser.py (own files of PyTorch and Keras) and in test_app_browser_runs.py (reload, link, back).
Own files are given in one tab, over those of the journey before, as people do: its processes have PyTorch already.
"""

import io
import re

import numpy as np
import pytest
import torch
from browser_tools import (
    SCREEN,
    SOON,
    address,
    adds_up,
    at_rest,
    browser,
    choose,
    give,
    keep_picture,
    number,
    page,
    said,
    visitor,
)
from playwright.sync_api import expect
from test_app_inputs import WALK, EachStep, TimeFirst, program, table
from torch import nn

import explain_core as xc

__all__ = ["address", "browser", "page", "visitor"]  # the fixtures
pytestmark = pytest.mark.browser

STEPS = len(WALK)


@pytest.fixture(scope="module")
def tab(browser, address):
    context = browser.new_context(viewport=SCREEN)
    context.set_default_timeout(SOON)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


@pytest.fixture
def mine(tab):
    """The place for own files, with none in it."""
    at_rest(tab)
    tab.get_by_text("My files").click()
    remove = tab.locator("section[data-testid=stSidebar]").get_by_role("button", name=re.compile("^Remove "))
    tab.locator("section[data-testid=stSidebar] input[type=file]").nth(1).wait_for(state="attached")
    at_rest(tab)
    while left := remove.count():
        remove.first.click()
        expect(remove).not_to_have_count(left)
        at_rest(tab)
    tab.get_by_role("heading", name="Explain your own model").wait_for()
    return tab


def file(name, data):
    """A file as a browser's file dialog gives it."""
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


def time_first():
    """A model that takes (time, sample, feature), as a file."""
    return program(TimeFirst(), torch.randn(STEPS, 2, 3), dynamic=({1: torch.export.Dim.DYNAMIC},))


def values_of_rows(page):
    """Totals of the stage's rows by their names."""
    labels, totals = page.get_by_test_id("row").locator(".name"), page.get_by_test_id("row-total")
    amounts = [number(re.match(r"[+−\d.,e]+", text)[0]) for text in totals.all_inner_texts()]
    return dict(zip(labels.all_inner_texts(), amounts, strict=True))


def test_from_a_demo_to_its_report_that_opens_without_a_network(page, browser, tmp_path):
    adds_up(page)
    keep_picture(page, "demo")
    headline = page.get_by_test_id("headline").inner_text()
    rows = values_of_rows(page)
    page.get_by_test_id("so-0").click()
    page.get_by_test_id("note").filter(has_text="totals are of what is visible").wait_for()
    at_rest(page)
    page.get_by_role("button", name="Take away").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Report (HTML)").click()
    report = tmp_path / "report.html"
    download.value.save_as(report)

    alone = browser.new_context(offline=True)
    asked = []
    opened = alone.new_page()
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(report.as_uri())
    adds_up(opened)
    assert opened.get_by_test_id("headline").inner_text() == headline
    assert values_of_rows(opened) == rows
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    keep_picture(opened, "report")
    alone.close()


def test_a_model_that_takes_time_first(mine):
    give(mine, "Model", file("gru.pt2", time_first()))
    mine.get_by_text("The model takes time first").wait_for()
    give(mine, "Sequence", file("walk.csv", table(WALK)))
    adds_up(mine)
    baseline = np.broadcast_to(WALK.mean(axis=0), (STEPS, 1, 3)).astype("float32")
    found = xc.explain(TimeFirst(), WALK[:, None], baseline, sample_axis=1)
    assert said(mine, "prediction") == pytest.approx(found.prediction.item(), abs=1e-3)
    assert values_of_rows(mine) == pytest.approx(
        dict(zip(("speed", "slope", "load"), found.by_feature().values.ravel(), strict=True)), rel=1e-2, abs=1e-3
    )
    keep_picture(mine, "time-first")


class Two(nn.Module):
    """Two sequences side by side."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.gru, self.lstm = nn.GRU(3, 4, batch_first=True), nn.LSTM(2, 4, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, motion, weather):
        return self.head(torch.cat([self.gru(motion)[0][:, -1], self.lstm(weather)[0][:, -1]], -1))


def test_each_of_two_inputs_has_its_file_and_its_picture(mine):
    model, names = Two(), ("sun", "rain")
    weather = np.random.default_rng(2).normal(size=(STEPS, 2)).round(3).astype("float32")
    give(mine, "Model", file("two.pt2", program(model, torch.randn(1, STEPS, 3), torch.randn(1, STEPS, 2))))
    mine.get_by_text("Now give a sequence in the sidebar").wait_for()
    give(mine, "Sequence", file("walk.csv", table(WALK)))
    mine.get_by_text("The model also takes weather: give it in the sidebar.").wait_for()
    give(mine, "File of weather", file("weather.csv", table(weather, names)))
    adds_up(mine)
    assert set(values_of_rows(mine)) == {"speed", "slope", "load"}
    choose(mine, "Input to look at", "weather")
    mine.get_by_test_id("row").filter(has_text="rain").wait_for()
    adds_up(mine)
    keep_picture(mine, "two-inputs")


def alarm(page, *words):
    """Wait for a message of an error with all of these words."""
    found = page.locator("[data-testid=stMain]").get_by_role("alert")
    for each in words:
        found = found.filter(has_text=each)
    found.wait_for()


def test_files_that_do_not_fit_are_told_apart_and_the_good_ones_are_taken_after_them(mine):
    model = program(TimeFirst(), torch.randn(STEPS, 1, 3))
    give(mine, "Model", file("notes.pt2", b"what I meant to do"))
    alarm(mine, "This is a text file, not a model.", "in notes.pt2")
    give(mine, "Model", file("cut.pt2", model[: len(model) // 2]))
    alarm(mine, "damaged or cut-off archive", "in cut.pt2", "Copy or download it again")
    give(mine, "Model", file("whole.pt2", model))
    mine.get_by_text("Now give a sequence in the sidebar").wait_for()
    give(mine, "Sequence", file("short.csv", table(WALK[:, :2], ("speed", "slope"))))
    alarm(mine, "The model takes 3 features; the sequence has 2: speed, slope.", "in short.csv", "Add 1 column")
    keep_picture(mine, "bad-file")
    give(mine, "Sequence", file("words.csv", table(WALK).replace(b"\n", b"\nfast", 1)))
    alarm(mine, "is not a finite number", "in words.csv, row 2, column 'speed'")
    give(mine, "Sequence", file("walk.csv", table(WALK)))
    adds_up(mine)
    mine.get_by_test_id("heatmap").wait_for()
    assert mine.get_by_role("alert").count() == 0


def test_a_model_that_answers_at_each_step_has_a_map_and_a_slider(mine):
    model = EachStep()
    give(mine, "Model", file("tagger.pt2", program(model, torch.randn(1, STEPS, 3))))
    mine.get_by_text("Now give a sequence in the sidebar").wait_for()
    give(mine, "Sequence", file("walk.csv", table(WALK)))
    adds_up(mine)
    mine.get_by_text("All output steps").wait_for()
    mine.locator("[data-testid=stMain] .js-plotly-plot").first.wait_for()
    found = xc.explain(model, WALK[None], "mean", target=[(i, 0) for i in range(STEPS)])
    slider = mine.get_by_role("slider", name="Output step")
    for step in (STEPS, STEPS - 1, STEPS - 2):
        mine.get_by_test_id("headline").filter(has_text=f"step {step}").wait_for()
        assert said(mine, "prediction") == pytest.approx(found.prediction.values[0, step - 1], rel=1e-2, abs=1e-3)
        at_rest(mine)
        slider.press("ArrowLeft")
    mine.get_by_test_id("headline").filter(has_text=f"step {STEPS - 3}").wait_for()
    keep_picture(mine, "each-step")


class Long(nn.Module):
    """A last answer, or one for each step, to 60 features."""

    def __init__(self, units, each=False):
        super().__init__()
        torch.manual_seed(7)
        self.each = each
        self.lstm = nn.LSTM(60, units, batch_first=True)
        self.head = nn.Linear(units, 1)

    def forward(self, x):
        states = self.lstm(x)[0]
        return self.head(states if self.each else states[:, -1])


def long_walk(steps=1500):
    return np.random.default_rng(5).normal(size=(steps, 60)).cumsum(axis=0).astype("float32") / 20


def array(values):
    held = io.BytesIO()
    np.save(held, values)
    return held.getvalue()


def test_1500_steps_of_60_features_are_seen_and_zoomed(mine):
    give(mine, "Model", file("long.pt2", program(Long(8), torch.randn(1, 1500, 60))))
    mine.get_by_text("Now give a sequence in the sidebar").wait_for()
    give(mine, "Sequence", file("long.npy", array(long_walk()[None])))
    adds_up(mine)
    assert "Each column is the sum of" in mine.get_by_test_id("note").inner_text()
    mine.get_by_test_id("matters").click()
    mine.get_by_test_id("note").filter(has_text="timesteps of 1,500: totals are of what is visible").wait_for()
    keep_picture(mine, "1500-steps")


@pytest.mark.fuzz  # takes minutes on a busy machine
def test_a_long_explanation_is_cancelled_and_the_page_goes_on(mine):
    give(mine, "Model", file("each.pt2", program(Long(32, each=True), torch.randn(1, 1500, 60))))
    mine.get_by_text("Now give a sequence in the sidebar").wait_for()
    give(mine, "Sequence", file("each.npy", array(long_walk()[None])))
    mine.get_by_text("Explaining (block").wait_for()
    mine.get_by_role("button", name="Cancel").click()
    mine.get_by_text("Cancelled. Try again starts it anew").wait_for()
    mine.get_by_role("button", name="Try again").wait_for()
    at_rest(mine)
    keep_picture(mine, "cancelled")
    mine.get_by_text("Demo", exact=True).click()
    mine.get_by_role("heading", name="Seattle weather").wait_for()
    adds_up(mine)


def focused(page):
    """What has the focus, also in a shadow root: its words or its part's name."""
    return page.evaluate("""() => {
        let at = document.activeElement;
        while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
        return at?.dataset.testid || at?.getAttribute("aria-label") || at?.textContent || "";
    }""")


def tab_to(page, wanted):
    passed = []
    for _ in range(80):
        page.keyboard.press("Tab")
        passed.append(focused(page))
        if wanted in passed[-1]:
            return
    pytest.fail(f"Tab did not reach {wanted!r}, but {passed}")


def test_keys_alone_lead_from_the_start_to_the_value_of_a_cell(page):
    adds_up(page)
    at_rest(page)
    tab_to(page, "Sequence")
    page.keyboard.press("Shift+Tab")
    assert "Demo" in focused(page)
    page.keyboard.type("snow")
    page.keyboard.press("Enter")
    page.locator(".stage:not(.dimmed)").get_by_role("heading", name="Snowmelt").wait_for()
    adds_up(page)
    at_rest(page)
    tab_to(page, "grid")
    for key in ("Control+Home", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    live = page.get_by_test_id("live")
    live.filter(has_text="Chosen: ").wait_for()
    what, moved = (page.get_by_test_id(part).inner_text() for part in ("what", "moved"))
    assert live.inner_text().startswith(f"Chosen: {what}, ")
    assert moved in live.inner_text()
    keep_picture(page, "keyboard")
