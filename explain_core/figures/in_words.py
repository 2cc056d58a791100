"""What charts show, in words made from the same numbers, for those who do not see them."""

from __future__ import annotations

import html
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import xarray as xr

from explain_core.explanation import Explanation, own_steps
from explain_core.explanation.labels import spoken_labels
from explain_core.figures.gates import gate_in_words
from explain_core.figures.panel import time_labels
from explain_core.methods.registry import method_of
from explain_core.words import number, short, signed


def bars_said(figure: go.Figure, *, most: int = 8) -> str:
    """The first bars of a chart that writes its numbers beside them, and the last, where a way ends."""
    (bars,) = figure.data
    names = bars.customdata if bars.customdata is not None else bars.y
    each = [html.unescape(f"{name} {text}") for name, text in zip(names, bars.text, strict=True)]
    left = len(each) - most - 1
    return "; ".join(each if left < 2 else [*each[:most], f"{left} more", each[-1]]) + "."


def contributions_said(gates: xr.Dataset, unit: str = "") -> str:
    """What came in through each gate in all, and when most did.

    Args:
        gates: of a layer, one sample and output.
    """
    gates = gates.isel(time=slice(0, own_steps(gates)))
    by_step = gates["contribution"].sum("unit").transpose("time", "gate").values.astype(np.float64)
    names = [gate_in_words(str(name)) for name in gates["gate"].values]
    totals = ", ".join(f"{name} {signed(total, unit)}" for name, total in zip(names, by_step.sum(axis=0), strict=True))
    most = int(np.abs(by_step.sum(axis=1)).argmax())
    when = spoken_labels(time_labels(gates))[most]
    return f"In all: {totals}. Most came in at {when}: {signed(by_step[most].sum(), unit)}."


def openness_said(gates: xr.Dataset) -> str:
    """How open each gate was on average over units and timesteps, for the sequence and for its baseline.

    Args:
        gates: of a layer, one sample.
    """
    gates = gates.isel(time=slice(0, own_steps(gates)))
    mean = gates["activation"].transpose("member", "gate", "time", "unit").values.mean(axis=(2, 3))
    names = [gate_in_words(str(name)) for name in gates["gate"].values]
    parts = [f"{name} {number(own)} (baseline {number(base)})" for name, own, base in zip(names, *mean, strict=True)]
    return f"On average: {', '.join(parts)}."


def steps_said(summary: pd.DataFrame) -> str:
    """The worst error of each method on one step and on the whole sequence; see `one_step.summary`."""
    parts = [
        f"{row.method}: one step {_error(row.one_step)}, whole sequence {_error(row.whole_sequence)}"
        for row in summary.itertuples()
    ]
    return f"Largest relative errors. {'; '.join(parts)}."


def sums_said(explanations: Mapping[str, Explanation]) -> str:
    """By method, whether what the heatmap shows adds up."""
    parts = []
    for method, found in explanations.items():
        off = float(np.abs(found.residual.values).max())
        adds_up = found.adds_up(found.samples[0], found.outputs[0])
        parts.append(f"{method_of(method).name} {'adds up' if adds_up else f'is off by {number(off)}'}")
    return f"{', '.join(parts)}."


def curves_said(table: pd.DataFrame) -> str:
    """By method, the areas under its curves; see `Comparison.table`."""
    parts = [
        f"{row.name} {number(row.deletion)} and {number(row.insertion)}"
        for row in table[["name", "deletion", "insertion"]].dropna().itertuples(index=False)
    ]
    return f"Areas under the deletion and the insertion curve: {'; '.join(parts)}." if parts else ""


def horizon_said(table: pd.DataFrame) -> str:
    """By method, the relative error at the longest sequence it came through."""
    done = table[table["relative_error"].notna()]
    parts = [
        f"{method_of(str(method)).name} {_error(one['relative_error'].iloc[-1])} at {int(one['steps'].iloc[-1])}"
        for method, one in done.sort_values("steps").groupby("method", sort=False)
    ]
    return f"Relative error at the most timesteps: {', '.join(parts)}." if parts else ""


def _error(relative: float) -> str:
    return "without a result" if pd.isna(relative) else short(relative)
