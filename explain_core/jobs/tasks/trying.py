"""Trying a model out before anything is explained: how it lays out its inputs, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from explain_core.backends.protocol import ModelOutput
from explain_core.errors import ExplainError
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.opening import ModelSource, open_kept
from explain_core.models import ExpectedInput
from explain_core.preparation import open_on
from explain_core.sequences.roles import Role, roles_of, sample_axis

_SAMPLES, _STEPS, _UNKNOWN = 2, 5, 3  # sizes of made-up inputs where the model leaves them open; all different


@dataclass(frozen=True)
class Trial:
    """What a model did with made-up numbers.

    Attributes:
        time_first: names of the inputs that it takes as (time, sample, ...).
        tried: whether it could be run.
        tells_time: whether it said along which axis it reads a sequence.
        problem: why it could not be explained, in a sentence, and what to do; empty where it could. Made-up numbers may
            be to blame, so it is no verdict.
    """

    time_first: tuple[str, ...] = ()
    tells_time: bool = False
    tried: bool = False
    problem: str = ""


def try_out(report: Report, source: ModelSource, inputs: Any) -> tuple[ModelOutput, ...]:
    """Run the model once and say what it returns, so that an output can be chosen before explaining."""
    model = open_kept(report, source)
    report(0.3, "Trying the model on the sequence")
    return open_on(model, inputs, device="cpu")[2].outputs


def try_made_up(report: Report, source: ModelSource) -> Trial:
    """Run the model on made-up numbers in both layouts; what it says of their axes tells which it takes."""
    model = open_kept(report, source)
    inputs = model.summary.inputs
    report(0.5, "Trying the model on made-up numbers")
    if not inputs or any(spec.shape is None for spec in inputs):
        return Trial()
    problem = ""
    for time_first in (False, True):
        try:
            told = _told(model, inputs, time_first)
        except ExplainError as error:
            problem = problem or f"{error.what} {error.hint}"
            continue
        along = [axes.index("time") if "time" in axes else None for axes in told]
        if time_first or all(axis != 0 for axis in along):
            names = tuple(spec.name for spec, axis in zip(inputs, along, strict=True) if axis == 0)
            return Trial(names, any(axis is not None for axis in along), tried=True)
    return Trial(problem=problem)


def _told(model: Any, inputs: Sequence[ExpectedInput], time_first: bool) -> Sequence[tuple[str | None, ...]]:
    """What the model says that each axis of each input is, run on made-up numbers in one layout."""
    roles = roles_of(inputs)
    first = [spec.name for spec in inputs] if time_first else []
    axes = {spec.name: sample_axis(spec, role, first) for spec, role in zip(inputs, roles, strict=True)}
    arrays = {spec.name: _made_up(spec, role, axes[spec.name]) for spec, role in zip(inputs, roles, strict=True)}
    given = next(iter(arrays.values())) if len(arrays) == 1 else arrays
    runner = open_on(model, given, device="cpu", sample_axis=next(iter(axes.values())) if len(axes) == 1 else axes)[2]
    return runner.axis_names


def _made_up(spec: ExpectedInput, role: Role, axis: int) -> np.ndarray:
    """Small numbers of the size that the input takes: ids of 0, whole lengths, masks of all; samples along ``axis``."""
    assert spec.shape is not None
    sizes = [
        size or (_SAMPLES if k == axis else _STEPS if k == 1 - axis else _UNKNOWN) for k, size in enumerate(spec.shape)
    ]
    if role is Role.LENGTH:
        return np.full(sizes, _STEPS, spec.dtype)
    if role is Role.MASK:
        return np.ones(sizes, spec.dtype)
    if spec.takes_token_ids:
        return np.zeros(sizes, spec.dtype)
    kind = spec.dtype if spec.dtype in ("float32", "float64") else "float32"
    return np.random.default_rng(0).normal(size=sizes).astype(kind)
