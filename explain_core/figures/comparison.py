"""Methods side by side: heatmaps on one colour scale, and deletion and insertion curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explain_core.errors import InputError
from explain_core.explanation import Explanation
from explain_core.figures import style
from explain_core.figures.panel import Panel, panel_of
from explain_core.figures.style import Theme
from explain_core.figures.time_axis import columns_of, time_axis
from explain_core.methods.registry import METHODS, method_of
from explain_core.words import percent

_ACROSS = 2
_DASHES = ("solid", "dash", "dot")
UNDER_OTHERS = "gradient_difference"  # other methods fall back to it, and their lines show between the dashes


def comparison_figure(
    explanations: Mapping[str, Explanation],
    sample: Any = None,
    output: Any = 0,
    *,
    units: Mapping[str, str] | None = None,
    theme: str = "light",
) -> go.Figure:
    """The attributions of several methods to one output, a heatmap each, all on one colour scale.

    Args:
        explanations: by method, as `Comparison.explanations` has them; all of the same inputs.
        sample, output: labels, or positions where labels are text; ``sample`` None is the first. Of several inputs
            the first is drawn.
        units: by feature name, for the labels.

    Raises:
        InputError: there is no explanation.
    """
    if not explanations:
        raise InputError("There is no explanation to draw.")
    colours = style.theme_of(theme)
    panels = {method: panel_of(one, sample, output, units=units) for method, one in explanations.items()}
    first = next(iter(panels.values()))
    if first.tokens is not None:
        axis = time_axis(np.array([style.plain(style.shortened(token, 12)) for token in first.tokens]), "Word")
    else:
        axis = time_axis(np.arange(1) if first.time is None else first.time)
    columns = columns_of(axis, len(first.features) * len(panels))
    down = -(-len(panels) // _ACROSS)
    each = max(48, min(260, len(first.features) * (20 if len(first.features) <= 12 else 10)))
    gap = 44
    to_bar = 54 if first.tokens is None else 96  # words may stand upright
    below = to_bar + 56
    inner = down * each + (down - 1) * gap
    figure = make_subplots(
        rows=down,
        cols=_ACROSS,
        shared_xaxes="all",
        shared_yaxes="all",
        vertical_spacing=gap / inner if down > 1 else 0,
        horizontal_spacing=0.02,
    )
    sums = {method: columns.sums(panel.attribution) for method, panel in panels.items()}
    for number, (method, panel) in enumerate(panels.items()):
        at = {"row": number // _ACROSS + 1, "col": number % _ACROSS + 1}
        _add_heatmap(figure, panel, sums[method], columns, at)
        style.heading(figure, f"{method_of(method).name}: {_sum_in_words(explanations[method])}", colours, **at)
    style.set_colours(figure, np.stack(list(sums.values())), None, colours)
    style.apply_style(figure, colours, title="", subtitle="", height=inner + below + 28)
    figure.update_xaxes(axis.layout | {"zeroline": False, "showgrid": False})
    for column in range(1, _ACROSS + 1):
        lowest = down if (down - 1) * _ACROSS + column <= len(panels) else down - 1
        if lowest:
            figure.update_xaxes(showticklabels=True, title_text=axis.title, row=lowest, col=column)
    rows = np.arange(len(first.features))
    some = rows[:: -(-len(rows) // 25)]
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5],
        tickmode="array",
        tickvals=some,
        ticktext=[style.plain(style.shortened(first.features[i], 22)) for i in some],
        showgrid=False,
        zeroline=False,
    )
    if len(panels) % _ACROSS:
        figure.update_xaxes(visible=False, row=down, col=_ACROSS)
        figure.update_yaxes(visible=False, row=down, col=_ACROSS)
    bar = {"x": 0, "xanchor": "left", "y": -to_bar / inner, "yanchor": "top", "len": 0.3}
    figure.update_layout(coloraxis={"colorbar": bar}, margin={"b": below})
    if first.tokens is not None:  # they have no features
        figure.update_yaxes(visible=False)
    return figure


def curves_figure(curves: pd.DataFrame, *, theme: str = "light") -> go.Figure:
    """Deletion and insertion curves of several methods, of one sample and output.

    Args:
        curves: as `Comparison.curves` has them.
    """
    colours = style.theme_of(theme)
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, curve in enumerate(("deletion", "insertion"), start=1):
        for method, one in curves[curves["curve"] == curve].groupby("method", sort=False):
            name = method_of(method).name
            figure.add_scatter(
                x=100 * one["part"],
                y=one["position"],
                mode="lines",
                name=name,
                legendgroup=method,
                showlegend=column == 1,
                line=method_line(method, colours),
                customdata=np.stack([one["replaced"], one["prediction"]], axis=-1),
                hovertemplate=f"<b>{name}</b><br>%{{customdata[0]:,}} timesteps<br>prediction %{{customdata[1]:.5~g}}"
                "<extra></extra>",
                row=1,
                col=column,
            )
    style.apply_style(figure, colours, title="", subtitle="", height=400)
    style.heading(figure, "Taken out: should fall early", colours, 1, 1)
    style.heading(figure, "Put in: should rise early", colours, 1, 2)
    figure.update_xaxes(title_text="Timesteps, %", ticksuffix="", zeroline=False)
    values = np.clip(curves["position"].dropna().to_numpy(), -1, 2)
    ends = [min(-0.05, float(values.min(initial=0)) - 0.05), max(1.05, float(values.max(initial=1)) + 0.05)]
    figure.update_yaxes(range=ends, zeroline=True)
    figure.update_yaxes(title_text="Way to the prediction", row=1, col=1)
    below_axis(figure)
    return figure


def method_line(method: str, theme: Theme) -> dict[str, Any]:
    """The line that a method has in every chart; PairLift's is in the colour of the text."""
    if method == "pairlift":
        return {"color": theme.text, "width": 3}
    number = list(METHODS).index(method) - 1
    return {
        "color": theme.lines[number % len(theme.lines)],
        "dash": "dash" if method == UNDER_OTHERS else _DASHES[number // len(theme.lines)],
        "width": 1.8,
    }


def below_axis(figure: go.Figure) -> None:
    """Put the legend below the charts."""
    figure.update_layout(legend=style.LEGEND_BELOW)


def _add_heatmap(figure: go.Figure, panel: Panel, sums: np.ndarray, columns: Any, at: dict[str, int]) -> None:
    names = np.array([style.plain(name) for name in panel.features])
    figure.add_heatmap(
        x=columns.positions,
        y=np.arange(len(names)),
        z=sums.T.astype(np.float32),
        coloraxis="coloraxis",
        customdata=np.broadcast_to(names[:, None], sums.T.shape),
        text=np.broadcast_to(np.array(columns.texts), sums.T.shape),
        hovertemplate="<b>%{customdata}, %{text}</b><br>attribution %{z:+.4~g}<extra></extra>",
        xgap=1 if len(sums) <= 60 else 0,
        ygap=1,
        **at,
    )


def _sum_in_words(explanation: Explanation) -> str:
    off = float(np.abs(explanation.residual.values).max())
    moved = float(np.abs(explanation.prediction.values - explanation.baseline_prediction.values).max())
    if explanation.adds_up(explanation.samples[0], explanation.outputs[0]) or not moved:
        return "adds up"
    return f"off by {percent(off / moved)}"
