"""Infinities that come up in one member of a pair, as in ``log(x).clamp(min=-10)`` where ``x`` is 0.

The change of such a value is infinite, and no multiplier can share it out. But it is the limit of a number far out, and
what the model makes of it (a clamp, ``exp(-inf)``, ``1/inf``) is finite. So a number far out stands in its place: the
rules are followed with that, and complete to its inverse, which is below rounding. Nonlinear functions, comparisons and
choices take it for the infinity that it stands for.

Asking a GPU whether a result is finite waits for it, operation by operation, and nearly no model has an infinity. So a
run begins as if there were none, what would say otherwise stays where it is computed, and is asked for once. A run in
which there was one begins anew and looks at each result.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import starmap

import torch
from torch import Tensor

_FAR = {torch.float32: 2.0**100, torch.float64: 2.0**500}
"""What stands for infinity: its square root has room on both sides, for what a model multiplies it by."""

_BEYOND = {torch.float32: 2.0**76, torch.float64: 2.0**330}
"""From where on a number is taken for infinity, once one has been stood in for."""


class InfinityMetError(Exception):
    """A run that took no notice of infinities has met one, or might have, and is to begin anew."""


class Infinities:
    """Which infinities there are in a run, and what stands for them.

    Args:
        looks: whether each result is looked at; else none is taken to be infinite, and `require_none` tells in the end.

    Attributes:
        met: whether any came up.
    """

    def __init__(self, looks: bool = True) -> None:
        self.met = False
        self._looks = looks
        self._sums: dict[torch.dtype, list[Tensor]] = {}

    def restored(self, x: Tensor) -> Tensor:
        """With infinity where a number stands for it."""
        if not self.met or x.dtype not in _BEYOND:
            return x
        return torch.where(x.abs() > _BEYOND[x.dtype], torch.copysign(torch.full_like(x, torch.inf), x), x)

    def absent(self, test: Tensor, base: Tensor) -> bool:
        """Whether none was met so far, nor is in a result."""
        if self._looks:
            return not self.met and all(bool(torch.isfinite(x.sum())) for x in (test, base))
        for x in (test, base):
            self._sums.setdefault(x.dtype, []).append(x.detach().sum())
        return True

    def require_none(self) -> None:
        """Ask for what a run has left where it was computed.

        Raises:
            InfinityMetError: a result was not finite.
        """
        sums = [torch.stack(of_type) for of_type in self._sums.values()]
        self._sums.clear()
        if sums and not torch.stack([torch.isfinite(of_type).all() for of_type in sums]).all():
            raise InfinityMetError

    def stood_in(self, test: Tensor, base: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor] | None:
        """Both members with a number in place of infinity, and where that is or was given; None where it is nowhere.

        Args:
            given: where one of the arguments was infinite.
        """
        if test.dtype not in _FAR or self.absent(test, base):
            return None
        where = (torch.isinf(test) | torch.isinf(base)) & (test != base) & ~torch.isnan(test) & ~torch.isnan(base)
        where = where if given is None else where | given
        if not where.any():
            return None
        self.met = True
        return torch.where(where, bounded(test), test), torch.where(where, bounded(base), base), where

    def rescaled(
        self, value: Callable[[Tensor], Tensor], a: Tensor, b: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Both values of an elementwise function and its quotient, with what stands for infinities.

        Args:
            slope: the quotient where there is none.

        Returns:
            And where there are some; None where nowhere.
        """
        far_a, far_b = self.restored(a), self.restored(b)
        test, base = value(far_a), value(far_b)
        found = self.stood_in(test, base, _differs(far_a, a) | _differs(far_b, b) if self.met else None)
        if found is None:
            return test, base, slope, None
        test, base, where = found
        return test, base, torch.where(where, plain(test - base, a - b), slope), where

    def two_players(
        self, value: Callable[[Tensor, Tensor], Tensor], a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None:
        """Values and Shapley quotients of an elementwise function of two arguments; None where nothing is infinite.

        Args:
            a, b: test and base of the two, of one shape.

        Returns:
            Both values, the quotients in ``a`` and in ``b``, and where they hold.
        """
        far_a, far_b = ([self.restored(x) for x in one] for one in (a, b))
        corners = [[value(x, y) for y in far_b] for x in far_a]
        pairs = zip((*far_a, *far_b), (*a, *b), strict=True)
        moved = torch.stack([*starmap(_differs, pairs)]).any(0) if self.met else None
        found = self.stood_in(corners[0][0], corners[1][1], moved)
        if found is None:
            return None
        test, base, where = found
        (_, up), (down, _) = (map(bounded, row) for row in corners)
        of_a = plain((test - down + up - base) / 2, a[0] - a[1])
        of_b = plain((test - up + down - base) / 2, b[0] - b[1])
        return test, base, of_a, of_b, where


def bounded(x: Tensor) -> Tensor:
    """With a number far out in place of infinity."""
    far = _FAR[x.dtype]
    return torch.nan_to_num(x, nan=torch.nan, posinf=far, neginf=-far)


def plain(change: Tensor, moved: Tensor) -> Tensor:
    """``Δy/Δa``, and 0 where nothing moved."""
    return torch.where(moved == 0, 0.0, change / moved)


def _differs(a: Tensor, b: Tensor) -> Tensor:
    return (a != b) & ~torch.isnan(a)
