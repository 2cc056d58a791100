"""Values written over others, and functions of two arguments that jump."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from .graph import Node
from .kinds import check, elementwise_discrete, marked, refuse
from .pairs import Discrete, Pair, Value, attach, base, detach, is_paired, test, unbroadcast


def overwrite(node: Node, values: Sequence[Value]) -> list[Value]:
    """``tensor[indices] = updates``: linear in the elements that stay.

    A place that is written twice keeps one of them, and TensorFlow's gradient goes to all. Which one stays is found by
    writing the numbers of the elements in their place.
    """
    check(node, values, (0, 2))
    if any(isinstance(value, Discrete) for value in values):
        raise refuse(node, "there is no rule for it on integers or masks in which test and baseline differ")
    tensor, indices, updates = values
    tests, bases = [detach(test(v)) for v in values], [base(v) for v in values]
    (y,), (y_base,) = node.run(tests), node.run(bases)
    kept, written = (int(tf.size(test(v))) for v in (tensor, updates))
    numbers = [tf.reshape(tf.range(start, start + count), test(v).shape) for start, count, v in
               ((0, kept, tensor), (kept, written, updates))]  # fmt: skip
    source = tf.tensor_scatter_nd_update(numbers[0], indices, numbers[1])  # by number, where each element is from

    def backward(dy: tf.Tensor) -> list[tf.Tensor]:
        totals = tf.math.unsorted_segment_sum(tf.reshape(dy, [-1]), tf.reshape(source, [-1]), kept + written)
        parts = (totals[:kept], totals[kept:])
        return [
            tf.reshape(part, test(v).shape) for part, v in zip(parts, (tensor, updates), strict=True) if is_paired(v)
        ]

    return [Pair(attach([v.test for v in (tensor, updates) if is_paired(v)], y, backward), y_base)]


marked(overwrite, is_linear=True)


def corners(node: Node, values: Sequence[Value]) -> list[Value]:
    """A function of two arguments by its values at the four corners: two-player Shapley values, divided by Δ."""
    if any(isinstance(value, Discrete) for value in values):
        return elementwise_discrete(node, values)
    tests, bases = [detach(test(v)) for v in values], [base(v) for v in values]
    (y,), (y_base,) = node.run(tests), node.run(bases)
    (only_a,), (only_b,) = node.run([tests[0], bases[1]]), node.run([bases[0], tests[1]])
    shares = [(y - only_b + only_a - y_base) / 2, (y - only_a + only_b - y_base) / 2]
    inputs = [
        (value.test, tf.math.divide_no_nan(share, tf.broadcast_to(a - b, y.shape)))
        for value, share, a, b in zip(values, shares, tests, bases, strict=True)
        if is_paired(value)
    ]

    def backward(dy: tf.Tensor) -> list[tf.Tensor]:
        return [unbroadcast(dy * slope, tensor.shape) for tensor, slope in inputs]

    return [Pair(attach([tensor for tensor, _ in inputs], y, backward), y_base)]
