"""Kept runs in a real browser: reload, the way back, a link in another browser, and what is private."""

import re

import pytest
from browser_tools import address, browser, choose, give, keep_picture, options, visitor
from test_app_browser import files

__all__ = ["address", "browser", "files", "visitor"]  # the fixtures
pytestmark = pytest.mark.browser


def shown(page):
    """What the stage says, once the page is at rest."""
    page.get_by_text(re.compile(r"Adds up")).first.wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return page.get_by_test_id("headline").inner_text()


def at_run(page):
    page.wait_for_url(re.compile(r"[?&]run="))
    return page.url


def test_own_files_are_there_after_a_reload_and_their_link_shows_the_result_elsewhere(visitor, address, files):
    folder, *_ = files
    page = visitor()
    page.goto(address)
    page.get_by_text("My files").click()
    give(page, 0, folder / "net.pt2")
    page.get_by_text("Now give a sequence in the sidebar").wait_for()
    give(page, 1, folder / "walk.csv")
    at_run(page)
    page.get_by_text("My baseline file").wait_for(state="detached")
    words, url = shown(page), page.url
    choose(page, "Compare with", "Median over time")
    page.wait_for_url(lambda now: "run=" in now and now != url)
    other, second = shown(page), page.url
    assert other != words

    page.go_back()
    page.wait_for_url(url)
    page.get_by_text(words).wait_for()
    page.go_forward()
    page.wait_for_url(second)
    page.get_by_text(other).wait_for()

    page.reload()
    page.get_by_text(other).wait_for()
    assert page.url == second
    page.get_by_text("walk.csv").first.wait_for()  # the files are held still
    choose(page, "Compare with", "Average over time")
    page.get_by_text(words).wait_for()

    colleague = visitor()
    colleague.goto(address)
    shown(colleague)
    colleague.get_by_text("Kept runs", exact=True).click()
    (only,) = options(colleague, "Kept run")
    assert "Seattle" in only
    colleague.goto(second)
    colleague.get_by_text(other).wait_for()
    assert colleague.url == second
    colleague.get_by_text("Somebody shared this run with you").wait_for()
    assert colleague.get_by_role("button", name="Delete").count() == 0
    keep_picture(colleague, "link")


def test_a_second_tab_shows_the_same_and_a_deleted_run_is_gone_for_all(visitor, address):
    page = visitor()
    page.goto(address)
    at_run(page)
    words, url = shown(page), page.url
    second = page.context.new_page()
    second.goto(url)
    assert shown(second) == words
    page.get_by_text("Kept runs", exact=True).click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete this run").click()
    page.get_by_text("Nothing is kept yet").first.wait_for()
    colleague = visitor()
    colleague.goto(url)
    colleague.get_by_text("There is no run at this address").wait_for()
    colleague.goto(f"{address}/?run={'%00' * 11}&from=9&to=1")
    assert shown(colleague) == words


def test_a_visitor_is_told_from_others_by_a_cookie_that_no_script_reads(visitor, address):
    page = visitor()
    page.goto(address)
    shown(page)
    (cookie,) = [each for each in page.context.cookies() if each["name"] == "pairlift_visitor"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert cookie["value"] not in page.evaluate("document.cookie")
    page.reload()
    shown(page)
    assert cookie["value"] in {each["value"] for each in page.context.cookies()}


def test_a_zoom_stands_in_the_address_and_goes_with_the_way_back(visitor, address):
    page = visitor()
    page.goto(address)
    shown(page)
    url = at_run(page)
    page.get_by_test_id("tool-matters").or_(page.get_by_test_id("matters")).first.click()
    page.wait_for_url(re.compile("from="))
    zoomed, ticks = page.url, page.get_by_test_id("ticks").inner_text()
    page.go_back()
    page.wait_for_url(url)
    page.wait_for_function("!location.search.includes('from')")
    page.get_by_test_id("ticks").filter(has_not_text=ticks).wait_for()
    colleague = visitor()
    colleague.goto(zoomed)
    shown(colleague)
    assert colleague.get_by_test_id("ticks").inner_text() == ticks
    assert colleague.url == zoomed
