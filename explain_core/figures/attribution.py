"""The main picture: the input, the attribution of every value, and the totals beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explain_core.errors import InputError
from explain_core.explanation import Explanation
from explain_core.figures import style
from explain_core.figures.flat import bar_figure, token_figure
from explain_core.figures.marks import add_click_points, bar_style, cell_data, largest_features
from explain_core.figures.panel import Panel, panel_of
from explain_core.figures.style import Theme
from explain_core.figures.time_axis import Columns, TimeAxis, as_numbers, columns_of, time_axis
from explain_core.words import counted, number

_MOST_SERIES = 6
_MOST_LONG_SERIES = 4  # more lines of over 100 steps cover each other
_MOST_BASELINES = 3
_MOST_TOKENS = 300


def attribution_figure(
    explanation: Explanation,
    sample: Any = None,
    output: Any = 0,
    input: str | None = None,
    *,
    units: Mapping[str, str] | None = None,
    steps: tuple[int, int] | None = None,
    zmax: float | None = None,
    theme: str = "light",
    titled: bool = True,
) -> go.Figure:
    """Attributions of one sample and output, as suits the input.

    Sequences get the input series, totals per timestep, and a timestep x feature heatmap on one time axis,
    with totals per feature at the right; tokens are coloured in reading order; inputs without time get bars.
    Where there are more timesteps than room, a column of the heatmap is the sum over a run of them.

    The ``customdata`` of bars and cells is (feature or -1 for all, first step, last step, attribution, input,
    baseline, share); `click_detail` takes it.

    Args:
        sample, output, input: labels, or positions where labels are text; None is the first sample or input.
        units: by feature name, for the labels.
        steps: first and last timestep to show; None is all.
        zmax: end of the colour scale, to compare figures; None is the largest |attribution|.
        theme: ``"light"`` or ``"dark"``.
        titled: whether to write the prediction and the residual above.

    Raises:
        InputError, TargetError: no such sample, input, output, steps or theme.
    """
    colours = style.theme_of(theme)
    panel = panel_of(explanation, sample, output, input, units)
    if panel.tokens is not None and 1 < len(panel.tokens) <= _MOST_TOKENS and steps is None:
        figure, height = token_figure(panel, colours, zmax)
    elif panel.time is None or len(panel.time) == 1:
        figure, height = bar_figure(panel, colours)
    else:
        figure, height = _sequence(panel, colours, zmax, _checked(steps, len(panel.time)))
    title = subtitle = ""
    if titled:
        title = _title(explanation, panel)
        words = explanation.residual_in_words(panel.sample, panel.output)
        subtitle = f"Sample {style.plain(panel.sample)} · {words}"
    style.apply_style(figure, colours, title=title, subtitle=subtitle, height=height)
    figure.update_layout(hoverdistance=-1, clickmode="event+select", dragmode="zoom", bargap=0.1)
    return figure


def _sequence(panel: Panel, theme: Theme, zmax: float | None, steps: tuple[int, int]) -> tuple[go.Figure, int]:
    assert panel.time is not None
    shown = slice(steps[0], steps[1] + 1)
    F = len(panel.features)
    axis = time_axis(panel.time[shown], of=panel.time)
    columns = columns_of(axis, F)
    heights = {"series": 150, "totals": 90, "cells": max(40, F * (22 if F <= 20 else 16 if F <= 50 else 8))}
    gap, below = 34, 60
    inner = sum(heights.values()) + 2 * gap
    figure = make_subplots(
        rows=3,
        cols=2,
        shared_xaxes="columns",
        row_heights=list(heights.values()),
        column_widths=[0.82, 0.18],
        vertical_spacing=gap / inner,
        horizontal_spacing=0.015,
        specs=[[{}, None], [{}, None], [{}, {}]],
    )
    scaled = _add_series(figure, panel, axis, shown, theme)
    data = cell_data(panel, columns, shown)
    _add_totals(figure, panel, columns, data, theme)
    _add_heatmap(figure, panel, columns, data, zmax, theme)
    _add_feature_totals(figure, panel, shown, theme)

    figure.update_xaxes(axis.layout | {"zeroline": False}, col=1)
    figure.update_xaxes(showgrid=False, title_text=axis.title, row=3, col=1)
    series = "Input, each feature scaled to its own range" if scaled else "Input"
    style.heading(figure, series + _baseline_hint(panel, axis), theme, 1, 1)
    run = f", in runs of {counted(columns.steps, 'timestep')}" if columns.steps > 1 else ""
    style.heading(figure, "Total per timestep" if not run else f"Total{run}", theme, 2, 1)
    style.heading(figure, f"Attribution of each value{run}", theme, 3, 1)
    beside = {"x": 0.845, "xanchor": "left", "yanchor": "top"}
    figure.update_layout(
        legend=beside | {"y": 1.0, "font": {"size": 11}},
        showlegend=F > 1,
        coloraxis={"colorbar": beside | {"y": 1 - (heights["series"] + gap) / inner, "len": 0.15}},
    )
    return figure, inner + below + 84


def _add_series(figure: go.Figure, panel: Panel, axis: TimeAxis, shown: slice, theme: Theme) -> bool:
    """Lines of the input; whether each was scaled to its own range because their ranges differ too much."""
    chosen = largest_features(panel, _most_series(axis))
    lows = np.minimum(panel.value[shown], panel.baseline[shown]).min(axis=0)[chosen]
    spans = np.maximum(panel.value[shown], panel.baseline[shown]).max(axis=0)[chosen] - lows
    whole = max(lows + spans) - min(lows)
    scaled = bool(len(chosen) > 1 and (spans[spans > 0] < 0.2 * whole).any())
    mode = "lines+markers" if len(axis.positions) <= 40 else "lines"
    for k, feature in enumerate(chosen):
        value, baseline = panel.value[shown, feature], panel.baseline[shown, feature]
        offset, span = (lows[k], spans[k] or 1.0) if scaled else (0.0, 1.0)
        colour, name = theme.lines[k], style.plain(panel.features[feature])
        style_of = {
            "mode": mode,
            "legendgroup": str(feature),
            "name": style.plain(style.shortened(panel.features[feature], 22)),
        }
        figure.add_scatter(
            x=as_numbers(axis.positions),
            y=((value - offset) / span).astype(np.float32),
            customdata=np.stack([value, baseline], axis=-1).astype(np.float32),
            text=axis.texts,
            line={"color": colour, "width": 1.6},
            marker={"size": 4, "color": colour},
            hovertemplate=f"<b>{_literal(name)}, %{{text}}</b><br>input %{{customdata[0]:.4~g}}"
            "<br>baseline %{customdata[1]:.4~g}<extra></extra>",
            **style_of,
            row=1,
            col=1,
        )
        if len(chosen) <= _MOST_BASELINES:
            figure.add_scatter(
                x=as_numbers(axis.positions),
                y=((baseline - offset) / span).astype(np.float32),
                line={"color": colour, "width": 1.2, "dash": "dot"},
                hoverinfo="skip",
                showlegend=False,
                **style_of | {"mode": "lines"},
                row=1,
                col=1,
            )
    figure.update_yaxes(showticklabels=not scaled, zeroline=not scaled, nticks=4, row=1, col=1)
    return scaled


def _add_totals(figure: go.Figure, panel: Panel, columns: Columns, data: np.ndarray, theme: Theme) -> None:
    total = data[..., 3].sum(axis=1)
    spread = np.full_like(total, np.nan)
    share = data[..., 6].sum(axis=1)
    custom = np.stack([np.full_like(total, -1), *data[:, 0, 1:3].T, total, spread, spread, share], axis=-1)
    figure.add_bar(
        x=columns.positions,
        y=total,
        width=columns.width * (0.9 if len(total) <= 300 else 1.0),
        text=columns.texts,
        textposition="none",
        customdata=custom.astype(np.float32),
        **bar_style(total, theme),
        row=2,
        col=1,
    )
    figure.update_yaxes(nticks=4, row=2, col=1)


def _add_heatmap(
    figure: go.Figure, panel: Panel, columns: Columns, data: np.ndarray, zmax: float | None, theme: Theme
) -> None:
    C, F = data.shape[:2]
    rows = np.arange(F)
    figure.add_heatmap(
        x=columns.positions,
        y=rows,
        z=data[..., 3].T.astype(np.float32),
        coloraxis="coloraxis",
        xgap=1 if C <= 120 else 0,
        ygap=1,
        hoverinfo="skip",
        row=3,
        col=1,
    )
    add_click_points(
        figure,
        x=np.repeat(as_numbers(columns.positions), F),
        y=np.tile(rows, C),
        text=[f"{style.plain(name)}, {text}" for text in columns.texts for name in panel.features],
        customdata=data.reshape(-1, data.shape[-1]),
        theme=theme,
        row=3,
        col=1,
    )
    style.set_colours(figure, data[..., 3], zmax, theme)
    figure.update_yaxes(
        range=[F - 0.5, -0.5],
        tickmode="array",
        tickvals=rows,
        ticktext=[style.plain(style.shortened(name, 24)) for name in panel.features],
        showgrid=False,
        zeroline=False,
        row=3,
        col=1,
    )
    if F > 50:
        figure.update_yaxes(tickvals=rows[:: -(-F // 50)], ticktext=panel.features[:: -(-F // 50)], row=3, col=1)


def _add_feature_totals(figure: go.Figure, panel: Panel, shown: slice, theme: Theme) -> None:
    total, share = panel.attribution[shown].sum(axis=0), panel.share[shown].sum(axis=0)
    rows, blank = np.arange(len(total)), np.full_like(total, np.nan)
    first, last = np.full_like(total, shown.start), np.full_like(total, shown.stop - 1)
    figure.add_bar(
        x=total,
        y=rows,
        orientation="h",
        text=[style.plain(name) for name in panel.features],
        textposition="none",
        customdata=np.stack([rows, first, last, total, blank, blank, share], axis=-1),
        **bar_style(total, theme),
        row=3,
        col=2,
    )
    figure.update_yaxes(
        range=[len(total) - 0.5, -0.5], showticklabels=False, showgrid=False, zeroline=False, row=3, col=2
    )
    figure.update_xaxes(nticks=4, row=3, col=2)
    style.heading(figure, "Total per feature", theme, 3, 2)


def _most_series(axis: TimeAxis) -> int:
    return _MOST_SERIES if len(axis.positions) <= 100 else _MOST_LONG_SERIES


def _baseline_hint(panel: Panel, axis: TimeAxis) -> str:
    F, most = len(panel.features), _most_series(axis)
    if most < F:
        return f" ({most} of {F} features, those with most attribution)"
    return " (dotted: baseline)" if F <= _MOST_BASELINES else ""


def _literal(text: str) -> str:
    """Text inside a hover template, where ``%{`` would start a field."""
    return text.replace("%{", "%&#123;")


def _title(explanation: Explanation, panel: Panel) -> str:
    at = {
        "sample": explanation.sample_position(panel.sample),
        "output": explanation.output_position(panel.output),
    }
    baseline, prediction = float(explanation.baseline_prediction[at]), float(explanation.prediction[at])
    of = f" (input {style.plain(panel.name)})" if len(explanation.input_names) > 1 else ""
    span = f"from {number(baseline)} to {number(prediction)}"
    return f"What moved {style.plain(panel.output)} {span}{of}"


def _checked(steps: tuple[int, int] | None, T: int) -> tuple[int, int]:
    first, last = (0, T - 1) if steps is None else steps
    if not 0 <= first <= last < T:
        raise InputError(f"There are no timesteps {first} to {last}.", hint=f"There are 0 to {T - 1}.")
    return first, last
