"""Axes of a plotly figure, as matplotlib has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from explain_core.figures.style import Theme
from explain_core.figures.time_axis import COUNTS, YEARS
from explain_core.pictures.canvas import colour, numbers, points, without_tags

_DAY = 86_400_000.0  # milliseconds


class Axis:
    """One axis: its settings in the figure, and what values come to on it."""

    def __init__(self, figure: go.Figure, id: str) -> None:
        letter, count = id[0], id[1:]
        self.letter = letter
        self.layout: dict[str, Any] = figure.layout[f"{letter}axis{count}"].to_plotly_json()
        traces = [t for t in figure.data if (getattr(t, f"{letter}axis") or letter) == id]
        values = [v for t in traces if (v := getattr(t, letter)) is not None]
        kinds = {np.asarray(v).dtype.kind for v in values}
        self.is_date = self.layout.get("type") == "date" or "M" in kinds
        self.is_log = self.layout.get("type") == "log"
        named = [v for v in values if np.asarray(v).dtype.kind in "OUT" and any(isinstance(each, str) for each in v)]
        self.names: list[str] = list(dict.fromkeys(str(each) for v in named for each in v))
        self.root = self.layout.get("matches") or id
        self.domain = self.layout.get("domain") or (0.0, 1.0)

    def placed(self, values: Any) -> np.ndarray:
        """Values as numbers on the axis: days for dates, positions for names."""
        array = np.asarray(values)
        if self.is_date:
            if array.dtype.kind not in "iuf":
                array = array.astype("datetime64[ms]").astype(np.int64)
            return array / _DAY
        if self.names:
            return np.array([self.names.index(str(each)) for each in array.ravel().tolist()], float)
        return array.astype(np.float64)

    def length(self, width: Any) -> Any:
        """A width along the axis."""
        return np.asarray(width, float) / _DAY if self.is_date else width

    def apply(self, ax: Any, theme: Theme) -> None:
        """Scale, range, ticks, grid and title."""
        layout, x = self.layout, self.letter == "x"
        axis = ax.xaxis if x else ax.yaxis
        if self.is_log:
            (ax.set_xscale if x else ax.set_yscale)("log")
        self._set_range(ax)
        self._set_ticks(axis)
        shown = layout.get("visible", True)
        labels = shown and layout.get("showticklabels", True)
        size = points((layout.get("tickfont") or {}).get("size") or 11)
        names = {"labelbottom" if x else "labelleft": labels}
        ax.tick_params(axis=self.letter, length=0, labelsize=size, labelcolor=colour(theme.muted), pad=5, **names)
        ax.tick_params(axis=self.letter, which="minor", length=0, labelbottom=False, labelleft=False)
        if shown and layout.get("showgrid", True):
            axis.grid(True, color=colour(theme.grid), linewidth=points(1))
        if shown and layout.get("zeroline", True) and not (self.is_date or self.is_log or self.names):
            low, high = sorted(ax.get_xlim() if x else ax.get_ylim())
            if low <= 0 <= high:
                (ax.axvline if x else ax.axhline)(0, color=colour(theme.muted), linewidth=points(1), zorder=1.5)
        title = without_tags((layout.get("title") or {}).get("text"))
        if title and shown:
            axis.set_label_text(title, fontsize=points(12), color=colour(theme.muted))

    def _set_range(self, ax: Any) -> None:
        x = self.letter == "x"
        set_limits = ax.set_xlim if x else ax.set_ylim
        if (given := self.layout.get("range")) is not None and len(given) == 2:
            ends = [10.0 ** float(each) for each in given] if self.is_log else self._ends(given)
            set_limits(*ends)
        elif self.layout.get("autorange") == "reversed":
            low, high = sorted(ax.get_xlim() if x else ax.get_ylim())
            set_limits(high, low)

    def _ends(self, given: Any) -> list[float]:
        if self.is_date and isinstance(given[0], str):
            return self.placed(np.array([each.strip() for each in given], "datetime64[ms]")).tolist()
        return self.placed(np.array(given)).tolist() if not self.names else [float(each) for each in given]

    def _set_ticks(self, axis: Any) -> None:
        from matplotlib.dates import AutoDateLocator
        from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

        values, texts = self.layout.get("tickvals"), self.layout.get("ticktext")
        if self.names:
            axis.set_ticks(range(len(self.names)), [without_tags(name) for name in self.names])
        elif values is not None:
            axis.set_ticks(self.placed(values))
            if texts is not None:
                axis.set_ticklabels([without_tags(text) for text in texts])
            else:
                axis.set_major_formatter(numbers())
        elif self.is_date:
            locator = AutoDateLocator(minticks=2, maxticks=7)
            axis.set_major_locator(locator)
            axis.set_major_formatter(_dates(locator))
        elif (form := self.layout.get("tickformat")) in (COUNTS, YEARS):
            axis.set_major_locator(MaxNLocator(6, integer=True))
            axis.set_major_formatter(FuncFormatter(lambda value, _: format(round(value), form)))
        else:
            nticks = self.layout.get("nticks") or 6
            axis.set_major_locator(LogLocator(numticks=8) if self.is_log else MaxNLocator(nticks))
            axis.set_major_formatter(numbers())


def _dates(locator: Any) -> Any:
    """Writes ticks of dates: each as short as tells it from the others, the first with its year where no other has."""
    from matplotlib.dates import ConciseDateFormatter, num2date

    class Dates(ConciseDateFormatter):
        def format_ticks(self, values: Any) -> list[str]:
            texts, days = super().format_ticks(values), [num2date(value) for value in values]
            if not texts or any(str(day.year) in text for text, day in zip(texts, days, strict=True)):
                return texts
            clock = f", {texts[0]}" if ":" in texts[0] else ""
            return [f"{days[0].day} {days[0]:%b %Y}{clock}", *texts[1:]]

    forms = ["%Y", "%b %Y", "%-d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
    zeros = ["", "%Y", "%b %Y", "%-d %b", "%H:%M", "%H:%M"]
    return Dates(locator, formats=forms, zero_formats=zeros, show_offset=False)
