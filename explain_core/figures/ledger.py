"""Where a method's error is made: over timesteps and parts, in total, and on the way to the prediction difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from explain_core.diagnostics.in_words import part_in_words
from explain_core.errors import InputError
from explain_core.figures import style
from explain_core.figures.time_axis import columns_of, time_axis
from explain_core.words import signed

_MOST_BARS = 10
_MOST_STEPS = 6
_SEEN = 1e-4  # of the largest bar, from which on one has an amount of its own


def ledger_figure(
    ledger: pd.DataFrame, layer: str, *, theme: str = "light", titled: bool = True, unit: str = ""
) -> go.Figure:
    """Defects of one recurrent layer, timestep x part; purple is missing from the attributions, green is too much.

    Args:
        ledger: of `explain_core.diagnostics.ledger`, one sample and output.
        unit: of the output.

    Raises:
        InputError: no such layer.
    """
    colours = style.theme_of(theme)
    rows = ledger[(ledger["layer"] == layer) & ledger["time"].notna()]
    if rows.empty:
        names = ledger.loc[ledger["time"].notna(), "layer"].unique()
        raise InputError(f"There is no recurrent layer {layer!r}.", hint=f"There are: {', '.join(names)}.")
    parts = list(dict.fromkeys(rows["part"]))
    defects = rows["defect"].to_numpy().reshape(len(parts), -1).T  # (T, P)
    axis = time_axis(rows["time"].to_numpy()[: len(defects)])
    columns = columns_of(axis, len(parts))
    values = columns.sums(defects)
    figure = go.Figure()
    names = [_capital(part_in_words(part).removeprefix("the ")) for part in parts]
    figure.add_heatmap(
        x=columns.positions,
        y=names,
        z=values.T.astype(np.float32),
        coloraxis="coloraxis",
        xgap=0 if len(columns.texts) > 120 else 1,
        ygap=2,
        text=[[f"{name}, {text}" for text in columns.texts] for name in names],
        hovertemplate="<b>%{text}</b><br>defect %{z:+.3~g}<extra></extra>",
    )
    style.set_colours(figure, values, None, colours)
    words = f"← too much   |   missing →{f'   {style.plain(unit)}' if unit else ''}"
    figure.update_layout(coloraxis={"colorscale": colours.errors, "colorbar": {"title": {"text": words}}})
    title = f"Where the error is made in {style.plain(layer)}" if titled else ""
    style.apply_style(figure, colours, title=title, subtitle="", height=200 + 30 * len(parts) + (56 if titled else 0))
    figure.update_xaxes(axis.layout | {"zeroline": False, "showgrid": False, "title_text": axis.title})
    figure.update_layout(margin_b=52 if axis.title else 12)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    return figure


def ledger_totals_figure(
    ledger: pd.DataFrame, *, theme: str = "light", titled: bool = True, unit: str = ""
) -> go.Figure:
    """The error by layer and part, in the ``unit`` of the output, largest first; the rest is one bar."""
    colours = style.theme_of(theme)
    sums = _largest(_by_part(ledger), _MOST_BARS)
    names, values = list(sums.index), sums.to_numpy()
    figure = go.Figure()
    figure.add_bar(
        x=values.astype(np.float32),
        y=names,
        orientation="h",
        marker={"color": style.error_colours(values, colours), "line": {"width": 0}},
        text=[signed(value) for value in values],
        textposition="outside",
        cliponaxis=False,
        textfont={"color": colours.muted, "size": 11},
        hovertemplate="<b>%{y}</b><br>%{x:+.4~g}<extra></extra>",
    )
    title = "Error by layer and part" if titled else ""
    style.apply_style(figure, colours, title=title, subtitle="", height=110 + 28 * len(names) + (56 if titled else 0))
    limit = 1.3 * style.symmetric_limit(values)
    low, high = (limit if (values < 0).any() else 0.1 * limit), (limit if (values > 0).any() else 0.1 * limit)
    figure.update_xaxes(range=[-low, high], title_text=f"Too much (green) or missing (purple){_in(unit)}")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def ledger_waterfall_figure(
    ledger: pd.DataFrame, totals: pd.Series, *, theme: str = "light", titled: bool = True, unit: str = ""
) -> go.Figure:
    """From the sum of a method's attributions, by its largest defects, to the prediction difference.

    Args:
        totals: the row of "totals" of the sample and output that ``ledger`` is of.
        unit: of the output.
    """
    colours = style.theme_of(theme)
    sums = _largest(_by_part(ledger), _MOST_STEPS)
    names = ["Sum of attributions", *sums.index, "Prediction difference"]
    values = [float(totals["attributed"]), *sums.to_numpy(), float(totals["difference"])]
    figure, rows = go.Figure(), np.arange(len(names))
    figure.add_waterfall(
        orientation="h",
        x=values,
        y=rows,
        measure=["absolute", *["relative"] * len(sums), "total"],
        connector={"line": {"color": colours.grid, "width": 1}},
        increasing={"marker": {"color": colours.missing}},
        decreasing={"marker": {"color": colours.too_much}},
        totals={"marker": {"color": colours.muted}},
        text=[signed(value) for value in values],
        textposition="outside",
        cliponaxis=False,
        customdata=names,
        hovertemplate="<b>%{customdata}</b><br>%{text}<extra></extra>",
    )
    title = "From the attributions to the prediction difference" if titled else ""
    style.apply_style(figure, colours, title=title, subtitle="", height=84 + 28 * len(names) + (56 if titled else 0))
    path = np.append(np.cumsum(values[:-1]), values[-1])
    low, high = min(0.0, path.min()), max(0.0, path.max())
    room = 0.14 * ((high - low) or 1.0)  # for the numbers outside the bars
    figure.update_xaxes(range=[low - (room if low else 0), high + (room if high else 0)], title_text=style.plain(unit))
    labels = [style.plain(style.shortened(name, 36)) for name in names]
    figure.update_yaxes(tickmode="array", tickvals=rows, ticktext=labels, showgrid=False, zeroline=False)
    figure.update_yaxes(range=[len(names) - 0.5, -0.5])
    return figure


def _in(unit: str) -> str:
    return f", {style.plain(unit)}" if unit else ""


def _by_part(ledger: pd.DataFrame) -> pd.Series:
    """Sums by the name of layer and part, in order."""
    sums = ledger.groupby(["layer", "part"], sort=False)["defect"].sum()
    return pd.Series({_name(layer, part): value for (layer, part), value in sums.items()}, dtype=float)


def _name(layer: str, part: str) -> str:
    return f"{layer or 'model'} · {part_in_words(part).removeprefix('the ')}"


def _largest(sums: pd.Series, most: int) -> pd.Series:
    """The largest parts; the others, and all that are too small to be seen beside them, are one."""
    order = sums.reindex(sums.abs().sort_values(ascending=False, kind="stable").index)
    seen = int((order.abs() > _SEEN * order.abs().max()).sum())
    most = min(most, seen) if len(order) - seen > 1 else most
    if len(order) <= most + 1:
        return order
    rest = pd.Series({style.others(len(order) - most): order.iloc[most:].sum()})
    return pd.concat([order.iloc[:most], rest])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
