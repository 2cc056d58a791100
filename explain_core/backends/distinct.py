"""The distinct rows of both members of a batch, so that no sequence runs twice.

A baseline that all samples share is one row, and a sample that is its own baseline has the same states to the last bit,
because they are the same states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Distinct:
    """Which rows run, of the N of the test and then the N of the baseline, and which of those make a pair.

    Attributes:
        kept: (U,), row numbers below 2N in ascending order; None where all are distinct.
        test, base: (N,), the place among the kept rows of each pair's members.
    """

    kept: np.ndarray | None
    test: np.ndarray
    base: np.ndarray

    @property
    def members(self) -> tuple[slice | np.ndarray, slice | np.ndarray]:
        """The same two as slices, where the rows follow one another or the baseline is one row."""
        shared = slice(self.base[0], self.base[0] + 1) if (self.base == self.base[0]).all() else _slice(self.base)
        return _slice(self.test), shared


def distinct(*values: np.ndarray) -> Distinct:
    """Of arrays (2N, ...) that are given together.

    Two rows are one where all their numbers are equal to the last bit.
    """
    n = len(values[0]) // 2
    seen: dict[bytes, int] = {}
    rows = (b"".join(value[row].tobytes() for value in values) for row in range(2 * n))
    place = np.array([seen.setdefault(row, len(seen)) for row in rows])
    kept = None if len(seen) == 2 * n else np.unique(place, return_index=True)[1]
    return Distinct(kept, place[:n], place[n:])


def _slice(places: np.ndarray) -> slice | np.ndarray:
    first, count = int(places[0]), len(places)
    return slice(first, first + count) if np.array_equal(places, np.arange(first, first + count)) else places
