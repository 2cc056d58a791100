"""The stage in a real browser: its sums against Python's, what pointer and keys say, and that it is on one screen."""

import re

import numpy as np
import pytest
from browser_tools import SOON, address, browser, choose  # noqa: F401  fixtures
from stage_page import ADDRESS, answer, data_of, mount, scene_from

from explain_core.stage.view import view
from explain_core.words import number, signed

pytestmark = pytest.mark.browser

SIZES = [(1280, 800), (768, 1024), (1920, 1080)]
NAMES = [*(f"lag_{i}" for i in range(5)), "wind u", "wind v", *(f"site {chr(97 + i)}" for i in range(17))]
VIEWS = """async ({data, asked}) => {
    const {arraysOf, rowsOf, viewOf} = await import("/view.js");
    const arrays = arraysOf(data);
    return asked.map(([first, last, columns, open, unfolded]) => {
        const rows = rowsOf(data, {openGroups: new Set(open), unfolded});
        const found = viewOf(arrays, rows, first, last, columns);
        const lists = ["first", "last", "cells", "columnTotals", "rowTotals"].map((name) => Array.from(found[name]));
        return [...lists, found.total, rows.map((row) => [row.label, row.kind, row.features])];
    });
}"""


@pytest.fixture(scope="module")
def tab(browser):  # noqa: F811
    """One tab for the tests that need no app."""
    context = browser.new_context(viewport={"width": 900, "height": 760})
    context.set_default_timeout(20_000)
    page = context.new_page()
    failed = []
    page.on("pageerror", lambda error: failed.append(error))
    yield page
    context.close()
    assert not failed


def waves(T, F, seed=0):
    """Attributions with a strong middle, (T, F)."""
    random = np.random.default_rng(seed)
    at = np.arange(T)[:, None]
    return random.normal(size=(T, F)) * (0.01 + np.exp(-(((at - 0.6 * T) / (0.1 * T)) ** 2))) / (1 + np.arange(F))


def read(text):
    return float(re.match(r"[+−\d.,e]+", text)[0].replace("−", "-").replace(",", ""))


def test_the_browser_sums_as_python_does_at_random_zooms(tab):
    random = np.random.default_rng(1)
    tab.route(f"{ADDRESS}*", answer)
    tab.goto(ADDRESS)
    for T, F in ((1, 3), (40, 24), (700, 9)):
        made = scene_from(waves(T, F), names=NAMES[:F])
        groups = sorted({group for group in made.groups if group})
        asked = []
        for _ in range(25):
            first, last = sorted(random.integers(0, T, 2).tolist())
            opened = [group for group in groups if random.random() < 0.5]
            asked.append([first, last, int(random.integers(1, 300)), opened, bool(random.random() < 0.5)])
        found = tab.evaluate(VIEWS, {"data": data_of(made), "asked": asked})
        for (first, last, columns, opened, unfolded), (a, b, cells, per_column, per_row, total, rows) in zip(
            asked, found, strict=True
        ):
            wanted = view(made, first, last, columns, opened, unfolded=unfolded)
            assert rows == [[row.label, row.kind, list(row.features)] for row in wanted.rows]
            assert (a, b) == (wanted.first.tolist(), wanted.last.tolist())
            np.testing.assert_allclose(np.reshape(cells, wanted.cells.shape), wanted.cells, atol=1e-12)
            np.testing.assert_allclose(per_column, wanted.column_totals, atol=1e-12)
            np.testing.assert_allclose(per_row, wanted.row_totals, atol=1e-12)
            visible = made.attribution[first : last + 1].sum()
            assert total == pytest.approx(visible, abs=1e-12)
            assert sum(per_row) == pytest.approx(visible, abs=1e-12)


def rows_on(tab):
    """Label, total and middle of every row."""
    labels, totals = tab.get_by_test_id("row"), tab.get_by_test_id("row-total")
    assert labels.count() == totals.count()
    found = []
    for i in range(labels.count()):
        boxes = [each.nth(i).bounding_box() for each in (labels, totals)]
        middles = [box["y"] + box["height"] / 2 for box in boxes]
        assert middles[0] == pytest.approx(middles[1], abs=1)
        found.append((labels.nth(i).locator(".name").inner_text(), read(totals.nth(i).inner_text()), middles[0]))
    return found


def test_after_a_zoom_totals_are_of_what_is_visible_and_rows_stay_aligned(tab):
    made = scene_from(waves(60, 6))
    mount(tab, made)
    before = rows_on(tab)
    for name, total, _ in before:
        assert total == pytest.approx(made.attribution[:, made.features.index(name)].sum(), rel=5e-3)
    tab.get_by_test_id("matters").click()
    tab.get_by_test_id("note").filter(has_text="of 60: totals are of what is visible").wait_for()
    first, last = made.matters
    assert [name for name, _, _ in rows_on(tab)] == [name for name, _, _ in before]
    for name, total, middle in rows_on(tab):
        assert total == pytest.approx(made.attribution[first : last + 1, made.features.index(name)].sum(), rel=5e-3)
        grid = tab.get_by_test_id("heatmap").bounding_box()
        place = (middle - grid["y"]) / grid["height"] * len(before)
        assert place == pytest.approx([row[0] for row in before].index(name) + 0.5, abs=0.05)
    assert read(tab.get_by_test_id("visible").inner_text()) == pytest.approx(
        made.attribution[first : last + 1].sum(), rel=5e-3
    )
    tab.wait_for_function("window.told.length")
    assert tab.evaluate("window.told") == [["view", {"first": first, "last": last, "of": "it"}]]


