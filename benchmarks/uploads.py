"""What hostile uploads cost the others: the app's memory, and how long the page of somebody else takes meanwhile.

Ten files of 199 MB under made-up ids, the same under ids that the app gave out, and an archive of 197 MB that lists 4.2
million names, given as a model in a browser. The figures are those of the other person's reruns.

    python -m benchmarks.uploads [--markdown]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import struct
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from benchmarks.report import table
from benchmarks.tab import Tab, served

MB = 10**6
_NAMES = 4_200_000
_CALM_SECONDS = 3.0
_SOON = 120_000  # milliseconds


@dataclass
class Figures:
    """What was seen while something went on."""

    what: str
    answers: str = ""
    seconds: list[float] = field(default_factory=list)
    peak: int = 0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="a table as in the docs")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp())
    try:
        rows = measure(many_names(folder / "model.zip"))
    finally:
        shutil.rmtree(folder)
    header = ["meanwhile", "answers", "reruns", "median", "slowest", "the app at most"]
    print(table(header, [in_words(row) for row in rows], options.markdown))


def measure(archive: Path) -> list[Figures]:
    """One row for each of what goes on. What sends is a process of its own, and so slows down nothing that measures."""
    with served() as (process, port), Tab(port) as other, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        app = psutil.Process(process.pid)
        while any("Cancel" in str(message) for message in other.run()):  # the demo is being explained
            time.sleep(0.2)
        return [
            _watch("nothing", other, app, pool.submit(calm)),
            _watch("10 files of 199 MB, ids made up", other, app, pool.submit(made_up_ids, port)),
            _watch("10 files of 199 MB, ids given out", other, app, pool.submit(given_ids, port)),
            _watch("an archive of 4.2 million names", other, app, pool.submit(as_model, port, archive)),
        ]


def in_words(row: Figures) -> list[str]:
    """The cells of a row."""
    times = [f"{seconds:.2f} s" for seconds in (statistics.median(row.seconds), max(row.seconds))]
    return [row.what, row.answers, f"{len(row.seconds)}", *times, f"{row.peak / MB:.0f} MB"]


def _watch(what: str, other: Tab, app: psutil.Process, action: Future[str]) -> Figures:
    """Rerun another person's page until some time after the action has ended."""
    found = Figures(what)
    until = None
    while until is None or time.monotonic() < until:
        if until is None and action.done():
            until = time.monotonic() + _CALM_SECONDS
        start = time.monotonic()
        other.run()
        found.seconds.append(time.monotonic() - start)
        found.peak = max(found.peak, app.memory_info().rss)
    found.answers = action.result()
    return found


def calm() -> str:
    """Do nothing for a while."""
    time.sleep(_CALM_SECONDS)
    return ""


def made_up_ids(port: int) -> str:
    """Ten files of 199 MB to a session of one's own; how they were answered."""
    with Tab(port) as tab:
        return _put(tab, [f"/_stcore/upload_file/{tab.session}/{number}" for number in range(10)])


def given_ids(port: int) -> str:
    """The same, under ids that the app gave out."""
    with Tab(port) as tab:
        return _put(tab, tab.addresses(*map(str, range(10))))


def _put(tab: Tab, addresses: Sequence[str]) -> str:
    data = bytes(199 * MB)
    answers = []
    for address in addresses:
        try:
            answers.append(str(tab.put(address, data)[0]))
        except ConnectionError:
            answers.append("closed")
    return ", ".join(f"{answers.count(answer)} × {answer}" for answer in dict.fromkeys(answers))


def as_model(port: int, path: Path) -> str:
    """Give a file as a model in a browser; what the page says of it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with closing(browser.new_page()) as page:
            page.set_default_timeout(_SOON)
            page.goto(f"http://127.0.0.1:{port}")
            page.get_by_text("My files").click()
            page.get_by_role("heading", name="Explain your own model").wait_for()
            page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
            page.locator("section[data-testid=stSidebar] input[type=file]").first.set_input_files(path)
            box = page.get_by_test_id("stMain").get_by_role("alert").first
            box.wait_for()
            return box.inner_text().replace("\n", " ")[:80]


def many_names(path: Path) -> Path:
    """Write an archive with millions of entries of one name that all point at the same place."""
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    size, at = len(entry) * _NAMES, len(local) + len(entry) * _NAMES
    with path.open("wb") as file:
        file.write(local)
        for _ in range(_NAMES // 10_000):
            file.write(entry * 10_000)
        file.write(b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, _NAMES, _NAMES, size, len(local)))
        file.write(b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1))
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    return path


if __name__ == "__main__":
    main()
