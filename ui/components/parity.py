"""The same weights in two frameworks, in numbers."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explain_core.backends import is_installed
from explain_core.diagnostics.two_frameworks import OTHER, REFEREE, TITLES, summary
from explain_core.explanation import own_steps
from explain_core.figures.parity import WORDS, parity_figure
from explain_core.figures.steps import ROUNDING
from explain_core.jobs.tasks.steps import Process, parity_other, parity_own
from explain_core.words import number, short, size
from ui import frame
from ui.errors import plain
from ui.in_words import Shown
from ui.parts import chart, csv_button


def draw_parity(shown: Shown) -> None:
    """The model built again in the other framework, and the differences at every step."""
    request, session = frame.request(), frame.session()
    if request is None:
        return
    framework = request.model.framework
    other = OTHER[framework]
    if not is_installed(other):
        st.info(f"{TITLES[other]} is not installed here, so there is nothing to compare with.", icon=":material/info:")
        return
    key = shown.key
    first = session.outcome(("parity", key), request.model, parity_own, request)
    if first.value is None:
        frame.wait_or_say(first)
        return
    own, _, blueprint = first.value
    second = session.outcome(("parity with", key), Process(other), parity_other, own, framework, other, blueprint)
    if second.value is None:
        frame.wait_or_say(second)
        return
    table = second.value
    shown.explanation.diagnostics["parity"] = table
    draw_words(table, framework)
    layers = [layer for layer in dict.fromkeys(table["layer"]) if layer]
    layer = layers[0] if layers else None
    if len(layers) > 1:
        layer = st.selectbox("Layer", layers, key=f"parity layer {shown.key}", width=320)
    gates = shown.explanation.gates.get(layer)
    in_sample = table if gates is None else table[table["step"] < own_steps(gates.isel(sample=0))]
    largest = [f"{WORDS.get(row.quantity, row.quantity)} {size(row.difference)}" for row in summary(table).itertuples()]
    chart(
        parity_figure(in_sample, layer, theme=frame.theme(), titled=False),
        key=f"parity {shown.key} {layer}",
        alt="Difference between the two frameworks at every step",
        says=f"Largest differences, relative: {'; '.join(largest)}.",
    )
    if request.background:
        st.caption(
            ":material/info: Compared with the average of the baselines, since states have to be those of one run."
        )
    for note in table.attrs["notes"]:
        st.caption(f":material/info: {plain(note)}")
    draw_table(summary(table))
    csv_button(table, "two-frameworks")


def draw_words(table: pd.DataFrame, framework: str) -> None:
    """How far apart the two are, in a sentence."""
    attributions = table[table["quantity"] == "attribution"].groupby("compared_with")["difference"].max()
    between = float(attributions[TITLES[OTHER[framework]]])
    words = (
        f"The attributions of {TITLES[framework]} and {TITLES[OTHER[framework]]} differ by at most "
        f"**{short(between)}** of the largest: {'rounding' if between <= ROUNDING else 'more than rounding explains'}."
    )
    if REFEREE in attributions:
        words += " " + referee_in_words(float(attributions[REFEREE]), between)
    st.markdown(words)


def referee_in_words(difference: float, between: float) -> str:
    """How far the referee is from the engines, and what that means.

    Args:
        difference: of its attributions from theirs, of the largest.
        between: of the two engines' attributions from each other.
    """
    words = (
        "A referee that is neither, shap's TensorFlow explainer on the layer written out by hand, differs by at most "
        f"**{short(difference)}**: "
    )
    if difference <= ROUNDING:
        return f"{words}rounding as well."
    closer = (
        "" if between > difference / 10 else f", and {difference / (between or 1e-9):,.0f} times what they differ by"
    )
    return f"{words}more than the rounding of a single step explains{closer}."


def draw_table(found: pd.DataFrame) -> None:
    """The largest differences by what is compared."""
    words = {**WORDS, "prediction": "Prediction", "baseline prediction": "Baseline prediction"}
    st.dataframe(
        pd.DataFrame(
            {
                "What": found["quantity"].map(words),
                "Layer": found["layer"],
                "Compared with": found["compared_with"],
                "Largest difference, relative": found["difference"].map(size),
                "Largest value": found["largest"].map(number),
            }
        ),
        hide_index=True,
        key="parity summary",
        column_config={"Compared with": st.column_config.TextColumn(width="medium")},
        width="stretch",
    )
