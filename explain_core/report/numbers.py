"""The numbers of a report as tables, for those who do not see the picture or want to copy from it."""

from __future__ import annotations

import numpy as np

from explain_core.report.parts import table, text
from explain_core.stage import Scene
from explain_core.words import number, signed

_MOST_CELLS = 4000
_MOST_ROWS = 500


def tables(scene: Scene) -> str:
    """Totals per feature and per timestep, and every cell where there are not too many."""
    T, F = scene.attribution.shape
    of = f" of {scene.input}" if len(scene.inputs) > 1 else ""
    unit = scene.words.unit
    steps = scene.tokens or scene.step_texts
    label = "Word" if scene.tokens else scene.words.time_label
    parts = []
    if F > 1:
        totals = scene.attribution.sum(axis=0)
        rows = [(_name(scene, f), signed(totals[f], unit)) for f in scene.order[:_MOST_ROWS]]
        parts.append(_drawer(f"Totals per feature{of}", ["Feature", "Total"], rows, F))
    if T > 1 and (F > 1 or scene.tokens or T > _MOST_CELLS):  # those of one feature are its values' shares below
        totals = scene.attribution.sum(axis=1)
        rows = [(steps[t], signed(totals[t], unit)) for t in range(min(T, _MOST_ROWS))]
        parts.append(_drawer(f"Totals per timestep{of}", [label, "Total"], rows, T))
    if T * F <= _MOST_CELLS:
        rows = [
            (
                steps[t],
                _name(scene, f),
                _known(scene.value[t, f]),
                _known(scene.baseline[t, f]),
                signed(scene.attribution[t, f], unit),
            )
            for t in range(T)
            for f in range(F)
        ]
        heads = [label or "Step", "Feature", "Value", "Baseline", "Share"]
        parts.append(_drawer(f"Every value{of}", heads, rows, T * F))
    else:
        parts.append(f"<p>There are {T * F:,} values{text(of)}; the table (CSV) of the app has all of them.</p>")
    return "".join(parts)


def _drawer(caption: str, heads: list[str], rows: list, size: int) -> str:
    some = f", the first {len(rows):,} of {size:,}" if len(rows) < size else ""
    return f"<details><summary>{text(caption + some)}</summary>{table(caption, heads, rows)}</details>"


def _name(scene: Scene, feature: int) -> str:
    unit = scene.units[feature]
    return f"{scene.features[feature]} ({unit})" if unit else scene.features[feature]


def _known(value: float) -> str:
    return number(value) if np.isfinite(value) else "not known"
