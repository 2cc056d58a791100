"""The way from the baseline's prediction to the prediction, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from explain_core.errors import InputError
from explain_core.explanation import Explanation
from explain_core.explanation.labels import spoken_labels
from explain_core.figures import style
from explain_core.figures.panel import Panel, panel_of
from explain_core.words import number, signed

_MOST_WITH_ZERO = 6  # so many times as long as the way, an axis that begins at zero hides the way


def prediction_figure(
    explanation: Explanation,
    sample: Any = None,
    output: Any = 0,
    *,
    by: str = "auto",
    most: int = 10,
    unit: str = "",
    theme: str = "light",
    titled: bool = True,
) -> go.Figure:
    """Waterfall from the baseline's prediction to the prediction, the largest steps first.

    Args:
        sample, output: labels, or positions where labels are text; ``sample`` None is the first.
        by: ``"feature"`` or ``"time"``: totals of what; ``"auto"`` is features where there are several.
        most: how many totals to show; the others are one bar together. What the attributions leave
            unexplained beyond rounding is a bar of its own.
        unit: of the output, for the amounts.

    Raises:
        InputError, TargetError: no such sample, output, grouping or theme.
    """
    colours = style.theme_of(theme)
    if by not in ("auto", "feature", "time"):
        raise InputError(f"prediction_figure cannot group by {by!r}.", hint="Choose auto, feature or time.")
    panels = [panel_of(explanation, sample, output, name) for name in explanation.input_names]
    if by == "auto":
        by = "feature" if len(panels) > 1 or len(panels[0].features) > 1 else "time"
    totals = [total for panel in panels for total in _totals(panel, by, several=len(panels) > 1)]
    totals.sort(key=lambda total: -abs(total[1]))
    steps, rest = totals[:most], totals[most:]
    if rest:
        steps.append((style.others(len(rest)), sum(amount for _, amount in rest)))

    at = {
        "sample": explanation.sample_position(sample),
        "output": explanation.output_position(output),
    }
    start, end = float(explanation.baseline_prediction[at]), float(explanation.prediction[at])
    if not explanation.adds_up(sample, output):
        steps.append(("Not explained", -float(explanation.residual[at])))
    names = ["Baseline", *(name for name, _ in steps), "Prediction"]
    amounts = np.array([start, *(amount for _, amount in steps), end])
    figure, shown = go.Figure(), style.plain(unit)
    rows = np.arange(len(names))
    figure.add_waterfall(
        orientation="h",
        y=rows,
        x=amounts,
        measure=["absolute", *["relative"] * len(steps), "total"],
        text=[number(start, shown), *(signed(amount, shown) for _, amount in steps), number(end, shown)],
        textposition="outside",
        customdata=[style.plain(name) for name in names],
        hovertemplate="<b>%{customdata}</b><br>%{text}<extra></extra>",
        increasing={"marker": {"color": colours.positive}},
        decreasing={"marker": {"color": colours.negative}},
        totals={"marker": {"color": colours.muted}},
        connector={"line": {"color": colours.grid, "width": 1}},
        cliponaxis=False,
        showlegend=False,
    )
    output_name = panels[0].output
    title = f"From the baseline to the prediction of {style.plain(output_name)}"
    words = f"Sample {style.plain(panels[0].sample)} · {explanation.residual_in_words(sample, output)}"
    style.apply_style(
        figure,
        colours,
        title=title if titled else "",
        subtitle=words if titled else "",
        height=84 + 56 + 28 * len(names),
    )
    path = np.append(start + np.cumsum([0.0, *amounts[1:-1]]), end)
    low, high, cut = _ends(path)
    room = (0.14 if len(unit) < 4 else 0.2) * (high - low or 1.0)  # for the numbers outside the bars
    words = style.plain(output_name) + (" (the axis does not begin at 0)" if cut else "")
    figure.update_xaxes(range=[low - room, high + room], title_text=words)
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(
        range=[len(names) - 0.5, -0.5],
        tickmode="array",
        tickvals=rows,
        ticktext=[style.plain(style.shortened(name, 36)) for name in names],
        showgrid=False,
        zeroline=False,
    )
    return figure


def _ends(path: np.ndarray) -> tuple[float, float, bool]:
    """Where the axis ends, and whether that is without zero, where all steps would be too small to see beside it."""
    low, high = float(path.min()), float(path.max())
    if max(high, 0.0) - min(low, 0.0) > _MOST_WITH_ZERO * (high - low) and high > low:
        return low, high, True
    return min(low, 0.0), max(high, 0.0), False


def _totals(panel: Panel, by: str, *, several: bool) -> list[tuple[str, float]]:
    if by == "feature" or panel.time is None:
        names, amounts = panel.features, panel.attribution.sum(axis=0)
    else:
        names, amounts = _step_names(panel), panel.attribution.sum(axis=1)
    prefix = f"{panel.name}: " if several else ""
    return [
        (name if name == panel.name else prefix + name, float(amount))
        for name, amount in zip(names, amounts, strict=True)
    ]


def _step_names(panel: Panel) -> list[str]:
    assert panel.time is not None
    times = spoken_labels(panel.time)
    if panel.tokens:
        return [f"{token} ({time})" for token, time in zip(panel.tokens, times, strict=True)]
    return [f"timestep {time}" if panel.time.dtype.kind in "iuf" else time for time in times]
