"""Which timesteps a model reads, told by its own answers to other numbers in the place of some of them."""

from __future__ import annotations

import numpy as np

from explain_core.backends.protocol import Runner, Target
from explain_core.preparation.rows import Plan

_MOST_NUMBERS = 512
"""Outputs of more numbers for each sample are not asked for."""


def reads_only(runner: Runner, plan: Plan, place: int, time: int, steps: np.ndarray) -> bool | None:
    """Whether the model reads just these steps of an input: its answer goes by the last of them, and by no other step.

    The other numbers are those of the same feature elsewhere in the input, so that ids stay ids of the table. What the
    model gives at a step that is not read says nothing, and is left out.

    Args:
        place: of the input.
        time: its axis of time, samples first.
        steps: (N, T).

    Returns:
        False where it reads others; None where it cannot be told: there are no others, nothing else could stand there,
        the model does not answer, its outputs have too many numbers, or its answer does not go by those steps either.
    """
    targets = [
        Target(i, tuple(map(int, index)), "")
        for i, output in enumerate(runner.outputs)
        for index in np.ndindex(*map(int, output.shape))
    ]
    partly = np.flatnonzero(~steps.all(1))
    if not plan.has_sample_axis or not partly.size or len(targets) > _MOST_NUMBERS:
        return None
    shortest = partly[np.argsort(steps[partly].sum(1), kind="stable")]
    samples = shortest[np.minimum(np.arange(plan.rows_at_once), len(shortest) - 1)]
    values = np.moveaxis(plan.samples(place), time, 1)
    kept, other = steps[samples], _others(values)
    last = kept & (np.cumsum(kept[:, ::-1], 1)[:, ::-1] == 1)
    could_differ = (other != values).reshape(*steps.shape, -1).any(-1)[samples]
    if not could_differ[~kept | last].all():
        return None

    def answers(changed: np.ndarray) -> np.ndarray | None:
        where = np.zeros(steps.shape, bool)
        where[samples] = changed
        mixed = np.where(where.reshape(*where.shape, *(1,) * (values.ndim - 2)), other, values)
        return runner.answer(plan.with_input(place, np.moveaxis(mixed, 1, time)).rows_of(samples), targets)

    own, without, moved = (answers(changed) for changed in (np.zeros_like(kept), ~kept, last))
    if own is None or without is None or moved is None:
        return None
    counts = np.array([_counts(runner, target, kept) for target in targets])
    if (counts & (own != without)).any():
        return False
    goes_by_last = (counts & (own != moved)).any(0)
    return True if goes_by_last[kept.any(1)].all() else None


def _counts(runner: Runner, target: Target, kept: np.ndarray) -> np.ndarray:
    """In which rows (R,) a number is not that of a step that is not read."""
    output = runner.outputs[target.output]
    is_of_step = len(output.shape) == 2 and not output.rows and output.shape[0] == kept.shape[1]
    return kept[:, target.index[0]] if is_of_step else np.ones(len(kept), bool)


def _others(values: np.ndarray) -> np.ndarray:
    """For each number (N, T, ...) another one of its feature: the largest, or where it is that the least."""
    most, least = (of.reduce(of.reduce(values, 0), 0) for of in (np.fmax, np.fmin))
    return np.where(values == most, least, most)
