"""The sequence that each demo opens on, explained before anybody asks. No Streamlit.

The server does it for the first demo as it starts, and `python -m ui.first_demo` for all of them, as the app is set up.
"""

from __future__ import annotations

import logging

from explain_core.backends import is_installed
from explain_core.demos import DemoSummary, list_demos, load_demo
from explain_core.errors import ExplainError
from ui.baseline_checks import suggested
from ui.baselines import demo_material
from ui.baselines_given import usual
from ui.demo_jobs import demo_jobs
from ui.in_words import Shown
from ui.own_runs import OwnRuns
from ui.subjects import asked_of, demo_subject, request_key

_log = logging.getLogger("pairlift.runs")


def explain_first_demo() -> None:
    """Have the result of the demo that the app opens on; ends when that is so."""
    for first in _here()[:1]:
        _explain(first)


def prepare_first_demo() -> None:
    """Have a process ready for the demo that the app opens on."""
    for first in _here()[:1]:
        demo_jobs().prepare(first.framework)


def _here() -> list[DemoSummary]:
    """The demos whose framework is installed, in the order of the menu."""
    return [demo for demo in list_demos() if is_installed(demo.framework)]


def _explain(summary: DemoSummary) -> None:
    """Have the result of a demo's first sequence on disk."""
    try:
        demo = load_demo(summary.slug)
        index = demo.index(demo.default_sequence)
        subject = demo_subject(demo, index)
        material = demo_material(demo, subject.series, index)
        baseline, _ = suggested(usual(material), material)
        request = subject.request(baseline, None, "auto", "auto")
        key, runs = request_key(request), OwnRuns()
        if runs.found(key) is None:
            explanation = demo_jobs().explanation(key, request).result()
            runs.share(Shown(subject, baseline, explanation, key, asked=asked_of(request)))
    except ExplainError as error:  # whoever asks for it is told
        _log.warning("The demo %s could not be explained: %s", summary.slug, error)


if __name__ == "__main__":
    for each in _here():
        _explain(each)
