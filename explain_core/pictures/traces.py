"""Traces of our plotly figures, drawn by matplotlib: heatmaps, lines, bars and waterfalls."""

from __future__ import annotations

from typing import Any

import numpy as np

from explain_core.figures.style import Theme
from explain_core.pictures.axes import Axis
from explain_core.pictures.canvas import PAGES, colour, colour_map, edges, points, without_tags

_DASHES = {"dot": (0, (1, 2)), "dash": (0, (5, 3)), "dashdot": (0, (5, 3, 1, 3)), "solid": "solid"}
_MARKERS = {"circle": "o", "diamond": "D", "square": "s", "x": "x"}
_MOST_VECTORS = 1500  # cells; more are an image within an SVG


class Panel:
    """One pair of axes and what has been drawn on it."""

    def __init__(self, ax: Any, x: Axis, y: Axis, theme: Theme, layout: dict[str, Any]) -> None:
        self.ax, self.x, self.y, self.theme, self.layout = ax, x, y, theme, layout
        self.handles: list[tuple[Any, str]] = []
        self._tops: dict[tuple[str, bool], dict[float, float]] = {}
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def draw(self, trace: Any) -> None:
        """Draw one trace."""
        draw = {
            "heatmap": self._heatmap,
            "scatter": self._line,
            "scattergl": self._line,
            "bar": self._bars,
            "waterfall": self._waterfall,
        }[trace.type]
        if trace.visible in (None, True):
            draw(trace)

    def _heatmap(self, trace: Any) -> None:
        values = np.ma.masked_invalid(np.asarray(trace.z, float))
        shared = self.layout.get(trace.coloraxis or "", {})
        scale = shared.get("colorscale") or trace.colorscale or self.theme.scale
        low = shared.get("cmin", trace.zmin)
        high = shared.get("cmax", trace.zmax)
        x = self.x.placed(trace.x if trace.x is not None else np.arange(values.shape[1]))
        y = self.y.placed(trace.y if trace.y is not None else np.arange(values.shape[0]))
        gap = max(trace.xgap or 0, trace.ygap or 0)
        page = colour(PAGES["dark" if self.theme.text.startswith("#e") else "light"])
        line = {"edgecolors": [page], "linewidth": points(gap)} if gap else {}
        self.ax.pcolormesh(
            edges(x),
            edges(y),
            values,
            cmap=colour_map(scale),
            vmin=low,
            vmax=high,
            rasterized=values.size > _MOST_VECTORS,
            zorder=2,
            **line,
        )
        if trace.texttemplate:
            strength = np.abs(np.asarray(values.filled(0.0))) / (high or 1.0)
            for (i, j), text in np.ndenumerate(np.asarray(trace.text, dtype=object)):
                ink = "#ffffff" if (strength[i, j] > 0.6) == (page[0] > 0.5) else "#1f2933"
                ink = ink if strength[i, j] > 0.6 else self.theme.text
                self.ax.text(x[j], y[i], without_tags(text), ha="center", va="center", color=ink, fontsize=points(12))

    def _line(self, trace: Any) -> None:
        if trace.x is None or trace.marker.opacity == 0:
            return
        x, y = self.x.placed(trace.x), np.array(trace.y, float)
        mode, ink = trace.mode or "lines", colour(trace.line.color or trace.marker.color, self.theme.text)
        if trace.fill == "tonexty" and self._before is not None:
            self.ax.fill_between(x, self._before[1], y, color=colour(trace.fillcolor), linewidth=0, zorder=1.2)
        elif trace.fill == "tozeroy":
            low = 1e-300 if self.y.is_log else 0.0
            low = 10.0 ** self.y.layout["range"][0] if self.y.is_log and self.y.layout.get("range") else low
            filled = self.ax.fill_between(x, low, y, color=colour(trace.fillcolor), linewidth=0, zorder=1.2)
            self._named(trace, filled)
        self._before = x, y
        width = trace.line.width if trace.line.width is not None else 2
        if ("lines" not in mode and "markers" not in mode) or not width:
            return
        has_markers = "markers" in mode
        (line,) = self.ax.plot(
            x,
            y,
            color=ink,
            linewidth=points(width),
            linestyle=_DASHES.get(trace.line.dash or "solid", "solid") if "lines" in mode else "none",
            marker=_MARKERS.get(trace.marker.symbol or "circle", "o") if has_markers else None,
            markersize=points(trace.marker.size or 6),
            zorder=3,
        )
        self._named(trace, line)

    def _named(self, trace: Any, handle: Any) -> None:
        if trace.name and trace.showlegend is not False:
            self.handles.append((handle, without_tags(trace.name)))

    def _bars(self, trace: Any) -> None:
        across = trace.orientation == "h"
        along, other = (self.y, self.x) if across else (self.x, self.y)
        places = along.placed(trace.y if across else trace.x)
        lengths = other.placed(trace.x if across else trace.y)
        gap = np.diff(np.unique(places)).min(initial=np.inf)
        default = 0.8 * (gap if np.isfinite(gap) else 1.0)
        width = along.length(trace.width) if trace.width is not None else default
        starts = np.zeros_like(lengths)
        if self.layout.get("barmode") in ("relative", "stack"):
            for i, (place, length) in enumerate(zip(places.tolist(), lengths.tolist(), strict=True)):
                tops = self._tops.setdefault(("h" if across else "v", length < 0), {})
                starts[i] = tops.get(place, 0.0)
                tops[place] = starts[i] + length
        inks = trace.marker.color
        many = inks is not None and not isinstance(inks, str)
        ink = [colour(each) for each in inks] if many else colour(inks, self.theme.muted)
        draw = self.ax.barh if across else self.ax.bar
        at = {"left": starts} if across else {"bottom": starts}
        bars = draw(places, lengths, width, color=ink, linewidth=0, zorder=2, **at)
        self._named(trace, bars)
        if trace.textposition == "outside" and trace.text is not None:
            self._texts(places, starts, starts + lengths, trace.text, across=across)

    def _waterfall(self, trace: Any) -> None:
        across = trace.orientation == "h"
        along = self.y if across else self.x
        places = along.placed(trace.y if across else trace.x)
        amounts = np.asarray(trace.x if across else trace.y, float)
        measures = list(trace.measure)
        ends, starts, at = np.zeros(len(amounts)), np.zeros(len(amounts)), 0.0
        for i, (measure, amount) in enumerate(zip(measures, amounts.tolist(), strict=True)):
            starts[i], ends[i] = (at, at + amount) if measure == "relative" else (0.0, amount if i == 0 else at)
            at = ends[i]
        up, down, whole = (colour(each.marker.color) for each in (trace.increasing, trace.decreasing, trace.totals))
        inks = [
            whole if measure != "relative" else up if end >= start else down
            for measure, start, end in zip(measures, starts, ends, strict=True)
        ]
        draw = self.ax.barh if across else self.ax.bar
        draw(places, ends - starts, 0.8, **{"left" if across else "bottom": starts}, color=inks, linewidth=0, zorder=2)
        link = colour(trace.connector.line.color, self.theme.muted)
        for i in range(len(places) - 1):
            pair = ([ends[i], ends[i]], [places[i], places[i + 1]])
            self.ax.plot(*(pair if across else pair[::-1]), color=link, linewidth=points(1), zorder=1.5)
        self._texts(places, starts, ends, trace.text, across=across)

    def _texts(self, places: np.ndarray, starts: np.ndarray, ends: np.ndarray, texts: Any, *, across: bool) -> None:
        """Beside the ends of bars, on the side that they point to."""
        for place, start, end, text in zip(places, starts, ends, texts, strict=True):
            away = 1 if end >= start else -1
            self.ax.annotate(
                without_tags(text),
                (end, place) if across else (place, end),
                (4 * away, 0) if across else (0, 4 * away),
                textcoords="offset points",
                ha=("left" if away > 0 else "right") if across else "center",
                va="center" if across else ("bottom" if away > 0 else "top"),
                fontsize=points(11),
                color=colour(self.theme.text),
                annotation_clip=False,
            )
