"""What went through the gates of a recurrent layer, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from explain_core.errors import InputError
from explain_core.explanation import Explanation, conservation, own_steps
from explain_core.explanation.labels import label_texts, position_of
from explain_core.figures import style
from explain_core.figures.panel import time_labels
from explain_core.figures.style import Theme
from explain_core.figures.time_axis import MAX_CELLS, Columns, TimeAxis, columns_of, time_axis
from explain_core.words import counted, short

_MOST_UNITS = 48
_BAR_COLUMNS = 400


def gate_figure(
    explanation: Explanation,
    layer: str,
    sample: Any = None,
    output: Any = 0,
    *,
    by: str = "gate",
    gate: str | None = None,
    theme: str = "light",
    titled: bool = True,
) -> go.Figure:
    """Contributions of the gates over time, and what the state carries on.

    At every step the mass of the layer's state is split: a part is the contribution of each gate at that
    step, the rest is carried to the step before. Contributions over all steps thus show when and through
    which gate the input came in.

    Args:
        layer: a key of ``explanation.gates``.
        sample, output: labels, or positions where labels are text; ``sample`` None is the first.
        by: ``"gate"`` has stacked bars, summed over units; ``"unit"`` a heatmap of unit x timestep per gate.
        gate: with ``by="unit"``, only this gate.

    Raises:
        InputError, TargetError: no such layer, gate, sample, output, grouping or theme.
    """
    colours = style.theme_of(theme)
    if by not in ("gate", "unit"):
        raise InputError(f"gate_figure cannot group by {by!r}.", hint="Choose gate or unit.")
    gates = _layer(explanation, layer).isel(sample=explanation.sample_position(sample))
    column = explanation.output_position(output)
    gates = _shown(gates.isel(output=column) if "output" in gates.dims else gates)
    axis = time_axis(time_labels(gates))
    off = float(np.abs(conservation(gates)).max())
    subtitle = f"Sample {style.plain(explanation.samples[explanation.sample_position(sample)])} · "
    if by == "gate":
        figure, height = _by_gate(gates, axis, colours)
        subtitle += "every step adds up exactly" if off == 0 else f"every step adds up to within {short(off)}"
    else:
        figure, height, hint = _by_unit(gates, axis, gate, colours)
        subtitle += hint
    title = f"Gate contributions of {style.plain(layer)} to {style.plain(explanation.outputs[column])}"
    if not titled:
        title = subtitle = ""
    return style.apply_style(figure, colours, title=title, subtitle=subtitle, height=height)


def gate_activation_figure(
    explanation: Explanation,
    layer: str,
    sample: Any = None,
    *,
    unit: int | None = None,
    theme: str = "light",
    titled: bool = True,
) -> go.Figure:
    """Gate values over time, for the sample and for its baseline.

    Args:
        layer: a key of ``explanation.gates``.
        unit: one hidden unit; None is the mean over units, with a band that holds the middle 80 % of them.

    Raises:
        InputError: no such layer, unit, sample or theme.
    """
    colours = style.theme_of(theme)
    row = explanation.sample_position(sample)
    gates = _shown(_layer(explanation, layer).isel(sample=row))
    activation = gates["activation"].transpose("member", "time", "gate", "unit").values.astype(np.float64)
    axis = time_axis(time_labels(gates))
    columns = columns_of(axis, 1)
    names = [str(name) for name in gates["gate"].values]
    if unit is not None:
        activation = activation[..., [position_of(unit, gates["unit"].values, "unit", InputError)]]
    inner = len(names) * 110 + (len(names) - 1) * 30
    figure = make_subplots(rows=len(names), shared_xaxes=True, vertical_spacing=30 / inner)
    for k, name in enumerate(names, start=1):
        both = [columns.means(member[:, k - 1]) for member in activation]  # each (C, unit)
        if unit is None:
            _add_band(figure, columns, both[0], colours, k)
        for member, dash, who in ((both[0], "solid", "this sample"), (both[1], "dot", "baseline")):
            figure.add_scatter(
                x=columns.positions,
                y=member.mean(axis=-1).astype(np.float32),
                mode=style.line_mode(len(columns.positions)),
                line={"color": colours.lines[k - 1], "dash": dash, "width": 1.6},
                text=columns.texts,
                hovertemplate=f"<b>{gate_in_words(name)}, %{{text}}</b><br>{who} %{{y:.4~g}}<extra></extra>",
                showlegend=False,
                row=k,
                col=1,
            )
    title = f"Gate values of {style.plain(layer)}" + ("" if unit is None else f", unit {int(unit) + 1}")
    band = "" if unit is not None else ", band: middle 80 % of the units"
    subtitle = f"Sample {style.plain(explanation.samples[row])} · solid: this sample, dotted: baseline{band}"
    style.apply_style(
        figure,
        colours,
        title=title if titled else "",
        subtitle=subtitle if titled else "",
        height=inner + 150,
    )
    for k, name in enumerate(names, start=1):
        style.heading(figure, gate_in_words(name).capitalize(), colours, k, 1)
    figure.update_xaxes(axis.layout | {"zeroline": False})
    figure.update_xaxes(title_text=axis.title, row=len(names), col=1)
    figure.update_yaxes(nticks=4)
    return figure


def gate_in_words(name: str) -> str:
    """What a gate is called; the candidate and the new values are none."""
    return {"candidate": "candidate", "new": "new values"}.get(name, f"{name} gate")


def _by_gate(gates: xr.Dataset, axis: TimeAxis, theme: Theme) -> tuple[go.Figure, int]:
    contribution = gates["contribution"].sum("unit").transpose("time", "gate").values.astype(np.float64)
    columns = columns_of(axis, MAX_CELLS // _BAR_COLUMNS)
    totals = columns.sums(contribution)
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.65, 0.35], vertical_spacing=0.12)
    for k, name in enumerate(gates["gate"].values):
        figure.add_bar(
            x=columns.positions,
            y=totals[:, k].astype(np.float32),
            width=columns.width * 0.9,
            name=gate_in_words(str(name)).capitalize(),
            marker={"color": theme.lines[k], "line": {"width": 0}},
            text=columns.texts,
            textposition="none",
            hovertemplate=f"<b>{gate_in_words(str(name))}, %{{text}}</b><br>contribution %{{y:+.4~g}}<extra></extra>",
            row=1,
            col=1,
        )
    carry = gates["carry"].sum("unit").values.astype(np.float64)
    for values, name, dash in (
        (gates["mass"].values, "Mass", "solid"),
        (carry, "Carried on", "dot"),
    ):
        figure.add_scatter(
            x=axis.positions,
            y=values.astype(np.float32),
            mode=style.line_mode(len(axis.positions)),
            name=name,
            line={"color": theme.text if dash == "solid" else theme.muted, "width": 1.5, "dash": dash},
            text=axis.texts,
            hovertemplate=f"<b>{name}, %{{text}}</b><br>%{{y:+.4~g}}<extra></extra>",
            row=2,
            col=1,
        )
    run = f" in runs of {counted(columns.steps, 'timestep')}" if columns.steps > 1 else " at each timestep"
    style.heading(figure, f"Contribution of each gate{run}", theme, 1, 1)
    style.heading(figure, "Mass of the state, and the part carried to the step before", theme, 2, 1)
    figure.update_xaxes(axis.layout | {"zeroline": False})
    figure.update_xaxes(title_text=axis.title, row=2, col=1)
    figure.update_yaxes(nticks=5)
    figure.update_layout(barmode="relative", legend={"font": {"size": 11}})
    return figure, 480


def _by_unit(gates: xr.Dataset, axis: TimeAxis, gate: str | None, theme: Theme) -> tuple[go.Figure, int, str]:
    names = [str(name) for name in gates["gate"].values]
    chosen = range(len(names)) if gate is None else [position_of(gate, np.array(names), "gate", InputError)]
    contribution = gates["contribution"].transpose("time", "gate", "unit").values.astype(np.float64)
    contribution = contribution[:, list(chosen)]
    size = np.abs(contribution).sum(axis=(0, 1))
    units = np.sort(np.argsort(-size, kind="stable")[:_MOST_UNITS])
    columns = columns_of(axis, len(chosen) * len(units))
    totals = columns.sums(contribution[..., units])  # (C, gate, unit)
    each = max(60, 9 * len(units))
    inner = each * len(chosen) + 30 * (len(chosen) - 1)
    figure = make_subplots(rows=len(chosen), shared_xaxes=True, vertical_spacing=30 / inner)
    labels = label_texts(gates["unit"].values[units] + 1)  # people count from 1
    for k, position in enumerate(chosen, start=1):
        words = gate_in_words(names[position])
        figure.add_heatmap(
            x=columns.positions,
            y=np.arange(len(units)),
            z=totals[:, k - 1].T.astype(np.float32),
            coloraxis="coloraxis",
            text=[[f"unit {unit}, {text}" for text in columns.texts] for unit in labels],
            hovertemplate=f"<b>{words}, %{{text}}</b><br>contribution %{{z:+.4~g}}<extra></extra>",
            row=k,
            col=1,
        )
        style.heading(figure, f"{words.capitalize()}, by unit", theme, k, 1)
    ticks = np.arange(0, len(units), -(-len(units) // 8))
    figure.update_yaxes(
        tickmode="array", tickvals=ticks, ticktext=[labels[i] for i in ticks], showgrid=False, zeroline=False
    )
    figure.update_xaxes(axis.layout | {"showgrid": False, "zeroline": False})
    figure.update_xaxes(title_text=axis.title, row=len(chosen), col=1)
    style.set_colours(figure, totals, None, theme)
    below = {"x": 0, "xanchor": "left", "y": -44 / inner, "yanchor": "top", "len": 0.3}
    figure.update_layout(coloraxis={"colorbar": below})
    H = len(size)
    hint = f"the {len(units)} of {H} units with most contribution" if len(units) < H else f"all {H} units"
    if columns.steps > 1:
        hint += f", in runs of {counted(columns.steps, 'timestep')}"
    return figure, inner + 200, hint


def _add_band(figure: go.Figure, columns: Columns, values: np.ndarray, theme: Theme, row: int) -> None:
    low, high = np.quantile(values, [0.1, 0.9], axis=-1).astype(np.float32)
    line = {
        "x": columns.positions,
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    figure.add_scatter(y=low, **line, row=row, col=1)
    figure.add_scatter(y=high, fill="tonexty", fillcolor=theme.grid, **line, row=row, col=1)


def _layer(explanation: Explanation, layer: str) -> xr.Dataset:
    if layer not in explanation.gates:
        known = ", ".join(explanation.gates) or "none (no recurrent layer, or gates not kept)"
        raise InputError(f"There are no gates of a layer {layer!r}.", hint=f"There are: {known}.")
    return explanation.gates[layer]


def _shown(gates: xr.Dataset) -> xr.Dataset:
    """Without the padding after the sample's length."""
    return gates.isel(time=slice(0, own_steps(gates)))
