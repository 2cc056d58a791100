"""What the opened model is, and for a demo how well it does and where its data is from."""

import streamlit as st

from ui import frame
from ui.components.demo import draw_demo
from ui.components.model_summary import draw_summary
from ui.errors import show
from ui.preview import draw_data


def draw() -> None:
    st.title("Model and data")
    choice = frame.choice()
    if choice.demo is not None:
        draw_demo(choice.demo)
    if choice.data is not None:
        if choice.error is not None:
            show(choice.error)
        draw_data(choice.data)
    nothing = choice.error is None and choice.waiting is None
    if choice.kept is not None:
        frame.request()
    elif choice.opening is None and (choice.data is not None or nothing):
        st.info("Give a model in the sidebar to see what is in it.", icon=":material/upload_file:")
    elif choice.opening is None:
        frame.explanation()
    elif choice.opening.value is None:
        frame.wait_or_say(choice.opening)
    else:
        draw_summary(choice.opening.value.summary, choice.model)


frame.page(draw)
