"""The pages that check the methods, in a real browser: each draws its chart and says its figure for a demo."""

import re

import pytest
from browser_tools import address, browser, page, visitor  # noqa: F401  fixtures

pytestmark = pytest.mark.browser


def percent(text):
    return float(re.search(r"([\d.]+)\s%", text)[1])


def go_to(page, link, title):  # noqa: F811
    page.get_by_test_id("stTopNavLink").filter(has_text=link).first.click()
    page.get_by_role("heading", name=title, exact=True).wait_for()
    page.locator("[data-testid=stMain] .js-plotly-plot").first.wait_for()


def test_every_check_of_a_demo_draws_its_chart_and_says_its_figure(page):  # noqa: F811
    page.get_by_test_id("heatmap").wait_for()

    go_to(page, "Errors", "Where the error is made")
    headline = page.get_by_role("heading", name=re.compile("shap DeepExplainer is off by"))
    off = percent(headline.inner_text())
    assert off > 1
    page.get_by_text(re.compile("The same as shap .* returns on this model")).wait_for()

    go_to(page, "Methods", "Compare methods")
    drawn = page.locator("[data-testid=stMain] .js-plotly-plot text")
    drawn.filter(has_text=re.compile("PairLift: adds up")).first.wait_for()
    words = drawn.filter(has_text=re.compile("shap DeepExplainer: off by")).first
    words.wait_for()
    assert percent(words.text_content()) == off  # the ledger's error is the method's own

    go_to(page, "Steps", "Step by step")
    drawn.filter(has_text="The whole sequence up to the step").first.wait_for()

    go_to(page, "Frameworks", "Two frameworks")
    words = page.get_by_text(re.compile("differ by at most")).inner_text()
    assert float(re.search(r"differ by at most (\S+) of", words)[1]) < 1e-5
