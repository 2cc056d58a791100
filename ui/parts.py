"""Parts that pages are made of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from explain_core.figures import style
from explain_core.pictures import FORMATS, boxed_letters, picture
from explain_core.stage.contrast import chosen, contrast_of
from ui.csv_file import csv_bytes
from ui.errors import plain

_MOST_LETTERS = 8  # without a glyph, that are named
_LETTERS, _LINE, _HEIGHT = 110, 26, 450  # of a title: letters in a line and its height; height of a chart without one


def chart(figure: go.Figure, key: str, alt: str, says: str = "", **options: Any) -> Any:
    """A chart in its own colours and without a toolbar; returns what was selected in it, where ``options`` ask.

    Below it, it can be taken away as a picture.

    Args:
        alt: what it is of.
        says: what it shows, in numbers; read out after ``alt``.
    """
    words = f"{alt}. {says}" if says else alt
    selected = st.plotly_chart(figure, key=key, alt=words, theme=None, config={"displayModeBar": False}, **options)
    with (
        st.container(horizontal=True, horizontal_alignment="right"),
        st.popover("Picture", icon=":material/image:", type="tertiary", help="Take this chart away as a picture"),
    ):
        for format, mime in FORMATS.items():
            st.download_button(
                format.upper(),
                data=lambda format=format: picture(titled(figure, alt), format),
                file_name=f"{file_name(alt)}.{format}",
                mime=mime,
                key=f"picture {format} {key}",
                on_click="ignore",
                width="stretch",
            )
        say_boxes(figure)
    return selected


def say_boxes(figure: go.Figure) -> None:
    """Say which letters of a figure a PNG cannot have, where there are any."""
    letters = boxed_letters(figure)
    if letters:
        shown = ", ".join(letters[:_MOST_LETTERS])
        more = f" and {len(letters) - _MOST_LETTERS:,} more" if len(letters) > _MOST_LETTERS else ""
        st.caption(
            f":material/info: The PNG has boxes in place of {plain(shown)}{more}: no font on this server has "
            f"{'it' if len(letters) == 1 else 'them'}. The SVG has {'it' if len(letters) == 1 else 'them'} as text."
        )


def readable(figure: go.Figure) -> str:
    """End the colours of the figure's heatmaps where all of them can be read; says so in words where that is early."""
    cells = np.concatenate([np.asarray(trace.z, dtype=float).T for trace in figure.data if trace.type == "heatmap"])
    scale = chosen([contrast_of(cells, kind) for kind in ("linear", "robust")], cells)
    if scale.kind == "linear":
        return ""
    ticks = {"dtick": style.round_below(scale.limit)}
    figure.update_layout(coloraxis={"cmin": -scale.limit, "cmax": scale.limit, "colorbar": ticks})
    return scale.words


def titled(figure: go.Figure, title: str) -> go.Figure:
    """The figure with a title over it, which a page says around it."""
    if figure.layout.title.text:
        return figure
    whole = go.Figure(figure)
    lines = textwrap.wrap(title, _LETTERS)[:2]
    height = (figure.layout.height or _HEIGHT) + _LINE * len(lines)
    above = (figure.layout.margin.t or 0) + _LINE * len(lines)
    text = "<br>".join(style.plain(line) for line in lines)
    return whole.update_layout(title={"text": text}, height=height, margin={"t": above})


def file_name(*parts: str) -> str:
    """A name for a file that says what it is of, in letters that every file system takes."""
    return re.sub(r"\W+", "-", " ".join(parts)).strip("-").lower()[:80] or "result"


def switch(label: str, choices: Mapping[str, str], key: str, *, default: str | None = None, named: bool = False) -> str:
    """One of a few ``choices`` (their words by name), the first unless ``default`` says otherwise.

    Args:
        label: what is chosen; read out, and seen where it is ``named``.
    """
    return st.segmented_control(
        label,
        list(choices),
        format_func=lambda name: choices[name],
        default=default or next(iter(choices)),
        required=True,
        key=key,
        label_visibility="visible" if named else "collapsed",
    )


def csv_button(table: pd.DataFrame, name: str, label: str = "Table (CSV)", width: str = "content") -> None:
    """A button for a table as a file, made on the click. The page has one of a name."""
    st.download_button(
        label,
        data=lambda: csv_bytes(table),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"download {name}",
        icon=":material/table:",
        on_click="ignore",
        width=width,
    )
