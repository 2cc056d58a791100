"""A plotly figure of `explain_core.figures` on a sheet of matplotlib: the same axes, traces, titles and legend."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from explain_core.figures.style import Theme
from explain_core.pictures.axes import Axis
from explain_core.pictures.canvas import colour, colour_map, numbers, points, without_tags
from explain_core.pictures.traces import Panel

_AWAY = 8.0  # pixels between what is drawn and the edge
_PASSES = 3  # margins grow with the labels, and labels may change with the room


def draw_chart(sheet: Any, theme: Theme, figure: go.Figure) -> None:
    """Draw the whole figure.

    Args:
        sheet: an empty `matplotlib.figure.Figure` of the size that it should have.
    """
    layout = figure.layout.to_plotly_json()
    panels = _panels(sheet, theme, figure, layout)
    for trace in figure.data:
        panels[trace.xaxis or "x", trace.yaxis or "y"].draw(trace)
    for panel in panels.values():
        for axis in (panel.x, panel.y):
            axis.apply(panel.ax, theme)
    for shape in layout.get("shapes", ()):
        _shape(panels, shape, theme)
    head = _title(sheet, theme, layout)
    placed = [_Legend(sheet, theme, panels, layout), *_colour_bars(sheet, theme, layout)]
    placed += [_Note(sheet, theme, panels, note) for note in layout.get("annotations", ())]

    width, height = sheet.get_size_inches() * 100
    margin = layout.get("margin", {})
    sides = np.array([margin.get(side) or 12.0 for side in "lrbt"])
    renderer = sheet.canvas.get_renderer()
    for _ in range(_PASSES):
        area = _Area(sides[0], sides[2], width - sides[0] - sides[1], height - sides[2] - sides[3])
        for panel in panels.values():
            panel.ax.set_position(area.box(panel.x.domain, panel.y.domain, width, height))
        for each in placed:
            each.place(area)
        boxes = [box for p in panels.values() if (box := p.ax.get_tightbbox(renderer)) is not None]
        boxes += [box for each in placed if (box := each.extent(renderer)) is not None]
        left, bottom = min(box.x0 for box in boxes), min(box.y0 for box in boxes)
        right, top = max(box.x1 for box in boxes), max(box.y1 for box in boxes)
        over = np.array([_AWAY - left, right - (width - _AWAY), _AWAY - bottom, top - (height - head)])
        if (over <= 0.5).all():
            break
        sides = sides + np.maximum(over, 0)


class _Area:
    """Where the axes are, in pixels from the lower left of the sheet."""

    def __init__(self, left: float, bottom: float, width: float, height: float) -> None:
        self.left, self.bottom, self.width, self.height = left, bottom, max(width, 50.0), max(height, 50.0)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place given in parts of the area."""
        return self.left + x * self.width, self.bottom + y * self.height

    def box(self, x: Any, y: Any, width: float, height: float) -> tuple[float, float, float, float]:
        """Of two domains, in parts of the sheet."""
        (left, bottom), (right, top) = self.at(x[0], y[0]), self.at(x[1], y[1])
        return left / width, bottom / height, (right - left) / width, (top - bottom) / height


