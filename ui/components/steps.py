"""Every step of a recurrent layer by itself, beside the whole sequence."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explain_core.diagnostics.measured import STEP_METHODS
from explain_core.diagnostics.one_step import STATES, summary
from explain_core.figures.in_words import steps_said
from explain_core.figures.steps import steps_figure
from explain_core.jobs.tasks.explaining import explain
from explain_core.jobs.tasks.methods import add_tables
from explain_core.jobs.tasks.steps import against_mean, step_errors
from explain_core.methods import METHODS
from explain_core.words import short
from ui import frame
from ui.errors import plain
from ui.in_words import Shown
from ui.parts import chart, csv_button
from ui.progressive import gather, wait_for, words_of
from ui.subjects import request_key

STATE_WORDS = {"cell": "Cell state", "hidden": "Hidden state"}

MODEL_WORDS = {"built-in": "the framework's own", "written out": "written out by hand"}


def draw_steps(shown: Shown) -> None:
    """The errors of all methods at every step of one layer."""
    gates = shown.explanation.gates
    with st.container(horizontal=True):
        layer = st.selectbox(
            "Layer",
            list(gates),
            format_func=lambda name: f"{name} ({gates[name].attrs['kind']}, {gates[name].sizes['unit']} units)",
            key=f"steps layer {shown.key}",
            width=320,
        )
        states = [state for state in reversed(STATES) if state == "hidden" or "cell" in gates[layer]]
        state = st.selectbox(
            "What is explained", states, format_func=STATE_WORDS.get, key=f"steps state {shown.key} {layer}", width=320
        )
    request = frame.request()
    if request is None:
        return
    key = (shown.key, layer, state)
    explanation = shown.explanation
    if request.background:
        mean = against_mean(request)
        outcome = frame.session().outcome(("explained against the mean", request_key(mean)), mean.model, explain, mean)
        if outcome.value is None:
            frame.wait_or_say(outcome)
            return
        explanation = outcome.value
    methods = [name for name in STEP_METHODS if request.model.framework in METHODS[name].frameworks]
    found, pending = gather(
        "steps",
        key,
        methods,
        lambda method: frame.session().outcome(
            ("steps", *key, method), request.model, step_errors, request, explanation, layer, state, method
        ),
    )
    wait_for("steps", pending, len(found), len(methods))
    for method, outcome in found.items():
        if outcome.value is None:
            st.caption(f":material/error: {METHODS[method].name}: {plain(words_of(outcome))}")
    parts = [outcome.value for outcome in found.values() if outcome.value is not None]
    if not parts:
        return
    table = pd.concat(parts, ignore_index=True)
    table.attrs["notes"] = list(dict.fromkeys(note for part in parts for note in part.attrs["notes"]))
    if pending is None:
        add_tables(shown.explanation, {"steps": table})
    chart(
        steps_figure(table, theme=frame.theme(), titled=False),
        key=f"steps {shown.key} {layer} {state} {len(parts)}",
        alt=f"Relative error of each method on every step of {layer}, by itself and as a sequence",
        says=steps_said(summary(table)),
    )
    if request.background:
        st.caption(
            ":material/info: Compared with the average of the baselines, since a state has to be that of one run."
        )
    for note in table.attrs["notes"]:
        st.caption(f":material/info: {plain(note)}")
    draw_summary(summary(table))
    if pending is None:
        csv_button(table, "steps")


def draw_summary(found: pd.DataFrame) -> None:
    """The errors of each method in a row."""
    in_words = pd.DataFrame(
        {
            "Method": found["method"],
            "Layer": found["model"].map(MODEL_WORDS),
            "One step, at worst": found["one_step"].map(error_in_words),
            "Whole sequence, at worst": found["whole_sequence"].map(error_in_words),
            "At the last step": found["at_the_end"].map(error_in_words),
            "Time": found["seconds"].map("{:.1f} s".format),
        }
    )
    if found["model"].nunique() == 1:
        in_words = in_words.drop(columns="Layer")
    st.dataframe(in_words, hide_index=True, key="steps summary", width="stretch")
    for row in found[found["says"] != ""].itertuples():
        of = "" if row.model == "built-in" else f", {MODEL_WORDS[row.model]}"
        st.caption(plain(f"{row.method}{of}: {row.says}"))


def error_in_words(relative: float) -> str:
    """A relative error: in percent, or as a power of ten where that would be nothing but zeros."""
    if pd.isna(relative):
        return "no result"
    return f"{100 * relative:.3g} %" if relative >= 1e-4 else short(relative)
