"""How long people wait: `python -m benchmarks.app_speed 3`, on an idle machine, with Chromium on the PATH.

The first server starts with an empty data folder, so that nothing is found from before. Times are from the start of its
process, or from a click, until Chromium shows what is waited for.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright
from torch import nn

from benchmarks.tab import served

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
_SOON = 120_000  # milliseconds
_SHOWN = re.compile("Adds up")


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 32, batch_first=True)
        self.head = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def _own_files(folder: Path) -> tuple[Path, Path]:
    """A model and a file of twenty sequences of 60 timesteps."""
    torch.manual_seed(0)
    x = torch.randn(1, 60, 4)
    torch.export.save(torch.export.export(_Net().eval(), (x,)), folder / "net.pt2")
    values = np.random.default_rng(0).normal(size=(20 * 60, 4))
    rows = [f"{i // 60 + 1}," + ",".join(f"{value:.4f}" for value in row) for i, row in enumerate(values)]
    (folder / "walks.csv").write_text("\n".join(["id,a,b,c,d", *rows]))
    return folder / "net.pt2", folder / "walks.csv"


def _page(browser: Browser) -> Page:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(_SOON)
    return context.new_page()


def _seconds(act: Callable[[], None], see: Callable[[], None]) -> float:
    start = time.monotonic()
    act()
    see()
    return time.monotonic() - start


def _wait_for_run(page: Page, before: str) -> None:
    """Until another run is in the address and drawn."""
    page.wait_for_url(lambda url: "run=" in url and url != before)
    page.locator("[data-testid=stage][aria-busy=false]").wait_for()


def _choose(page: Page, label: str, place: int) -> Callable[[], None]:
    """How an option is chosen in a menu, once the page is at rest: one that opens as the script runs, closes again."""
    _rest(page)

    def act() -> None:
        for _ in range(10):
            page.get_by_role("combobox", name=label).click()
            try:
                return page.get_by_role("option").nth(place).click(timeout=2_000)
            except TimeoutError:
                page.keyboard.press("Escape")
        raise AssertionError(f"The menu {label!r} does not stay open.")

    return act


def _rest(page: Page) -> None:
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def _give(page: Page, place: int, file: Path) -> None:
    uploader = page.locator("section[data-testid=stSidebar] input[type=file]").nth(place)
    uploader.wait_for(state="attached")
    _rest(page)
    uploader.set_input_files(file)


@contextmanager
def _started(page: Page, folder: Path, found: dict[str, float], name: str) -> Iterator[tuple[Any, str]]:
    """A server whose page is open, and its address."""
    start = time.monotonic()
    with served(PAIRLIFT_DATA=str(folder / "data"), PAIRLIFT_SPARES="1") as (server, port):
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_text("My files").wait_for()
        found[f"{name} to page"] = time.monotonic() - start
        page.get_by_text(_SHOWN).first.wait_for()
        found[f"{name} to heatmap"] = time.monotonic() - start
        yield server, f"http://127.0.0.1:{port}"


def measure(browser: Browser, folder: Path) -> dict[str, float]:
    """Seconds by what is waited for, and megabytes of the app's process."""
    found: dict[str, float] = {}
    page = _page(browser)
    with _started(page, folder, found, "first start"):
        pass
    with _started(page, folder, found, "start") as (server, address):
        page.wait_for_url(re.compile("run="))
        time.sleep(8)  # a process gets ready for whoever comes next
        second = _page(browser)
        found["next visitor, to heatmap"] = _seconds(
            lambda: second.goto(address), second.get_by_text(_SHOWN).first.wait_for
        )
        url = page.url
        found["demo's next sequence"] = _seconds(_choose(page, "Sequence", 0), lambda: _wait_for_run(page, url))
        second_url = page.url
        found["cached view: back"] = _seconds(page.go_back, lambda: _wait_for_run(page, second_url))
        found["cached view: choice"] = _seconds(_choose(page, "Sequence", 0), lambda: _wait_for_run(page, url))
        found["cached view: link"] = _seconds(
            lambda: second.goto(second_url), second.get_by_text(_SHOWN).first.wait_for
        )
        second.context.close()
        model, data = _own_files(folder)
        page.get_by_text("My files").click()
        _give(page, 0, model)
        page.get_by_text("Now give a sequence in the sidebar").wait_for()
        before = page.url
        _give(page, 1, data)
        _wait_for_run(page, before)
        for place in (3, 4):
            before = page.url
            act = _choose(page, "Sequence to explain", place)
            found["own model's next sequence"] = _seconds(act, lambda before=before: _wait_for_run(page, before))
        found["app process (MB)"] = psutil.Process(server.pid).memory_info().rss / 1e6
    page.context.close()
    return found


def main() -> None:
    """Measure as often as asked and print the medians."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("There is no chromium on the PATH; Debian's package of that name has it.")
    rows: list[dict[str, float]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        for _ in range(times):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(browser, Path(folder)))
        browser.close()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; median of {times} (lowest)")
    for name in rows[0]:
        values = [row[name] for row in rows]
        digits = 0 if "MB" in name else 2
        print(f"{name:32} {statistics.median(values):8.{digits}f} ({min(values):.{digits}f})")


if __name__ == "__main__":
    main()
