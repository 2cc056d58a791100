"""Prediction against baseline prediction, and which values of the sequence made the difference."""

from contextlib import nullcontext
from functools import partial

import streamlit as st

from ui import address, frame
from ui.components.attributions import draw_below
from ui.components.output_map import draw_output_map, place_of_outputs
from ui.components.stage import draw_stage, scene, scene_before
from ui.components.welcome import draw_welcome
from ui.downloads import take_away
from ui.errors import plain


def draw() -> None:
    choice = frame.choice()
    above = st.empty()
    old, stage = scene_before(), st.container()
    with st.sidebar if old else nullcontext():  # where the person just chose; the old picture stays in its place
        shown = frame.explanation()
    if shown:
        with frame.place_to_look():
            which = frame.choose_input(shown)
        with place_of_outputs(shown):
            output = frame.choose_output(shown)
            draw_output_map(shown, output, which)
        with stage:
            drawn = scene(shown, output, which)
            draw_stage(
                drawn,
                start=address.steps_in_view(shown.run, len(drawn.attribution)),
                on_view=partial(frame.keep_view, shown),
                on_take_away=partial(take_away, shown, output),
                below=address.problem() is not None,
            )
        draw_below(shown, output)
    elif old:
        with stage:
            draw_stage(old, dimmed=True)
    elif choice.subject is not None:
        with above.container():
            st.title(plain(choice.subject.title))
            st.caption(plain(choice.subject.sequence))
    else:
        with above.container():
            st.title("Kept runs" if st.session_state.get("source") == "kept" else "Explain your own model")
            if choice == frame.Choice():
                draw_welcome()


frame.page(draw)