def cell(tab, made, step, row):
    """The middle of a cell on the screen, while all is visible."""
    box = tab.get_by_test_id("heatmap").bounding_box()
    T, R = made.attribution.shape[0], tab.get_by_test_id("row").count()
    return box["x"] + (step + 0.5) * box["width"] / T, box["y"] + (row + 0.5) * box["height"] / R


def test_a_click_and_a_drag_answer_in_the_inspector(tab):
    made = scene_from(waves(30, 5))
    mount(tab, made)
    feature = made.order[1]
    tab.mouse.click(*cell(tab, made, 17, 1))
    said = tab.get_by_test_id("inspector")
    said.get_by_text("Chosen").wait_for()
    assert tab.get_by_test_id("what").inner_text() == made.features[feature]
    assert tab.get_by_test_id("when").inner_text() == "timestep 18"
    assert tab.get_by_test_id("moved").inner_text() == signed(made.attribution[17, feature], "°C")
    assert number(made.value[17, feature]) in said.inner_text()
    assert number(made.baseline[17, feature]) in said.inner_text()

    tab.mouse.move(*cell(tab, made, 10, 0))
    tab.mouse.down()
    tab.mouse.move(*cell(tab, made, 20, 3), steps=4)
    tab.mouse.up()
    tab.get_by_test_id("what").filter(has_text="All features").wait_for()
    assert tab.get_by_test_id("when").inner_text() == "timesteps 11 to 21"
    assert tab.get_by_test_id("moved").inner_text() == signed(made.attribution[10:21].sum(), "°C")
    tab.wait_for_function("window.told.some(([name, value]) => name == 'chosen' && value?.first === 10)")
    tab.get_by_test_id("zoom-here").click()
    tab.get_by_test_id("note").filter(has_text="11 timesteps of 30").wait_for()
    tab.get_by_test_id("clear").click()
    tab.get_by_test_id("prediction").wait_for()


def keys(tab, *pressed):
    """Presses keys at the grid, all within one frame."""
    events = [(each, {}) if isinstance(each, str) else each for each in pressed]
    tab.get_by_test_id("grid").evaluate(
        """(grid, events) => events.forEach(([key, more]) =>
            grid.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more })))""",
        events,
    )


