"""The stage as a chart that stands still: for pictures and for the report."""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explain_core.explanation.labels import is_count
from explain_core.figures import style
from explain_core.figures.style import Theme
from explain_core.figures.time_axis import as_numbers, time_axis
from explain_core.stage.contrast import contrast_of
from explain_core.stage.scene import Scene
from explain_core.stage.view import View, view
from explain_core.words import counted, number, signed

_COLUMNS = 400
_MOST_SERIES = 4
_TOKENS_PER_ROW = 12
_LINE, _PER_LINE = 17, 140  # height of a line of text, and letters that it has room for


def still_figure(
    scene: Scene,
    first: int = 0,
    last: int | None = None,
    open_groups: Collection[str] = (),
    *,
    unfolded: bool = False,
    theme: str = "light",
) -> go.Figure:
    """Headline, input with its baseline behind it, totals, heatmap and what it says, of what is visible.

    Args:
        first, last: timesteps shown, from 0, both included; None is the last.
        open_groups, unfolded: as in `view`.

    Raises:
        InputError: no such timesteps or theme.
    """
    colours = style.theme_of(theme)
    last = len(scene.attribution) - 1 if last is None else last
    seen = view(scene, first, last, _COLUMNS, open_groups, unfolded=unfolded)
    if scene.tokens is not None:
        figure, inner, below = _words(scene, seen, colours)
    elif len(scene.attribution) == 1:
        figure, inner, below = _bars(scene, seen, colours)
    else:
        figure, inner, below = _steps(scene, seen, colours)
    lines = _headline(scene)
    said = _said(scene, seen)
    above = 52 + _LINE * len(lines)
    total = above + inner + below + 14 + _LINE * len(said)
    style.apply_style(
        figure,
        colours,
        title=style.plain(_title(scene)),
        subtitle="<br>".join(style.plain(line) for line in lines),
        height=total,
    )
    figure.add_annotation(
        text="<br>".join(style.plain(line) for line in said),
        x=0,
        y=-(below + 8) / inner,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        font={"size": 12, "color": colours.text},
    )
    figure.update_layout(margin={"t": above + 20, "b": total - above - 20 - inner})
    return figure


def _title(scene: Scene) -> str:
    """What it is about; of several inputs also the one in the picture."""
    parts = [scene.words.title, scene.words.sequence, scene.input if len(scene.inputs) > 1 else ""]
    return " · ".join(each for each in parts if each) or scene.output


def _headline(scene: Scene) -> list[str]:
    words = scene.words.headline.replace("**", "") or (
        f"What moved {scene.output} from {number(scene.baseline_prediction, scene.words.unit)} to "
        f"{number(scene.prediction, scene.words.unit)}"
    )
    return textwrap.wrap(words, _PER_LINE) or [""]


def _said(scene: Scene, seen: View) -> list[str]:
    """What stands below: the strongest runs, whether it adds up, and what columns and colours are."""
    shown = f"Shown here: {signed(seen.total, scene.words.unit)} of {signed(scene.change, scene.words.unit)}. "
    steps = f"Each column is the sum of {counted(seen.steps, 'timestep')}. " if seen.steps > 1 else ""
    is_part = seen.last[-1] - seen.first[0] + 1 < len(scene.attribution)
    part = shown if is_part or len(scene.inputs) > 1 else ""
    sizes = np.abs([total for row, total in zip(seen.rows, seen.row_totals, strict=True) if row.kind != "rest"])
    if is_part and (np.diff(sizes) > 1e-12).any():
        part += "Rows are in the order of the whole sequence. "
    colours = contrast_of(seen.cells, scene.contrast.kind, scene.words.unit).words if len(scene.attribution) > 1 else ""
    notes = f"{scene.residual}. {part}{steps}{colours}"
    first, last = seen.first[0], seen.last[-1]
    runs = [text for run, text in scene.ranges if first <= run.last and run.first <= last]  # that are in the picture
    return [*(f"•  {style.shortened(text, _PER_LINE)}" for text in runs), *textwrap.wrap(notes, _PER_LINE)]


