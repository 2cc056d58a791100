"""What cannot be explained here is said as soon as the model is open, with the Python lines that do it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from explain_core.jobs.tasks.opening import ModelSource
from explain_core.jobs.tasks.trying import Trial
from explain_core.models import ModelSummary
from explain_core.models.in_python import python_lines
from explain_core.sequences.roles import Role, roles_of
from explain_core.words import listed_in_words
from ui.errors import plain


@dataclass(frozen=True)
class Obstacle:
    """Why a model cannot be explained here, and the lines that explain it in the library.

    ``is_certain`` is false where made-up numbers may have been the cause.
    """

    reason: str
    lines: str
    is_certain: bool


def obstacle_of(trial: Trial, summary: ModelSummary, source: ModelSource) -> Obstacle | None:
    """What is in the way of an opened model; None for most."""
    lines = python_lines(source.path.name, summary.inputs, trial.time_first)
    roles = roles_of(summary.inputs)
    nothing = [spec for spec, role in zip(summary.inputs, roles, strict=True) if role is Role.NOTHING]
    if nothing:
        what = listed_in_words([f"{spec.name!r} ({spec.dtype})" for spec in nothing])
        return Obstacle(f"The model takes {what}, which no file can give.", lines, is_certain=True)
    if trial.problem:
        reason = f"Tried on made-up numbers, it could not be explained: {trial.problem}"
        return Obstacle(reason, lines, is_certain=False)
    return None


def draw_obstacle(found: Obstacle) -> None:
    """The reason, and what to do in Python."""
    title = "This model cannot be explained here." if found.is_certain else "This model may not be explained here."
    st.warning(f"**{title}** {plain(found.reason)}", icon=":material/block:")
    st.markdown("In Python the library explains any model whose operations it knows:")
    st.code(found.lines, language="python")
