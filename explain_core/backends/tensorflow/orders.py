"""Sorting, and single elements of the sorted, by the rule of `rules.orders`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ...rules import orders
from .formulas import maximum
from .graph import Node
from .kinds import check, refuse
from .pairs import CREDIT, Pair, Value, attach, base, detach, settle, test
from .reductions import floats_only


def order_rule(a: tf.Tensor, b: tf.Tensor, ranks: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """The multiplier of each element (..., n), given those of some of the sorted ones, (..., k); see `rules.orders`."""
    if ranks.tolist() in ([1], [a.shape[-1]]):
        slope = (maximum.max_multipliers if ranks[0] == 1 else maximum.min_multipliers)(a, b)
        return lambda m: m * slope
    test, base = (tf.cast(v, tf.float64).numpy() for v in (a, b))
    back = orders.order_rule(test, base, ranks)
    return lambda m: tf.cast(back(tf.cast(m, tf.float64).numpy()), m.dtype)


def _chosen(pair: Pair, ranks: np.ndarray) -> Pair:
    """Some of the sorted elements of the last axis: (..., n) to (..., k)."""
    a, b = detach(pair.test), pair.base
    take = [tf.gather(tf.sort(v, -1, "DESCENDING"), ranks - 1, axis=-1) for v in (a, b)]
    return Pair(attach([pair.test], take[0], order_rule(a, b, ranks)), take[1])


def _positions(node: Node, tensors: tuple[tf.Tensor, tf.Tensor], inputs: list[tf.Tensor]) -> Value:
    """Where the elements come from. Where that differs, nothing can be attributed to it."""

    def backward(contribution: tf.Tensor) -> list[tf.Tensor]:
        if bool(tf.reduce_any(contribution != 0)):
            raise refuse(
                node,
                "the positions that it returns differ between the input and the baseline, and the output depends on "
                "them; a position has no multiplier",
            )
        return [tf.zeros_like(tensor) for tensor in inputs]

    return settle(*tensors, attach(inputs, tf.zeros(tensors[0].shape, CREDIT), backward))


def top(node: Node, values: Sequence[Value]) -> list[Value]:
    """``TopKV2``, which sorts too; in order also where that was not asked for."""
    check(node, values, (0,))
    floats_only(node, values)
    pair, k = values
    kind = node.attribute("index_type")
    places = [tf.math.top_k(v, int(k), index_type=kind).indices for v in (detach(pair.test), pair.base)]
    chosen = _chosen(pair, np.arange(1, int(k) + 1))
    return [chosen, _positions(node, tuple(places), [pair.test])]


def nth(node: Node, values: Sequence[Value]) -> list[Value]:
    """``NthElement``: one of the sorted, counted from 0 and from the smallest."""
    check(node, values, (0,))
    floats_only(node, values)
    pair, number = values
    rank = int(number) + 1 if node.attribute("reverse") else pair.test.shape[-1] - int(number)
    chosen = _chosen(pair, np.array([rank]))
    return [Pair(tf.squeeze(chosen.test, -1), tf.squeeze(chosen.base, -1))]


def place(node: Node, values: Sequence[Value]) -> list[Value]:
    """``ArgMax`` and ``ArgMin``."""
    check(node, values, (0,))
    floats_only(node, values)
    (at,), (at_base,) = node.run([detach(test(v)) for v in values]), node.run([base(v) for v in values])
    return [_positions(node, (at, at_base), [values[0].test])]
