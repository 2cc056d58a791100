"""One step of a recurrent layer by itself, beside the whole sequence; and the experiments that started it."""

import streamlit as st

from ui import frame
from ui.components.published import draw_published
from ui.components.steps import draw_steps


def draw() -> None:
    st.title("Step by step")
    st.markdown(
        "Does a method go wrong on a single step of the recurrent layer, or does the error build up from step to "
        "step? On the left every step is a little model of its own, explained with its input and the states before "
        "it. On the right is the whole sequence up to that step. What is explained is the state that comes out. "
        "Below the line of 10⁻⁵ only rounding is left."
    )
    shown = frame.explanation()
    if shown is not None and shown.explanation.gates:
        draw_steps(shown)
    elif shown is not None:
        st.info("This model has no recurrent layer whose steps could be looked at.", icon=":material/info:")
    elif frame.choice() == frame.Choice():
        st.info("Give a model and a sequence in the sidebar to see its own steps.", icon=":material/upload_file:")
    draw_published()


frame.page(draw)
