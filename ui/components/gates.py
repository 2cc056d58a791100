"""The gates of a recurrent layer over time."""

from __future__ import annotations

import streamlit as st

from explain_core.figures import gate_activation_figure, gate_figure
from explain_core.figures.in_words import contributions_said, openness_said
from ui import frame
from ui.in_words import Shown
from ui.parts import chart, switch

BY = {"gate": "Per gate", "unit": "Per unit"}


def choose_layer(shown: Shown) -> str:
    """The layer whose gates are looked at."""
    gates = shown.explanation.gates

    def words(name: str) -> str:
        return f"{name} ({gates[name].attrs['kind']}, {gates[name].sizes['unit']} units)"

    return st.selectbox("Layer", list(gates), format_func=words, key=f"layer {shown.key}", width=320)


@st.fragment
def draw_contributions(shown: Shown, layer: str, output: str) -> None:
    """What came in through each gate."""
    st.subheader("Through which gate the difference came in, and when")
    st.markdown(
        "Each bar is the share of the difference that came in through one gate at one timestep. The rest was "
        "in the layer's memory already, from earlier steps (dotted line); both together are the solid line."
    )
    by = switch("Show", BY, "gates by")
    gates = shown.explanation.gates[layer].isel(sample=0)
    if "output" in gates.dims:
        gates = gates.isel(output=shown.explanation.output_position(output))
    chart(
        gate_figure(shown.explanation, layer, 0, output, by=by, theme=frame.theme(), titled=False),
        key=f"gates {shown.key} {layer} {output} {by}",
        alt=f"Contribution of each gate of {layer} over time",
        says=contributions_said(gates, shown.unit),
    )


@st.fragment
def draw_activations(shown: Shown, layer: str) -> None:
    """How open each gate was."""
    st.subheader("How open the gates were")
    st.markdown(
        "0 is closed and 1 is open (candidate and new values go from −1 to 1). Solid: this sequence; dotted: the "
        "baseline; grey: where most units are."
    )
    units = [int(unit) for unit in shown.explanation.gates[layer]["unit"].values]
    unit = st.selectbox(
        "Unit",
        [None, *units],
        format_func=lambda unit: "All units on average" if unit is None else f"Unit {unit + 1}",
        key=f"unit {shown.key} {layer}",
        width=320,
        label_visibility="collapsed",
    )
    chart(
        gate_activation_figure(shown.explanation, layer, 0, unit=unit, theme=frame.theme(), titled=False),
        key=f"open {shown.key} {layer} {unit}",
        alt=f"Values of the gates of {layer} over time",
        says=openness_said(shown.explanation.gates[layer].isel(sample=0)),
    )
