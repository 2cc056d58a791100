"""What is in an opened model."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import pandas as pd
import streamlit as st

from explain_core.jobs.tasks.opening import ModelSource
from explain_core.jobs.tasks.preview import Preview, preview
from explain_core.jobs.tasks.trying import Trial
from explain_core.models import ModelSummary
from explain_core.models.hints import ASSUMED
from explain_core.words import number
from ui import frame
from ui.errors import plain
from ui.layout import try_layout
from ui.model import is_confirmed, source_key


def draw_summary(summary: ModelSummary, source: ModelSource) -> None:
    """What was found in the file, and what was assumed."""
    st.subheader("What is in the model")
    if summary.assumptions and not is_confirmed(source):
        st.warning(
            "**Please confirm.** The file has weights without their model. What stands below under *Not in the file* "
            "was assumed; another choice in the sidebar gives other predictions.",
            icon=":material/help:",
        )
    with st.container(horizontal=True):
        st.metric("Format", summary.format, border=True)
        st.metric("Parameters", f"{summary.parameters:,}", border=True)
        st.metric("Recurrent layers", len(summary.recurrent_layers), border=True)
    st.dataframe(
        pd.DataFrame(
            [(layer.name, layer.kind, layer.detail, layer.parameters) for layer in summary.layers],
            columns=["Layer", "Kind", "Sizes", "Parameters"],
        ),
        hide_index=True,
        key="layers",
        width="stretch",
        column_config={"Parameters": st.column_config.NumberColumn(format="localized")},
    )
    trial = try_layout(frame.session(), source).value or Trial()
    takes = [
        f"{plain(spec.name)}: {plain(spec.dtype)}, {shape_in_words(spec.shape, spec.name in trial.time_first)}"
        for spec in summary.inputs
    ]
    st.markdown("**It takes**\n\n" + "\n".join(f"- {line}" for line in takes))
    draw_preview(source)
    draw_list("**How it was opened**", summary.notes)
    draw_list("**Not in the file, so assumed or chosen**", [text.removeprefix(ASSUMED) for text in summary.assumptions])


def draw_list(title: str, sentences: Sequence[str]) -> None:
    """Sentences under a title; nothing for none."""
    if sentences:
        st.markdown(f"{title}\n\n" + "\n".join(f"- {plain(sentence)}" for sentence in sentences))


def draw_preview(source: ModelSource) -> None:
    """What the model answers to zeros, tried in the worker."""
    trial = try_layout(frame.session(), source)
    if trial.running:
        frame.wait_or_say(trial)
        return
    first = (trial.value or Trial()).time_first
    outcome = frame.session().outcome(("preview", source_key(source), first), source, preview, source, first)
    if outcome.running or outcome.error:
        frame.wait_or_say(outcome)
    elif outcome.value is not None:
        st.markdown(f"**A first prediction**\n\n{preview_in_words(outcome.value)}")


def preview_in_words(found: Preview) -> str:
    """The first numbers that a model answers."""
    given = " × ".join(map(str, found.given))
    numbers = ", ".join(number(value) for _, value in found.values)
    size = " × ".join(map(str, found.shape)) or "1"
    left = prod(found.shape) - len(found.values)
    more = f" and {left:,} more" if left > 0 else ""
    others = f" It returns {found.others} more." if found.others else ""
    return f"For zeros of {given} it answers {size} {'number' if size == '1' else 'numbers'}: {numbers}{more}.{others}"


def shape_in_words(shape: tuple[int | None, ...] | None, time_first: bool = False) -> str:
    """A shape with its axes by name."""
    if shape is None:
        return "of a shape that the file does not tell"
    names = ["samples", "timesteps", "features"] if len(shape) <= 3 else [f"axis {i + 1}" for i in range(len(shape))]
    if time_first and len(shape) <= 3:
        names[:2] = names[1], names[0]
    return " × ".join(
        f"{'any number of' if size is None else f'{size:,}'} {name.removesuffix('s') if size == 1 else name}"
        for size, name in zip(shape, names, strict=False)
    )
