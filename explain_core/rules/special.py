"""Secants of special functions: the error function, the gamma function and their relatives; see `secants`."""

from __future__ import annotations

import math

from explain_core.rules.arrays import Array, Arrays
from explain_core.rules.circular import cos, sin
from explain_core.rules.quotients import QUADRATURE, Function, gap, inverse_or_zero, mean_derivative, quotient, ratio
from explain_core.rules.secants import clamp, log


def erf(xp: Arrays, a: Array, b: Array) -> Array:
    """By quadrature, exact to rounding for differences up to one half; above, the plain quotient of ``erfc`` on the
    side of its tail.
    """
    near = mean_derivative(xp, lambda x: 2 / math.sqrt(math.pi) * xp.exp(-x * x), a, b)
    side = xp.where(a + b < 0, xp.array(-1.0, a), 1.0)
    far = (-side * (xp.erfc(side * a) - xp.erfc(side * b))) / (a - b)
    return xp.where(gap(xp, a, b) <= 0.5, near, far)


def erfc(xp: Arrays, a: Array, b: Array) -> Array:
    """``1 - erf(a)``."""
    return -erf(xp, a, b)


def erfinv(xp: Arrays, a: Array, b: Array) -> Array:
    """The inverse of `erf`; 0 where both are the same end, at which its slope is infinite."""
    return inverse_or_zero(xp, erf(xp, xp.erfinv(a), xp.erfinv(b)))


def ndtri(xp: Arrays, a: Array, b: Array) -> Array:
    """The inverse of the normal distribution, ``√2 · erfinv(2a - 1)``."""
    low, high = (xp.ndtri(x) / math.sqrt(2) for x in (a, b))
    return 2 * math.sqrt(2) * inverse_or_zero(xp, erf(xp, low, high))


def logit(xp: Arrays, a: Array, b: Array, eps: float | None = None) -> Array:
    """``log(a) - log(1 - a)``, of ``a`` kept between ``eps`` and ``1 - eps``."""
    if eps is None:
        return log(xp, a, b) + log(xp, 1 - a, 1 - b)
    inner = (xp.clip(x, eps, 1 - eps) for x in (a, b))
    return clamp(xp, a, b, eps, 1 - eps) * logit(xp, *inner)


def sinc(xp: Arrays, a: Array, b: Array) -> Array:
    """``sin(πa) / (πa)``: ``(secant of sin(πa)/π - sinc(low)) / high``, by their sizes.

    Near 0 by quadrature over ``t`` of ``sinc(a) = ∫ cos(πat) dt``.
    """
    rises = abs(a) >= abs(b)
    high, low = xp.where(rises, a, b), xp.where(rises, b, a)
    far = (sin(xp, math.pi * a, math.pi * b) - ratio(xp, xp.sin, math.pi * low)) / high
    rates = [(math.pi * (1 + node) / 2, weight / 2) for node, weight in QUADRATURE]
    near = sum(weight * rate * cos(xp, rate * a, rate * b) for rate, weight in rates)
    return xp.where(abs(high) < 1, near, far)


# --- functions with poles ----------------------------------------------------------------------------------------


def _to_pole(xp: Arrays, x: Array) -> Array:
    """The distance to the nearest of 0, -1, -2, ..."""
    return xp.where(x > 0, x, abs(x - xp.round(x)))


def _with_poles(xp: Arrays, f: Function, derivative: Function, a: Array, b: Array) -> Array:
    """Of a function that is smooth but for poles at 0, -1, -2, ..., in float64.

    By quadrature, exact to rounding, where the interval is no longer than its distance to a pole; beyond that the plain
    quotient.
    """
    x, y = xp.double(a), xp.double(b)
    close = gap(xp, x, y) <= xp.minimum(_to_pole(xp, x), _to_pole(xp, y))
    far = quotient(xp, f, x, y, derivative(x))
    return xp.cast(xp.where(close, mean_derivative(xp, derivative, x, y), far), a)


def lgamma(xp: Arrays, a: Array, b: Array) -> Array:
    """Logarithm of the gamma function."""
    return _with_poles(xp, xp.lgamma, xp.digamma, a, b)


def digamma(xp: Arrays, a: Array, b: Array) -> Array:
    """The derivative of `lgamma`'s function, whose own derivative is a zeta function; below zero by its reflection
    ``ψ'(x) + ψ'(1 - x) = (π / sin πx)²``.
    """

    def trigamma(x: Array) -> Array:
        zeta = xp.zeta(2.0, xp.where(x > 0, x, 1 - x))
        return xp.where(x > 0, zeta, (math.pi / xp.sin(math.pi * x)) ** 2 - zeta)

    return _with_poles(xp, xp.digamma, trigamma, a, b)
