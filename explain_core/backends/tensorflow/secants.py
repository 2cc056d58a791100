"""Difference quotients ``(f(a) - f(b)) / (a - b)`` of the functions that neural networks use.

They are the multipliers of DeepLIFT's Rescale rule (Shrikumar et al. 2017, section 3.5.1). Each takes two
tensors of one shape and is accurate to a few units in the last place for every difference: nothing cancels
in the forms below. Where ``a == b`` they are the derivative, and 0 where that is infinite (a difference of
zero passes nothing on). ``u`` stands for ``|a - b|``, ``low`` and ``high`` for the smaller and the larger
of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

Secant = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Function = Callable[[tf.Tensor], tf.Tensor]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def _ratio(numerator: tf.Tensor, denominator: tf.Tensor, at_zero: tf.Tensor | float) -> tf.Tensor:
    """``numerator / denominator``, and ``at_zero`` where the denominator is 0."""
    zero = tf.equal(denominator, 0)
    safe = tf.where(zero, tf.ones_like(denominator), denominator)
    return tf.where(zero, tf.cast(at_zero, denominator.dtype), numerator / safe)


def _order(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    low, high = tf.minimum(a, b), tf.maximum(a, b)
    return low, high, high - low


def quotient(f: Function, at_equal: Function) -> Secant:
    """The plain quotient, for functions whose pieces are straight lines; ``at_equal`` is the derivative."""
    return lambda a, b: _ratio(f(a) - f(b), a - b, at_equal(a))


def _pieces(f: Function, derivative: Function, piece: Function) -> Secant:
    """Secant of a function made of straight pieces: the slope itself inside a piece, the quotient across."""

    def secant(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        across = _ratio(f(a) - f(b), a - b, 0.0)
        return tf.where(tf.equal(piece(a), piece(b)), derivative(a), across)

    return secant


# Exponentials


def decay(u: tf.Tensor) -> tf.Tensor:
    """``(1 - exp(-u)) / u`` for u >= 0."""
    return _ratio(-tf.math.expm1(-u), u, 1.0)


def exp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    _, high, u = _order(a, b)
    return tf.exp(high) * decay(u)


def tanh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``sinh(u) / (u cosh a cosh b)``, with the three exponentials drawn together so that none overflows."""
    p, q = tf.exp(-2 * tf.abs(a)), tf.exp(-2 * tf.abs(b))
    together = tf.where(tf.equal(a < 0, b < 0), tf.maximum(p, q), tf.ones_like(p))
    return 4 * together * decay(2 * tf.abs(a - b)) / ((1 + p) * (1 + q))


