"""A model opened for the inputs that it was given with: read, checked, and run once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from explain_core.backends import get_backend
from explain_core.backends.protocol import Runner
from explain_core.errors import CaptureError, InputError
from explain_core.preparation.axes import Axis, in_sample_order
from explain_core.preparation.inputs import Arguments, check_finite, not_a_dict, read_arguments
from explain_core.preparation.meaning import Opened, open_as_meant
from explain_core.preparation.row_numbers import open_plan
from explain_core.preparation.rows import Plan


def open_on(
    model: Any,
    inputs: Any,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str | None = None,
    sample_axis: Axis | Mapping[str, Axis] = 0,
    sample_by_sample: bool = False,
    missing: bool = False,
) -> tuple[Arguments, tuple[int | None, ...], Runner, Plan]:
    """Open a model for these inputs: the arguments, their sample axes, the runner, and which rows go together.

    Raises:
        ExplainError: something in the inputs does not fit.
    """
    if precision not in (None, "float32", "float64"):
        raise InputError(f"precision is {precision!r}", hint='Use None, "float32" or "float64".')
    opened_model, model = model, framework_model(model)
    package = get_backend(backend, model)
    arguments = read_arguments(model, inputs)
    for name, leaf in zip(arguments.names, arguments.leaves, strict=True):
        check_finite(leaf, name, "input", missing=missing and package.REPLACES_MISSING)

    def open_as(meant: Arguments, axes: tuple[int | None, ...]) -> Opened:
        meant = in_sample_order(meant, axes)
        if None in axes and axes[0] is not None and not package.TAKES_SHARED:
            raise InputError(
                "all samples share it, which models of this framework are not explained with",
                where=meant.names[axes.index(None)],
                hint="Give it once for each sample: np.repeat(array[None], samples, axis=0).",
            )

        def open_for(leaves: list[np.ndarray], axes: Sequence[int | None] = axes) -> Runner:
            return package.open_runner(
                model, meant.with_leaves(leaves), sample_axes=axes, device=device, precision=precision
            )

        plan = Plan(meant.leaves, axes)
        if sample_by_sample:
            plan.sample_by_sample()
        return Opened(meant, axes, open_plan(open_for, plan, _fixed_batch(opened_model, axes[0])), plan)

    try:
        opened = open_as_meant(arguments, sample_axis, open_as)
    except CaptureError as error:
        raise not_a_dict(model, inputs, error) or error from error.__cause__
    return opened.arguments, opened.axes, opened.runner, opened.plan


def refuse_missing(model: Any, inputs: Any) -> None:
    """Where values are missing (NaN) in what was given, say so.

    Raises:
        NonFiniteError
    """
    arguments = read_arguments(framework_model(model), inputs)
    for name, leaf in zip(arguments.names, arguments.leaves, strict=True):
        check_finite(leaf, name, "input")


def framework_model(model: Any) -> Any:
    """The framework's own model, of one that `load_model` has opened."""
    return getattr(model, "module", model) if hasattr(model, "framework") else model


def _fixed_batch(model: Any, axis: int | None) -> int | None:
    """The one number of samples that an opened model takes; None where it takes any, or its file does not say.

    Args:
        axis: that of the samples in its first input; None where it has none.
    """
    inputs = getattr(getattr(model, "summary", None), "inputs", ())
    shape = inputs[0].shape if inputs else None
    return shape[axis] if shape and axis is not None and axis < len(shape) else None
