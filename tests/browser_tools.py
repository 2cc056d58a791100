"""What tests in a real Chromium share: the browser, a server, a page on it, and what a person does there."""

import io
import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.tab import served

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
SCREEN = {"width": 1280, "height": 800}


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
def address(tmp_path_factory):
    with served(PAIRLIFT_DATA=str(tmp_path_factory.mktemp("data"))) as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def visitor(browser):
    """Opens a page of another browser, with cookies of its own."""
    contexts = []

    def come(address=None):
        contexts.append(browser.new_context(viewport=SCREEN))
        contexts[-1].set_default_timeout(SOON)
        page = contexts[-1].new_page()
        if address is not None:
            page.goto(address)
        return page

    yield come
    for context in contexts:
        context.close()


@pytest.fixture
def page(visitor, address):
    return visitor(address)


def at_rest(page):
    """Wait until no run and no job is under way."""
    page.get_by_role("button", name="Cancel").wait_for(state="detached")
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def in_menu(page, menu, act):
    """What ``act`` makes of the options of a menu of the sidebar, again where it is too late: a menu that opens just as
    the script runs closes with that."""
    from playwright.sync_api import TimeoutError

    for _ in range(10):
        at_rest(page)
        page.get_by_role("combobox", name=menu).click()
        try:
            return act()
        except TimeoutError:
            page.keyboard.press("Escape")
    raise AssertionError(f"The menu {menu!r} does not stay open, or has not what is wanted.")


def options(page, menu):
    """The names in a menu, which stays open."""

    def names():
        found = page.get_by_role("option")
        found.first.wait_for(timeout=3_000)
        return found.all_inner_texts()

    return in_menu(page, menu, names)


def choose(page, menu, option):
    in_menu(page, menu, lambda: page.get_by_role("option", name=option).click(timeout=3_000))


def own_files(page):
    page.get_by_text("My files").click()
    page.get_by_role("heading", name="Explain your own model").wait_for()


def uploader(page, place):
    """The sidebar's uploader at this place: a number, or the words above it."""
    if isinstance(place, int):
        return page.locator("section[data-testid=stSidebar] input[type=file]").nth(place)
    found = page.locator("section[data-testid=stSidebar] [data-testid=stFileUploader]")
    return found.filter(has=page.get_by_text(place, exact=True)).locator("input[type=file]")


def give(page, place, file):
    """Choose a file in the sidebar's uploader at this place, as a person does who sees the page at rest.

    Streamlit 1.67 empties its queue of messages as a run starts, also of the answer that a browser needs before it may
    send a file; the widget then stays empty. Two files within a moment can meet that.
    """
    widget = uploader(page, place)
    widget.wait_for(state="attached")
    at_rest(page)
    widget.set_input_files(file)


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


def said(page, part):
    """A number that the stage says."""
    return number(page.get_by_test_id(part).inner_text())


def adds_up(page):
    """Wait for a result that says so, and not for the dimmed one before it."""
    page.locator(".stage:not(.dimmed) [data-testid=residual]").filter(has_text=re.compile("Adds up")).wait_for()


def keep_picture(page, name):
    """A small picture of the page as it is, in the folder of ``PAIRLIFT_PICTURES`` where that is set."""
    folder = os.environ.get("PAIRLIFT_PICTURES")
    if not folder:
        return
    page.set_viewport_size(SCREEN)
    page.mouse.move(1, 799)  # no tooltip
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    found = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    Path(folder).mkdir(parents=True, exist_ok=True)
    found.quantize(160, dither=Image.Dither.NONE).save(Path(folder) / f"{name}.png", optimize=True)
