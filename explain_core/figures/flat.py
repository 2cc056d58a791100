"""Attribution figures without a time axis: tokens in reading order, and a bar per feature."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from explain_core.figures import style
from explain_core.figures.marks import HOVER, add_click_points, bar_style, cell_data, largest_features
from explain_core.figures.panel import Panel
from explain_core.figures.style import Theme
from explain_core.figures.time_axis import columns_of, time_axis
from explain_core.words import number

_MOST_BARS = 30
_TOKENS_PER_ROW = 12


def token_figure(panel: Panel, theme: Theme, zmax: float | None) -> tuple[go.Figure, int]:
    """Tokens in reading order, a few to a row, each on its colour; of a panel that has tokens."""
    assert panel.tokens is not None
    assert panel.time is not None
    T = len(panel.tokens)
    width = min(_TOKENS_PER_ROW, T)
    rows = -(-T // width)
    data = cell_data(panel, columns_of(time_axis(np.arange(T)), 1), slice(0, T))[:, 0]
    z = np.full(rows * width, np.nan)
    z[:T] = data[:, 3]
    texts = [style.plain(style.shortened(token, 14)) for token in panel.tokens] + [""] * (rows * width - T)
    times = time_axis(panel.time).texts
    figure = go.Figure()
    figure.add_heatmap(
        x=np.arange(width),
        y=np.arange(rows),
        z=z.reshape(rows, width),
        text=np.array(texts, dtype=object).reshape(rows, width),
        texttemplate="%{text}",
        textfont={"size": 13},
        coloraxis="coloraxis",
        xgap=2,
        ygap=4,
        hoverinfo="skip",
    )
    add_click_points(
        figure,
        x=np.arange(T) % width,
        y=np.arange(T) // width,
        text=[f"{style.plain(token)}, timestep {time}" for token, time in zip(panel.tokens, times, strict=True)],
        customdata=data,
        theme=theme,
    )
    style.set_colours(figure, z[:T], zmax, theme)
    inner = 40 * rows
    figure.update_xaxes(visible=False, range=[-0.5, width - 0.5])
    figure.update_yaxes(visible=False, range=[rows - 0.5, -0.5])
    figure.update_layout(
        coloraxis={"colorbar": {"x": 0, "xanchor": "left", "y": -8 / inner, "yanchor": "top", "len": 0.3}}
    )
    return figure, inner + 84 + 60


def bar_figure(panel: Panel, theme: Theme) -> tuple[go.Figure, int]:
    """A bar per feature, the largest on top, the small ones together."""
    order = largest_features(panel, panel.attribution.shape[1], in_order=False)
    chosen, rest = order[:_MOST_BARS], order[_MOST_BARS:]
    data = cell_data(panel, columns_of(time_axis(np.arange(1)), len(order)), slice(0, 1))[0]
    names = [f"{panel.features[i]} = {number(panel.value[0, i])}" for i in chosen]
    full = [panel.features[i] for i in chosen]
    bars = data[chosen]
    if rest.size:
        other = np.full(data.shape[-1], np.nan)
        other[[0, 1, 2, 3, 6]] = -1, 0, 0, data[rest, 3].sum(), data[rest, 6].sum()
        bars, names = np.vstack([bars, other]), [*names, style.others(rest.size)]
        full = [*full, names[-1]]
    figure = go.Figure()
    figure.add_bar(
        x=bars[:, 3],
        y=np.arange(len(bars)),
        orientation="h",
        text=[style.plain(name) for name in full],
        textposition="none",
        customdata=bars,
        **bar_style(bars[:, 3], theme) | {"hovertemplate": HOVER},
    )
    figure.update_yaxes(
        range=[len(bars) - 0.5, -0.5],
        tickmode="array",
        tickvals=np.arange(len(bars)),
        ticktext=[style.plain(style.shortened(name, 40)) for name in names],
        showgrid=False,
        zeroline=False,
    )
    figure.update_xaxes(title_text=f"Attribution to {style.plain(panel.output)}")
    return figure, 84 + 60 + 26 * max(len(bars), 3)
