"""Many elements that become one: over axes of a tensor, and in groups by constant positions.

Each of these functions of one row has multipliers of its elements, ``multipliers(a, b)`` over the last axis, such as
``maximum.max_multipliers``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from .formulas import reductions
from .graph import Node
from .kinds import Rule, check, refuse
from .pairs import Discrete, Pair, Value, attach, base, detach, is_paired, test

Multipliers = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Multipliers (..., n) of one number that is made of n elements, from the test and baseline values (..., n)."""


def norm_multipliers(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Of the Euclidean norm."""
    return reductions.norm_multipliers(a, b, *(tf.norm(member, axis=-1, keepdims=True) for member in (a, b)))


def floats_only(node: Node, values: Sequence[Value]) -> None:
    """Refuse integers and masks that differ."""
    if any(isinstance(value, Discrete) for value in values):
        raise refuse(node, "there is no rule for it on integers or masks in which test and baseline differ")


def over_axes(multipliers: Multipliers) -> Rule:
    """A reduction over axes, such as ``Max``."""

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        check(node, values, (0,))
        floats_only(node, values)
        pair, axes = values
        a, b = detach(pair.test), pair.base
        (y,), (y_base,) = node.run([a, axes]), node.run([b, axes])
        reduced = sorted({int(axis) % a.shape.rank for axis in np.ravel(axes)})
        kept = [axis for axis in range(a.shape.rank) if axis not in reduced]
        there = kept + reduced
        outer = [a.shape[axis] for axis in kept]
        count = int(np.prod([a.shape[axis] for axis in reduced], dtype=int))

        def to_rows(tensor: tf.Tensor) -> tf.Tensor:
            return tf.reshape(tf.transpose(tensor, there), [*outer, count])

        found = multipliers(to_rows(a), to_rows(b))
        found = tf.transpose(tf.reshape(found, [a.shape[axis] for axis in there]), np.argsort(there))
        broadcast = [1 if axis in reduced else a.shape[axis] for axis in range(a.shape.rank)]
        return [Pair(attach([pair.test], y, lambda dy: tf.reshape(dy, broadcast) * found), y_base)]

    return rule


# Groups


def _members(of: np.ndarray, groups: int) -> np.ndarray:
    """Which elements each group has, from the group of each; -1 where there are no more: (groups, most)."""
    order = np.argsort(of, kind="stable")
    order = order[(of[order] >= 0) & (of[order] < groups)]
    counts = np.bincount(of[order], minlength=groups)
    table = np.full((groups, max(counts, default=0)), -1)
    table[of[order], np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)] = order
    return table


def _grouped(
    node: Node, parts: Sequence[Value], table: np.ndarray, multipliers: Multipliers, neutral: float
) -> Callable:
    """The way back from (groups, ...) to the elements, which are those of all parts (n, ...) in order."""
    counts = [test(part).shape[0] for part in parts]
    inner = test(parts[0]).shape.rank - 1
    there, back_again = [0, *range(2, inner + 2), 1], [0, inner + 1, *range(1, inner + 1)]
    present = np.reshape(table >= 0, [*table.shape, *[1] * inner])

    def to_rows(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        rows = tf.gather(tf.concat(tensors, 0), np.maximum(table, 0))
        return tf.transpose(tf.where(present, rows, tf.cast(neutral, rows.dtype)), there)

    if table.size:
        members = [detach(test(part)) for part in parts], [base(part) for part in parts]
        found = tf.transpose(multipliers(*map(to_rows, members)), back_again)
    places = np.where(table < 0, sum(counts), table).ravel()

    def backward(dy: tf.Tensor) -> list[tf.Tensor]:
        if not table.size:
            return [tf.zeros_like(test(part)) for part in parts if is_paired(part)]
        each = tf.where(present, found * dy[:, None], tf.zeros_like(found))
        flat = tf.reshape(each, [-1, *each.shape[2:]])
        totals = tf.split(tf.math.unsorted_segment_sum(flat, places, sum(counts) + 1)[:-1], counts)
        return [total for total, part in zip(totals, parts, strict=True) if is_paired(part)]

    return backward


def in_segments(multipliers: Multipliers, neutral: Callable[[tf.DType], float]) -> Rule:
    """``SegmentMax`` and its like: groups by constant ids, which may have several axes."""

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        check(node, values, (0,))
        floats_only(node, values)
        pair, ids, *_ = values
        (y,), (y_base,) = (node.run([member, *values[1:]]) for member in (detach(pair.test), pair.base))
        inner = pair.test.shape[ids.shape.rank :]
        flat = Pair(*(tf.reshape(member, [-1, *inner]) for member in (pair.test, pair.base)))
        table = _members(np.ravel(ids), y.shape[0])
        back = _grouped(node, [flat], table, multipliers, neutral(y.dtype))
        out = attach([pair.test], y, lambda dy: [tf.reshape(part, pair.test.shape) for part in back(dy)])
        return [Pair(out, y_base)]

    return rule


def written(multipliers: Multipliers, neutral: Callable[[tf.DType], float]) -> Rule:
    """``TensorScatterMax`` and its like: each element with the updates that meet it."""

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        check(node, values, (0, 2))
        floats_only(node, values)
        tensor, indices, updates = values
        (y,), (y_base,) = node.run([detach(test(v)) for v in values]), node.run([base(v) for v in values])
        size = int(tf.size(y))
        of = np.ravel(tf.gather_nd(tf.reshape(tf.range(size), y.shape), indices))
        table = _members(of, size)
        table = np.concatenate([np.arange(size)[:, None], np.where(table < 0, -1, table + size)], 1)
        parts = [
            Pair(tf.reshape(v.test, [-1]), tf.reshape(v.base, [-1])) if is_paired(v) else tf.reshape(v, [-1])
            for v in (tensor, updates)
        ]
        back = _grouped(node, parts, table, multipliers, neutral(y.dtype))
        given = [v.test for v in (tensor, updates) if is_paired(v)]

        def backward(dy: tf.Tensor) -> list[tf.Tensor]:
            return [tf.reshape(part, t.shape) for part, t in zip(back(tf.reshape(dy, [-1])), given, strict=True)]

        return [Pair(attach(given, y, backward), y_base)]

    return rule
