"""The horizon curve: how far attributions are from adding up, as the sequence gets longer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from explain_core.diagnostics.comparison import in_one_line
from explain_core.errors import ExplainError, InputError
from explain_core.methods.registry import method_of
from explain_core.methods.run import explain_with
from explain_core.preparation import Prepared, prepare
from explain_core.words import counted

Progress = Callable[[float, str], None]

DEFAULT = (
    "pairlift",
    "deep_explainer",
    "deep_lift",
    "gradient_difference",
    "integrated_gradients_20",
    "integrated_gradients",
    "integrated_gradients_300",
    "gradient_shap",
)
MOST_LENGTHS = 14
SMALLEST_DIFFERENCE = 0.01
"""Of the largest on the curve: where the predictions differ by less, the error is relative to this much of it.

Else a curve would jump wherever the difference happens to pass through zero."""


@dataclass(frozen=True)
class Cut:
    """A model with its inputs at any length.

    Attributes:
        lengths: 1 to all timesteps, spaced evenly on a log scale.
        how: "cut", where the sequence ends after so many steps, or "spliced", where it goes on as the baseline.
    """

    model: Any
    ready: Prepared
    target: Any
    options: dict[str, Any]
    lengths: tuple[int, ...]
    how: str

    def at(self, length: int) -> tuple[Any, dict[str, np.ndarray]]:
        """Inputs and baselines of the first ``length`` timesteps."""
        ready, leaves, baselines = self.ready, [], {}
        for i, (name, axis, explained) in enumerate(
            zip(ready.arguments.names, ready.axes, ready.runner.explained, strict=True)
        ):
            values = ready.plan.samples(i)
            time_axis = ready.time_axis(i) if explained else None
            if time_axis is not None and self.how == "cut":
                values = _up_to(values, time_axis, length)
            elif time_axis is not None:
                is_first = np.arange(values.shape[time_axis]) < length
                at = is_first.reshape(-1, *(1,) * (values.ndim - 1 - time_axis))
                values = np.where(at, values, self._baseline(i))
            leaves.append(_in_layout(values, axis))
            if explained:
                base = ready.baselines[i]
                base = _up_to(base, time_axis, length) if time_axis is not None and self.how == "cut" else base
                baselines[name] = base if axis is None else np.moveaxis(base, 0, axis)
        args, kwargs = ready.arguments.rebuild(leaves)
        return (kwargs or (args if len(args) > 1 else args[0])), baselines

    def _baseline(self, i: int) -> np.ndarray:
        """What a spliced sequence goes on as, (N, ...): the mean over a background, or its first for token ids."""
        plan, values = self.ready.plan, self.ready.plan.samples(i)
        if values.dtype.kind != "f" and plan.baseline_count > 1:
            return np.broadcast_to(self.ready.baselines[i][:1], values.shape)
        return plan.mean_baseline(i)


def horizon(
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = None,
    methods: Sequence[str] = DEFAULT,
    steps: Sequence[int] | None = None,
    *,
    how: str = "auto",
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Completeness error of each method against the length of the sequence.

    Args:
        model, inputs, baselines, target, options: as in `explain_core.explain`; one target.
        methods: ids of `explain_core.methods.METHODS`.
        steps: the lengths; None for up to 14 from 1 to all, evenly on a log scale.
        how: "cut" gives the model sequences of each length. "spliced" always gives it the full length: the first steps
            from the input, the rest from the (mean) baseline. "auto" cuts where the model takes it and has no other
            inputs, such as lengths, that would have to be cut too.
        progress: called with the fraction done and what is being done.

    Returns:
        Columns: method, name, steps (the length), how, difference (of the predictions), error (signed: what the
        attributions have too much; of several samples the worst), relative_error (its size over that of the
        difference, see `SMALLEST_DIFFERENCE`), rounding (what rounding of the two predictions alone can make of it),
        seconds, message. A method that fails has its message at that length,
        and is not tried on longer ones.

    Raises:
        InputError: no input has a time axis; there is no such method or length.
    """
    cut = cut_sequence(model, inputs, baselines, target, steps, how=how, **options)
    say = progress or (lambda fraction, message: None)
    tables = []
    for number, method in enumerate(methods):

        def part(fraction: float, message: str, number: int = number) -> None:
            say((number + fraction) / len(methods), message)

        tables.append(horizon_of(cut, method, part))
    return pd.concat(tables, ignore_index=True)


