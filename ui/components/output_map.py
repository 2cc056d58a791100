"""Every output step at a glance, below the stage that shows one of them."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explain_core.explanation import by_name
from explain_core.figures.output_map import output_map, output_map_figure
from explain_core.words import counted
from ui import frame
from ui.in_words import Shown
from ui.parts import chart


def place_of_outputs(shown: Shown) -> DeltaGenerator:
    """Where the output is chosen: in the sidebar, or with output steps in a drawer below the stage."""
    if not shown.subject.output_steps or len(shown.explanation.outputs) < 2:
        return frame.place_to_look()
    return st.expander("All output steps", expanded=True, icon=":material/grid_on:")


def draw_output_map(shown: Shown, output: str, input: str) -> None:
    """The map of output steps by input steps, where outputs are steps and the input has some; else nothing."""
    explanation = shown.explanation
    if not shown.subject.output_steps or len(explanation.outputs) < 2:
        return
    if "time" not in by_name(explanation.inputs)[input].dims:
        return
    found = output_map(explanation, 0, input)
    st.caption(
        f"Each row is one of {counted(len(found.outputs), 'output step')}, each column an input step, summed over "
        "features: orange raises that output, blue lowers it. The stage shows the framed row."
    )
    chart(
        output_map_figure(found, output, theme=frame.theme()),
        key=f"output map {shown.key} {output} {input}",
        alt=found.alt,
    )
