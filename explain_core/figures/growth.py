"""How defects grow or fade on their way to the output, and what each cut of a layer conserves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explain_core.errors import InputError
from explain_core.figures import style
from explain_core.figures.time_axis import columns_of, time_axis


def compounding_figure(
    table: pd.DataFrame, layer: str, total: float, *, theme: str = "light", titled: bool = True
) -> go.Figure:
    """Local defect, amplification, and what became of it at the output with its running sum, one below the other.

    Args:
        table: of `explain_core.diagnostics.compounding`, one sample and output.
        total: the method's whole error, drawn as a line to compare with.

    Raises:
        InputError: no such layer.
    """
    colours = style.theme_of(theme)
    rows = _of_layer(table, layer)
    axis = time_axis(rows["time"].to_numpy())
    columns = columns_of(axis, 4)
    figure = make_subplots(rows=3, shared_xaxes=True, row_heights=[0.28, 0.24, 0.48], vertical_spacing=0.09)

    def bars(name: str, row: int, what: str) -> None:
        values = columns.sums(rows[name].to_numpy()[:, None])[:, 0]
        figure.add_bar(
            x=columns.positions,
            y=values.astype(np.float32),
            width=columns.width * 0.9,
            marker={"color": style.error_colours(values, colours), "line": {"width": 0}},
            text=columns.texts,
            textposition="none",
            hovertemplate=f"<b>%{{text}}</b><br>{what} %{{y:+.3~g}}<extra></extra>",
            showlegend=False,
            row=row,
            col=1,
        )

    def line(values: np.ndarray, row: int, what: str, colour: str, name: str | None = None) -> None:
        figure.add_scatter(
            x=axis.positions,
            y=values.astype(np.float32),
            mode=style.line_mode(len(axis.positions)),
            name=name,
            showlegend=False,
            line={"color": colour, "width": 1.8},
            text=axis.texts,
            hovertemplate=f"<b>%{{text}}</b><br>{what} %{{y:.3~g}}<extra></extra>",
            row=row,
            col=1,
        )

    bars("local", 1, "local defect")
    amplification = rows["amplification"].to_numpy()
    line(np.where(amplification > 0, amplification, np.nan), 2, "amplification ×", colours.lines[0])
    bars("defect", 3, "at the output")
    line(rows["running"].to_numpy(), 3, "sum so far", colours.text)
    figure.add_hline(total, line={"color": colours.muted, "dash": "dot", "width": 1.2}, row=3, col=1)
    title = f"How the error of {style.plain(layer)} builds up" if titled else ""
    style.apply_style(figure, colours, title=title, subtitle="", height=560 + (56 if titled else 0))
    style.heading(figure, "Made at each timestep, in units of the state", colours, 1, 1)
    style.heading(figure, "Amplified on the way to the output (1: like the last state)", colours, 2, 1)
    style.heading(figure, "What became of it at the output; line: sum so far, dotted: the whole error", colours, 3, 1)
    figure.update_xaxes(axis.layout | {"zeroline": False})
    figure.update_xaxes(title_text=axis.title, row=3, col=1)
    figure.update_yaxes(nticks=4)
    positive = amplification[amplification > 0]
    if positive.size and positive.max() > 20 * positive.min():
        decades = max(1, int(np.ceil(np.log10(positive.max() / positive.min()) / 3)))
        figure.update_yaxes(**style.LOGARITHMIC, dtick=decades, row=2, col=1)
    return figure


def conservation_figure(table: pd.DataFrame, layer: str, *, theme: str = "light", titled: bool = True) -> go.Figure:
    """What the states of a layer carry at every timestep, what its steps account for, and what leaks.

    Args:
        table: of `explain_core.diagnostics.conservation`, one sample and output.

    Raises:
        InputError: no such layer.
    """
    colours = style.theme_of(theme)
    rows = _of_layer(table, layer)
    axis = time_axis(rows["time"].to_numpy())
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.16)
    for name, words, row, colour, dash in (
        ("mass", "Carried by the states", 1, colours.text, "solid"),
        ("accounted", "Accounted for by the step", 1, colours.lines[1], "dash"),
        ("residual", "Left over by the step", 2, colours.lines[2], "solid"),
        ("leaked", "Left over so far", 2, colours.muted, "dot"),
    ):
        figure.add_scatter(
            x=axis.positions,
            y=rows[name].to_numpy(),
            mode=style.line_mode(len(axis.positions)),
            name=words,
            line={"color": colour, "dash": dash, "width": 1.8},
            text=axis.texts,
            hovertemplate=f"<b>{words}, %{{text}}</b><br>%{{y:+.3~g}}<extra></extra>",
            row=row,
            col=1,
        )
    title = f"Conservation in {style.plain(layer)}" if titled else ""
    style.apply_style(figure, colours, title=title, subtitle="", height=420 + (56 if titled else 0))
    style.heading(figure, "Mass at each cut", colours, 1, 1)
    style.heading(figure, "What is left over", colours, 2, 1)
    figure.update_xaxes(axis.layout | {"zeroline": False})
    figure.update_xaxes(title_text=axis.title, row=2, col=1)
    figure.update_yaxes(nticks=4)
    figure.update_layout(legend=style.LEGEND_BELOW)
    return figure


def _of_layer(table: pd.DataFrame, layer: str) -> pd.DataFrame:
    rows = table[table["layer"] == layer]
    if rows.empty:
        raise InputError(
            f"There is no recurrent layer {layer!r}.", hint=f"There are: {', '.join(set(table['layer']))}."
        )
    return rows
