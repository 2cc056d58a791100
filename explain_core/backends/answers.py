"""Whether a prediction that was followed step by step is the model's own, in its batch and without it.

Both frameworks' engines compare here, in every batch. What is random, kept between calls or computed behind the
capture's back shows as another answer; what mixes the rows of a batch shows as another answer of one row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from explain_core.backends.protocol import PairAttribution, Target
from explain_core.errors import CaptureError, CompletenessError

AGREEMENT = {"float64": 1e-12, "float32": 1e-5, "float16": 5e-2, "bfloat16": 5e-2}
"""How far two ways to compute one prediction may be apart without another look, by the coarsest type on the way,
relative to the prediction and to all attribution together."""

ROUNDINGS = 30
"""Two ways to compute one number differ by a few times what rounding moves either. Measured: up to 4 of the largest in
a batch, over recurrent nets, convolutions and transformers."""

WORTH_SAYING = 1e-3
"""Rounding that moves a prediction by more, of itself and all attribution, is said."""


def attribution_size(result: PairAttribution) -> np.ndarray:
    """All attribution of each explained output and row, ``Σ|φ|``, (K, N)."""
    parts = (part for part in result.attributions if part is not None)
    return sum(np.abs(part).sum(tuple(range(2, part.ndim)), dtype=float) for part in parts)


Outputs = Sequence[Any]
"""The tensors that a model returned."""

Noise = Callable[[], np.ndarray]
"""How far rounding moved each prediction of a batch, (N,): the difference that more digits make."""


def rows_apart(
    own: np.ndarray, other: np.ndarray, size: np.ndarray, dtype: str, noise: Noise | None = None
) -> np.ndarray:
    """Which rows have another answer, beyond rounding: positions in (N,).

    Args:
        own, other: two answers for each row, (N,).
        size: all attribution of each row, ``Σ|φ|``, (N,).
        dtype: the coarsest type that either was computed in.
        noise: asked only where the answers are further apart than usual; None where nobody knows.
    """
    own, other = np.asarray(own, float), np.asarray(other, float)
    usual = AGREEMENT[dtype] * (np.maximum(np.abs(own), np.abs(other)) + size)
    if dtype in ("float16", "bfloat16"):
        usual = usual + AGREEMENT[dtype] * np.abs(own).max(initial=0.0)
    apart = ~(np.abs(own - other) <= usual)
    if apart.any() and noise is not None:
        apart &= ~(np.abs(own - other) <= usual + ROUNDINGS * np.max(noise(), initial=0.0))
    return np.flatnonzero(apart)


def require_own_answer(
    own: np.ndarray, followed: np.ndarray, size: np.ndarray, dtype: str, member: str, noise: Noise | None = None
) -> list[str]:
    """Refuse predictions that are not what the model itself says; what to say where rounding sets them apart.

    Args:
        own: the model's answers (N,), of which ``followed`` was explained; for the rest see `rows_apart`.
        member: "the input" or "the baseline".

    Raises:
        CaptureError: names the row and both answers.
    """
    rows = rows_apart(own, followed, size, dtype, noise)
    if rows.size:
        worst = int(rows[np.abs(np.asarray(own, float) - followed)[rows].argmax()])
        raise CaptureError(
            f"for {member} of row {worst} of its batch the model gives {own[worst]:.6g}, and followed step by step "
            f"{followed[worst]:.6g}",
            hint="Something in its forward is random, kept between calls, or computed outside the framework; only a "
            "model that answers the same each time can be explained.",
        )
    gap = np.abs(np.asarray(own, float) - followed)
    if not (gap > WORTH_SAYING * (np.abs(own) + size)).any() or dtype not in ("float32", "float64"):
        return []
    worst = int(gap.argmax())
    return [
        f"Rounding in {dtype} moves the model's own prediction for {member}: it gives {own[worst]:.6g} where "
        f"{followed[worst]:.6g} is explained."
    ]


FEW_ROWS = 16
"""Among so many, every two rows are set apart; among more, two at random with a chance of three in four."""


def _patterns(rows: int) -> list[np.ndarray]:
    """Which rows change, (N,), for each batch to try: by a binary digit of their number, so that any two differ."""
    digits = max(1, (rows - 1).bit_length())
    number = np.random.default_rng(rows).permutation(rows)
    return [(number >> digit) % 2 == 1 for digit in range(digits if rows <= FEW_ROWS else 2)]


def other_mates(
    test: Sequence[np.ndarray], baseline: Sequence[np.ndarray], axes: Sequence[int | None]
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Batches with about half of their rows from the baseline: rows that stay where they were, among others.

    A model that treats rows one by one, run on the same number of rows, gives each the same answer to the last bit.

    Two rows that read each other alike leave every sum right; what shows them is a batch in which one of the two stays.

    Yields:
        The arrays, and which rows are the baseline's, (N,).
    """
    for of_baseline in _patterns(test[0].shape[axes[0]]):
        mixed = []
        for a, b, axis in zip(test, baseline, axes, strict=True):
            if axis is None:
                mixed.append(a)
                continue
            chosen = of_baseline.reshape([-1 if i == axis else 1 for i in range(a.ndim)])
            mixed.append(np.where(chosen, b, a).astype(a.dtype))
        yield mixed, of_baseline


