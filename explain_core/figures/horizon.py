"""The horizon curve: the error of each method against the length of the sequence, and what it costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explain_core.figures import style
from explain_core.figures.comparison import below_axis, method_line
from explain_core.methods.registry import method_of
from explain_core.words import counted

_FLOOR = 1e-9  # where an error of zero is drawn


def horizon_figure(table: pd.DataFrame, *, theme: str = "light") -> go.Figure:
    """One line a method on a log axis, and beside it the seconds that the longest sequence took.

    Args:
        table: as `explain_core.diagnostics.horizon` returned it.
    """
    colours = style.theme_of(theme)
    figure = make_subplots(rows=1, cols=2, column_widths=[0.7, 0.3], horizontal_spacing=0.24)
    done = table[table["relative_error"].notna()]
    rounding = done.groupby("steps")["rounding"].max()
    figure.add_scatter(
        x=rounding.index,
        y=rounding.clip(lower=_FLOOR),
        mode="lines",
        line={"color": colours.muted, "width": 0},
        fill="tozeroy",
        fillcolor=colours.grid,
        name="Rounding of the predictions",
        hoverinfo="skip",
        row=1,
        col=1,
    )
    last = {}
    for method, one in done.groupby("method", sort=False):
        name = method_of(method).name
        last[method] = float(one["seconds"].iloc[-1])
        figure.add_scatter(
            x=one["steps"],
            y=one["relative_error"].clip(lower=_FLOOR),
            mode="lines+markers",
            name=name,
            line=method_line(method, colours),
            marker={"size": 5},
            customdata=np.stack([one["error"], one["difference"], one["seconds"]], axis=-1),
            hovertemplate=f"<b>{name}</b><br>%{{x:,}} timesteps<br>off by %{{customdata[0]:+.3~g}} of "
            "%{customdata[1]:+.3~g}<br>%{customdata[2]:.2f} s<extra></extra>",
            row=1,
            col=1,
        )
    names = [style.shortened(method_of(method).name.removesuffix(" steps"), 26) for method in last]
    figure.add_bar(
        x=list(last.values()),
        y=names,
        orientation="h",
        marker={"color": [method_line(method, colours)["color"] for method in last], "line": {"width": 0}},
        text=[f"{seconds:.2g} s" for seconds in last.values()],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=2,
    )
    style.apply_style(figure, colours, title="", subtitle="", height=440)
    style.heading(figure, "Error, relative to the difference of the predictions", colours, 1, 1)
    longest = int(table["steps"].max())
    style.heading(figure, f"Time for {counted(longest, 'timestep')}", colours, 1, 2)
    largest = max(1.0, float(done["relative_error"].max())) if len(done) else 1.0
    figure.update_yaxes(
        **style.LOGARITHMIC,
        range=[np.log10(_FLOOR), np.log10(largest) + 0.3],
        dtick=1,
        zeroline=False,
        row=1,
        col=1,
    )
    wide = longest > 20
    figure.update_xaxes(title_text="Timesteps", type="log" if wide else "linear", zeroline=False, row=1, col=1)
    if wide:
        figure.update_xaxes(tickvals=[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000], row=1, col=1)
    room = 1.35 * max(last.values(), default=1.0)
    figure.update_xaxes(title_text="Seconds", range=[0, room], nticks=4, row=1, col=2)
    figure.update_yaxes(autorange="reversed", showgrid=False, row=1, col=2)
    below_axis(figure)
    return figure
