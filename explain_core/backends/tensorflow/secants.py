"""Difference quotients ``(f(a) - f(b)) / (a - b)`` that stay accurate for every difference, zero included.

They are the multipliers of DeepLIFT's Rescale rule (Shrikumar et al. 2017, section 3.5.1). Each takes two tensors of
one shape and is accurate to a few units of rounding: nothing cancels in the forms below. Where ``a == b`` they are the
derivative, and 0 where that is infinite (a difference of zero passes nothing on). Two rules make forms of other forms:

    chain     ``secant(g∘f) = secant_g(f(a), f(b)) · secant_f(a, b)``
    inverse   ``secant(f⁻¹)(a, b) = 1 / secant_f(f⁻¹(a), f⁻¹(b))``

A function of bounded range may take the plain quotient for large differences, where nothing cancels. The functions in
`special` have no closed form; circular ones are in `circular`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

Secant = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Function = Callable[[tf.Tensor], tf.Tensor]


def gap(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``|a - b|``, and zero where both are the same infinity."""
    return tf.where(a == b, tf.zeros_like(a), tf.abs(a - b))


def is_still(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Whether there is no difference: TensorFlow takes a denormal one for zero."""
    return (a == b) | (a - b == 0)


def ratio(f: Function, u: tf.Tensor) -> tf.Tensor:
    """``f(u) / u`` for a function that is ``u`` itself up to its rounding where ``u`` is denormal, or 0."""
    small = tf.abs(u) < np.finfo(u.dtype.as_numpy_dtype).tiny
    safe = tf.where(small, tf.ones_like(u), u)
    return tf.where(small, tf.ones_like(u), f(safe) / safe)


def at_equal(a: tf.Tensor, b: tf.Tensor, slope: tf.Tensor | float, across: tf.Tensor) -> tf.Tensor:
    """``across``, and ``slope`` where there is no difference."""
    return tf.where(is_still(a, b), tf.cast(slope, a.dtype), across)


def quotient(f: Function, derivative: Function) -> Secant:
    """The plain quotient, for functions that lose nothing by it; ``derivative`` is for no difference."""
    return lambda a, b: at_equal(a, b, derivative(a), (f(a) - f(b)) / (a - b))


def _order(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return tf.minimum(a, b), tf.maximum(a, b), gap(a, b)


# Functions of straight pieces, and steps


def _pieces(f: Function, derivative: Function, piece: Function) -> Secant:
    """Secant of a function made of straight pieces: the slope itself inside a piece, the quotient across."""

    def secant(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        across = at_equal(a, b, 0.0, (f(a) - f(b)) / (a - b))
        return tf.where(tf.equal(piece(a), piece(b)), derivative(a), across)

    return secant


def clip(low: tf.Tensor | float, high: tf.Tensor | float) -> Secant:
    def piece(a: tf.Tensor) -> tf.Tensor:
        return tf.cast(a > low, a.dtype) + tf.cast(a >= high, a.dtype)

    return _pieces(lambda a: tf.clip_by_value(a, low, high), lambda a: tf.cast((a > low) & (a < high), a.dtype), piece)


def leaky_relu(slope: float) -> Secant:
    return _pieces(
        lambda a: tf.where(a > 0, a, slope * a),
        lambda a: tf.where(a > 0, tf.ones_like(a), slope * tf.ones_like(a)),
        lambda a: a > 0,
    )


relu = leaky_relu(0.0)
relu6 = clip(0.0, 6.0)
absolute = _pieces(tf.abs, tf.sign, tf.sign)


def identity(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.ones_like(a)


def step(f: Function) -> Secant:
    """Secant of a function that is constant but for jumps (floor, round, sign)."""
    return quotient(f, tf.zeros_like)


# Exponentials


def decay(u: tf.Tensor) -> tf.Tensor:
    """``(1 - exp(-u)) / u`` for u >= 0."""
    return ratio(lambda x: -tf.math.expm1(-x), u)


def exp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    _, high, u = _order(a, b)
    return tf.exp(high) * decay(u)


def sigmoid(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``σ(high) · σ(-low) · (1 - exp(-u))/u``: ``sinh(u/2) / (2 cosh(a/2) cosh(b/2))`` without overflow."""
    low, high, u = _order(a, b)
    return decay(u) * tf.sigmoid(high) * tf.sigmoid(-low)


def tanh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``tanh(a) = 2σ(2a) - 1``."""
    return 4 * sigmoid(2 * a, 2 * b)


def softplus(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Up to a difference of one ``log1p(σ(low)·expm1(u)) / u``, by its parts so that no difference is too small; above
    that, with ``softplus(x) = max(x, 0) + log1p(exp(-|x|))``, both parts are subtracted without loss.
    """
    low, high, u = _order(a, b)
    near_u = tf.minimum(u, 1.0)
    grown = tf.sigmoid(low) * ratio(tf.math.expm1, near_u)
    near = grown * ratio(tf.math.log1p, grown * near_u)
    tail_low, tail_high = (tf.math.log1p(tf.exp(-tf.abs(x))) for x in (low, high))
    far = (tf.nn.relu(high) - tf.nn.relu(low) + (tail_high - tail_low)) / u
    return tf.where(u <= 1, near, far)


def sinh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Half of ``exp(a)`` and of ``-exp(-a)``, both of which rise."""
    return (exp(a, b) + exp(-a, -b)) / 2


def cosh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``2·sinh(s/2)·sinh(d/2) / (a - b)`` with the sum and difference of ``|a|`` and ``|b|``, by `decay`."""
    p, q = tf.abs(a), tf.abs(b)
    return (a + b) / 2 * tf.exp(tf.maximum(p, q)) * decay(p + q) * decay(gap(p, q))


def elu(a: tf.Tensor, b: tf.Tensor, alpha: float = 1.0, scale: float = 1.0) -> tf.Tensor:
    """The straight part and the exponential part, of which each has its own secant."""
    positive = relu(a, b)
    negative = exp(tf.minimum(a, 0), tf.minimum(b, 0)) * (1 - positive)
    return scale * (positive + alpha * negative)


def selu(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return elu(a, b, alpha=1.6732632423543772, scale=1.0507009873554805)


def softsign(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``f = x / (1 + |x|)``; on one side of zero the two denominators remain, across it the quotient adds."""
    p, q = 1 + tf.abs(a), 1 + tf.abs(b)
    return tf.where(tf.equal(a < 0, b < 0), 1 / (p * q), at_equal(a, b, 1.0, (a / p - b / q) / (a - b)))


# Logarithms, roots and powers


def log(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``log1p(u / low) / u``; where that ratio overflows, the logarithms are far apart."""
    low, high, u = _order(a, b)
    far = (tf.math.log(high) - tf.math.log(low)) / u
    return tf.where(tf.math.is_inf(u / low), far, ratio(tf.math.log1p, u / low) / low)


def log1p(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    low, _, u = _order(a, b)
    return ratio(tf.math.log1p, u / (1 + low)) / (1 + low)


def square(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return a + b


def sqrt(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.math.reciprocal_no_nan(tf.sqrt(a) + tf.sqrt(b))


def rsqrt(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    root_a, root_b = tf.sqrt(a), tf.sqrt(b)
    return -1 / (root_a * root_b * (root_a + root_b))


def reciprocal(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return -1 / a / b


_LARGEST_SUM = 16


def power(exponent: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Secant of ``a ** exponent`` in a.

    Small whole exponents are sums of products. Others are ``high^(k-1) · (1 - r^k) / (1 - r)`` with the ratio ``r`` of
    the smaller to the larger base, ``1 - r^k`` by ``expm1`` and ``log1p`` where the power changes by less than a factor
    of e; beyond that nothing cancels.
    """
    if exponent.shape.num_elements() == 1:
        value = float(tf.reshape(exponent, ()))
        if value.is_integer() and abs(value) <= _LARGEST_SUM:
            return _whole_power(int(value), a, b)
    smaller = tf.abs(a) < tf.abs(b)
    low, high = tf.where(smaller, a, b), tf.where(smaller, b, a)
    growth = exponent * tf.math.log1p((low - high) / high)
    near = (is_negative(a) == is_negative(b)) & (tf.abs(growth) < 1)
    part = low / high
    change = tf.where(near, -tf.math.expm1(growth), 1 - tf.pow(part, exponent))
    grown = tf.pow(high, exponent - 1) * (change / ((high - low) / high))
    falling = (tf.pow(high, exponent) - tf.pow(low, exponent)) / (high - low)  # whose ratio may overflow
    apart = tf.where((exponent < 0) & ~near, falling, grown)
    slope = tf.where(a == 0, tf.cast(exponent == 1, a.dtype), exponent * tf.pow(a, exponent - 1))
    return at_equal(a, b, slope, apart)


def is_negative(x: tf.Tensor) -> tf.Tensor:
    """Whether the sign is set, as it is of -0."""
    return (x < 0) | ((x == 0) & (1 / x < 0))


def _whole_power(exponent: int, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``a^k - b^k = (a - b) Σ a^i b^(k-1-i)``, and for a negative k over ``a^k b^k``."""
    whole = abs(exponent)
    total = tf.zeros_like(a + b)
    for i in range(whole):
        total += a**i * b ** (whole - 1 - i)
    return -total / a**whole / b**whole if exponent < 0 else total


def exponent(value: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Secant of ``value ** a`` in a: `exp` of ``a·log value``, with the power itself taken in that base. A base of zero
    or infinity steps at ``a = 0``, and one below zero has powers at whole numbers only.
    """
    rate = tf.math.log(value)
    top = tf.where(rate > 0, tf.maximum(a, b), tf.minimum(a, b))
    smooth = tf.pow(value, top) * decay(gap(a, b) * tf.abs(rate)) * rate
    stepping = quotient(lambda x: tf.pow(value, x), tf.zeros_like)(a, b)
    return tf.where((value <= 0) | tf.math.is_inf(value), stepping, smooth)
