"""Every output step at a glance, below the stage that shows one of them."""

from __future__ import annotations

import streamlit as st

from explain_core.figures.output_map import output_map, output_map_figure
from explain_core.words import counted
from ui import frame
from ui.in_words import Shown
from ui.parts import chart


def draw_output_map(shown: Shown, output: str, input: str | None = None) -> None:
    """The map of output steps by input steps, where outputs are steps and the input has some; else nothing."""
    explanation = shown.explanation
    if not shown.subject.output_steps or len(explanation.outputs) < 2:
        return
    found = output_map(explanation, 0, input)
    if found.values.shape[1] < 2:
        return
    with st.expander("All output steps", expanded=True, icon=":material/grid_on:"):
        st.caption(
            f"Each row is one of {counted(len(found.outputs), 'output step')}, each column an input step, summed over "
            "features: orange raises that output, blue lowers it. The framed row is the one above; the slider "
            "**Output step** chooses another."
        )
        chart(
            output_map_figure(found, output, theme=frame.theme()),
            key=f"output map {shown.key} {output} {input}",
            alt=found.alt,
        )
