"""The app in a real browser: a file goes in, the residual is read off the page, a cell is clicked."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOON = 90_000  # milliseconds in which everything here surely happens

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        why = "there is no chromium on the PATH; Debian's package of that name has it"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    """The address of the real server, started as `make app` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.headless=true", f"--server.port={port}"]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/_stcore/health")
        yield address
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(url):
    deadline = time.monotonic() + SOON / 1000
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(SOON)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 8, 2, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, a sequence, and what the model answers to it and to zeros."""
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
        return folder, net(x).item(), net(torch.zeros_like(x)).item()


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


def metric(page, label):
    box = page.get_by_test_id("stMetric").filter(has_text=re.compile(rf"^{label}"))
    return number(box.get_by_test_id("stMetricValue").inner_text())


def test_upload_run_and_read_the_residual_off_the_page(page, files):
    folder, prediction, baseline = files
    page.get_by_text("My own files").click()
    inputs = page.locator("section[data-testid=stSidebar] input[type=file]")
    inputs.nth(0).set_input_files(folder / "net.pt2")
    inputs.nth(1).set_input_files(folder / "walk.csv")
    page.get_by_role("button", name="Explain", exact=True).click()
    page.locator(".js-plotly-plot").first.wait_for()

    words = page.get_by_text(re.compile(r"Adds up")).inner_text()
    if "exactly" not in words:
        assert float(re.search(r"off by (\S+)", words)[1]) < 1e-5 * abs(prediction - baseline)
    assert metric(page, "Prediction") == pytest.approx(prediction, rel=1e-3)
    assert metric(page, "Baseline prediction") == pytest.approx(baseline, rel=1e-3)
    assert metric(page, "Difference") == pytest.approx(prediction - baseline, rel=1e-2)


def test_the_keras_demo_is_explained_and_adds_up(page):
    page.get_by_role("combobox", name="Demo").click()
    page.get_by_role("option", name="El Niño").click()
    page.get_by_role("heading", name="El Niño: the Pacific three months ahead").wait_for()
    words = page.get_by_text(re.compile(r"Adds up")).inner_text()
    if "exactly" not in words:
        assert float(re.search(r"off by (\S+)", words)[1]) < 1e-5
    page.locator(".js-plotly-plot").first.wait_for()


def test_clicking_a_cell_shows_it(page):
    page.locator(".js-plotly-plot").first.wait_for()
    page.get_by_text(re.compile(r"^Largest share")).wait_for()
    page.locator(".nsewdrag[data-subplot=x3y3]").first.click()
    chosen = page.get_by_test_id("stMarkdown").filter(has_text=re.compile(r"^Chosen: .+\."))
    chosen.wait_for()
    for word in ("Value", "baseline", "Moved the prediction by", "of all movement"):
        assert word in chosen.inner_text()


def test_pages_have_addresses_of_their_own(page, address):
    for path, title in (
        ("inside-the-layers", "Inside the layers"),
        ("model-and-data", "Model and data"),
        ("how-it-works", "How it works"),
    ):
        page.goto(f"{address}/{path}")
        page.get_by_role("heading", name=title).wait_for()
        page.get_by_text("A demo").wait_for()


def test_the_page_asks_no_other_machine(browser, address):
    context = browser.new_context()
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.locator(".js-plotly-plot").first.wait_for(timeout=SOON)
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