def _panels(sheet: Any, theme: Theme, figure: go.Figure, layout: dict[str, Any]) -> dict[tuple[str, str], Panel]:
    pairs = dict.fromkeys((trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data)
    panels: dict[tuple[str, str], Panel] = {}
    owners: dict[str, Any] = {}
    for number, (x_id, y_id) in enumerate(pairs):
        x, y = Axis(figure, x_id), Axis(figure, y_id)
        shared = {"sharex": owners.get(x.root), "sharey": owners.get(y.root)}
        ax = sheet.add_axes((0.1, 0.1, 0.8, 0.8), label=f"panel {number}", facecolor="none", **shared)
        owners.setdefault(x.root, ax)
        owners.setdefault(y.root, ax)
        for side in ax.spines.values():
            side.set_visible(False)
        panels[x_id, y_id] = Panel(ax, x, y, theme, layout)
    return panels


def _title(sheet: Any, theme: Theme, layout: dict[str, Any]) -> float:
    """Title and subtitle at the top left; returns how many pixels they take."""
    title = layout.get("title", {})
    width, height = sheet.get_size_inches() * 100
    taken = 4.0
    for text, down, size, ink in (
        (title.get("text"), 14, 16, theme.text),
        (title.get("subtitle", {}).get("text"), 38, 12, theme.muted),
    ):
        if text:
            where = {"ha": "left", "va": "top", "fontsize": points(size), "color": colour(ink)}
            written = without_tags(text)
            sheet.text(12 / width, 1 - down / height, written, **where)
            taken = down + 1.3 * size * (written.count("\n") + 1)
    return taken


def _shape(panels: dict[tuple[str, str], Panel], shape: dict[str, Any], theme: Theme) -> None:
    """A line or a rectangle across a panel, as `add_hline` and `add_hrect` make them."""
    x_id, y_id = ((shape.get(f"{letter}ref") or letter).removesuffix(" domain") for letter in "xy")
    ax = panels[x_id, y_id].ax
    if shape.get("type") == "line":
        line = shape.get("line", {})
        style = {"dot": ":", "dash": "--"}.get(line.get("dash", ""), "-")
        ink = colour(line.get("color"), theme.muted)
        ax.axhline(shape["y0"], color=ink, linewidth=points(line.get("width", 1)), linestyle=style, zorder=2.5)
    else:
        ax.axhspan(shape["y0"], shape["y1"], color=colour(shape.get("fillcolor")), linewidth=0, zorder=0.5)


class _Note:
    """An annotation: a heading of a panel, or a word on it."""

    def __init__(self, sheet: Any, theme: Theme, panels: dict[tuple[str, str], Panel], note: dict[str, Any]) -> None:
        self.sheet, self.note = sheet, note
        font = note.get("font", {})
        self.panel = next(iter(panels.values()))
        for (x_id, y_id), panel in panels.items():
            ids = {(note.get("xref") or "paper").removesuffix(" domain"), (note.get("yref") or "paper")}
            if ids & {x_id, y_id}:
                self.panel = panel
                break
        self.text = sheet.text(
            0,
            0,
            without_tags(note.get("text")),
            ha=note.get("xanchor") if note.get("xanchor") in ("left", "right") else "center",
            va={"top": "top", "bottom": "bottom"}.get(note.get("yanchor", ""), "center"),
            fontsize=points(font.get("size", 12)),
            color=colour(font.get("color"), theme.text),
        )

    def place(self, area: _Area) -> None:
        width, height = self.sheet.get_size_inches() * 100
        x, y = self._along("x", area), self._along("y", area)
        self.text.set_position((x / width, y / height))

    def _along(self, letter: str, area: _Area) -> float:
        value, reference = float(self.note.get(letter, 0)), self.note.get(f"{letter}ref") or "paper"
        first = letter == "x"
        if reference == "paper":
            return area.at(value, value)[0 if first else 1] + (0 if first else 3)
        axis = self.panel.x if first else self.panel.y
        if reference.endswith("domain"):
            value = axis.domain[0] + value * (axis.domain[1] - axis.domain[0])
            return area.at(value, value)[0 if first else 1]
        value = 10.0**value if axis.is_log else value
        other = self.panel.ax.get_ylim()[0] if first else self.panel.ax.get_xlim()[0]
        return float(self.panel.ax.transData.transform((value, other) if first else (other, value))[0 if first else 1])

    def extent(self, renderer: Any) -> Any:
        return self.text.get_window_extent(renderer)


class _Legend:
    """Names of lines and bars, beside the panels or below them."""

    def __init__(self, sheet: Any, theme: Theme, panels: dict[tuple[str, str], Panel], layout: dict[str, Any]) -> None:
        found = {name: handle for panel in panels.values() for handle, name in panel.handles}
        self.sheet, self.legend, self.found = sheet, None, found
        self.layout = layout.get("legend", {})
        self.ink = colour(theme.text)
        self.shown = layout.get("showlegend", len(found) > 1) and bool(found)

    def place(self, area: _Area) -> None:
        if not self.shown:
            return
        if self.legend is not None:
            self.legend.remove()
        width, height = self.sheet.get_size_inches() * 100
        flat = self.layout.get("orientation") == "h"
        x, y = area.at(self.layout.get("x", 1.02), self.layout.get("y", 1.0))
        longest = max(map(len, self.found)) * 7 + 50
        columns = max(1, min(len(self.found), int(area.width // longest))) if flat else 1
        if flat:
            y = min(y, area.bottom - 46)  # below the title of the axis
        self.legend = self.sheet.legend(
            list(self.found.values()),
            list(self.found),
            loc="upper left",
            bbox_to_anchor=(x / width, y / height),
            borderaxespad=0,
            ncols=columns,
            frameon=False,
            fontsize=points(11),
            labelcolor=self.ink,
        )

    def extent(self, renderer: Any) -> Any:
        return None if self.legend is None else self.legend.get_window_extent(renderer)


class _ColourBar:
    """What the colours stand for."""

    def __init__(self, sheet: Any, theme: Theme, colours: dict[str, Any]) -> None:
        self.sheet, self.bar = sheet, colours.get("colorbar", {})
        limit = colours.get("cmax", 1.0)
        self.ax = sheet.add_axes((0, 0, 0.1, 0.1), label="colours")
        self.ax.imshow(
            np.linspace(-1, 1, 256)[None],
            aspect="auto",
            extent=(-limit, limit, 0, 1),
            cmap=colour_map(colours.get("colorscale") or theme.scale),
        )
        for side in self.ax.spines.values():
            side.set_visible(False)
        if self.bar.get("tickvals") is not None:
            self.ax.set_xticks(self.bar["tickvals"], [without_tags(text) for text in self.bar["ticktext"]])
        else:
            tick = self.bar.get("dtick") or limit
            self.ax.set_xticks([-tick, 0, tick])
            self.ax.xaxis.set_major_formatter(numbers())
        self.ax.set_yticks([])
        self.ax.tick_params(length=0, labelsize=points(11), labelcolor=colour(theme.muted), pad=2)
        title = without_tags((self.bar.get("title") or {}).get("text"))
        self.ax.set_title(title, fontsize=points(11), color=colour(theme.muted), pad=4)

    def place(self, area: _Area) -> None:
        width, height = self.sheet.get_size_inches() * 100
        x, y = area.at(self.bar.get("x", 0.5), self.bar.get("y", 1.02))
        length = self.bar.get("len", 0.4) * area.width
        left = x if self.bar.get("xanchor") == "left" else x - length / 2
        bottom = y - 28 if self.bar.get("yanchor") == "top" else y + 18
        self.ax.set_position((left / width, bottom / height, length / width, 10 / height))

    def extent(self, renderer: Any) -> Any:
        return self.ax.get_tightbbox(renderer)


def _colour_bars(sheet: Any, theme: Theme, layout: dict[str, Any]) -> list[_ColourBar]:
    found = layout.get("coloraxis")
    return [_ColourBar(sheet, theme, found)] if found and found.get("showscale", True) else []
