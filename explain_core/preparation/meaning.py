"""What rows are: the timesteps of one sequence, or samples. The model decides where the person did not say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from explain_core.backends.protocol import Runner
from explain_core.errors import ExplainError, InputError
from explain_core.preparation.axes import Axis, OtherNumberError, OtherSamplesError, sample_axes
from explain_core.preparation.given import Given
from explain_core.preparation.inputs import Arguments
from explain_core.preparation.rows import Plan


@dataclass(frozen=True)
class Opened:
    """A model opened on arguments in one meaning of their axes; see `preparation.open_on`."""

    arguments: Arguments
    axes: tuple[int | None, ...]
    runner: Runner
    plan: Plan

    @property
    def time_axis(self) -> int | None:
        """Along which axis of the first array the model reads a sequence, as far as it says so."""
        told = self.runner.axis_names[0]
        return told.index("time") if "time" in told else None

    @property
    def reads_along_samples(self) -> bool:
        """Whether the model takes the samples for the steps of a sequence."""
        return self.time_axis is not None and self.time_axis == self.axes[0]


Open = Callable[[Arguments, tuple[int | None, ...]], Opened]


def open_as_meant(arguments: Arguments, sample_axis: Axis | Mapping[str, Axis], open_as: Open) -> Opened:
    """Open a model on arguments whose first may be one sequence without an axis of samples.

    A frame (time, feature), or an array whose axes have names of which none is that of the samples, is one sequence for
    a model that reads sequences, and as many samples as it has rows for a model of rows.

    Args:
        sample_axis: see `axes.sample_axes`.
        open_as: opens the model for these arguments with these sample axes.

    Raises:
        ExplainError: the model takes the arguments in no meaning; the error of the likeliest.
    """
    first = arguments.given[0]
    if sample_axis is None:
        given = [one.as_whole() for one in arguments.given]
        return open_as(arguments.with_given(given), sample_axes(arguments, None))
    if not isinstance(sample_axis, int) or isinstance(sample_axis, bool) or not first.may_be_one:
        return open_as(arguments, sample_axes(arguments, sample_axis))
    errors: list[ExplainError] = []

    def attempt(meant: Arguments, axis: Axis) -> Opened | None:
        try:
            return open_as(meant, sample_axes(meant, axis))
        except ExplainError as error:
            if isinstance(error, OtherSamplesError) and not first.is_by_time:
                raise
            errors.append(error)
            return None

    many = first.array.ndim > 2 and first.dims[0] not in ("time", "feature")
    if many and (rows := attempt(arguments, sample_axis)) is not None:
        return rows
    one = _one_sequence(arguments, sample_axis, attempt)
    if one is not None and one.time_axis is not None:
        _require_agreement(one)
        return one
    if first.array.ndim > 2:
        return one or open_as(arguments, sample_axes(arguments, sample_axis))
    whole = None if one is not None else attempt(arguments.with_given([g.as_whole() for g in arguments.given]), None)
    if whole is not None and whole.time_axis is not None:
        return whole
    rows = None if first.dims[0] == "feature" else attempt(_as_rows(arguments, sample_axis), sample_axis)
    if rows is not None and not rows.reads_along_samples:
        if first.is_by_time:
            rows.plan.notes.append(
                f"Each of the {len(first.array)} rows is explained as a sample of its own: the model reads no sequence."
            )
        return rows
    found = one or whole
    if found is None:
        raise next((error for error in errors if isinstance(error, OtherNumberError)), errors[0])
    return found


def _one_sequence(arguments: Arguments, axis: int, attempt: Callable[[Arguments, Any], Opened | None]) -> Opened | None:
    """One sample: with its axis where the person says, or where the model does not read it as time."""
    forms = [arguments]
    if arguments.given[0].array.ndim == 1 and arguments.given[0].dims != ("feature",):
        forms.append(arguments.with_given([arguments.given[0].as_column(), *arguments.given[1:]]))
    for form in forms:
        found: Opened | None = None
        for place in dict.fromkeys((axis, 1 if axis == 0 else 0)):
            found = attempt(_as_one(form, place), place)
            if found is None or not found.reads_along_samples:
                break
        if found is not None and not found.reads_along_samples:
            return found
    return None


def _as_one(arguments: Arguments, axis: int) -> Arguments:
    def one(given: Given) -> Given:
        return given.as_one(axis if given.array.ndim >= axis + 1 else 0) if given.may_be_one else given

    return arguments.with_given([one(given) for given in arguments.given])


def _as_rows(arguments: Arguments, axis: int) -> Arguments:
    first = arguments.given[0].array
    axis = axis % first.ndim if -first.ndim <= axis < first.ndim else 0
    rows = first.shape[axis]
    return arguments.with_given(
        [g.as_rows(axis) if g.may_be_one and g.array.shape[axis : axis + 1] == (rows,) else g for g in arguments.given]
    )


def _require_agreement(opened: Opened) -> None:
    """Refuse a sequence that the model reads along another axis than the one that is called time."""
    name, dims = opened.arguments.names[0], opened.arguments.given[0].dims
    called = None if opened.time_axis is None else dims[opened.time_axis]
    if "time" in dims and called != "time":
        at = dims.index("time")
        raise InputError(
            f"the model reads a sequence along axis {opened.time_axis}, and that is called {called!r}; time is axis "
            f"{at} of {dims}",
            where=name,
            hint="Give it the other way round, with an axis of samples: array.T, named.",
        )
