"""Difference quotients of functions without a closed form for them: the error function, the gamma function and their
relatives.

Small differences take the mean of the derivative over ``[b, a]`` by 12-point Gauss-Legendre quadrature, exact to
rounding as far as the derivative is smooth there; larger ones the plain quotient, in which little cancels.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from .secants import Function, gap, quotient

_NODES, _WEIGHTS = (tuple(float(v) for v in part) for part in np.polynomial.legendre.leggauss(12))


def mean_slope(derivative: Function, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The mean of the derivative between the two, which is the difference quotient."""
    middle, half = (a + b) / 2, (a - b) / 2
    nodes = zip(_NODES, _WEIGHTS, strict=True)
    return tf.add_n([weight / 2 * derivative(middle + node * half) for node, weight in nodes])


def _bell(x: tf.Tensor) -> tf.Tensor:
    return 2 / math.sqrt(math.pi) * tf.exp(-tf.square(x))


def erf(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """By quadrature up to a difference of one half; above, the plain quotient of erfc on the side of its tail."""
    sign = tf.where(a + b < 0, -tf.ones_like(a), tf.ones_like(a))
    far = quotient(lambda x: -sign * tf.math.erfc(sign * x), _bell)(a, b)
    return tf.where(gap(a, b) <= 0.5, mean_slope(_bell, a, b), far)


def erfc(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``1 - erf(a)``."""
    return -erf(a, b)


def erfinv(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The inverse of `erf`; 0 where both are the same end, at which its slope is infinite."""
    return tf.math.reciprocal_no_nan(erf(tf.math.erfinv(a), tf.math.erfinv(b)))


def ndtri(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The inverse of the normal distribution, ``√2 · erfinv(2a - 1)``."""
    p, q = (tf.math.ndtri(x) / math.sqrt(2) for x in (a, b))
    return 2 * math.sqrt(2) * tf.math.reciprocal_no_nan(erf(p, q))


def _is_near(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Whether the next pole of the gamma function (0, -1, ...) is at least twice as far from both as they are apart."""
    low, high = tf.minimum(a, b), tf.maximum(a, b)
    below = tf.where(low > 0, low, low - tf.floor(low))
    above = tf.where(low > 0, low, tf.math.ceil(high) - high)
    same = (low > 0) | (tf.floor(low) == tf.floor(high))
    return same & (2 * gap(a, b) <= tf.minimum(below, above))


def lgamma(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Logarithm of the gamma function."""
    far = quotient(tf.math.lgamma, tf.math.digamma)(a, b)
    return tf.where(_is_near(a, b), mean_slope(tf.math.digamma, a, b), far)


def _trigamma(x: tf.Tensor) -> tf.Tensor:
    """The derivative of digamma; below zero by its reflection ``ψ'(x) + ψ'(1 - x) = (π / sin πx)²``."""
    reflected = tf.square(math.pi / tf.sin(math.pi * x)) - _trigamma_above(tf.where(x < 0, 1 - x, tf.ones_like(x)))
    return tf.where(x < 0, reflected, _trigamma_above(tf.where(x < 0, tf.ones_like(x), x)))


def _trigamma_above(x: tf.Tensor) -> tf.Tensor:
    return tf.math.polygamma(tf.ones_like(x), x)


def digamma(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Derivative of `lgamma`'s function."""
    far = quotient(tf.math.digamma, _trigamma)(a, b)
    return tf.where(_is_near(a, b), mean_slope(_trigamma, a, b), far)
