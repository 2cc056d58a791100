"""Prediction against baseline prediction, and which values of the sequence made the difference."""

import streamlit as st

from ui import frame
from ui.components.attributions import draw_chart, draw_numbers, draw_totals
from ui.components.welcome import draw_welcome
from ui.errors import plain


def draw() -> None:
    choice = frame.choice()
    if choice.subject is not None:
        st.title(plain(choice.subject.title))
        st.caption(plain(choice.subject.sequence))
    else:
        st.title("Explain your own model")
        if choice == frame.Choice():
            draw_welcome()
    if shown := frame.explanation():
        output = frame.choose_output(shown)
        draw_numbers(shown, output)
        draw_chart(shown, output)
        draw_totals(shown, output)


frame.page(draw)
