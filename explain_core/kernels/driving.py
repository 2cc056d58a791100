"""What the kernels of all cells share in Python: who works on which pairs, and the steps of a library's products."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

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
