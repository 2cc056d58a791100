"""The maximum over an axis, and max-pooling: exact Shapley values.

The players are the n elements; each is present with its test value or absent with its baseline value, and
the game is worth the largest. Written as ``max = ∫ 1[max > t] dt`` it falls apart into games that are won
or lost (Lundberg & Lee 2017 name this maximum as a case with a fast closed form). At a threshold t let p
elements rise above it (test value above, baseline value not) and q sink below it. Unless some element is
above in both members, one that rises turns the game exactly when it comes after all that sink and before
all others that rise, which in a random order has probability ``(p-1)! q! / (p+q)!``; one that sinks loses
it with ``p! (q-1)! / (p+q)!``. The integral is a sum over the 2n values in order: O(n log n) for the whole
axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .graph import Node
from .kinds import refuse
from .pairs import Pair, Value, attach, detach


def shapley_slopes(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Multipliers of ``max`` over the last axis.

    Args:
        a: test values, shape (..., n).
        b: baseline values, shape (..., n).

    Returns:
        Shapley value over ``a - b``, shape (..., n), and its limit where they are equal; elements that tie and are
        equal in both members share it alike.
    """
    n, kind = a.shape[-1], a.dtype
    # What masks hide is the same infinity in both members: no difference, and no distance to measure from.
    hidden, far = tf.math.is_inf(a) & (a == b), tf.sign(a) * (kind.max / 2)
    a, b = (tf.where(hidden, far, t) for t in (a, b))
    values = tf.concat([a, b], -1)
    order = tf.argsort(values, axis=-1, stable=True)
    at = tf.gather(values, order, batch_dims=a.shape.rank - 1)
    is_test = tf.cast(order < n, kind)
    # Above the k-th smallest of all 2n values: how many test values, baseline values, and elements with both.
    above_a = tf.reduce_sum(is_test, -1, keepdims=True) - tf.cumsum(is_test, -1)
    above_b = tf.reduce_sum(1 - is_test, -1, keepdims=True) - tf.cumsum(1 - is_test, -1)
    floor = tf.reduce_max(tf.minimum(a, b), -1, keepdims=True)
    is_open = at >= floor  # no element is above in both members
    open_game = tf.cast(is_open, kind)
    p, q = tf.maximum(above_a, 0), tf.maximum(above_b, 0)

    width = tf.concat([at[..., 1:] - at[..., :-1], tf.zeros_like(at[..., :1])], -1)
    width = tf.where(is_open & (width > 0), width, tf.zeros_like(width))  # the infinities of a mask have no width
    area_up, area_down = (tf.cumsum(width * w, -1, exclusive=True) for w in (_chance(p, q), _chance(q, p)))
    rank = tf.argsort(order, axis=-1)
    rank_a, rank_b = rank[..., :n], rank[..., n:]

    def between(area: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        depth = a.shape.rank - 1
        return tf.gather(area, high, batch_dims=depth) - tf.gather(area, low, batch_dims=depth)

    rising = between(area_up, rank_b, rank_a) / tf.where(a > b, a - b, tf.ones_like(a))
    sinking = between(area_down, rank_a, rank_b) / tf.where(b > a, b - a, tf.ones_like(a))
    same = tf.searchsorted(at, b, side="right") - 1  # the last of those that tie with it
    still = tf.gather(_chance(p + 1, q) * open_game, same, batch_dims=a.shape.rank - 1)
    equal = tf.sort(tf.where(a == b, a, kind.max), -1)
    left, right = (tf.searchsorted(equal, b, side=side) for side in ("left", "right"))
    still /= tf.cast(tf.maximum(right - left, 1), kind)
    return tf.where(a > b, rising, tf.where(b > a, sinking, still))


def _chance(p: tf.Tensor, q: tf.Tensor) -> tf.Tensor:
    """``(p-1)! q! / (p+q)!``, and 0 for p = 0."""
    p64, q64 = tf.cast(p, tf.float64), tf.cast(q, tf.float64)
    log = tf.math.lgamma(tf.maximum(p64, 1)) + tf.math.lgamma(q64 + 1) - tf.math.lgamma(p64 + q64 + 1)
    return tf.cast(tf.where(p64 > 0, tf.exp(log), tf.zeros_like(log)), p.dtype)


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

    slopes = tf.transpose(shapley_slopes(to_rows(a), to_rows(b)), [0, 1, 3, 2]) * present[None, :, :, None]

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
