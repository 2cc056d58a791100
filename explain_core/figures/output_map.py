"""Every output step at a glance: how much each input step moved each output, summed over features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from explain_core.errors import InputError
from explain_core.explanation import Explanation, by_name
from explain_core.figures import style
from explain_core.figures.panel import input_name, time_labels
from explain_core.figures.time_axis import columns_of, time_axis
from explain_core.words import counted, signed


@dataclass(frozen=True)
class OutputMap:
    """Sums over features, (K outputs, T input steps), in the unit of the outputs.

    ``times`` are labels of the input steps. A row adds up to what its output moved, but for other inputs of the model.
    """

    values: np.ndarray
    outputs: tuple[str, ...]
    times: np.ndarray
    name: str

    @property
    def alt(self) -> str:
        """The picture in a sentence, from its numbers."""
        row, column = np.unravel_index(int(np.abs(self.values).argmax()), self.values.shape)
        return (
            f"A map of {counted(len(self.outputs), 'output step')} by {counted(len(self.times), 'input step')}. The "
            f"strongest cell: input step {int(column) + 1:,} moved {self.outputs[int(row)]} by "
            f"{signed(float(self.values[row, column]))}."
        )


def output_map(explanation: Explanation, sample: Any = None, input: str | None = None) -> OutputMap:
    """The map of one sample and input.

    Raises:
        InputError: one output alone was explained, or the input has no timesteps.
    """
    name, row = input_name(explanation, input), explanation.sample_position(sample)
    attribution = by_name(explanation.attributions)[name].isel(sample=row)
    if "output" not in attribution.dims or "time" not in attribution.dims:
        raise InputError("A map of outputs needs several outputs and an input with timesteps.", where=name)
    values = attribution.astype(np.float64)
    values = values.sum([dim for dim in values.dims if dim not in ("output", "time")]).transpose("output", "time")
    times = time_labels(by_name(explanation.inputs)[name].isel(sample=row))
    return OutputMap(values.values, tuple(explanation.outputs), times, name)


def output_map_figure(
    found: OutputMap, chosen: str | None = None, *, zmax: float | None = None, theme: str = "light"
) -> go.Figure:
    """The map as a picture: an output in each row, the first at the top; orange raises, blue lowers.

    Where there are more input steps than room, a column is the sum over a run of them.

    Args:
        chosen: the output that is framed.
        zmax: end of the colour scale; None is the largest |sum|.

    Raises:
        InputError: no such theme.
    """
    colours = style.theme_of(theme)
    axis = time_axis(found.times, "Input step")
    K = len(found.outputs)
    columns = columns_of(axis, K)
    cells = columns.sums(found.values.T).T
    labels = [style.plain(label) for label in found.outputs]
    figure = go.Figure()
    figure.add_heatmap(
        x=columns.positions,
        y=np.arange(K),
        z=cells,
        coloraxis="coloraxis",
        customdata=np.array(np.broadcast_to(np.array(columns.texts, dtype=object), cells.shape)),
        text=np.array(np.broadcast_to(np.array(labels, dtype=object)[:, None], cells.shape)),
        hovertemplate="<b>%{text}</b><br>input %{customdata}: %{z:+.3~g}<extra></extra>",
    )
    style.set_colours(figure, cells, zmax, colours)
    if chosen in found.outputs:
        place, width = found.outputs.index(chosen), axis.layout["range"]
        figure.add_shape(
            type="rect",
            x0=width[0],
            x1=width[1],
            y0=place - 0.5,
            y1=place + 0.5,
            line={"color": colours.text, "width": 1.5},
        )
    step = max(1, -(-K // 16))
    rows = np.arange(0, K, step)
    height = int(np.clip(14 * K, 160, 420)) + 90
    style.apply_style(figure, colours, title="", subtitle="", height=height)
    figure.update_xaxes(axis.layout | {"zeroline": False, "showgrid": False}, title_text=axis.title)
    figure.update_yaxes(
        range=[K - 0.5, -0.5],
        tickmode="array",
        tickvals=rows,
        ticktext=[style.plain(style.shortened(found.outputs[i], 24)) for i in rows],
        showgrid=False,
        zeroline=False,
    )
    at = {"x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "len": 0.3}
    figure.update_layout(coloraxis={"colorbar": at}, dragmode=False, margin={"t": 56})
    return figure
