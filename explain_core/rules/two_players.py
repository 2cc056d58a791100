"""Secants of functions of two arguments, in one of them with the other held, which comes first.

Their mean over both members of what is held is the two-player Shapley value (Lundberg & Lee 2017): with
``m_a·Δa = ½[f(a, b) - f(a', b) + f(a, b') - f(a', b')]`` and the same for b, nothing is left over.
"""

from __future__ import annotations

from collections.abc import Callable

from explain_core.rules.arrays import Array, Arrays
from explain_core.rules.quotients import quotient, step
from explain_core.rules.secants import absolute, exponential, log, log1p, power, reciprocal

Remainder = Callable[[Array, Array], Array]


def maximum(xp: Arrays, other: Array, a: Array, b: Array) -> Array:
    """``max(·, other)``; at a tie with no difference one half."""
    above, below = (a > other) & (b > other), (a < other) & (b < other)
    crossing = quotient(xp, lambda x: xp.maximum(x, other), a, b, 0.5)
    return xp.where(above, 1.0, xp.where(below, 0.0, crossing))


def minimum(xp: Arrays, other: Array, a: Array, b: Array) -> Array:
    """``min(·, other) = -max(-·, -other)``."""
    return maximum(xp, -other, -a, -b)


def power_base(xp: Arrays, exponent: Array | float, a: Array, b: Array) -> Array:
    """``·^exponent``."""
    return power(xp, a, b, exponent)


def power_exponent(xp: Arrays, base: Array | float, a: Array, b: Array) -> Array:
    """``base^·``."""
    return exponential(xp, a, b, base)


# --- a number times a function of another ------------------------------------------------------------------------


def _number(xp: Arrays, factor: Array, a: Array, b: Array) -> Array:
    """``·factor``, which is 0 for the number 0 even where the factor is not finite."""
    return xp.where(xp.is_still(a, b) & ~xp.isfinite(factor), 0.0, factor)


def _factor(xp: Arrays, number: Array, secant: Array) -> Array:
    return xp.where(number == 0, 0.0, number * secant)


def xlogy_number(xp: Arrays, y: Array, a: Array, b: Array) -> Array:
    """``·log(y)``."""
    return _number(xp, xp.log(y), a, b)


def xlogy_logarithm(xp: Arrays, x: Array, a: Array, b: Array) -> Array:
    """``x·log(·)``."""
    return _factor(xp, x, log(xp, a, b))


def xlog1py_number(xp: Arrays, y: Array, a: Array, b: Array) -> Array:
    """``·log(1 + y)``."""
    return _number(xp, xp.log1p(y), a, b)


def xlog1py_logarithm(xp: Arrays, x: Array, a: Array, b: Array) -> Array:
    """``x·log(1 + ·)``."""
    return _factor(xp, x, log1p(xp, a, b))


def xdivy_number(xp: Arrays, y: Array, a: Array, b: Array) -> Array:
    """``·/y``, which is 0 for 0/0."""
    return _number(xp, 1 / y, a, b)


def xdivy_divisor(xp: Arrays, x: Array, a: Array, b: Array) -> Array:
    """``x/·``, which is 0 for 0/0."""
    return _factor(xp, x, reciprocal(xp, a, b))


# --- angles ------------------------------------------------------------------------------------------------------


def _angle_slope(xp: Arrays, held: Array, moved: Array) -> Array:
    """The derivative ``held / (held² + moved²)``; 0 at the origin, where there is none, and at infinity."""
    radius = xp.hypot(held, moved)
    return xp.where((radius == 0) | xp.isinf(radius), 0.0, held / radius / radius)


def _angle_between(xp: Arrays, held: Array, a: Array, b: Array) -> Array:
    """The angle from ``(b, held)`` to ``(a, held)``, in units in which no square underflows."""
    unit = xp.maximum(xp.maximum(abs(a), abs(b)), abs(held))
    d, x, y = held / unit, a / unit, b / unit
    return xp.atan2(d * ((a - b) / unit), d * d + x * y)


