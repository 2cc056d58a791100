"""The demo that the app opens on, explained as the server starts where nobody has explained it before. No Streamlit."""

from __future__ import annotations

import logging

from explain_core.backends import is_installed
from explain_core.demos import list_demos, load_demo
from explain_core.errors import ExplainError
from ui.baseline_checks import suggested
from ui.baselines import demo_material
from ui.baselines_given import usual
from ui.demo_jobs import demo_jobs
from ui.in_words import Shown
from ui.own_runs import OwnRuns
from ui.subjects import demo_subject, request_key

_log = logging.getLogger("pairlift.runs")


def explain_first_demo() -> None:
    """Have its result on disk, and a process ready for the other demos. Takes as long as that does."""
    try:
        first = next((demo for demo in list_demos() if is_installed(demo.framework)), None)
        if first is None:
            return
        demo_jobs().prepare(first.framework)  # which imports the framework while the rest is read here
        demo = load_demo(first.slug)
        index = demo.index(demo.default_sequence)
        subject = demo_subject(demo, index)
        material = demo_material(demo, subject.series, index)
        baseline, _ = suggested(usual(material), material)
        request = subject.request(baseline, None, "auto", "auto")
        key, runs = request_key(request), OwnRuns()
        if runs.found(key) is None:
            explanation = demo_jobs().explanation(key, request).result()
            runs.share(Shown(subject, baseline, explanation, key))
    except ExplainError as error:  # whoever asks for it is told
        _log.warning("The first demo could not be explained: %s", error)
