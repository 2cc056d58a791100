"""Difference quotients of functions of two arguments, in one of them with the other held; `secants` has those of one.

`kinds.TwoPlayers` takes their mean over both members of what is held, which comes first here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from explain_core.backends.torch import secants
from explain_core.backends.torch.secants import Function, Secant, quotient


def times_logarithm(f: Function, secant: Secant) -> tuple[Secant, Secant]:
    """Secants of ``x·f(y)``, which is 0 for ``x = 0`` whatever the logarithm ``f(y)`` is."""

    def of_number(y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return f(y)

    def of_logarithm(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.where(x == 0, 0.0, x * secant(a, b))

    return of_number, of_logarithm


def maximum_with(other: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``max(·, other)``; at a tie with no difference, one half as in PyTorch's gradient."""
    above, below = (a > other) & (b > other), (a < other) & (b < other)
    crossing = quotient(lambda x: torch.maximum(x, other), a, b, 0.5)
    return torch.where(above, 1.0, torch.where(below, 0.0, crossing))


def minimum_with(other: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``min(·, other) = -max(-·, -other)``."""
    return maximum_with(-other, -a, -b)


def _angle_slope(held: Tensor, moved: Tensor) -> Tensor:
    """The derivative ``held / (held² + moved²)``; 0 at the origin, where there is none."""
    radius = torch.hypot(held, moved)
    return torch.where(radius == 0, 0.0, held / radius / radius)


def _angle_between(held: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The angle from ``(b, held)`` to ``(a, held)``, in units in which no square underflows."""
    unit = torch.maximum(torch.maximum(a.abs(), b.abs()), held.abs())
    d, x, y = held / unit, a / unit, b / unit
    return torch.atan2(d * ((a - b) / unit), d * d + x * y)


def _by_angle(held: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Whether an angle between two rays is what both values differ by: not from the origin, nor from infinity."""
    return (held != 0) & (a != b) & torch.isfinite(held) & torch.isfinite(a) & torch.isfinite(b)


def atan2_numerator(denominator: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``atan2(·, denominator)``: the angle between the two rays, except across the cut, where nothing cancels."""
    direct = quotient(lambda y: torch.atan2(y, denominator), a, b, _angle_slope(denominator, a))
    across_cut = (denominator < 0) & (torch.signbit(a) != torch.signbit(b))
    between = _by_angle(denominator, a, b) & ~across_cut
    return torch.where(between, _angle_between(denominator, a, b) / (a - b), direct)


def atan2_denominator(numerator: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``atan2(numerator, ·)``: the angle between the two rays."""
    direct = quotient(lambda x: torch.atan2(numerator, x), a, b, -_angle_slope(numerator, a))
    return torch.where(_by_angle(numerator, a, b), -_angle_between(numerator, a, b) / (a - b), direct)


def copysign_number(sign: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``copysign(·, sign)``: the size, turned."""
    return secants.absolute(a, b) * torch.copysign(torch.ones_like(sign), sign)


def copysign_sign(number: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``copysign(number, ·)``, which steps."""
    return quotient(lambda sign: torch.copysign(number, sign), a, b, 0.0)
