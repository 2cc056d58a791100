"""The array functions of `explain_core.rules.arrays` on TensorFlow's tensors.

TensorFlow's kernels take denormal numbers for zero, those that a difference gives too.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

maximum, minimum, clip = tf.maximum, tf.minimum, tf.clip_by_value
isfinite, isinf = tf.math.is_finite, tf.math.is_inf
floor, round, remainder, fmod = tf.floor, tf.math.rint, tf.math.floormod, tf.truncatemod
exp, expm1, log, log1p, sqrt = tf.exp, tf.math.expm1, tf.math.log, tf.math.log1p, tf.sqrt
sigmoid, softplus, tanh, sin, cos, tan, asin = tf.sigmoid, tf.math.softplus, tf.tanh, tf.sin, tf.cos, tf.tan, tf.asin
atan, atan2, asinh = tf.atan, tf.atan2, tf.asinh
erfc, erfinv, ndtri = tf.math.erfc, tf.math.erfinv, tf.math.ndtri
lgamma, digamma = tf.math.lgamma, tf.math.digamma


def array(value: float | tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.convert_to_tensor(value, like.dtype)


def cast(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, like.dtype)


def double(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float64)


def tiny(x: tf.Tensor) -> float:
    return float(np.finfo(x.dtype.as_numpy_dtype).tiny)


def eps(x: tf.Tensor) -> float:
    return float(np.finfo(x.dtype.as_numpy_dtype).eps)


def where(condition: tf.Tensor, a: tf.Tensor | float, b: tf.Tensor | float) -> tf.Tensor:
    like = a if tf.is_tensor(a) else b
    return tf.where(condition, array(a, like), array(b, like))


def weighed(m: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """``m·slope``; what nothing depends on has no part, such as a branch that neither member takes."""
    return tf.math.multiply_no_nan(tf.cast(slope, m.dtype), m)


def is_still(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return (a == b) | (a - b == 0)


def signbit(x: tf.Tensor) -> tf.Tensor:
    return (x < 0) | ((x == 0) & (1 / x < 0))


def exp2(x: tf.Tensor) -> tf.Tensor:
    return tf.pow(array(2.0, x), x)


def hypot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    unit = tf.maximum(tf.abs(a), tf.abs(b))
    inside = tf.where((unit == 0) | tf.math.is_inf(unit), tf.ones_like(unit), unit)
    return tf.where(tf.math.is_inf(unit), unit, unit * tf.sqrt(tf.square(a / inside) + tf.square(b / inside)))


def zeta(s: float, x: tf.Tensor) -> tf.Tensor:
    return tf.math.zeta(array(s, x), x)


def sum(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(x, -1, keepdims=True)


def max(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(x, -1, keepdims=True)


def logsumexp(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_logsumexp(x, -1, keepdims=True)


def log_softmax(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.log_softmax(x)


def cumsum(x: tf.Tensor) -> tf.Tensor:
    return tf.cumsum(x, -1)


def cumulative_logsumexp(x: tf.Tensor) -> tf.Tensor:
    return tf.math.cumulative_logsumexp(x, -1)


def flip(x: tf.Tensor) -> tf.Tensor:
    return tf.reverse(x, [-1])


def sort(x: tf.Tensor) -> tf.Tensor:
    return tf.sort(x, -1)


def argsort(x: tf.Tensor) -> tf.Tensor:
    return tf.argsort(x, -1)


def take_along(x: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    return tf.gather(x, order, batch_dims=x.shape.rank - 1)


def unsort(x: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    return take_along(x, tf.argsort(order, -1))


def count_below(ordered: tf.Tensor, x: tf.Tensor, equal: bool) -> tf.Tensor:
    return tf.cast(tf.searchsorted(ordered, x, side="right" if equal else "left"), x.dtype)


def concat(parts: list[tf.Tensor]) -> tf.Tensor:
    return tf.concat(parts, -1)


def stack(parts: list[tf.Tensor]) -> tf.Tensor:
    return tf.stack(parts, -1)


def unstack(x: tf.Tensor) -> list[tf.Tensor]:
    return tf.unstack(x, axis=-1)
