"""Whether rows that were explained in batches have the predictions of the whole input as it was passed.

Many samples are run a few hundred at a time, and over a background each of them several times. A model that goes by
what else is in its batch (the longest sequence, a decision over all rows, a row's number) answers otherwise then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from explain_core.backends.answers import AGREEMENT, ROUNDINGS, attribution_size, moved_by_rounding
from explain_core.backends.protocol import PairAttribution, Runner, Target
from explain_core.errors import CompletenessError, NoRoomError
from explain_core.preparation.rows import STEPS_AT_ONCE, Plan

ORDERS = 30
"""How many times `AGREEMENT` two answers may be apart: with another number of rows, sums are added in another order."""

STEPS_IN_ONE_CALL = 8 * STEPS_AT_ONCE
"""Rows times timesteps of the model's own call, whose memory is not that of an explanation."""


InOtherDigits = Callable[[], PairAttribution | None]
"""The same batches followed in the other precision; None where the model cannot be run in it."""


def require_same_as_passed(
    runner: Runner, plan: Plan, targets: Sequence[Target], result: PairAttribution, in_other_digits: InOtherDigits
) -> None:
    """Compare with the model's own call on all samples at once; beyond its memory, among other samples.

    Args:
        result: of all N samples, in `plan`'s batches.
        in_other_digits: asked only where answers are further apart than usual, for how far rounding moves them: a
            softmax of huge logits turns on the order in which a sum was added.

    Raises:
        CompletenessError: names the sample and both answers.
    """
    if plan.is_as_passed or not plan.has_sample_axis:
        return None
    at_once = max(1, STEPS_IN_ONE_CALL // plan.steps)
    while True:
        try:
            return _require_same(runner, plan, targets, result, in_other_digits, at_once)
        except NoRoomError:
            if at_once == 1:
                raise
        at_once = min(at_once, plan.count) // 2


def _require_same(
    runner: Runner,
    plan: Plan,
    targets: Sequence[Target],
    result: PairAttribution,
    in_other_digits: InOtherDigits,
    at_once: int,
) -> None:
    """`require_same_as_passed` with so many samples in a call."""
    order = np.arange(plan.count) if plan.count <= at_once else np.random.default_rng(0).permutation(plan.count)
    size, usual = attribution_size(result), ORDERS * AGREEMENT[runner.coarsest]
    noise: np.ndarray | None = None
    for start in range(0, plan.count, at_once):
        samples = order[start : start + at_once]
        found = runner.answer(plan.rows_of(samples), [target.of_rows(samples) for target in targets])
        if found is None:  # it takes another number of rows only
            return
        for k, own in enumerate(found.astype(float)):
            followed = result.prediction[k, samples].astype(float)
            allowed = usual * (np.maximum(np.abs(own), np.abs(followed)) + size[k, samples])
            apart = np.abs(own - followed)
            if (apart > allowed).any():
                noise = _noise(runner, result, in_other_digits()) if noise is None else noise
                allowed = allowed + ROUNDINGS * noise[k].max(initial=0.0)
            if (apart > allowed).any():
                row = int(np.argmax(np.where(apart > allowed, apart, 0)))
                raise _differs(plan, int(samples[row]), len(samples), own[row], followed[row])


def _noise(runner: Runner, result: PairAttribution, other: PairAttribution | None) -> np.ndarray:
    """How far rounding moved each prediction, (K, N); zeros where nobody knows."""
    if other is None or runner.coarsest not in ("float32", "float64"):
        return np.zeros(result.prediction.shape)
    return moved_by_rounding(result.prediction, other.prediction, runner.coarsest)


def _differs(plan: Plan, sample: int, among: int, own: float, followed: float) -> CompletenessError:
    return CompletenessError(
        f"what the model gives for one sample depends on the others in its batch: for sample {sample} it is {own:.6g} "
        f"among {among} samples, and {followed:.6g} among the {plan.rows_at_once} rows that are explained at once",
        hint=f"Explain as many samples at a time as the model is to see together, at most {plan.most_rows}, and "
        "without a background; or take out of the model what goes by the whole batch: its longest sequence, a decision "
        "over all rows, the number of a row.",
    )
