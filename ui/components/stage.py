"""The stage on a page: one result as data for its JavaScript, and what a person does in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any
from zlib import crc32

import streamlit as st

from explain_core.figures.style import THEMES
from explain_core.stage import Scene, scene_of
from explain_core.stage.bundle import bundle, style
from ui import frame
from ui.in_words import Shown, words_of
from ui.looked_at import Looked, View, checked

_COLOURS = {name: asdict(theme) for name, theme in THEMES.items()}


@cache
def _component() -> Callable[..., Any]:
    """The component; registered once, when the first page needs it."""
    return st.components.v2.component("pairlift_stage", css=style(), js=bundle())


def scene(shown: Shown, output: str, input: str | None = None) -> Scene:
    """What the stage draws and says of one output and input; None is the first."""
    units, words = shown.subject.units, words_of(shown, output, input)
    made = scene_of(shown.explanation, 0, output, input, units=units, words=words)
    st.session_state["last scene"] = made
    return made


def scene_before() -> Scene | None:
    """The scene that was drawn last, to look at while the next is computed; None while nothing is."""
    asked = frame.choice()
    outcome = frame.result_of(asked) or asked.waiting if asked.error is None else asked.waiting
    return st.session_state.get("last scene") if outcome is not None and outcome.running else None


@st.fragment
def draw_stage(
    drawn: Scene,
    *,
    start: View | None = None,
    on_view: Callable[[View | None], None] | None = None,
    on_take_away: Callable[[Looked], None] | None = None,
    dimmed: bool = False,
    below: bool = False,
) -> None:
    """Draw a scene. What a person does in it runs this alone, and not the page again.

    Args:
        start: what is visible at first, from an address for instance; None is all of it. Another value than at the run
            before takes the person there. Steps that are not there are left out. It counts where ``on_view`` is given.
        on_view: is told what is visible after every zoom; None is all of it.
        on_take_away: is called when a person asks for files, with what is looked at; without it there is no button
            for that.
        dimmed: the scene is an old one, and the next is under way.
        below: something else stands above it on the page, which it is not to cover.
    """
    key = f"{crc32(drawn.attribution.tobytes()):08x}"  # of the scene, since the browser may answer for the one before
    data = drawn.as_data() | {
        "key": key,
        "theme": frame.theme(),
        "colours": _COLOURS,
        "dimmed": dimmed,
        "paged": True,
        "below": below,
        "takes_away": on_take_away is not None,
    }
    if on_view is not None:
        first, last = checked(start, len(drawn.attribution)) or (0, len(drawn.attribution) - 1)
        data["view"] = {"first": first, "last": last}
    told = dict.fromkeys(("on_view_change", "on_chosen_change", "on_take_away_change"), lambda: None)
    result = _component()(key="stage", data=data, height="content", **told)
    view = result.view  # from the browser, so it may be anything
    if on_view is not None and isinstance(view, dict) and view.get("of") == key:
        on_view(checked((view.get("first"), view.get("last")), len(drawn.attribution)))
    if on_take_away is not None and result.take_away:
        on_take_away(Looked.told(drawn, result.take_away))
