"""The same weights in PyTorch and in TensorFlow, and how far the two engines are apart."""

import streamlit as st

from ui import frame
from ui.components.parity import draw_parity


def draw() -> None:
    st.title("Two frameworks")
    st.markdown(
        "PairLift has an engine in PyTorch and one in TensorFlow, which share their formulas and nothing else. Here "
        "the model is built again in the other framework with the same weights, explained there, and compared: what it "
        "predicts, its attributions, and what its gates did at every step."
    )
    shown = frame.explanation()
    if shown is not None:
        draw_parity(shown)
    elif frame.choice() == frame.Choice():
        st.info("Give a model and a sequence in the sidebar first.", icon=":material/upload_file:")


frame.page(draw)
