"""A model opened for as many rows at once as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from explain_core.backends.protocol import Runner
from explain_core.errors import CaptureError, NoRoomError, SampleAxisError
from explain_core.preparation.rows import Plan


class OpenFor(Protocol):
    """Opens the model for some rows; ``axes`` are other sample axes than the plan's."""

    def __call__(self, leaves: list[np.ndarray], axes: Sequence[int | None] = ...) -> Runner: ...


def open_plan(open_for: OpenFor, plan: Plan, takes: int | None = None) -> Runner:
    """Open the model for as many rows at once as it takes.

    That is as many as its file says, however few are given; or many; or just these; or one, where it was made for one;
    or two, where it drops the axis of the samples when there is only one.

    Raises:
        CaptureError: none of these; the error of the first.
        SampleAxisError: it takes them together only where the samples are on another axis.
    """
    if takes is not None and plan.has_sample_axis:
        plan.exactly(takes)
        return open_for(plan.first_rows())
    together = plan.first_rows()
    try:
        return _in_room(open_for, plan)
    except SampleAxisError as error:
        if plan.count > 1:  # the model takes them together, so one by one it is another model
            raise
        first: CaptureError = error
    except CaptureError as error:
        first = error
    others = dict.fromkeys((plan.count, 1, 2)) if plan.has_sample_axis else {}
    others.pop(plan.rows_at_once, None)
    if plan.count > 1:
        others.pop(2, None)
    for rows in others:
        plan.exactly(rows)
        try:
            runner = open_for(plan.first_rows())
        except CaptureError:
            continue
        if rows < plan.count:
            _require_layout(open_for, together, plan.axes, first)
            plan.notes.append(
                f"The model fails on several samples at once ({first.what}); each is explained by itself."
            )
        return runner
    raise first


def _in_room(open_for: OpenFor, plan: Plan) -> Runner:
    """Open the model for half as many rows as long as they do not fit into memory."""
    while True:
        try:
            return open_for(plan.first_rows())
        except NoRoomError:
            if not plan.halve():
                raise


def _require_layout(
    open_for: OpenFor, leaves: list[np.ndarray], axes: tuple[int | None, ...], first: CaptureError
) -> None:
    """Refuse rows that a model takes one by one, while it takes them together on another axis.

    A row of one sample fits by broadcasting where the axes are not those of the model: its timesteps are then samples
    to the model, and what it returns for each of them would be taken for further outputs.

    Args:
        leaves: several rows, which the model does not take with these sample axes.
        first: what it failed with.

    Raises:
        SampleAxisError: says on which axis it takes them.
    """
    ndim, axis = leaves[0].ndim, axes[0]
    for other in (place for place in range(ndim) if place != axis):
        moves = [other if (leaf.ndim, own) == (ndim, axis) else own for leaf, own in zip(leaves, axes, strict=True)]
        moved = [
            leaf if own is None or to is None else np.ascontiguousarray(np.moveaxis(leaf, own, to))
            for leaf, own, to in zip(leaves, axes, moves, strict=True)
        ]
        try:
            runner = open_for(moved, moves)
        except CaptureError:
            continue
        told = runner.axis_names[0]
        if "time" in told and told.index("time") == other:  # the samples are the steps of one sequence to it
            continue
        raise SampleAxisError(
            f"the model does not take {leaves[0].shape} with the samples at axis {axis}: {first.what}",
            hint=f"It takes them at axis {other}, {moved[0].shape}: give np.moveaxis(array, {axis}, {other}) with "
            f"sample_axis={other}, or a DataArray transposed.",
        ) from first
