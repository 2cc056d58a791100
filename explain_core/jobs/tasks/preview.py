"""A first prediction of an opened model, before anything is uploaded to explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from explain_core.backends.protocol import Target
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.opening import ModelSource, open_kept
from explain_core.models import ExpectedInput
from explain_core.preparation import open_on
from explain_core.sequences.roles import roles_of, sample_axis

STEPS = 10
"""Timesteps of the zeros that are given to a model that takes any number of them."""

_MOST_SHOWN = 8


@dataclass(frozen=True)
class Preview:
    """What the model answered to zeros.

    Attributes:
        given: the input's shape, (sample, time, feature) or what the model takes.
        name: of the first tensor that it returned, and ``shape`` its shape without the sample axis.
        values: the first numbers in it, by index.
        others: how many more tensors it returned.
    """

    given: tuple[int, ...]
    name: str
    shape: tuple[int, ...]
    values: tuple[tuple[tuple[int, ...], float], ...]
    others: int


def preview(report: Report, source: ModelSource, time_first: Sequence[str] = ()) -> Preview | None:
    """Run the model once on zeros, through the same engine that explains; None where the file does not tell the shape.

    Args:
        time_first: names of the inputs that the model takes as (time, sample, ...).

    Raises:
        ExplainError: the model cannot be run or explained; also where an operation has no rule.
    """
    model = open_kept(report, source)
    inputs = model.summary.inputs
    roles = roles_of(inputs)
    axes = [sample_axis(spec, role, time_first) for spec, role in zip(inputs, roles, strict=True)]
    zeros = [array for spec, axis in zip(inputs, axes, strict=True) if (array := _zeros(spec, axis)) is not None]
    if not zeros or len(zeros) < len(model.summary.inputs):
        return None
    report(0.5, "Trying the model on zeros")
    given = zeros[0] if len(zeros) == 1 else {spec.name: array for spec, array in zip(inputs, zeros, strict=True)}
    where = axes[0] if len(zeros) == 1 else {spec.name: axis for spec, axis in zip(inputs, axes, strict=True)}
    _, _, runner, plan = open_on(model, given, device="cpu", sample_axis=where)
    plan.set_baselines([plan.samples(i) for i in range(len(zeros))], runner.explained, background=False)
    first = runner.outputs[0]
    shape = tuple(map(int, first.shape))
    places = list(islice(np.ndindex(shape), _MOST_SHOWN))
    test, base = plan.inputs(plan.batches()[0])
    targets = [Target(0, place, str(place)) for place in places]
    found = runner.attribute(test, base, targets, gates=False, embeddings=False)
    values = tuple((place, float(found.prediction[k, 0])) for k, place in enumerate(places))
    return Preview(zeros[0].shape, first.name, shape, values, len(runner.outputs) - 1)


def _zeros(spec: ExpectedInput, samples: int) -> np.ndarray | None:
    """One sample of zeros of the input's size; lengths are the whole length. ``samples`` is their axis."""
    if spec.shape is None:
        return None
    sizes = [1 if axis == samples else STEPS if size is None else size for axis, size in enumerate(spec.shape)]
    if len(sizes) == 1 and spec.takes_token_ids:
        return np.full(1, STEPS, spec.dtype)
    kind = spec.dtype if spec.dtype.startswith(("int", "uint", "bool", "float32", "float64")) else "float32"
    return np.zeros(sizes, kind)