def require_same_among_others(
    outputs: tuple[Outputs, Outputs, Outputs],
    of_baseline: np.ndarray,
    number: Callable[[Outputs, Target], np.ndarray],
    follow: Callable[[], tuple[Outputs, Outputs, Outputs] | None],
    targets: Sequence[Target],
    size: np.ndarray,
) -> None:
    """With other rows beside it, each row's answer is the same to the last bit; else more digits decide.

    Args:
        outputs: what the model returned for a batch of `other_mates`, for the input and for the baseline.
        of_baseline: which rows of the first are the baseline's, (N,).
        number: the explained number of each row, (N,), in what it returned.
        follow: the same three in double precision; None where they are not to be had.
        size: all attribution of each output and row, (K, N).

    Raises:
        CompletenessError: a row has another answer.
    """
    mixed, of_test, _ = outputs
    if [found.shape for found in mixed] != [found.shape for found in of_test]:
        return

    def answers(target: Target, three: tuple[Outputs, Outputs, Outputs]) -> tuple[np.ndarray, np.ndarray]:
        among, test, base = (number(found, target) for found in three)
        return np.where(of_baseline, base, test), among

    if all(np.array_equal(*answers(target, outputs)) for target in targets):
        return
    followed = follow()
    for k, target in enumerate(targets if followed is not None else ()):
        require_own_rows(*answers(target, followed), size[k], "among others")


def require_own_rows(together: np.ndarray, apart: np.ndarray, size: np.ndarray, which: str) -> None:
    """Refuse a model whose answer to one row depends on the other rows.

    Args:
        together, apart: two answers to each row, (N,), followed in double precision or to be as good as that.
        size: all attribution of each row, (N,).
        which: how the second came about, such as "alone".

    Raises:
        CompletenessError: names the row and both answers.
    """
    rows = rows_apart(together, apart, size, "float64")
    if rows.size:
        row = int(rows[np.abs(np.asarray(together, float) - apart)[rows].argmax()])
        raise mixes(row, len(together), together[row], apart[row], which)


def mixes(row: int, rows: int, together: float, apart: float, which: str) -> CompletenessError:
    """The error for a model that mixes samples."""
    digits = ".6g" if f"{together:.6g}" != f"{apart:.6g}" else ".16g"
    return CompletenessError(
        f"what the model gives for one sample depends on the others in its batch: for row {row} of {rows} it is "
        f"{together:{digits}} among them and {apart:{digits}} {which}; so its attributions are not its own",
        hint="If it is meant to mix samples, explain one sample at a time. If not: a recurrent layer or attention "
        "that reads its first axis as time (batch_first=False) needs inputs of that layout and sample_axis=1; "
        "statistics, softmax and sums over the axis of the samples mix them too.",
    )
