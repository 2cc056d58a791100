"""Random sizes, axes and choices for calls of the rows of either framework's rule table."""

from __future__ import annotations

import numpy as np


class Choices:
    """What both frameworks' generators draw from, by a seed."""

    def __init__(self, seed: int, most: int = 4) -> None:
        self._random = np.random.default_rng(seed)
        self._most = most

    def size(self, low: int = 1) -> int:
        return int(self._random.integers(low, max(self._most, low) + 1))

    def shape(self, axes: int | None = None, low: int = 1) -> tuple[int, ...]:
        axes = int(self._random.integers(1, 4)) if axes is None else axes
        return tuple(self.size(low) for _ in range(axes))

    def axis(self, axes: int) -> int:
        return int(self._random.integers(-axes, axes))

    def axes(self, count: int) -> list[int]:
        """Some of ``count`` axes, from either end."""
        chosen = self._random.permutation(count)[: self._random.integers(1, count + 1)]
        return [int(a) - count * int(self._random.integers(2)) for a in chosen]

    def flag(self) -> bool:
        return bool(self._random.integers(2))

    def one(self, *choices):
        return choices[self._random.integers(len(choices))]

    def number(self, low: float = -1.0, high: float = 1.0) -> float:
        return float(self._random.uniform(low, high))
