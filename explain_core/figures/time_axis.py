"""Where timesteps go on an axis, and how many of them share a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from explain_core.explanation.labels import are_years, spoken_labels

#: A screen is not wider than this many columns, and a page should not carry more cells than that.
MAX_COLUMNS = 1500
MAX_CELLS = 20_000
_MAX_TICKS = 12
#: How plotly writes whole numbers of steps.
YEARS, COUNTS = "d", ",d"


@dataclass(frozen=True)
class TimeAxis:
    """Positions (T,) of the timesteps, their texts, and plotly's settings for the axis."""

    positions: np.ndarray
    texts: list[str]
    width: Any  # of one step, in the axis's own unit (milliseconds for dates)
    layout: dict[str, Any]
    title: str


def time_axis(labels: np.ndarray, title: str = "", of: np.ndarray | None = None) -> TimeAxis:
    """Dates and numbers keep their own scale where spaced about evenly; else steps are side by side.

    Args:
        of: all labels of the sequence, where these are some of it.
    """
    texts = spoken_labels(labels, of)
    if labels.dtype.kind == "M" and _even(labels.astype("datetime64[ms]").astype(np.int64)):
        positions = labels.astype("datetime64[ms]")
        width = float(np.median(np.diff(positions.astype(np.int64))))
        half = np.timedelta64(int(width / 2), "ms")
        layout = {"type": "date", "range": [str(positions[0] - half), str(positions[-1] + half)]}
        return TimeAxis(positions, texts, width, layout, title)  # dates say so themselves
    if labels.dtype.kind in "iuf" and _even(labels.astype(np.float64)):
        positions = labels.astype(np.float64)
        width = float(np.median(np.diff(positions)))
        layout = {"type": "linear", "range": [positions[0] - width / 2, positions[-1] + width / 2]}
        if len(positions) <= _MAX_TICKS:
            layout |= {"tickmode": "array", "tickvals": positions, "ticktext": texts}
        elif labels.dtype.kind in "iu":
            layout["tickformat"] = YEARS if are_years(labels if of is None else of) else COUNTS
        return TimeAxis(positions, texts, width, layout, title or "Timestep")
    positions = np.arange(len(labels), dtype=np.float64)
    shown = np.arange(0, len(labels), max(1, -(-len(labels) // _MAX_TICKS)))
    layout = {
        "type": "linear",
        "range": [-0.5, len(labels) - 0.5],
        "tickmode": "array",
        "tickvals": shown,
        "ticktext": [texts[i] for i in shown],
    }
    return TimeAxis(positions, texts, 1.0, layout, title or ("" if labels.dtype.kind == "M" else "Timestep"))


def as_numbers(positions: np.ndarray) -> np.ndarray:
    """Positions as plain numbers, milliseconds for dates; a page has room for three times as many of them."""
    return positions.astype(np.int64 if positions.dtype.kind == "M" else np.float64).astype(np.float64)


def _even(numbers: np.ndarray) -> bool:
    gaps = np.diff(numbers)
    return bool(gaps.size and (gaps > 0).all() and gaps.max() <= 3 * gaps.min())


@dataclass(frozen=True)
class Columns:
    """Runs of timesteps drawn as one column: one step each, unless there are more steps than room."""

    first: np.ndarray  # (C,) first step of each column
    last: np.ndarray  # (C,) last step, included
    positions: np.ndarray  # (C,) middle of the column on the time axis
    texts: list[str]
    width: Any

    @property
    def steps(self) -> int:
        """Timesteps in a full column."""
        return int(self.last[0] - self.first[0] + 1)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Totals per column of ``values`` (T, ...); what is summed keeps its total."""
        return np.add.reduceat(values, self.first, axis=0)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Means per column of ``values`` (T, ...)."""
        counts = (self.last - self.first + 1).reshape(-1, *(1,) * (values.ndim - 1))
        return self.sums(values) / counts


def columns_of(axis: TimeAxis, rows: int) -> Columns:
    """Columns for a chart with ``rows`` cells per timestep."""
    T = len(axis.positions)
    most = max(1, min(MAX_COLUMNS, MAX_CELLS // max(rows, 1)))
    first = np.arange(0, T, -(-T // most))
    last = np.append(first[1:], T) - 1
    middle = axis.positions[first] + (axis.positions[last] - axis.positions[first]) / 2
    texts = [
        axis.texts[a] if a == b else f"{axis.texts[a]} to {axis.texts[b]}" for a, b in zip(first, last, strict=True)
    ]
    return Columns(first, last, middle, texts, axis.width * int(last[0] - first[0] + 1))
