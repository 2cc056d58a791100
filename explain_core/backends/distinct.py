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
    """Of arrays (2N, ...) that are given together."""
    kept, place = distinct_rows(*values)
    return Distinct(kept, *np.split(place, 2))


def distinct_rows(*values: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Of arrays (R, ...) that are given together, one of each kind of row, and the kind of each row.

    Two rows are one where all their numbers are equal to the last bit.

    Returns:
        Row numbers (U,) in ascending order, None where all rows differ; and the place (R,) of each row among those.
    """
    count = len(values[0])
    seen: dict[tuple[bytes, ...], int] = {}
    place = np.array([seen.setdefault(row, len(seen)) for row in zip(*map(_bytes_of_rows, values), strict=True)])
    return None if len(seen) == count else np.unique(place, return_index=True)[1], place


def _bytes_of_rows(array: np.ndarray) -> list[bytes]:
    whole, size = array.tobytes(), array[:1].nbytes
    return [whole[first : first + size] for first in range(0, size * len(array), size)] if size else [b""] * len(array)


def _slice(places: np.ndarray) -> slice | np.ndarray:
    first, count = int(places[0]), len(places)
    return slice(first, first + count) if np.array_equal(places, np.arange(first, first + count)) else places