def sigmoid(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tanh(a / 2, b / 2) / 4


def softplus(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``log((1 + exp high) / (1 + exp low))``, read from the end at which it is small."""
    low, high, u = _order(a, b)
    above = u + tf.math.log1p(tf.sigmoid(-low) * tf.math.expm1(-u))  # low >= 0: next to the line y = x
    near = tf.math.log1p(tf.sigmoid(low) * tf.math.expm1(tf.minimum(u, 20.0)))  # low < 0: next to zero
    apart = tf.math.softplus(high) - tf.math.softplus(low)  # far apart, nothing cancels
    rise = tf.where(low >= 0, above, tf.where(u < 20, near, apart))
    return _ratio(rise, u, tf.sigmoid(a))


def sinh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.cosh((a + b) / 2) * _ratio(tf.sinh((a - b) / 2), (a - b) / 2, 1.0)


def cosh(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.sinh((a + b) / 2) * _ratio(tf.sinh((a - b) / 2), (a - b) / 2, 1.0)


def elu(a: tf.Tensor, b: tf.Tensor, alpha: float = 1.0, scale: float = 1.0) -> tf.Tensor:
    low, high, u = _order(a, b)
    below = alpha * exp(tf.minimum(a, 0), tf.minimum(b, 0))
    across = _ratio(high - alpha * tf.math.expm1(tf.minimum(low, 0)), u, 1.0)
    return scale * tf.where(low >= 0, tf.ones_like(a), tf.where(high <= 0, below, across))


def selu(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return elu(a, b, alpha=1.6732632423543772, scale=1.0507009873554805)


# Logarithms, roots and powers


def _log_quotient(u: tf.Tensor, low: tf.Tensor) -> tf.Tensor:
    """``log(1 + u/low) / u``"""
    v = u / low
    return _ratio(tf.math.log1p(v), v, 1.0) / low


def log(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    low, _, u = _order(a, b)
    return _log_quotient(u, low)


def log1p(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    low, _, u = _order(a, b)
    return _log_quotient(u, 1 + low)


def square(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return a + b


def sqrt(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.math.reciprocal_no_nan(tf.sqrt(a) + tf.sqrt(b))


def rsqrt(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return -tf.math.rsqrt(a) * tf.math.rsqrt(b) / (tf.sqrt(a) + tf.sqrt(b))


def reciprocal(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return -1 / a / b


def power(exponent: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Secant of ``a ** exponent`` in a: ``low^(c-1) · ((1 + v)^c - 1) / v`` with ``v = u/low`` for one sign.

    Negative numbers have integer powers only, which are even or odd.
    """
    same_sign = (a > 0) & (b > 0) | (a < 0) & (b < 0)
    x, y = tf.where(same_sign, tf.abs(a), tf.ones_like(a)), tf.where(same_sign, tf.abs(b), tf.ones_like(b))
    low, _, u = _order(x, y)
    v = u / low
    growth = _ratio(tf.math.expm1(exponent * tf.math.log1p(v)), v, exponent)
    odd = tf.equal(tf.math.floormod(exponent, 2), 1)
    sign = tf.where((a < 0) & ~odd, -tf.ones_like(a), tf.ones_like(a))
    at_zero = tf.where(tf.equal(exponent, 1), tf.ones_like(a), tf.zeros_like(a))
    across = _ratio(tf.pow(a, exponent) - tf.pow(b, exponent), a - b, at_zero)
    return tf.where(same_sign, sign * tf.pow(low, exponent - 1) * growth, across)


def exponent(value: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Secant of ``value ** a`` in a, for positive values."""
    rate = tf.math.log(value)
    return rate * exp(rate * a, rate * b)


# Circular and other smooth functions


def _sinc(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    half = (a - b) / 2
    return _ratio(tf.sin(half), half, 1.0)


def sin(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.cos((a + b) / 2) * _sinc(a, b)


def cos(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return -tf.sin((a + b) / 2) * _sinc(a, b)


def atan(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return _ratio(tf.atan2(a - b, 1 + a * b), a - b, 1 / (1 + a * a))


def softsign(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``f = x / (1 + |x|)``; on one side of zero the two denominators remain, across it the quotient adds."""
    p, q = 1 + tf.abs(a), 1 + tf.abs(b)
    return tf.where(tf.equal(a < 0, b < 0), 1 / (p * q), _ratio(a / p - b / q, a - b, 1.0))


def erf(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The mean of the derivative by 16-point quadrature for u < 1/2; beyond, the difference of the tails."""
    _, _, u = _order(a, b)
    nodes = tf.reshape(tf.constant(_NODES, a.dtype), [-1] + [1] * a.shape.rank)
    weights = tf.reshape(tf.constant(_WEIGHTS, a.dtype), nodes.shape)
    close = tf.minimum(u, 0.5) / 2
    middle = (a + b) / 2
    mean = tf.reduce_sum(weights * tf.exp(-tf.square(middle + close * nodes)), axis=0) / math.sqrt(math.pi)
    p, q = tf.abs(a), tf.abs(b)
    one_side = tf.abs(tf.math.erfc(p) - tf.math.erfc(q))
    rise = tf.where(tf.equal(a < 0, b < 0), one_side, tf.math.erf(p) + tf.math.erf(q))
    return tf.where(u < 0.5, mean, _ratio(rise, u, 1.0))


def erfc(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return -erf(a, b)


# Functions of straight pieces, and steps


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
