"""No page shuts anybody out: axe-core finds nothing serious on any of them, in either theme."""

from pathlib import Path

import axe_playwright_python
import pytest
from browser_tools import SOON, address, browser  # noqa: F401  fixtures

pytestmark = pytest.mark.browser

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RESULT = ".js-plotly-plot, [data-testid=stProgress]"  # what takes long is not waited for: its frame is there at once
PAGES = {  # by address: the page's title, and what is on it once it has drawn something
    "": ("Seattle weather: tomorrow's maximum temperature", "[data-testid=heatmap]"),
    "layers": ("Inside the layers", ".js-plotly-plot"),
    "model": ("Model and data", "[data-testid=stDataFrame]"),
    "diagnostics": ("Where the error is made", RESULT),
    "steps": ("Step by step", RESULT),
    "methods": ("Compare methods", RESULT),
    "parity": ("Two frameworks", RESULT),
    "how": ("How it works", "img[alt]"),
    "settings": ("Server settings", "[data-testid=stTable]"),
}
QUICK = ("", "model", "how", "settings")  # pages that start no comparison of methods or frameworks
GRAVE = ("serious", "critical")
STREAMLITS = (  # the rule, and a part of the markup
    # The chips of a multiselect are white on the primary colour. In the dark theme that has to be light, since it is
    # also the colour of words on the page.
    ("color-contrast", '<span title="shap DeepExplainer"'),
    ("color-contrast", '<span title="captum DeepLift"'),
    ("color-contrast", '<span title="Gradient × difference"'),
    ("color-contrast", '<span title="Integrated gradients, 50 steps"'),
    ("color-contrast", '<span title="Gradient SHAP"'),
)
FIND = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"], iframes: false});
    const why = node => [...node.any, ...node.all].map(check => check.message).join(" ");
    return found.violations.flatMap(rule => rule.nodes.map(node => [rule.impact, rule.id, node.html, why(node)]));
}"""


def findings(page):
    """What is serious and not Streamlit's own: rule, element and why."""
    page.evaluate(AXE)
    return [
        (rule, markup[:300], why)
        for impact, rule, markup, why in page.evaluate(FIND)
        if impact in GRAVE and not any(rule == other and part in markup for other, part in STREAMLITS)
    ]


@pytest.mark.parametrize(
    ("theme", "paths"),
    [("light", tuple(PAGES)), ("dark", QUICK), pytest.param("dark", tuple(PAGES), marks=pytest.mark.fuzz)],
    ids=["light", "dark-quick", "dark"],
)
def test_nothing_serious_on_any_page(browser, address, theme, paths):  # noqa: F811
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    context.set_default_timeout(SOON)
    page = context.new_page()
    found = {}
    for path in paths:
        title, drawn = PAGES[path]
        page.goto(f"{address}/{path}")
        page.get_by_role("heading", name=title, exact=True).wait_for()
        page.locator(f"[data-testid=stMain] :is({drawn})").first.wait_for()
        found[path] = findings(page)
    context.close()
    assert not {path: what for path, what in found.items() if what}


def test_a_finding_is_found(browser):  # noqa: F811
    page = browser.new_page()
    page.set_content('<html lang="en"><title>x</title><main><img src="x"><p style="color: #bbb">pale</p></main></html>')
    assert {rule for rule, *_ in findings(page)} == {"image-alt", "color-contrast"}
    page.close()
