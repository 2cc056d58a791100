"""Deletion and insertion: does the prediction move as the attributions say it should?

Timesteps are replaced by the baseline's one after the other, the one that moved the prediction most in the direction
in which it went first (deletion), or put into the baseline in that order (insertion): Samek et al. 2017, Petsiuk et
al. 2018. A good order makes the deletion curve fall early and the insertion curve rise early.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from explain_core.explanation import Explanation, by_name
from explain_core.methods.run import plain_model
from explain_core.methods.sample import PlainModel, Sample, in_batches, samples_of
from explain_core.preparation import Prepared, prepare

POINTS = 40
"""Points of a curve, where there are so many timesteps."""


def faithfulness_curves(
    model: Any,
    inputs: Any,
    baselines: Any,
    target: Any,
    explanation: Explanation,
    *,
    points: int = POINTS,
    **options: Any,
) -> pd.DataFrame:
    """The two curves of an explanation.

    Args:
        model, inputs, baselines, target, options: what `explanation` was made with, see `explain_core.explain`.
        points: steps of each curve, at most the number of timesteps.

    Returns:
        Columns: curve ("deletion" or "insertion"), sample, output, replaced (timesteps that are the baseline's, or
        that were put in), part (of all of them, 0 to 1), prediction (mean over the baselines), and position: where the
        prediction is on its way from the baseline's (0) to the input's (1). An input without a time axis counts as one
        step; where no input has one, every value is a step.
    """
    return curves_of(prepare(model, inputs, baselines, target, **options), explanation, points)


def curves_of(ready: Prepared, explanation: Explanation, points: int = POINTS) -> pd.DataFrame:
    """`faithfulness_curves` of a model that is prepared."""
    model = plain_model(ready)
    groups = step_numbers(ready)
    attributions = [_with_output(part) for part in by_name(explanation.attributions).values()]
    tables = []
    for n, sample in enumerate(samples_of(ready, seed=0)):
        model.use(sample)
        # The model's own, for a method may know no baseline.
        start = in_batches(model.predict, sample.base, sample.rows_at_once).mean(0, dtype=np.float64)
        ends = explanation.prediction.values[n] - start
        for k, output in enumerate(explanation.outputs):
            credit = np.zeros(max(int(group.max()) for group in groups) + 1)
            for group, part in zip(groups, attributions, strict=True):
                np.add.at(credit, group.ravel(), part[k, n].astype(np.float64).ravel())
            rank = np.argsort(np.argsort(-credit * np.sign(ends[k]), kind="stable"))
            counts = np.unique(np.linspace(0, len(rank), min(points, len(rank)) + 1).round().astype(int))
            for curve in ("deletion", "insertion"):
                moved = _predictions(model, sample, [rank[group] for group in groups], counts, curve)[:, k]
                tables.append(
                    pd.DataFrame(
                        {
                            "curve": curve,
                            "sample": explanation.samples[n],
                            "output": output,
                            "replaced": counts,
                            "part": counts / len(rank),
                            "prediction": moved,
                            "position": (moved - start[k]) / (ends[k] if ends[k] else np.nan),
                        }
                    )
                )
    return pd.concat(tables, ignore_index=True)


def areas(curves: pd.DataFrame) -> pd.DataFrame:
    """Areas under the curves by sample and output, columns ``deletion`` (low is good) and ``insertion`` (high is)."""
    found = curves.groupby(["sample", "output", "curve"], sort=False)[["part", "position"]].apply(
        lambda one: float(np.trapezoid(one["position"], one["part"]))
    )
    return found.unstack("curve")


def step_numbers(ready: Prepared) -> list[np.ndarray]:
    """For every value of each explained input (without the sample axis) the number of the step it belongs to."""
    explained = [i for i, is_explained in enumerate(ready.runner.explained) if is_explained]
    shapes = [ready.plan.samples(i).shape[1:] for i in explained]
    axes = [ready.time_axis(i) for i in explained]
    if all(axis is None for axis in axes):
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
        return [first + np.arange(int(np.prod(s))).reshape(s) for first, s in zip(ends[:-1], shapes, strict=True)]
    free = max(shape[axis - 1] for shape, axis in zip(shapes, axes, strict=True) if axis is not None)
    numbers = []
    for shape, axis in zip(shapes, axes, strict=True):
        own = np.array(free) if axis is None else np.arange(shape[axis - 1]).reshape(-1, *(1,) * (len(shape) - axis))
        free += axis is None
        numbers.append(np.broadcast_to(own, shape))
    return numbers


def _predictions(
    model: PlainModel, sample: Sample, ranks: list[np.ndarray], counts: np.ndarray, curve: str
) -> np.ndarray:
    """(count, K): predictions with the first so many steps replaced or put in, averaged over the baselines."""
    baselines = len(sample.base[0])
    at_once = max(1, sample.rows_at_once // baselines)
    found = []
    for first in range(0, len(counts), at_once):
        some = counts[first : first + at_once]
        rows = []
        for rank, test, base in zip(ranks, sample.test, sample.base, strict=True):
            changed = rank < some.reshape(-1, *(1,) * rank.ndim)
            from_test = changed if curve == "insertion" else ~changed
            mixed = np.where(from_test[:, None], test, base[None]).astype(test.dtype)
            rows.append(mixed.reshape(-1, *test.shape[1:]))
        predicted = in_batches(model.predict, rows, sample.rows_at_once)
        found.append(predicted.reshape(len(some), baselines, -1).mean(1, dtype=np.float64))
    return np.concatenate(found)


def _with_output(part: Any) -> np.ndarray:
    return part.values if "output" in part.dims else part.values[None]
