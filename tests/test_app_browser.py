"""The app in a real browser: a file goes in, and the residual is read off the page."""

import re
import warnings

import numpy as np
import pytest
import torch
from browser_tools import SOON, address, adds_up, browser, choose, give, keep_picture, page, said, visitor
from corpus.keras_files import X, list_of_layers
from torch import nn

from benchmarks.tab import served

__all__ = ["address", "browser", "page", "visitor"]  # the fixtures
pytestmark = pytest.mark.browser


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 8, 2, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, a sequence, and what the model answers to it and to its average, held, which is suggested."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    net = Net().eval()
    values = np.random.default_rng(0).normal(size=(12, 2)).round(3)
    np.savetxt(folder / "walk.csv", values, delimiter=",", header="speed,slope", comments="", fmt="%.3f")
    x = torch.tensor(values, dtype=torch.float32)[None]
    with warnings.catch_warnings():  # the exporter's own
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net, (x,)), folder / "net.pt2")
    with torch.no_grad():
        return folder, net(x).item(), net(x.mean(1, keepdim=True).expand_as(x)).item()


def test_upload_run_and_read_the_residual_off_the_page(page, files):
    folder, prediction, baseline = files
    page.get_by_text("My files").click()
    give(page, 0, folder / "net.pt2")
    page.get_by_text("Now give a sequence in the sidebar").wait_for()
    give(page, 1, folder / "walk.csv")
    page.get_by_test_id("heatmap").wait_for()

    words = page.get_by_test_id("residual").inner_text()
    if "exactly" not in words:
        assert float(re.search(r"off by (\S+)", words)[1]) < 1e-5 * abs(prediction - baseline)
    assert said(page, "prediction") == pytest.approx(prediction, rel=1e-3)
    assert said(page, "baseline-prediction") == pytest.approx(baseline, rel=1e-3)
    assert said(page, "difference") == pytest.approx(prediction - baseline, rel=1e-2)
    keep_picture(page, "own-pytorch")


def test_an_old_h5_is_explained_with_the_meaning_it_was_trained_with(page, tmp_path):
    """Keras 2.0.8 wrote it, whose hard_sigmoid is not the function that Keras 3 calls so."""
    old = list_of_layers()
    old.write(tmp_path / "turbofan=2.h5")
    np.savetxt(tmp_path / "walk.csv", X[0], delimiter=",", header="speed,slope,load", comments="", fmt="%.9g")
    page.get_by_text("My files").click()
    give(page, 1, tmp_path / "walk.csv")
    page.get_by_text("Now give the model in the sidebar").wait_for()
    give(page, 0, tmp_path / "turbofan=2.h5")
    page.get_by_test_id("heatmap").wait_for()

    page.get_by_role("heading", name="Turbofan=2").wait_for()
    page.get_by_text("hard_sigmoid is meant as clip(0.2x + 0.5)").wait_for()
    assert said(page, "prediction") == pytest.approx(old.expected[0, 0], abs=6e-5)  # shown to four digits
    adds_up(page)
    keep_picture(page, "own-keras")
    page.get_by_test_id("stTopNavLink").filter(has_text="Layers").first.click()
    page.get_by_role("heading", name="How open the gates were").wait_for()


def test_what_was_found_in_one_file_is_not_asked_of_the_next(page, tmp_path):
    (tmp_path / "long.csv").write_text(
        "id,date,speed\na,2024-01-01,1\na,2024-01-02,2\nb,2024-01-01,3\nb,2024-01-02,4\n"
    )
    (tmp_path / "plain.csv").write_text("slope,load\n1,2\n3,4\n5,6\n")
    page.get_by_text("My files").click()
    give(page, 1, tmp_path / "long.csv")
    page.get_by_text("2 sequences · 2 timesteps · 1 feature").wait_for()
    page.get_by_text("How the file is read").click()
    page.get_by_text("Column that tells sequences apart").wait_for()
    give(page, 1, tmp_path / "plain.csv")
    page.get_by_text("3 timesteps · 2 features").wait_for()
    page.wait_for_timeout(3_000)  # in which the page would answer for its old choices
    page.get_by_text("3 timesteps · 2 features").wait_for()
    assert page.get_by_text("There is no column").count() == 0


def test_the_keras_demo_is_explained_and_adds_up(page):
    choose(page, "Demo", "El Niño")
    page.get_by_role("heading", name="El Niño: the Pacific three months ahead").wait_for()
    words = page.get_by_test_id("residual").inner_text()
    if "exactly" not in words:
        assert float(re.search(r"off by (\S+)", words)[1]) < 1e-5
    page.get_by_test_id("heatmap").wait_for()


def test_pages_have_addresses_of_their_own(page, address):
    for path, title in (
        ("layers", "Inside the layers"),
        ("model", "Model and data"),
        ("how", "How it works"),
        ("settings", "Server settings"),
    ):
        page.goto(f"{address}/{path}")
        page.get_by_role("heading", name=title).wait_for()
        page.get_by_text("My files").wait_for()


def test_the_first_visit_to_a_new_server_may_be_to_any_page(browser):
    """Streamlit knows the app's own navigation only once the app has run."""
    with served() as (_, port):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/layers")
        page.get_by_role("heading", name="Through which gate the difference came in, and when").wait_for(timeout=SOON)
        assert page.get_by_role("heading", name="Inside the layers").count() == 1
        assert page.get_by_role("dialog").count() == 0
        assert page.get_by_text("My files").count() == 1
        context.close()


def test_the_page_asks_no_other_machine(browser, address):
    context = browser.new_context()
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_test_id("heatmap").wait_for(timeout=SOON)
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
