"""Single steps beside the whole sequence: the error of every method on a log axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explain_core.explanation.labels import spoken_labels
from explain_core.figures import style
from explain_core.figures.comparison import UNDER_OTHERS, method_line
from explain_core.methods.registry import METHODS

ROUNDING = 1e-5  # what float32 explains of a sum
_FLOOR = 1e-9  # where an error of zero is drawn
_HEADINGS = {"one step": "Each step by itself", "whole sequence": "The whole sequence up to the step"}


def steps_figure(table: pd.DataFrame, *, theme: str = "light", titled: bool = True) -> go.Figure:
    """Relative error over the steps of a layer, by itself on the left and as a sequence on the right.

    Args:
        table: what `explain_core.diagnostics.steps` returned.
    """
    colours = style.theme_of(theme)
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    ids = {method.name: id_ for id_, method in METHODS.items()}
    largest = np.nanmax([1e-3, *table["relative_error"]])
    groups = [*table.groupby(["method", "model"], sort=False)]
    groups.sort(key=lambda group: ids[group[0][0]] == UNDER_OTHERS)  # dashed, above those that fall back to it
    for (method, model), rows in groups:
        for column, scope in enumerate(_HEADINGS, start=1):
            part = rows[(rows["scope"] == scope) & rows["relative_error"].notna()].sort_values("step")
            _add_line(figure, part, method, model, method_line(ids[method], colours), column)
    for column in (1, 2):
        add_rounding(figure, colours, _FLOOR / 3, column)
    first = table.iloc[0]
    title = f"Error of each method on {style.plain(first['layer'])}, step by step" if titled else ""
    subtitle = f"Explained: the {first['state']} state" if titled else ""
    style.apply_style(figure, colours, title=title, subtitle=subtitle, height=400 + (56 if titled else 0))
    for column, words in enumerate(_HEADINGS.values(), start=1):
        style.heading(figure, words, colours, 1, column)
    steps = int(table["step"].max()) + 1
    figure.update_xaxes(title_text="Step", range=[0.5, steps + 0.5], zeroline=False)
    figure.update_yaxes(**style.LOGARITHMIC, range=[np.log10(_FLOOR) - 0.3, np.log10(largest) + 0.4])
    figure.update_yaxes(dtick=2)
    figure.update_yaxes(title_text="Error, relative", row=1, col=1)
    figure.update_layout(legend=style.LEGEND_BELOW)
    return figure


def add_rounding(figure: go.Figure, theme: style.Theme, floor: float, column: int | None = None) -> None:
    """Shade what rounding explains, on a log axis that begins at ``floor``; of one subplot, or of the only one."""
    place = {} if column is None else {"row": 1, "col": column}
    figure.add_hrect(floor, ROUNDING, fillcolor=theme.grid, line_width=0, layer="below", **place)
    axis = "" if column in (None, 1) else column
    figure.add_annotation(
        text="rounding",
        x=0.99,
        xref=f"x{axis} domain",
        y=np.log10(ROUNDING),
        yref=f"y{axis}",
        yanchor="top",
        xanchor="right",
        showarrow=False,
        font={"size": 11, "color": theme.muted},
    )


def _add_line(
    figure: go.Figure, part: pd.DataFrame, method: str, model: str, line: dict[str, Any], column: int
) -> None:
    name = method if model == "built-in" else f"{method}, {model}"
    few = len(part) <= 60
    figure.add_scatter(
        x=part["step"] + 1,
        y=part["relative_error"].clip(lower=_FLOOR),
        mode="lines+markers" if few else "lines",
        name=style.plain(name),
        legendgroup=name,
        showlegend=column == 2,
        line=line if model == "built-in" else line | {"dash": "dot"},
        marker={"size": 5, "symbol": "circle" if model == "built-in" else "diamond"},
        text=spoken_labels(np.asarray(part["time"].tolist())) if len(part) else [],
        customdata=np.stack([part["attributed"], part["expected"]], -1) if len(part) else None,
        hovertemplate=(
            f"<b>{style.plain(name)}</b><br>step %{{x}} (%{{text}})<br>relative error %{{y:.3~g}}<br>"
            "attributed %{customdata[0]:.5~g}, expected %{customdata[1]:.5~g}<extra></extra>"
        ),
        row=1,
        col=column,
    )