def _steps(scene: Scene, seen: View, theme: Theme) -> tuple[go.Figure, int, int]:
    assert scene.time is not None
    shown = slice(int(seen.first[0]), int(seen.last[-1]) + 1)
    labels = scene.time + 1 if is_count(scene.time) else scene.time
    axis = time_axis(labels[shown], scene.words.time_label, labels)
    places = as_numbers(axis.positions)
    middle = (places[seen.first - shown.start] + places[seen.last - shown.start]) / 2
    R, gap = len(seen.rows), 30
    has_totals = len(scene.features) > 1  # those of one feature are its row of the heatmap
    heights = [120, *([70] if has_totals else []), max(60, 22 * R)]
    cells = len(heights)
    inner = sum(heights) + (cells - 1) * gap
    figure = make_subplots(
        rows=cells,
        cols=2,
        shared_xaxes="columns",
        row_heights=heights,
        column_widths=[0.82, 0.18],
        vertical_spacing=gap / inner,
        horizontal_spacing=0.015,
        specs=[*[[{}, None]] * (cells - 1), [{}, {}]],
    )
    _add_series(figure, scene, shown, places, theme)
    bar = {"marker": {"line": {"width": 0}}, "showlegend": False}
    run = f" of runs of {counted(seen.steps, 'timestep')}" if seen.steps > 1 else " per timestep"
    if has_totals:
        figure.add_bar(
            x=middle,
            y=seen.column_totals,
            width=axis.width * seen.steps * 0.9,
            **bar | {"marker_color": style.sign_colours(seen.column_totals, theme)},
            row=2,
            col=1,
        )
        figure.update_yaxes(nticks=4, row=2, col=1)
        style.heading(figure, f"Total{run}", theme, 2, 1)
    few = len(middle) <= 120
    _add_cells(figure, scene, seen.cells, theme, x=middle, xgap=int(few), ygap=1, row=cells, col=1)
    totals = {"x": seen.row_totals, "y": np.arange(R), "orientation": "h"}
    figure.add_bar(**totals, **bar | {"marker_color": style.sign_colours(seen.row_totals, theme)}, row=cells, col=2)
    _name_rows(figure, seen, row=cells, col=1)
    figure.update_yaxes(range=[R - 0.5, -0.5], showticklabels=False, showgrid=False, zeroline=False, row=cells, col=2)
    figure.update_xaxes(nticks=3, row=cells, col=2)
    figure.update_xaxes(axis.layout | {"zeroline": False}, col=1)
    figure.update_xaxes(showgrid=False, title_text=style.plain(axis.title), row=cells, col=1)
    style.heading(figure, f"What each value moved the {style.plain(scene.words.noun)} by", theme, cells, 1)
    style.heading(figure, "Total per feature", theme, cells, 2)
    beside = {"x": 0.845, "xanchor": "left", "yanchor": "top"}
    figure.update_layout(
        legend=beside | {"y": 1.0, "font": {"size": 11}},
        showlegend=True,
        coloraxis={"colorbar": beside | {"y": 1 - (heights[0] + gap if has_totals else 50) / inner, "len": 0.155}},
    )
    return figure, inner, 56


def _add_series(figure: go.Figure, scene: Scene, shown: slice, places: np.ndarray, theme: Theme) -> None:
    """Lines of the features that moved most, each in its own range, over their baselines."""
    known = [f for f in scene.order if np.isfinite(scene.value[shown, f]).any()][:_MOST_SERIES]
    for k, feature in enumerate(known):
        both = np.stack([scene.value[shown, feature], scene.baseline[shown, feature]])
        low = np.nanmin(both)
        scaled = (both - low) / (np.nanmax(both) - low or 1.0)
        name = style.plain(style.shortened(scene.features[feature], 22))
        line = {"x": places, "mode": "lines"}
        ink = theme.lines[k]
        figure.add_scatter(
            y=scaled[1], line={"color": ink, "width": 1.2, "dash": "dot"}, showlegend=False, **line, row=1, col=1
        )
        figure.add_scatter(y=scaled[0], name=name, line={"color": ink, "width": 1.8}, **line, row=1, col=1)
    some = f", {len(known)} of {len(scene.features)} features" if len(known) < len(scene.features) else ""
    style.heading(figure, f"Input, each feature in its own range{some} (dotted: baseline)", theme, 1, 1)
    figure.update_yaxes(showticklabels=False, zeroline=False, range=[-0.05, 1.05], row=1, col=1)


