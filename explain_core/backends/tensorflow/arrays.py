"""The array functions of `explain_core.rules.arrays` on TensorFlow's tensors.

TensorFlow's kernels take denormal numbers for zero, those that a difference gives too.
"""

from __future__ import annotations

import os

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


# Of recurrences

matmul, zeros_like, transpose = tf.matmul, tf.zeros_like, tf.transpose


def take_rows(x: tf.Tensor, at: np.ndarray) -> tf.Tensor:
    return tf.gather(x, at, axis=-2)


def concat_first(parts: list[tf.Tensor]) -> tf.Tensor:
    return tf.concat(parts, 0)


def any(x: tf.Tensor) -> bool:
    return bool(tf.reduce_any(x))


def scan(step, start, inputs: dict[str, tf.Tensor], reverse: bool = False):
    """Inside a graph."""
    steps = tf.shape(next(iter(inputs.values())))[0]
    at = lambda t: {name: values[t] for name, values in inputs.items()}  # noqa: E731
    _, example = step(start, at(0))  # for its types; what nothing depends on is not run
    kept = tf.nest.map_structure(lambda v: tf.TensorArray(v.dtype, steps, element_shape=v.shape), _present(example))

    def body(t, state, kept):
        state, found = step(_absent(state, start), at(t))
        kept = tf.nest.map_structure(lambda array, value: array.write(t, value), kept, _present(found))
        return (t - 1 if reverse else t + 1), _present(state), kept

    first = steps - 1 if reverse else 0
    _, state, kept = tf.while_loop(lambda t, *_: (t >= 0) & (t < steps), body, (first, _present(start), kept))
    stacked = tf.nest.map_structure(lambda array: array.stack(), kept)
    return _absent(state, start), _absent(stacked, example)


def _present(tree):
    """The tensors of a tree in a list, None left out."""
    return [leaf for leaf in tf.nest.flatten(tree) if leaf is not None]


def _absent(leaves: list, like):
    """The tree like another, with None where that has None."""
    rest = iter(leaves)
    return tf.nest.map_structure(lambda leaf: None if leaf is None else next(rest), like)


# Of compiled kernels


def threads() -> int:
    return tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1


def on_cpu(x: tf.Tensor) -> bool:
    return "GPU" not in x.device


def dtype_name(x: tf.Tensor) -> str:
    return x.dtype.name


def numpy(x: tf.Tensor) -> np.ndarray:
    return x.numpy()


def from_numpy(array: np.ndarray) -> tf.Tensor:
    return tf.convert_to_tensor(array)


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    np.matmul(a, b, out=out)
