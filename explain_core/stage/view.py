"""What is visible of a scene at a zoom, a fold and some opened groups: sums that always match the explanation's.

`assets/view.js` does the same in the browser; a test there compares the two.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from explain_core.errors import InputError
from explain_core.stage.scene import Scene


@dataclass(frozen=True)
class Row:
    """A row of the heatmap: one feature, a closed group of them, or the folded rest."""

    label: str
    features: tuple[int, ...]
    kind: str  # "feature", "group" or "rest"
    group: str | None = None


@dataclass(frozen=True)
class View:
    """What is drawn. C columns from left to right, R rows from top to bottom; sums in float64."""

    rows: list[Row]
    first: np.ndarray  # (C,) first timestep of each column
    last: np.ndarray  # (C,) last timestep, included
    cells: np.ndarray  # (R, C) sums of attributions
    column_totals: np.ndarray  # (C,) over all features, so also over those of no row of their own
    row_totals: np.ndarray  # (R,) over the visible timesteps
    total: float

    @property
    def steps(self) -> int:
        """Timesteps in a full column: where more than 1, each column is the sum of as many."""
        return int(self.last[0] - self.first[0] + 1)


def view(
    scene: Scene,
    first: int,
    last: int,
    columns: int,
    open_groups: Collection[str] = (),
    *,
    unfolded: bool = False,
) -> View:
    """Sum up what is visible.

    Args:
        first, last: timesteps shown, positions from 0, both included.
        columns: the most columns that there is room for. With more timesteps, each column is a run of
            ``ceil(timesteps / columns)`` of them, counted from ``first``; the last one may be shorter.
        open_groups: groups whose features have rows of their own.
        unfolded: whether the features after `Scene.fold_after` have rows of their own too.

    Raises:
        InputError: no such timesteps, or no column.
    """
    T = scene.attribution.shape[0]
    if not 0 <= first <= last < T or columns < 1:
        raise InputError(
            f"There is no view of timesteps {first + 1} to {last + 1} in {columns} columns.",
            hint=f"There are timesteps 1 to {T}.",
        )
    shown = scene.attribution[first : last + 1]
    starts = np.arange(0, len(shown), -(-len(shown) // columns))
    rows = rows_of(scene, open_groups, unfolded=unfolded)
    per_row = np.stack([shown[:, row.features].sum(axis=1) for row in rows])
    cells = np.add.reduceat(per_row, starts, axis=1)
    return View(
        rows=rows,
        first=first + starts,
        last=first + np.append(starts[1:], len(shown)) - 1,
        cells=cells,
        column_totals=cells.sum(axis=0),
        row_totals=per_row.sum(axis=1),
        total=float(shown.sum()),
    )


def rows_of(scene: Scene, open_groups: Collection[str] = (), *, unfolded: bool = False) -> list[Row]:
    """The rows from top to bottom.

    `Scene.order` is walked down to ``fold_after``. A feature without a group is a row. The first feature of a group
    brings the whole group to its place, also those after the fold: one row, or where opened one for each feature in
    their order. What is left is one row of the rest.
    """
    order = scene.order
    rows: list[Row] = []
    placed: set[int] = set()
    for feature in order if unfolded else order[: scene.fold_after]:
        if feature in placed:
            continue
        group = scene.groups[feature]
        together = [each for each in order if scene.groups[each] == group] if group is not None else [feature]
        placed.update(together)
        if group is not None and group not in open_groups:
            rows.append(Row(group, tuple(together), "group", group))
        else:
            rows += [Row(scene.features[each], (each,), "feature", group) for each in together]
    rest = [feature for feature in order if feature not in placed]
    if rest:
        label = f"{len(rest):,} more features" if len(rest) > 1 else scene.features[rest[0]]
        rows.append(Row(label, tuple(rest), "rest" if len(rest) > 1 else "feature"))
    return rows
