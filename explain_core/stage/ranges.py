"""The runs of timesteps that moved most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RANGES = 3
_WORTH = 0.01  # of all |attribution|; less is not worth a sentence, unless it is the strongest
_EDGE = 0.2  # of the largest cell of a feature; weaker steps make a run no longer, and several of them end it
_TOGETHER = 1.5  # times what one feature moved is a run of all features told instead
_MATTERS, _NEARLY_ALL = 0.9, 0.8  # of |attribution|, and of the timesteps


@dataclass(frozen=True)
class Range:
    """A run of timesteps ``first`` to ``last`` of one feature, or with None of all of them; ``amount`` is their sum."""

    first: int
    last: int
    feature: int | None
    amount: float


def strongest_ranges(attribution: np.ndarray) -> list[Range]:
    """Up to three runs, the strongest first, with no cell in two of them.

    A run is where a feature pushes one way: the run with the largest sum of what its steps have above a fifth of the
    feature's largest cell. All features together are a run where they move half as much again as any one alone.

    Args:
        attribution: (T, F).
    """
    free = np.ones(attribution.shape, bool)
    size, found = float(np.abs(attribution).sum()), list[Range]()
    while size and len(found) < _RANGES:
        best = _best(attribution, free)
        if attribution.shape[1] > 1:
            totals = attribution.sum(axis=1, keepdims=True)
            together = _best(totals, free.min(axis=1, keepdims=True))
            if together and (not best or abs(together.amount) >= _TOGETHER * abs(best.amount)):
                best = Range(together.first, together.last, None, together.amount)
        if best is None or (found and abs(best.amount) < _WORTH * size):
            break
        found.append(best)
        free[best.first : best.last + 1, slice(None) if best.feature is None else best.feature] = False
    return sorted(found, key=lambda each: -abs(each.amount))


def _best(values: np.ndarray, free: np.ndarray) -> Range | None:
    """The strongest run of one column of ``values`` (T, F) among the free cells."""
    found = []
    edge = _EDGE * np.abs(values).max(axis=0)
    never = -2.0 * np.abs(values).sum(axis=0) - 1.0
    for sign in (1.0, -1.0):
        # The run with the largest sum ends where the running sum is furthest above its lowest point before.
        sums = np.cumsum(np.where(free, sign * values - edge, never), axis=0)
        sums = np.concatenate([np.zeros((1, values.shape[1])), sums])
        rise = sums - np.minimum.accumulate(sums, axis=0)
        for feature in np.flatnonzero(rise.max(axis=0) > 0).tolist():
            end = int(rise[:, feature].argmax())
            start = end - int(sums[end::-1, feature].argmin())
            found.append(Range(start, end - 1, feature, float(values[start:end, feature].sum())))
    return max(found, key=lambda each: abs(each.amount), default=None)


def where_it_matters(attribution: np.ndarray) -> tuple[int, int] | None:
    """The shortest run of timesteps, (first, last), with 90 % of ``sum|attribution|``; the earliest of equals.

    None where that is four fifths of the sequence or more, or nothing moved.

    Args:
        attribution: (T, F).
    """
    sums = np.concatenate([[0.0], np.cumsum(np.abs(attribution).sum(axis=1))])
    T = len(attribution)
    if not sums[-1]:
        return None
    need = sums[:-1] + _MATTERS * sums[-1]
    ends = np.searchsorted(sums, need * (1 - 1e-12))  # sums up to here, for every start
    starts = np.flatnonzero(ends <= T)
    first = int(starts[(ends[starts] - starts).argmin()])
    last = int(ends[first]) - 1
    return (first, last) if last - first + 1 < _NEARLY_ALL * T else None
