"""Products of many factors, by their Shapley values; see `rules.reductions`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from ...rules.reductions import points_on_the_line
from .graph import Node
from .kinds import check, linear, refuse
from .pairs import Pair, Value, attach, base, detach, is_paired, test

_AT_ONCE = 2**22  # numbers of all points of the line that are taken together


def _along_the_line(a: tf.Tensor, b: tf.Tensor) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Points (k, ..., n) between the members in double precision, and their weights (k, 1, ..., 1)."""
    a, b = tf.cast(a, tf.float64), tf.cast(b, tf.float64)
    differ = tf.reduce_sum(tf.cast(a != b, tf.int32), -1)
    degree = max(int(tf.reduce_max(differ)) if a.shape.num_elements() else 0, 1)
    line = np.array(points_on_the_line(degree))
    block = max(_AT_ONCE // max(a.shape.num_elements(), 1), 1)
    for start in range(0, len(line), block):
        share, weight = np.reshape(line[start : start + block].T, [2, -1, *[1] * a.shape.rank])
        yield a * share + b * (1 - share), weight


def product_multipliers(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Multipliers of the product over the last axis: the mean product of all others. Nothing is divided."""
    total = tf.zeros(a.shape, tf.float64)
    for x, weight in _along_the_line(a, b):
        others = tf.math.cumprod(x, -1, exclusive=True) * tf.math.cumprod(x, -1, exclusive=True, reverse=True)
        total += tf.reduce_sum(weight * others, 0)
    return tf.cast(total, a.dtype)


def multilinear(node: Node, values: Sequence[Value]) -> list[Value]:
    """Linear in each of its inputs: the gradient along the line between the members of all that are paired."""
    paired = [value for value in values if is_paired(value)]
    if len(paired) == 1:
        return linear()(node, values)
    if not all(isinstance(value, Pair) for value in paired):
        raise refuse(node, "there is no rule for it on integers or masks in which test and baseline differ")
    tests, bases = [detach(test(v)) for v in values], [base(v) for v in values]
    (y,), (y_base,) = node.run(tests), node.run(bases)

    def backward(dy: tf.Tensor) -> list[tf.Tensor]:
        totals = [tf.zeros_like(value.base) for value in paired]
        for share, weight in points_on_the_line(len(paired)):
            points = [share * a + (1 - share) * b for a, b in zip(tests, bases, strict=True)]
            sources = [point for point, value in zip(points, values, strict=True) if is_paired(value)]
            with tf.GradientTape() as tape:
                tape.watch(sources)
                (product,) = node.run(points)
            found = tape.gradient(product, sources, output_gradients=weight * dy)
            totals = [total + part for total, part in zip(totals, found, strict=True)]
        return totals

    return [Pair(attach([value.test for value in paired], y, backward), y_base)]


def _back_through_running(x: tf.Tensor, m: tf.Tensor) -> tf.Tensor:
    """The gradient of the running product over the last axis: ``Π_{j<i} x_j · Σ_{t≥i} m_t Π_{i<j≤t} x_j``.

    TensorFlow's own divides by x, which may be 0.
    """
    steps, factors = tf.unstack(m, axis=-1), tf.unstack(x, axis=-1)
    for i in range(len(steps) - 2, -1, -1):
        steps[i] = steps[i] + factors[i + 1] * steps[i + 1]
    return tf.math.cumprod(x, -1, exclusive=True) * tf.stack(steps, -1)


def running(node: Node, values: Sequence[Value], back: Callable[..., tf.Tensor]) -> list[Value]:
    """A running function along an axis: ``back`` takes the members and the multipliers, forward and not exclusive."""
    check(node, values, (0,))
    pair, axis = values
    if not isinstance(pair, Pair):
        raise refuse(node, "there is no rule for it on integers or masks in which test and baseline differ")
    (y,), (y_base,) = node.run([detach(pair.test), axis]), node.run([pair.base, axis])
    at, rank = int(axis) % y.shape.rank, y.shape.rank
    swapped = [rank - 1 if i == at else at if i == rank - 1 else i for i in range(rank)]

    def there(tensor: tf.Tensor) -> tf.Tensor:
        tensor = tf.transpose(tensor, swapped)
        return tf.reverse(tensor, [-1]) if node.attribute("reverse") else tensor

    def here(tensor: tf.Tensor) -> tf.Tensor:
        return tf.transpose(tf.reverse(tensor, [-1]) if node.attribute("reverse") else tensor, swapped)

    a, b = there(detach(pair.test)), there(pair.base)

    def backward(dy: tf.Tensor) -> tf.Tensor:
        m = tf.cast(there(dy), tf.float64)
        if node.attribute("exclusive"):  # each is the one before, and the first is a constant
            m = tf.concat([m[..., 1:], tf.zeros_like(m[..., :1])], -1)
        return here(back(a, b, m)) if y.shape.num_elements() else dy

    return [Pair(attach([pair.test], y, backward), y_base)]


def cumprod(node: Node, values: Sequence[Value]) -> list[Value]:
    """The product of each beginning."""

    def back(a: tf.Tensor, b: tf.Tensor, m: tf.Tensor) -> tf.Tensor:
        return tf.add_n(
            [
                tf.reduce_sum(weight * _back_through_running(x, m + tf.zeros_like(x)), 0)
                for x, weight in _along_the_line(a, b)
            ]
        )

    return running(node, values, back)
