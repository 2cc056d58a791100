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

    Two rows are taken for one where all their numbers are equal to the last bit.
    """
    n = len(values[0]) // 2
    rows = [np.ascontiguousarray(value).reshape(2 * n, -1) for value in values]
    codes = sum(_codes(value, seed) for seed, value in enumerate(rows))
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kept, place = first[order], rank[which]
    same = len(kept) < 2 * n and all(np.array_equal(value[kept[place]], value, equal_nan=True) for value in rows)
    if not same:
        place = np.arange(2 * n)
    return Distinct(kept if same else None, place[:n], place[n:])


def _codes(rows: np.ndarray, seed: int) -> np.ndarray:
    """A whole number for each row (R, K), equal for equal rows, and seldom else."""
    bits = rows.view(f"i{rows.itemsize}") if rows.dtype.kind == "f" else rows.astype(np.int64)
    odd = 2 * np.random.default_rng(seed).integers(2**29, size=rows.shape[1]).astype(bits.dtype) + 1
    return (bits * odd).sum(1, dtype=np.int64)


def _slice(places: np.ndarray) -> slice | np.ndarray:
    first, count = int(places[0]), len(places)
    return slice(first, first + count) if np.array_equal(places, np.arange(first, first + count)) else places
