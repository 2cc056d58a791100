"""Secants of circular and hyperbolic functions and of their inverses; see `secants`."""

from __future__ import annotations

from explain_core.rules.arrays import Array, Arrays
from explain_core.rules.quotients import Function, decay, gap, inverse_or_zero, quotient, ratio
from explain_core.rules.secants import exp


def _sinc(xp: Arrays, x: Array) -> Array:
    """``sin(x) / x``; 1 at 0."""
    return ratio(xp, xp.sin, x)


def _middle(a: Array, b: Array) -> tuple[Array, Array]:
    """``(a + b)/2`` and the rounding that it lost (Knuth's two-sum)."""
    total = a + b
    part = total - a
    lost = (a - (total - part)) + (b - part)
    return total / 2, lost / 2


def _unless_far(xp: Arrays, f: Function, a: Array, b: Array, near: Array) -> Array:
    """``near``, and the plain quotient for differences above one."""
    return xp.where(gap(xp, a, b) <= 1, near, (f(a) - f(b)) / (a - b))


def sin(xp: Arrays, a: Array, b: Array) -> Array:
    """``cos((a + b)/2) · sinc((a - b)/2)``."""
    middle, lost = _middle(a, b)
    return _unless_far(xp, xp.sin, a, b, (xp.cos(middle) - lost * xp.sin(middle)) * _sinc(xp, (a - b) / 2))


def cos(xp: Arrays, a: Array, b: Array) -> Array:
    """``-sin((a + b)/2) · sinc((a - b)/2)``."""
    middle, lost = _middle(a, b)
    return _unless_far(xp, xp.cos, a, b, -(xp.sin(middle) + lost * xp.cos(middle)) * _sinc(xp, (a - b) / 2))


def tan(xp: Arrays, a: Array, b: Array) -> Array:
    """``sinc(a - b) / (cos a · cos b)``."""
    return _unless_far(xp, xp.tan, a, b, _sinc(xp, a - b) / xp.cos(a) / xp.cos(b))


def atan(xp: Arrays, a: Array, b: Array) -> Array:
    """``atan((a - b) / (1 + a·b)) / (a - b)`` for equal signs; the plain quotient otherwise loses nothing."""
    u = a - b
    near = xp.where(u == 0, 1 / (1 + a * a), xp.atan(u / (1 + a * b)) / u)
    return xp.where(a * b >= 0, near, (xp.atan(a) - xp.atan(b)) / u)


def sinh(xp: Arrays, a: Array, b: Array) -> Array:
    """Half of ``exp(a)`` and of ``-exp(-a)``, both of which rise."""
    return (exp(xp, a, b) + exp(xp, -a, -b)) / 2


def cosh(xp: Arrays, a: Array, b: Array) -> Array:
    """``2·sinh(s/2)·sinh(d/2) / (a - b)`` with the sum and difference of ``|a|`` and ``|b|``, by `decay`."""
    a_size, b_size = abs(a), abs(b)
    falls = decay(xp, a_size + b_size) * decay(xp, gap(xp, a_size, b_size))
    return (a + b) / 2 * xp.exp(xp.maximum(a_size, b_size)) * falls


def _mixed_slope(xp: Arrays, a: Array, b: Array, leg_a: Array, leg_b: Array) -> Array:
    """``(|a| + |b|) / (|a|·leg_b + |b|·leg_a)``."""
    a_size, b_size = abs(a), abs(b)
    total = a_size + b_size
    of_a, of_b = (xp.where(total == 0, 0.5, size / total) for size in (a_size, b_size))  # 1 - of_a would cancel
    mixed = of_a * leg_b + of_b * leg_a
    return xp.where(xp.is_still(a, b), inverse_or_zero(xp, mixed), 1 / mixed)


def _by_change(xp: Arrays, f: Function, u: Array, slope: Array) -> Array:
    """``f(u·slope) / u`` for an ``f`` that is the identity near 0."""
    return xp.where(u * slope == 0, slope, f(u * slope) / u)


def _same_side(a: Array, b: Array) -> Array:
    return ((a >= 0) & (b >= 0)) | ((a <= 0) & (b <= 0))


def asin(xp: Arrays, a: Array, b: Array) -> Array:
    """The angle between the two by its sine ``u·r`` and its cosine, ``r = (|a| + |b|) / (|a|√(1-b²) + |b|√(1-a²))``."""
    leg_a, leg_b = (xp.sqrt((1 - x) * (1 + x)) for x in (a, b))
    cosine = leg_a * leg_b + a * b
    near = _by_change(xp, lambda s: xp.atan2(s, cosine), gap(xp, a, b), _mixed_slope(xp, a, b, leg_a, leg_b))
    return xp.where(_same_side(a, b), near, quotient(xp, xp.asin, a, b, near))


def acos(xp: Arrays, a: Array, b: Array) -> Array:
    """``π/2 - asin(a)``."""
    return -asin(xp, a, b)


def asinh(xp: Arrays, a: Array, b: Array) -> Array:
    """``asinh(u·r) / u`` with ``r = (|a| + |b|) / (|a|√(1+b²) + |b|√(1+a²))`` for equal signs."""
    one = xp.array(1.0, a)
    slope = _mixed_slope(xp, a, b, *(xp.hypot(one, x) for x in (a, b)))
    near = _by_change(xp, xp.asinh, gap(xp, a, b), slope)
    return xp.where(_same_side(a, b), near, quotient(xp, xp.asinh, a, b, near))


def acosh(xp: Arrays, a: Array, b: Array) -> Array:
    """``asinh(u·r) / u`` with ``r = (a + b) / (a√(b²-1) + b√(a²-1))``."""
    slope = _mixed_slope(xp, a, b, *(xp.sqrt(x - 1) * xp.sqrt(x + 1) for x in (a, b)))
    return _by_change(xp, xp.asinh, gap(xp, a, b), slope)


def atanh(xp: Arrays, a: Array, b: Array) -> Array:
    """``½ log1p(2u·r) / u`` with ``r = 1 / ((1 - high)(1 + low))``."""
    slope = 1 / (1 - xp.maximum(a, b)) / (1 + xp.minimum(a, b))
    return _by_change(xp, lambda s: xp.log1p(2 * s) / 2, gap(xp, a, b), slope)
