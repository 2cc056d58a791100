"""Single elements of the sorted: exact Shapley values, as the maximum has them, on arrays of NumPy.

The players are the elements of an axis, each at its test or its baseline value, and the game is their ``k``-th largest,
``∫ [at least k elements > t] dt``. Each threshold is a simple game in which all rising elements have one share and all
falling ones another (`counting.deciding_share`). For the first it is the rule of `maximum` (Lundberg & Lee 2017,
section 4.2); an element that is above or below ``t`` in both runs has no part in it. Sorting all values makes the
integral a sum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from explain_core.rules.counting import deciding_share


def order_rule(test: np.ndarray, base: np.ndarray, ranks: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The multiplier of each element, given those of some of the sorted ones.

    Args:
        test, base: (..., n) of float64.
        ranks: (k,): which of the elements, 1 for the largest, n for the smallest.

    Returns:
        from (..., k) to (..., n).
    """
    count = test.shape[-1]
    values = np.concatenate([test, base], -1)
    order = np.argsort(-values, axis=-1, kind="stable")
    values, place = np.take_along_axis(values, order, -1), np.argsort(order, axis=-1)
    at_test, at_base = place[..., :count], place[..., count:]
    upper, lower = values[..., :-1], values[..., 1:]
    with np.errstate(invalid="ignore"):  # the infinities of a mask have no width: nobody is in between
        width = np.where(upper == lower, 0.0, upper - lower)[..., None]
        move = np.where(test == base, 0.0, np.abs(test - base))
    # How many are above each gap between neighbours: in the test, in the baseline, and in both.
    above_test, above_base = (np.cumsum(part, -1)[..., :-1] for part in (order < count, order >= count))
    both = np.zeros_like(place)
    np.put_along_axis(both, np.maximum(at_test, at_base), 1, -1)
    both = np.cumsum(both, -1)[..., :-1]
    rising, falling, needed = np.broadcast_arrays(
        (above_test - both)[..., None], (above_base - both)[..., None], ranks - both[..., None]
    )
    shares = deciding_share(rising, falling, needed), deciding_share(falling, rising, needed)
    with np.errstate(invalid="ignore"):
        up, down = (np.where(share > 0, share * width, 0.0) for share in shares)
    start, stop = np.minimum(at_test, at_base), np.maximum(at_test, at_base)

    def back(m: np.ndarray) -> np.ndarray:
        sums = [_range_sums((part @ m[..., None])[..., 0], start, stop) for part in (up, down)]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(move == 0, 0.0, np.where(at_test < at_base, *sums) / move)

    return back


def _range_sums(values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """``Σ values[start:stop]`` over the last axis, from sums of 1, 2, 4, ... neighbours; nothing is subtracted."""
    total, at, length, step = np.zeros(start.shape), start, stop - start, 1
    while values.shape[-1] and step <= length.max(initial=0):
        taken = (length & step) > 0
        found = np.take_along_axis(values, np.minimum(at, values.shape[-1] - 1), -1)
        total, at = total + np.where(taken, found, 0.0), at + np.where(taken, step, 0)
        later = np.zeros_like(values)
        later[..., : max(values.shape[-1] - step, 0)] = values[..., step:]
        values, step = values + later, 2 * step
    return total
