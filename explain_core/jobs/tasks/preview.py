"""A first prediction of an opened model, before anything is uploaded to explain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from explain_core.backends.protocol import Target
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.opening import ModelSource, open_kept
from explain_core.models import ExpectedInput
from explain_core.preparation import open_on

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


def preview(report: Report, source: ModelSource) -> Preview | None:
    """Run the model once on zeros, through the same engine that explains; None where the file does not tell the shape.

    Raises:
        ExplainError: the model cannot be run or explained; also where an operation has no rule.
    """
    model = open_kept(report, source)
    zeros = [array for spec in model.summary.inputs if (array := _zeros(spec)) is not None]
    if not zeros or len(zeros) < len(model.summary.inputs):
        return None
    report(0.5, "Trying the model on zeros")
    inputs = zeros[0] if len(zeros) == 1 else tuple(zeros)
    _, _, runner, plan = open_on(model, inputs, device="cpu")
    plan.set_baselines([leaf[:1] for leaf in zeros], runner.explained, background=False)
    first = runner.outputs[0]
    shape = tuple(map(int, first.shape))
    places = list(islice(np.ndindex(shape), _MOST_SHOWN))
    test, base = plan.inputs(plan.batches()[0])
    targets = [Target(0, place, str(place)) for place in places]
    found = runner.attribute(test, base, targets, gates=False, embeddings=False)
    values = tuple((place, float(found.prediction[k, 0])) for k, place in enumerate(places))
    return Preview(zeros[0].shape, first.name, shape, values, len(runner.outputs) - 1)


def _zeros(spec: ExpectedInput) -> np.ndarray | None:
    """One sample of zeros of the input's size; lengths are the whole length."""
    if spec.shape is None:
        return None
    sizes = [1 if axis == 0 else STEPS if size is None else size for axis, size in enumerate(spec.shape)]
    if len(sizes) == 1 and spec.takes_token_ids:
        return np.full(1, STEPS, spec.dtype)
    kind = spec.dtype if spec.dtype.startswith(("int", "uint", "bool", "float32", "float64")) else "float32"
    return np.zeros(sizes, kind)
