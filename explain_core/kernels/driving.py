"""What the kernels of all cells share in Python: who works on which pairs, and the steps of a library's products."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np

from explain_core.kernels.products import library_is_faster

Product = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""``product(a, b, out)`` writes the matrix product of the first two into the third."""

_WORTH_A_THREAD = 2**17  # numbers that pass through activations, about half a millisecond


def numpy_product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    np.matmul(a, b, out=out)


@dataclass(frozen=True)
class Share:
    """Pairs that one thread works on: ``count`` from ``first`` on, with the rows that they are made of.

    ``test`` and ``base`` say where in ``rows`` each pair's members are.
    """

    first: int
    count: int
    rows: np.ndarray
    test: np.ndarray
    base: np.ndarray


def shares(test: np.ndarray, base: np.ndarray, row_count: int, numbers: int, threads: int) -> list[Share]:
    """Pairs divided among threads; ``numbers`` of all pairs say whether that is worth it.

    A row that several threads need is run by each of them, with the same result.
    """
    test, base = (np.ascontiguousarray(rows, np.int64) for rows in (test, base))
    pairs = len(test)
    workers = max(1, min(threads, pairs, numbers // _WORTH_A_THREAD))
    if workers == 1:
        return [Share(0, pairs, np.arange(row_count), test, base)]
    edges = np.linspace(0, pairs, workers + 1).astype(int)
    found = []
    for first, last in pairwise(edges):
        rows, places = np.unique(np.concatenate([test[first:last], base[first:last]]), return_inverse=True)
        found.append(Share(int(first), int(last - first), rows, *np.split(places.astype(np.int64), 2)))
    return found


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="pairlift kernels")


if hasattr(os, "register_at_fork"):  # a forked process has none of the threads, and would wait for them for ever
    os.register_at_fork(after_in_child=_pool.cache_clear)


def in_threads(work: Callable[[Share], None], parts: list[Share]) -> None:
    """Call ``work`` with every share, side by side."""
    if len(parts) == 1:
        work(parts[0])
    else:
        for done in [_pool(len(parts)).submit(work, part) for part in parts]:
            done.result()


class Forward:
    """The way forward of a layer's rows: its arrays, and its steps, in one call or beside a library's product.

    Args:
        x: (T, U, G·H), the input's part of the pre-activations.
        w: (H, G·H), the recurrent kernel.
        h0: (U, H), hidden states before the first step.
        test, base: (N,), the rows that are each pair's members.
        flags: (T, U) bool, or None.
        threads: how many to use.
        whole: whether the product with ``w`` can be made before the step begins.

    Attributes:
        h: (T + 1, U, H), from the states before the first step on.
        masked, flags: whether there is a mask; and it, or nothing.
        weights, from_h: ``w``, or where a library makes the product, that product (U, G·H); the other one is nothing.
    """

    def __init__(self, x, w, h0, test, base, flags, threads: int, whole: bool = True) -> None:
        steps, rows, units, columns = *x.shape[:2], *w.shape
        self.x = given(x, (steps, rows, columns), x.dtype)
        self.h = self.from_first(h0)
        self.masked, self.flags = flags is not None, given(flags, (steps, rows), np.dtype(bool))
        self._by_library = whole and library_is_faster(rows, units, columns)
        self._w = w
        self.weights = given(None if self._by_library else w, (units, columns), x.dtype)
        self.from_h = np.empty((rows, columns), x.dtype) if self._by_library else nothing(2, x.dtype)
        self._parts = shares(test, base, rows, steps * rows * units, threads)

    def from_first(self, first: np.ndarray) -> np.ndarray:
        """States (T + 1, U, H) of which the first are there."""
        states = np.empty((len(self.x) + 1, *first.shape), self.x.dtype)
        states[0] = first
        return states

    def kept(self, keep: bool) -> np.ndarray:
        """Room for what is to be kept of every step, (T, U, G·H)."""
        return np.empty(self.x.shape, self.x.dtype) if keep else nothing(3, self.x.dtype)

    def run(self, product: Product, steps: Callable[[int, int, Share], None]) -> None:
        """Call ``steps(first, last, share)`` for all of them."""
        if not self._by_library:
            in_threads(partial(steps, 0, len(self.x)), self._parts)
            return
        for t in range(len(self.x)):
            product(self.h[t], self._w, self.from_h)
            in_threads(partial(steps, t, t + 1), self._parts)


class Backward:
    """The way back of a layer's pairs: its arrays, and its steps, in one call or beside a library's product.

    Args:
        factors: (T, N, ..., H), of the way forward.
        w: (H, G·H), the recurrent kernel.
        m_h: (T, N, H), multipliers that arrive at the states from outside.
        counts, fresh: (T, N) and (T, N, H), or None; see `explain_core.kernels.lstm.lstm_back`.
        keep: whether to give the multipliers of the states after each step.
        threads: how many to use.
        whole: whether the product with ``Wᵀ`` can be made after the step has ended.

    Attributes:
        pre: (T, N, G·H), room for the multipliers of the pre-activations.
        weights: ``Wᵀ``, or nothing where a library makes the product.
        arriving: what kernels take of what arrives: ``m_h``, whether there is a mask, ``counts``, whether there is
            ``fresh``, and it.
    """

    def __init__(self, factors, w, m_h, counts, fresh, keep: bool, threads: int, whole: bool = True) -> None:
        self.factors = np.ascontiguousarray(factors)
        self.dtype = factors.dtype
        steps, pairs, units, columns = *factors.shape[:2], *w.shape
        self._states, self._keep = (steps, pairs, units), keep
        self.pre = np.empty((steps, pairs, columns), self.dtype)
        self._by_library = whole and library_is_faster(pairs, columns, units)
        self._back = w.T
        self.weights = given(None if self._by_library else w.T, (columns, units), self.dtype)
        self.m_h, self.fresh = self.arrived(m_h), self.arrived(fresh)
        self.masked, self.has_fresh = counts is not None, fresh is not None
        self.counts = given(counts, (steps, pairs), self.dtype)
        alone = np.arange(pairs)
        self._parts = shares(alone, alone, pairs, steps * pairs * units, threads)

    def arrived(self, m: np.ndarray | None) -> np.ndarray:
        """Multipliers of states (T, N, H) as kernels take them."""
        return given(m, self._states, self.dtype)

    def kept(self) -> np.ndarray:
        """Room for the multipliers of states after every step, if they are to be kept."""
        return np.empty(self._states, self.dtype) if self._keep else nothing(3, self.dtype)

    def run(
        self,
        product: Product,
        steps: Callable[[int, int, Share], None],
        into_h: Callable[[int], np.ndarray],
        carried: np.ndarray,
    ) -> None:
        """Call ``steps(first, last, share)`` for all of them, the last first.

        Args:
            into_h: of a step, what is multiplied by ``Wᵀ``, (N, G·H).
            carried: (N, H), the multipliers of the state before the step, to which that product is added.
        """
        if not self._by_library:
            in_threads(partial(steps, 0, len(self.pre)), self._parts)
            return
        through = np.empty(carried.shape, self.dtype)
        for t in range(len(self.pre) - 1, -1, -1):
            in_threads(partial(steps, t, t + 1), self._parts)
            product(into_h(t), self._back, through)
            carried += through


def nothing(axes: int, dtype: np.dtype | type[np.generic]) -> np.ndarray:
    """An array for a parameter that is not there."""
    return np.empty((0,) * axes, dtype)


def given(array: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype | type[np.generic]) -> np.ndarray:
    """An array as kernels take it, or `nothing` in its place.

    Raises:
        ValueError: it has another shape; kernels do not look.
    """
    if array is None:
        return nothing(len(shape), dtype)
    if array.shape != shape:
        raise ValueError(f"an array {array.shape} where one of {shape} is needed")
    return np.ascontiguousarray(array, dtype)
