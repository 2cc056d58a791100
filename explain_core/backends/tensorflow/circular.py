"""Difference quotients of circular functions and of the inverses of circular and hyperbolic ones; see `secants`."""

from __future__ import annotations

import tensorflow as tf

from .secants import Function, at_equal, gap, is_negative, is_still, ratio


def sinc(x: tf.Tensor) -> tf.Tensor:
    """``sin(x) / x``; 1 at 0."""
    return ratio(tf.sin, x)


def _middle(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """``(a + b)/2`` and the rounding that it lost (Knuth's two-sum)."""
    total = a + b
    part = total - a
    lost = (a - (total - part)) + (b - part)
    return total / 2, lost / 2


def _near(a: tf.Tensor, b: tf.Tensor, f: Function, near: tf.Tensor) -> tf.Tensor:
    """``near``, and the plain quotient for differences above one."""
    return tf.where(gap(a, b) <= 1, near, (f(a) - f(b)) / (a - b))


def sin(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``cos((a + b)/2) · sinc((a - b)/2)``."""
    middle, lost = _middle(a, b)
    return _near(a, b, tf.sin, (tf.cos(middle) - lost * tf.sin(middle)) * sinc((a - b) / 2))


def cos(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``-sin((a + b)/2) · sinc((a - b)/2)``."""
    middle, lost = _middle(a, b)
    return _near(a, b, tf.cos, -(tf.sin(middle) + lost * tf.cos(middle)) * sinc((a - b) / 2))


def tan(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``sinc(a - b) / (cos a · cos b)``."""
    return _near(a, b, tf.tan, sinc(a - b) / tf.cos(a) / tf.cos(b))


def atan(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``atan((a - b) / (1 + a·b)) / (a - b)`` for equal signs; the plain quotient otherwise loses nothing."""
    u = a - b
    near = at_equal(a, b, 1 / (1 + a * a), tf.atan(u / (1 + a * b)) / u)
    return tf.where(a * b >= 0, near, (tf.atan(a) - tf.atan(b)) / u)


def _slope(a: tf.Tensor, b: tf.Tensor, root_a: tf.Tensor, root_b: tf.Tensor) -> tf.Tensor:
    """``(|a| + |b|) / (|a|·root_b + |b|·root_a)``, their mean weighted by the shares; 0 for no end."""
    p, q = tf.abs(a), tf.abs(b)
    total = p + q
    half = 0.5 * tf.ones_like(a)
    of_a, of_b = (tf.where(total == 0, half, x / total) for x in (p, q))
    return tf.math.reciprocal_no_nan(of_a * root_b + of_b * root_a)


def _same_side(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return (a >= 0) & (b >= 0) | (a <= 0) & (b <= 0)


def asin(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The angle between the two, by its sine ``u·r`` and cosine, ``r = (|a| + |b|) / (|a|√(1-b²) + |b|√(1-a²))``."""
    root_a, root_b = (tf.sqrt((1 - x) * (1 + x)) for x in (a, b))
    u, slope = gap(a, b), _slope(a, b, root_a, root_b)
    near = tf.where(u * slope == 0, slope, tf.atan2(u * slope, root_a * root_b + a * b) / u)
    return tf.where(_same_side(a, b), near, (tf.asin(a) - tf.asin(b)) / (a - b))


def acos(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``π/2 - asin(a)``."""
    return -asin(a, b)


def _angle_slope(held: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
    """The derivative ``held / (held² + moved²)``; 0 at the origin, where there is none."""
    unit = tf.maximum(tf.abs(held), tf.abs(moved))
    x, y = tf.math.divide_no_nan(held, unit), tf.math.divide_no_nan(moved, unit)
    return tf.math.divide_no_nan(tf.math.divide_no_nan(x, x * x + y * y), unit)


def _angle_between(held: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The angle from ``(b, held)`` to ``(a, held)``, in units in which no square underflows."""
    unit = tf.maximum(tf.maximum(tf.abs(a), tf.abs(b)), tf.abs(held))
    d, x, y = held / unit, a / unit, b / unit
    return tf.atan2(d * ((a - b) / unit), d * d + x * y)


def _by_angle(held: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Whether an angle between two rays is what both values differ by: not from the origin, nor from infinity."""
    finite = tf.math.is_finite(held) & tf.math.is_finite(a) & tf.math.is_finite(b)
    return (held != 0) & finite & ~is_still(a, b)


def atan2_numerator(denominator: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``atan2(·, denominator)``: the angle between the two rays, except across the cut, where nothing cancels."""
    values = tf.atan2(a, denominator) - tf.atan2(b, denominator)
    direct = at_equal(a, b, _angle_slope(denominator, a), values / (a - b))
    across_cut = (denominator < 0) & (is_negative(a) != is_negative(b))
    between = _by_angle(denominator, a, b) & ~across_cut
    return tf.where(between, _angle_between(denominator, a, b) / (a - b), direct)


def atan2_denominator(numerator: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``atan2(numerator, ·)``: the angle between the two rays."""
    values = tf.atan2(numerator, a) - tf.atan2(numerator, b)
    direct = at_equal(a, b, -_angle_slope(numerator, a), values / (a - b))
    return tf.where(_by_angle(numerator, a, b), -_angle_between(numerator, a, b) / (a - b), direct)


# Inverses of the hyperbolic functions


def asinh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``asinh(u·r) / u`` with ``r = (|a| + |b|) / (|a|√(1+b²) + |b|√(1+a²))`` for equal signs."""
    root_a, root_b = (_hypot_one(x) for x in (a, b))
    u, slope = gap(a, b), _slope(a, b, root_a, root_b)
    near = tf.where(u * slope == 0, slope, tf.asinh(u * slope) / u)
    return tf.where(_same_side(a, b), near, (tf.asinh(a) - tf.asinh(b)) / (a - b))


def _hypot_one(x: tf.Tensor) -> tf.Tensor:
    """``√(1 + x²)`` without overflow."""
    unit = tf.maximum(tf.abs(x), 1.0)
    return unit * tf.sqrt((1 / unit) ** 2 + (x / unit) ** 2)


def acosh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``asinh(u·r) / u`` with ``r = (a + b) / (a√(b²-1) + b√(a²-1))``."""
    root_a, root_b = (tf.sqrt(x - 1) * tf.sqrt(x + 1) for x in (a, b))
    u, slope = gap(a, b), _slope(a, b, root_a, root_b)
    return tf.where(u * slope == 0, slope, tf.asinh(u * slope) / u)


def atanh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``½ log1p(2u / d) / u`` with ``d = (1 - high)(1 + low)``."""
    low, high, u = tf.minimum(a, b), tf.maximum(a, b), gap(a, b)
    d = (1 - high) * (1 + low)
    return ratio(tf.math.log1p, 2 * u / d) / d
