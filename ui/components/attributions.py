"""What stands below the stage: the way from the baseline's prediction, and what is to be known."""

from __future__ import annotations

import streamlit as st

from explain_core.figures import prediction_figure
from explain_core.figures.in_words import bars_said
from explain_core.models.hints import ASSUMED
from ui import frame
from ui.errors import plain
from ui.in_words import Shown
from ui.parts import chart, switch

TOTALS = {"feature": "By feature", "time": "By timestep"}


def draw_below(shown: Shown, output: str) -> None:
    """A drawer that computes nothing while it is closed, and notes."""
    drawer = st.expander(
        f"From the baseline's {shown.noun} to this one",
        icon=":material/waterfall_chart:",
        on_change="rerun",
        key="totals drawer",
    )
    if drawer.open:
        with drawer:
            draw_totals(shown, output)
    draw_notes(shown.explanation.notes)


def draw_notes(notes: list[str]) -> None:
    """What is to be known of the result; what was assumed of the model stands together."""
    assumed = [note.removeprefix(ASSUMED) for note in notes if note.startswith(ASSUMED)]
    for note in notes:
        if not note.startswith(ASSUMED):
            st.caption(f":material/info: {plain(note)}")
    if assumed:
        st.caption(f":material/help: **{plain(ASSUMED.strip())}** {plain(' '.join(assumed))}")


def draw_totals(shown: Shown, output: str) -> None:
    """The way from the baseline prediction to the prediction."""
    by = "time"
    subject = shown.subject
    if subject.beside or subject.series.sizes.get("feature", 0) > 1:  # token ids have none to add up, one is its sum
        by = switch("Totals", TOTALS, "totals by")
    figure = prediction_figure(shown.explanation, 0, output, by=by, unit=shown.unit, theme=frame.theme(), titled=False)
    chart(
        figure,
        key=f"totals {shown.key} {output} {by}",
        alt=f"Steps from the baseline's prediction to the prediction of {output}",
        says=bars_said(figure),
    )