def test_keys_alone_reach_the_value_of_a_cell(tab):
    made = scene_from(waves(30, 5))
    mount(tab, made)
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.body.lastChild.shadowRoot.activeElement?.dataset.testid") == "grid":
            break
    else:
        pytest.fail("Tab did not reach the grid")
    for key in ("Control+Home", "ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        tab.keyboard.press(key)
    feature = made.order[1]
    live = tab.get_by_test_id("live").inner_text()
    assert live.startswith(f"Chosen: {made.features[feature]}, timestep 3: ")
    for figure in (number(made.value[2, feature]), number(made.baseline[2, feature])):
        assert figure in live
    assert signed(made.attribution[2, feature], "°C") in live
    assert tab.get_by_role("gridcell").inner_text() in live
    tab.get_by_test_id("inspector").get_by_text("Chosen").wait_for()
    keys(tab, "+")
    tab.get_by_test_id("note").filter(has_text="15 timesteps of 30").wait_for()
    assert tab.get_by_test_id("when").inner_text() == "timestep 3"


def test_keys_act_on_what_the_keys_before_them_made(tab):
    """Keys that come between two frames, as from a fast hand or a slow machine."""
    mount(tab, scene_from(waves(30, 5)))
    tab.get_by_test_id("grid").focus()
    keys(tab, "+", "0", ("End", {"ctrlKey": True}))
    tab.get_by_test_id("when").filter(has_text="timestep 30").wait_for()
    keys(tab, "+")
    tab.get_by_test_id("note").filter(has_text="15 timesteps of 30").wait_for()
    assert tab.get_by_test_id("when").inner_text() == "timestep 30"
    keys(tab, "0", "ArrowLeft", "-", "+", "+")  # the cursor stays on its step
    tab.get_by_test_id("note").filter(has_text="8 timesteps of 30").wait_for()
    assert tab.get_by_test_id("when").inner_text() == "timestep 29"
    tab.keyboard.press("Escape")
    tab.keyboard.press("0")
    assert tab.get_by_test_id("live").inner_text() == "Nothing chosen."
    shift = {"shiftKey": True}
    keys(tab, "End", ("ArrowLeft", shift), "Home", ("End", shift), "Enter", ("ArrowLeft", shift))
    assert ", timesteps 29 to 30: " in tab.get_by_test_id("live").inner_text()  # from where Enter was


def test_a_long_wide_sequence_says_what_a_column_is_and_stays_usable(tab):
    made = scene_from(waves(1500, 60))
    mount(tab, made)
    assert "Each column is the sum of" in tab.get_by_test_id("note").inner_text()
    tab.get_by_test_id("rows").select_option("all")
    tab.get_by_test_id("brush-start").focus()
    for _ in range(20):
        tab.keyboard.press("ArrowRight")
    tab.get_by_test_id("note").filter(has_text="1,480 timesteps of 1,500").wait_for()
    tab.get_by_test_id("as-table").click()
    assert "the first" in tab.get_by_test_id("table").locator("caption").inner_text()
    assert tab.get_by_test_id("table").locator("td").count() < 10_000


@pytest.mark.parametrize("kind", ["no time", "one feature", "nothing moved", "words"])
def test_special_inputs_have_their_own_picture(tab, kind):
    random = np.random.default_rng(3)
    if kind == "no time":
        mount(tab, scene_from(random.normal(size=(1, 7))))
        assert tab.get_by_test_id("brush").count() == 0
        assert tab.get_by_test_id("row").count() == 7
    elif kind == "one feature":
        mount(tab, scene_from(random.normal(size=(50, 1))))
        assert tab.get_by_test_id("row").count() == 1
    elif kind == "nothing moved":
        mount(tab, scene_from(np.zeros((20, 3)), baseline=np.full((20, 3), np.nan)))
        tab.mouse.click(*cell(tab, scene_from(np.zeros((20, 3))), 4, 1))
        assert "unknown" in tab.get_by_test_id("inspector").inner_text()
    else:
        words = ["so", "<b>good</b>", "it", "hurts"]
        mount(tab, scene_from(random.normal(size=(4, 1)), tokens=words, names=["text"]))
        assert tab.get_by_test_id("words").inner_text().split() == words  # as text, never as markup
        tab.get_by_text("<b>good</b>").first.click()
        assert tab.get_by_test_id("what").inner_text() == "“<b>good</b>”"


def test_what_is_named_is_named_whole_and_once(tab):
    names = ["Maximum temperature", "Wind speed at the north station", "Rain", "Minimum temperature"]
    made = scene_from(waves(2600, 4), names=names)
    mount(tab, made)
    cut = "nodes => nodes.filter((it) => it.scrollWidth > it.clientWidth || it.scrollHeight > it.clientHeight + 1)"
    assert tab.locator(".row .name, .label .name").evaluate_all(f"{cut}.length") == 0
    tab.set_viewport_size({"width": 400, "height": 760})
    tab.locator(".stage.narrow").wait_for()
    assert tab.locator(".so span").evaluate_all(f"{cut}.length") == 0
    tab.set_viewport_size({"width": 900, "height": 760})
    keys(tab, "+", "+")
    note = tab.get_by_test_id("note").filter(has_text="650 timesteps of 2,600")
    note.wait_for()
    sizes = [abs(total) for _, total, _ in rows_on(tab)]
    assert ("rows ordered by the whole" in note.inner_text()) == (sizes != sorted(sizes, reverse=True))
    mount(tab, scene_from(waves(2600, 1), names=["Rain"]))
    assert "All features" not in tab.get_by_test_id("figure").inner_text()
    assert "2,000" in tab.get_by_test_id("ticks").inner_text()


def test_what_a_column_is_called_is_never_markup(tab):
    nasty = "<img src=x onerror=window.hit=1>"
    made = scene_from(waves(12, 2), names=[nasty, "plain"])
    mount(tab, made)
    tab.get_by_test_id("as-table").click()
    assert tab.locator("img").count() == 0
    assert tab.evaluate("window.hit") is None


@pytest.mark.parametrize("demo", ["Seattle weather", "El Niño", "Japanese vowels", "Snowmelt"])
def test_the_whole_heatmap_of_a_demo_is_on_the_first_screen(browser, address, demo):  # noqa: F811
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SOON)
    page = context.new_page()
    page.goto(address)
    page.get_by_test_id("heatmap").wait_for()
    if demo not in page.get_by_role("combobox", name="Demo").input_value():
        choose(page, "Demo", demo)
    page.locator(".stage:not(.dimmed)").get_by_role("heading", name=demo).first.wait_for()
    boxes = {
        name: page.get_by_test_id(name).bounding_box()
        for name in ("residual", "series", "heatmap", "brush", "inspector")
    }
    for name, box in boxes.items():
        assert box["height"] > 15, name
        assert box["y"] >= 60, name  # below Streamlit's own bar
        assert box["y"] + box["height"] <= 800, name
        assert box["x"] + box["width"] <= 1280, name
    assert boxes["heatmap"]["x"] == pytest.approx(boxes["brush"]["x"], abs=1)
    assert boxes["heatmap"]["width"] == pytest.approx(boxes["brush"]["width"], abs=1)
    assert boxes["heatmap"]["height"] > 140
    assert page.get_by_test_id("note").evaluate("note => note.scrollHeight <= note.clientHeight + 1")  # it is not cut
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    context.close()