def _by_angle(xp: Arrays, held: Array, a: Array, b: Array) -> Array:
    """Whether an angle between two rays is what both values differ by: not from the origin, nor from infinity."""
    finite = xp.isfinite(held) & xp.isfinite(a) & xp.isfinite(b)
    return (held != 0) & finite & ~xp.is_still(a, b)


def atan2_numerator(xp: Arrays, denominator: Array, a: Array, b: Array) -> Array:
    """``atan2(·, denominator)``: the angle between the two rays, except across the cut, where nothing cancels."""
    direct = quotient(xp, lambda y: xp.atan2(y, denominator), a, b, _angle_slope(xp, denominator, a))
    across_cut = (denominator < 0) & (xp.signbit(a) != xp.signbit(b))
    between = _by_angle(xp, denominator, a, b) & ~across_cut
    return xp.where(between, _angle_between(xp, denominator, a, b) / (a - b), direct)


def atan2_denominator(xp: Arrays, numerator: Array, a: Array, b: Array) -> Array:
    """``atan2(numerator, ·)``: the angle between the two rays."""
    direct = quotient(xp, lambda x: xp.atan2(numerator, x), a, b, -_angle_slope(xp, numerator, a))
    between = _by_angle(xp, numerator, a, b)
    return xp.where(between, -_angle_between(xp, numerator, a, b) / (a - b), direct)


# --- signs and remainders ----------------------------------------------------------------------------------------


def _sign(xp: Arrays, x: Array) -> Array:
    return xp.where(xp.signbit(x), xp.array(-1.0, x), 1.0)


def copysign_number(xp: Arrays, sign: Array, a: Array, b: Array) -> Array:
    """``copysign(·, sign)``: the size, turned."""
    return absolute(xp, a, b) * _sign(xp, sign)


def copysign_sign(xp: Arrays, number: Array, a: Array, b: Array) -> Array:
    """``copysign(number, ·)``, which steps."""
    return step(xp, lambda sign: abs(number) * _sign(xp, sign), a, b)


def _times(xp: Arrays, f: Remainder, x: Array, d: Array) -> Array:
    """The whole number ``k`` of a remainder ``f = x - d·k``."""
    return xp.round((x - f(x, d)) / d)


def _alike(xp: Arrays, one: Array, other: Array) -> Array:
    """Whether both were rounded to the same number, small enough to be known exactly."""
    return (one == other) & (abs(one) < 1 / xp.eps(one) / 4)


def _remainder_number(xp: Arrays, f: Remainder, d: Array, a: Array, b: Array) -> Array:
    """1, or a jump."""
    alike = _alike(xp, _times(xp, f, a, d), _times(xp, f, b, d))
    return xp.where(alike, 1.0, quotient(xp, lambda x: f(x, d), a, b, 1.0))


def _remainder_divisor(xp: Arrays, f: Remainder, x: Array, a: Array, b: Array) -> Array:
    """``-k``, or a jump."""
    at_a, at_b = _times(xp, f, x, a), _times(xp, f, x, b)
    return xp.where(_alike(xp, at_a, at_b), -at_a, quotient(xp, lambda d: f(x, d), a, b, -at_a))


def remainder_number(xp: Arrays, d: Array, a: Array, b: Array) -> Array:
    """``· - d·floor(·/d)``."""
    return _remainder_number(xp, xp.remainder, d, a, b)


def remainder_divisor(xp: Arrays, x: Array, a: Array, b: Array) -> Array:
    """``x - ··floor(x/·)``."""
    return _remainder_divisor(xp, xp.remainder, x, a, b)


def fmod_number(xp: Arrays, d: Array, a: Array, b: Array) -> Array:
    """``· - d·trunc(·/d)``."""
    return _remainder_number(xp, xp.fmod, d, a, b)


def fmod_divisor(xp: Arrays, x: Array, a: Array, b: Array) -> Array:
    """``x - ··trunc(x/·)``."""
    return _remainder_divisor(xp, xp.fmod, x, a, b)
