"""The part of the sidebar that takes a result which was downloaded before, and keeps it like a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import streamlit as st

from explain_core.errors import RunError
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.reopening import explanation_of_upload
from ui.in_words import Shown
from ui.outcomes import Outcome
from ui.reopened import shown_again
from ui.session import Session

_WORDS = "A file that was taken away from here as NetCDF, or written by `Explanation.save`"


def take_result(session: Session, upload: Callable[[Session, str, str, str], Path | None]) -> Outcome | Shown | None:
    """Ask for a file with a result.

    Returns:
        What reads it while it is not read; the result where it cannot be kept; None where there is none, or where it is
        among the kept runs and chosen there.
    """
    path = upload(session, "Open a result (NetCDF)", "result", _WORDS)
    if path is None:
        return None
    reading = session.outcome(("result", path), None, explanation_of_upload, path)
    if reading.value is None:
        return reading
    if ("result", path) in session.asked:  # it is a kept run like others, which may be deleted
        return None
    shown = shown_again(reading.value, path.name)
    asked = Request(shown.subject.model, shown.subject.inputs, None, None)
    try:
        run = session.runs.keep(shown, asked, 0.0, {})
    except RunError as error:
        session.notices.append(f"{error.what} {error.hint}")
        run = ""
    if not run:
        return shown
    session.asked.add(("result", path))
    st.session_state["kept run"] = run
    return None if run in {each.id for each in session.runs.all()} else replace(shown, run=run)
