"""Difference quotients of inverse and special functions: see `secants`, whose forms these are composed from."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from explain_core.backends.torch import secants
from explain_core.backends.torch.secants import Function, Secant, gap, quotient, slope_of

# --- inverse functions -------------------------------------------------------------------------------------------


def inverse(f: Function, secant: Secant) -> Secant:
    """Secant of the inverse ``f`` of a function whose own ``secant`` is known: one over it, between the values."""
    return lambda a, b: 1 / secant(f(a), f(b))


erfinv = inverse(torch.erfinv, secants.erf)


def _leg(x: Tensor) -> Tensor:
    """``√(1 - x²)``."""
    return torch.sqrt((1 - x) * (1 + x))


def asin(a: Tensor, b: Tensor) -> Tensor:
    """``atan2(u·r, √(1-a²)√(1-b²) + a·b) / u`` with ``r`` from `slope_of` for equal signs, else the plain quotient."""
    u, slope = gap(a, b), slope_of(a, b, _leg)
    near = torch.where(u * slope == 0, slope, torch.atan2(u * slope, _leg(a) * _leg(b) + a * b) / u)
    return torch.where(torch.signbit(a) == torch.signbit(b), near, quotient(torch.asin, a, b, near))


def acos(a: Tensor, b: Tensor) -> Tensor:
    """``π/2 - asin(a)``."""
    return -asin(a, b)


def acosh(a: Tensor, b: Tensor) -> Tensor:
    """``asinh(u·(a + b) / (b√(a²-1) + a√(b²-1))) / u``."""
    u, slope = gap(a, b), slope_of(b, a, lambda x: torch.sqrt(x - 1) * torch.sqrt(x + 1))
    return torch.where(u * slope == 0, slope, torch.asinh(u * slope) / u)


def atanh(a: Tensor, b: Tensor) -> Tensor:
    """``½ log1p(2u / ((1 - high)(1 + low))) / u``."""
    high, low, u = torch.maximum(a, b), torch.minimum(a, b), gap(a, b)
    slope = 1 / (1 - high) / (1 + low)
    return torch.where(u * slope == 0, slope, torch.log1p(2 * u * slope) / (2 * u))


def logit(a: Tensor, b: Tensor, eps: float | None = None) -> Tensor:
    """``log(a) - log(1 - a)``, of ``a`` kept between ``eps`` and ``1 - eps``."""
    if eps is None:
        return secants.log(a, b) + secants.log(1 - a, 1 - b)
    inner = (x.clamp(eps, 1 - eps) for x in (a, b))
    return secants.clamp(a, b, eps, 1 - eps) * logit(*inner)


# --- by quadrature -----------------------------------------------------------------------------------------------

_NODES, _WEIGHTS = (tuple(float(v) for v in part) for part in np.polynomial.legendre.leggauss(12))


def _to_pole(x: Tensor) -> Tensor:
    """The distance to the nearest of 0, -1, -2, ..."""
    return torch.where(x > 0, x, (x - x.round()).abs())


def with_poles(f: Function, derivative: Function) -> Secant:
    """Secant of a function that is smooth but for poles at 0, -1, -2, ..., in float64.

    The mean of its derivative over ``[b, a]`` by 12-point Gauss-Legendre quadrature, which is exact to rounding where
    the interval is no longer than its distance to a pole; beyond that the plain quotient.
    """

    def secant(a: Tensor, b: Tensor) -> Tensor:
        x, y = a.double(), b.double()
        middle, half = (x + y) / 2, (x - y) / 2
        near = sum(w * derivative(middle + n * half) for n, w in zip(_NODES, _WEIGHTS, strict=True)) / 2
        close = gap(x, y) <= torch.minimum(_to_pole(x), _to_pole(y))
        return torch.where(close, near, quotient(f, x, y, derivative(x))).to(a.dtype)

    return secant


lgamma = with_poles(torch.lgamma, torch.digamma)


def _trigamma(x: Tensor) -> Tensor:
    """The derivative of digamma, by the zeta function and reflection; PyTorch's own has 10 digits."""
    zeta = torch.special.zeta(torch.full_like(x, 2.0), torch.where(x > 0, x, 1 - x))
    return torch.where(x > 0, zeta, (math.pi / torch.sin(math.pi * x)).square() - zeta)


digamma = with_poles(torch.digamma, _trigamma)


def sinc(a: Tensor, b: Tensor) -> Tensor:
    """``sin(πa) / (πa)``: ``(secant of sin(πa)/π - sinc(low)) / high``, by their sizes.

    Near 0 by quadrature over ``t`` of ``sinc(a) = ∫ cos(πat) dt``.
    """
    rises = a.abs() >= b.abs()
    high, low = torch.where(rises, a, b), torch.where(rises, b, a)
    far = (secants.sin(math.pi * a, math.pi * b) - torch.sinc(low)) / high
    near = torch.zeros_like(a)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        rate = math.pi * (1 + node) / 2
        near = near + weight / 2 * rate * secants.cos(rate * a, rate * b)
    return torch.where(high.abs() < 1, near, far)


# --- remainders ----------------------------------------------------------------------------------------------------


def _remainder_of(f: Callable[[Tensor, Tensor], Tensor]) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Secants of ``x - d·k(x/d)``, ``k`` a rounding, in each argument, the other one first: 1 and ``-k``, or jumps."""

    def times(x: Tensor, d: Tensor) -> Tensor:
        return torch.round((x - f(x, d)) / d)

    def alike(one: Tensor, other: Tensor) -> Tensor:
        """Whether both were rounded to the same number, small enough to be known exactly."""
        return (one == other) & (one.abs() < 1 / torch.finfo(one.dtype).eps / 4)

    def of_number(d: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.where(alike(times(a, d), times(b, d)), 1.0, quotient(lambda x: f(x, d), a, b, 1.0))

    def of_divisor(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        at_a, at_b = times(x, a), times(x, b)
        return torch.where(alike(at_a, at_b), -at_a, quotient(lambda d: f(x, d), a, b, -at_a))

    return of_number, of_divisor


remainder = _remainder_of(torch.remainder)
fmod = _remainder_of(torch.fmod)