def _add_cells(figure: go.Figure, scene: Scene, cells: np.ndarray, theme: Theme, **options: Any) -> None:
    """The heatmap on the scene's scale of colours, whose bar says which amounts they are."""
    contrast = contrast_of(cells[np.isfinite(cells)], scene.contrast.kind)
    figure.add_heatmap(y=np.arange(len(cells)), z=contrast.strength(cells), coloraxis="coloraxis", **options)
    style.set_colours(figure, np.ones(1), 1.0, theme)
    end = number(contrast.limit)
    ticks = {"tickvals": [-1, 0, 1], "ticktext": [f"−{end}", "0", f"+{end}"]}
    figure.update_layout(coloraxis={"colorbar": ticks | {"dtick": None}})


def _name_rows(figure: go.Figure, seen: View, **at: int) -> None:
    R = len(seen.rows)
    some = np.arange(0, R, -(-R // 60))
    figure.update_yaxes(
        range=[R - 0.5, -0.5],
        tickmode="array",
        tickvals=some,
        ticktext=[style.plain(style.shortened(seen.rows[i].label, 36)) for i in some],
        showgrid=False,
        zeroline=False,
        **at,
    )


def _bars(scene: Scene, seen: View, theme: Theme) -> tuple[go.Figure, int, int]:
    """A bar for each row of an input without a time axis."""
    R = len(seen.rows)
    figure = go.Figure()
    figure.add_bar(
        x=seen.row_totals,
        y=np.arange(R),
        orientation="h",
        marker={"color": style.sign_colours(seen.row_totals, theme), "line": {"width": 0}},
        text=[signed(total, scene.words.unit) for total in seen.row_totals],
        textposition="outside",
        showlegend=False,
    )
    room = 0.2 * max(np.ptp(np.append(seen.row_totals, 0.0)), 1e-12)
    ends = np.append(seen.row_totals, 0.0)
    figure.update_xaxes(range=[ends.min() - room, ends.max() + room])
    _name_rows(figure, seen)
    return figure, max(60, 26 * R), 34


def _words(scene: Scene, seen: View, theme: Theme) -> tuple[go.Figure, int, int]:
    """Words in reading order, a few to a row, each on its colour."""
    assert scene.tokens is not None
    tokens = scene.tokens[seen.first[0] : seen.last[-1] + 1]
    amounts = scene.attribution[seen.first[0] : seen.last[-1] + 1, 0]
    T = len(tokens)
    width = min(_TOKENS_PER_ROW, T)
    rows = -(-T // width)
    blank = rows * width - T
    cells = np.append(amounts, np.full(blank, np.nan)).reshape(rows, width)
    texts = [style.plain(style.shortened(token, 14)) for token in tokens] + [""] * blank
    figure = go.Figure()
    text = np.array(texts, dtype=object).reshape(rows, width)
    options = {"x": np.arange(width), "text": text, "texttemplate": "%{text}", "xgap": 2, "ygap": 4}
    _add_cells(figure, scene, cells, theme, **options)
    figure.update_xaxes(visible=False, range=[-0.5, width - 0.5])
    figure.update_yaxes(visible=False, range=[rows - 0.5, -0.5])
    inner = 40 * rows
    bar = {"x": 0, "xanchor": "left", "y": -8 / inner, "yanchor": "top", "len": 0.3}
    figure.update_layout(coloraxis={"colorbar": bar})
    return figure, inner, 56