def cut_sequence(
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = None,
    steps: Sequence[int] | None = None,
    *,
    how: str = "auto",
    **options: Any,
) -> Cut:
    """Find out which lengths there are and whether the model takes them; see `horizon`."""
    if how not in ("auto", "cut", "spliced"):
        raise InputError(f"how is {how!r}.", hint='Use "auto", "cut" or "spliced".')
    ready = prepare(model, inputs, baselines, target, **options)
    time_axes = {i: ready.time_axis(i) for i, explained in enumerate(ready.runner.explained) if explained}
    timed = {i: axis for i, axis in time_axes.items() if axis is not None}
    if not timed:
        raise InputError("No explained input has a time axis, so there is no horizon.")
    if len(ready.targets) > 1:
        raise InputError(f"A horizon is of one output, and there are {len(ready.targets)}.", hint="Choose a target.")
    T = max(ready.plan.samples(i).shape[axis] for i, axis in timed.items())
    along = ready.arguments.given[next(iter(timed))].along
    last = min(T, int(np.max(along["length"][1]))) if "length" in along else T
    lengths = tuple(steps) if steps is not None else log_spaced(last)
    if not lengths or not all(1 <= length <= T for length in lengths):
        raise InputError(f"There are no lengths {list(lengths)}.", hint=f"There are 1 to {T}.")
    axes = dict(zip(ready.arguments.names, ready.axes, strict=True))  # what is cut has lost its names
    options = {**options, "sample_axis": None if ready.axes[0] is None else axes}
    cut = Cut(model, ready, target, options, lengths, "cut" if how == "auto" else how)
    if how == "auto" and not _takes(cut, min(lengths)):
        cut = Cut(model, ready, target, options, lengths, "spliced")
    return cut


def horizon_of(cut: Cut, method: str, progress: Progress | None = None) -> pd.DataFrame:
    """`horizon` of one method."""
    name, say = method_of(method).name, progress or (lambda fraction, message: None)
    rows = []
    for number, length in enumerate(cut.lengths):
        say(number / len(cut.lengths), f"{name}: {length:,} of {counted(cut.lengths[-1], 'timestep')}")
        row = {"method": method, "name": name, "steps": length, "how": cut.how}
        row |= {"difference": np.nan, "error": np.nan, "rounding": np.nan, "seconds": np.nan, "message": ""}
        rows.append(row)
        inputs, baselines = cut.at(length)
        started = time.perf_counter()
        try:
            found = explain_with(method, cut.model, inputs, baselines, cut.target, **cut.options)
        except ExplainError as error:
            row["message"] = in_one_line(error)
            break
        row["seconds"] = time.perf_counter() - started
        residual = found.residual.values[:, 0]
        worst = np.abs(residual).argmax()
        row["error"] = float(residual[worst])
        ends = found.prediction.values[worst, 0], found.baseline_prediction.values[worst, 0]
        row["difference"] = float(ends[0]) - float(ends[1])
        row["rounding"] = 4 * float(np.finfo(found.prediction.dtype).eps) * float(np.abs(ends).max())
    table = pd.DataFrame(rows)
    size = table["difference"].abs()
    smallest = np.maximum(size, SMALLEST_DIFFERENCE * size.max())
    relative = table["error"].abs() / smallest.where(smallest > 0)
    table.insert(table.columns.get_loc("error") + 1, "relative_error", relative)
    table["rounding"] /= smallest.where(smallest > 0)
    return table


def log_spaced(last: int) -> tuple[int, ...]:
    """Lengths from 1 to ``last``: all of few, else some, evenly on a log scale."""
    return tuple(np.unique(np.geomspace(1, last, min(MOST_LENGTHS, last)).round().astype(int)).tolist())


def _takes(cut: Cut, length: int) -> bool:
    """Whether the model takes sequences of a length; with other inputs it is not tried."""
    if len(cut.ready.arguments.leaves) > 1:
        return False
    inputs, baselines = cut.at(length)
    try:
        prepare(cut.model, inputs, baselines, cut.target, **cut.options)
    except ExplainError:
        return False
    return True


def _up_to(values: np.ndarray, axis: int, length: int) -> np.ndarray:
    return values[(slice(None),) * axis + (slice(length),)]


def _in_layout(values: np.ndarray, axis: int | None) -> np.ndarray:
    return values[0] if axis is None else np.moveaxis(values, 0, axis)
