"""What the gates of each recurrent layer contributed over time, and how open they were."""

import streamlit as st

from ui import frame
from ui.components.gates import choose_layer, draw_activations, draw_contributions
from ui.in_words import LAYER_WORDS


def draw() -> None:
    st.title("Inside the layers")
    shown = frame.explanation()
    if shown is None:
        if frame.choice() == frame.Choice():
            st.info("Give a model and a sequence in the sidebar first.", icon=":material/upload_file:")
        return
    if not shown.explanation.gates:
        st.info("This model has no recurrent layer whose gates could be shown.", icon=":material/info:")
        return
    with st.container(horizontal=True):
        layer = choose_layer(shown)
        output = frame.choose_output(shown)
    st.markdown(LAYER_WORDS[shown.explanation.gates[layer].attrs["kind"]])
    frame.draw_residual(shown, output)
    draw_contributions(shown, layer, output)
    draw_activations(shown, layer)


frame.page(draw)
