"""Colours, fonts and number formats that all figures share."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from explain_core.errors import InputError


@dataclass(frozen=True)
class Theme:
    """Colours for one background. Sign is blue or orange, and an error green or purple: all common colour vision tells
    either pair apart, and neither means the other."""

    text: str
    muted: str
    grid: str
    negative: str
    positive: str
    scale: tuple[tuple[float, str], ...]  # diverging; its middle is the page's own colour
    too_much: str
    missing: str
    errors: tuple[tuple[float, str], ...]  # diverging as well, from too much to missing
    hover: str  # behind the words of a tooltip
    lines: tuple[str, ...]  # Tol's muted colours (light page) without blue and orange, which mean sign


THEMES = {
    "light": Theme(
        text="#1f2933",
        muted="#5f6b7a",
        grid="rgba(31,41,51,0.12)",
        negative="#2f6db5",
        positive="#d2601a",
        scale=((0, "#134a8e"), (0.25, "#6ea3d8"), (0.5, "#fafafa"), (0.75, "#f0a167"), (1, "#ad4206")),
        too_much="#00796b",
        missing="#7a3b9e",
        errors=((0, "#00564c"), (0.25, "#6fbfb2"), (0.5, "#fafafa"), (0.75, "#b58fd0"), (1, "#5b1f86")),
        hover="#ffffff",
        lines=("#332288", "#117733", "#aa4499", "#999933", "#882255", "#44aa99"),
    ),
    "dark": Theme(
        text="#e6eaf0",
        muted="#a0aab8",
        grid="rgba(230,234,240,0.16)",
        negative="#5fa8f5",
        positive="#f58f45",
        scale=((0, "#8cc4ff"), (0.25, "#2f6cb0"), (0.5, "#1c212b"), (0.75, "#a8501a"), (1, "#ffb27a")),
        too_much="#4fd1b8",
        missing="#c79bf0",
        errors=((0, "#7ff0d8"), (0.25, "#1f8a78"), (0.5, "#1c212b"), (0.75, "#7c4bb0"), (1, "#d9b8ff")),
        hover="#232a36",
        lines=("#b7a9ff", "#63d48f", "#f09be0", "#d8d26a", "#ff8fb5", "#70dfd0"),
    ),
}


def theme_of(name: str) -> Theme:
    """The theme by name.

    Raises:
        InputError: no such theme.
    """
    if name not in THEMES:
        raise InputError(f"There is no theme {name!r}.", hint=f"Choose one of {', '.join(THEMES)}.")
    return THEMES[name]


def plain(text: object) -> str:
    """Text as it is: plotly would read tags in it."""
    return html.escape(str(text), quote=False)


def shortened(text: str, size: int) -> str:
    """At most ``size`` characters, for axes; the hover has the whole."""
    return text if len(text) <= size else f"{text[: size - 1]}…"


def sign_colours(values: np.ndarray, theme: Theme) -> list[str]:
    """Blue below zero, orange otherwise."""
    return [theme.negative if value < 0 else theme.positive for value in values]


def error_colours(values: np.ndarray, theme: Theme) -> list[str]:
    """Green below zero, which is too much; purple otherwise, which is missing."""
    return [theme.too_much if value < 0 else theme.missing for value in values]


def others(count: int) -> str:
    """What a bar for so many small ones is called."""
    return "1 other" if count == 1 else f"{count:,} others together"


def symmetric_limit(values: np.ndarray) -> float:
    """The largest magnitude, so that a scale from minus to plus this has its middle at zero."""
    limit = float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))
    return limit or 1.0


def round_below(value: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is no larger, so that a scale that ends there has more ticks than zero."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(digit * power for digit in (1, 2, 5) if digit * power <= value * (1 + 1e-9)))


def set_colours(figure: go.Figure, values: np.ndarray, zmax: float | None, theme: Theme) -> None:
    """One diverging colour scale for all heatmaps of a figure, its middle exactly at zero."""
    limit = zmax or symmetric_limit(values)
    figure.update_layout(
        coloraxis={
            "colorscale": theme.scale,
            "cmin": -limit,
            "cmax": limit,
            "cmid": 0,
            "colorbar": {
                "orientation": "h",
                "thickness": 10,
                "outlinewidth": 0,
                "dtick": round_below(limit),
                "exponentformat": "power",
                "tickfont": {"color": theme.muted},
                "title": {
                    "text": "← lowers   |   raises →",
                    "side": "top",
                    "font": {"size": 11, "color": theme.muted},
                },
            },
        }
    )


def apply_style(figure: go.Figure, theme: Theme, *, title: str, subtitle: str, height: int) -> go.Figure:
    """Fonts, colours, margins and title of a finished figure."""
    figure.update_layout(
        template="none",
        height=height,
        title={
            "text": title,
            "subtitle": {"text": subtitle, "font": {"size": 12, "color": theme.muted}},
            "font": {"size": 16, "color": theme.text},
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "pad": {"l": 12, "t": 12},
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "automargin": False,
        },
        font={
            "family": "Source Sans, Source Sans Pro, Arial, sans-serif",
            "size": 12,
            "color": theme.text,
        },
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={
            "align": "left",
            "bgcolor": theme.hover,
            "bordercolor": theme.muted,
            "font": {"color": theme.text, "size": 12},
            "namelength": -1,
        },
        hovermode="closest",
        margin={"l": 12, "r": 12, "t": 84 if title else 28, "b": 12},
    )
    axis = {
        "gridcolor": theme.grid,
        "zerolinecolor": theme.muted,
        "zerolinewidth": 1,
        "linecolor": theme.grid,
        "automargin": True,
        "separatethousands": True,  # as in sentences
        "exponentformat": "power",  # of the default, 500µ and 2k, people ask what it is
        "tickfont": {"color": theme.muted},
        "title": {"font": {"color": theme.muted, "size": 12}, "standoff": 6},
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


#: Of an axis; plotly draws the powers of one a quarter larger than other numbers.
LOGARITHMIC = {"type": "log", "tickfont": {"size": 10}}
#: In a row below the picture.
LEGEND_BELOW = {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "font": {"size": 11}}


def line_mode(points: int) -> str:
    """How a line of so many points is drawn: one alone is no line, and would not be seen."""
    return "lines" if points > 1 else "markers"


def heading(figure: go.Figure, text: str, theme: Theme, row: int, col: int) -> None:
    """A small title at the top left of one subplot."""
    axes = (
        next(iter(figure.select_xaxes(row=row, col=col))),
        next(iter(figure.select_yaxes(row=row, col=col))),
    )
    figure.add_annotation(
        text=text,
        x=axes[0].domain[0],
        y=axes[1].domain[1],
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="bottom",
        showarrow=False,
        font={"size": 12, "color": theme.muted},
    )
