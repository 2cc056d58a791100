"""The cells and bars that all attribution figures are made of, with what hover and click need to know."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from explain_core.figures import style
from explain_core.figures.panel import Panel
from explain_core.figures.style import Theme
from explain_core.figures.time_axis import Columns

HOVER = (
    "<b>%{text}</b><br>attribution %{customdata[3]:+.4~g}<br>input %{customdata[4]:.4~g}"
    "<br>baseline %{customdata[5]:.4~g}<br>share %{customdata[6]:+.1%}<extra></extra>"
)
HOVER_TOTAL = "<b>%{text}</b><br>attribution %{customdata[3]:+.4~g}<br>share %{customdata[6]:+.1%}<extra></extra>"


def cell_data(panel: Panel, columns: Columns, shown: slice) -> np.ndarray:
    """What hover and click need of every cell, (C, F, 7); see `attribution_figure`."""
    attribution = columns.sums(panel.attribution[shown])
    C, F = attribution.shape
    feature = np.broadcast_to(np.arange(F), (C, F))
    first, last = (np.broadcast_to(each[:, None] + shown.start, (C, F)) for each in (columns.first, columns.last))
    value, baseline = columns.means(panel.value[shown]), columns.means(panel.baseline[shown])
    share = columns.sums(panel.share[shown])
    return np.stack([feature, first, last, attribution, value, baseline, share], axis=-1).astype(np.float64)


def add_click_points(
    figure: go.Figure, *, x: Any, y: Any, text: list[str], customdata: np.ndarray, theme: Theme, **at: int
) -> None:
    """Unseen points on the cells: browsers report clicks on points, but not on the cells of a heatmap."""
    kind = go.Scattergl if len(text) > 2000 else go.Scatter
    chosen = {"size": 11, "opacity": 1, "color": theme.text}
    figure.add_trace(
        kind(
            x=x,
            y=y,
            mode="markers",
            marker={"size": 6, "opacity": 0, "symbol": "circle-open"},
            selected={"marker": chosen},
            unselected={"marker": {"opacity": 0}},
            text=text,
            customdata=customdata.astype(np.float32),
            hovertemplate=HOVER,
            showlegend=False,
        ),
        **at,
    )


def bar_style(values: np.ndarray, theme: Theme) -> dict[str, Any]:
    """Bars by sign, which stay as they are when one is clicked."""
    return {
        "marker": {"color": style.sign_colours(values, theme), "line": {"width": 0}},
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
        "hovertemplate": HOVER_TOTAL,
        "showlegend": False,
    }


def largest_features(panel: Panel, most: int, *, in_order: bool = True) -> np.ndarray:
    """Positions of the features with most |attribution|, in the given order of features or by size."""
    size = np.abs(panel.attribution).sum(axis=0)
    chosen = np.argsort(-size, kind="stable")[:most]
    return np.sort(chosen) if in_order else chosen
