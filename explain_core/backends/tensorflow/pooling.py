"""Max-pooling: the Shapley maximum over windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .formulas import maximum
from .graph import Node
from .kinds import refuse
from .pairs import Pair, Value, attach, detach


def pool(node: Node, values: Sequence[Value]) -> list[Value]:
    """``MaxPool`` over windows of any number of spatial axes: each window is an axis of its own."""
    (pair,) = values
    if not isinstance(pair, Pair):
        raise refuse(node, "there is no rule for it on integers or masks in which test and baseline differ")
    if node.attribute("data_format") not in (b"NHWC", b"NDHWC") or node.attribute("padding") == b"EXPLICIT":
        raise refuse(node, "only channels-last data with VALID or SAME padding have a rule")
    a, b = detach(pair.test), pair.base
    (y,), (y_base,) = node.run([a]), node.run([b])
    window = _windows(node, a.shape[1:-1], y.shape[1:-1])  # (outputs, elements), -1 for padding
    present = window >= 0
    lowest = a.dtype.min

    def to_rows(tensor: tf.Tensor) -> tf.Tensor:  # (N, outputs, channels, elements)
        flat = tf.reshape(tensor, [tensor.shape[0], -1, tensor.shape[-1]])
        rows = tf.gather(flat, np.maximum(window, 0), axis=1)
        return tf.transpose(tf.where(present[None, :, :, None], rows, lowest), [0, 1, 3, 2])

    slopes = tf.transpose(maximum.max_multipliers(to_rows(a), to_rows(b)), [0, 1, 3, 2]) * present[None, :, :, None]

    def backward(dy: tf.Tensor) -> tf.Tensor:
        parts = slopes * tf.reshape(dy, [dy.shape[0], -1, 1, dy.shape[-1]])
        by_place = tf.transpose(tf.reshape(parts, [parts.shape[0], -1, parts.shape[-1]]), [1, 0, 2])
        size = int(np.prod(a.shape[1:-1]))
        total = tf.math.unsorted_segment_sum(by_place, np.maximum(window, 0).ravel(), size)
        return tf.reshape(tf.transpose(total, [1, 0, 2]), a.shape)

    return [Pair(attach([pair.test], y, backward), y_base)]


def _windows(node: Node, space: tf.TensorShape, out: tf.TensorShape) -> np.ndarray:
    """Flat places of the elements of each window: (outputs, elements), -1 for padding."""
    sizes, strides = node.attribute("ksize")[1:-1], node.attribute("strides")[1:-1]
    places = []
    for length, count, size, stride in zip(space, out, sizes, strides, strict=True):
        padding = max((count - 1) * stride + size - length, 0) if node.attribute("padding") == b"SAME" else 0
        place = np.arange(count)[:, None] * stride - padding // 2 + np.arange(size)
        places.append(np.where((place >= 0) & (place < length), place, -1))
    flat, elements = places[0], places[0].shape[1]
    for length, place in zip(space[1:], places[1:], strict=True):
        inside = (flat[:, None, :, None] >= 0) & (place[None, :, None, :] >= 0)
        grid = np.where(inside, flat[:, None, :, None] * length + place[None, :, None, :], -1)
        elements *= place.shape[1]
        flat = grid.reshape(-1, elements)
    return flat
