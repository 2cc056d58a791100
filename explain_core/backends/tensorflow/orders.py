"""Sorting, and single elements of the sorted: exact Shapley values, as the maximum has them.

The players are the elements of an axis, each at its test or its baseline value, and the game is their k-th largest,
``∫ [at least k elements > t] dt``. At a threshold, p elements lie above it in the test only, q in the baseline only,
and some in both, which leaves r of the k to be found among those p and q. The one that completes them in a random order
of moves has the width of the threshold. All that rise have the same chance of it, `deciding_chance`, and all that sink
another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from .formulas import maximum
from .graph import Node
from .kinds import check, refuse
from .pairs import CREDIT, Pair, Value, attach, base, detach, settle, test
from .reductions import floats_only

_TABLE = 2**22  # entries of the largest table


def deciding_chance(rising: np.ndarray, sinking: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """The Shapley value of one rising player in the game that is won with ``needed`` players above.

    Args:
        rising, sinking, needed: whole numbers of one shape. A sinking player has minus that of a rising one with the
            first two exchanged.

    Returns:
        a number from 0 to 1 for each; 0 where there is no such player.
    """
    played = (rising >= 1) & (needed >= 1) & (needed <= rising + sinking)
    p, q, r = (np.where(played, v, 0) for v in (rising, sinking, needed))
    most = [int(v.max(initial=0)) for v in (p, q, r)]
    if math.prod(n + 1 for n in most) <= _TABLE:
        return _all_chances(*most)[p, q, r]
    distinct, which = np.unique(np.stack([p, q, r], -1).reshape(-1, 3), axis=0, return_inverse=True)
    return np.array([_chance(*map(int, one)) for one in distinct])[which.reshape(p.shape)]


def _all_chances(p_most: int, q_most: int, r_most: int) -> np.ndarray:
    """The chances for all numbers up to these, by who moves last: the player, another rising one, or a sinking one."""
    table = np.zeros((p_most + 1, q_most + 1, r_most + 1))
    needed = np.arange(r_most + 1)
    for p in range(1, p_most + 1):
        for q in range(q_most + 1):
            sinking = np.concatenate([[0.0], table[p, q - 1, :-1]]) if q else 0.0
            table[p, q] = ((needed == p) + (p - 1) * table[p - 1, q] + q * sinking) / (p + q)
            table[p, q, 0] = 0.0
    return table


def _chance(p: int, q: int, r: int) -> float:
    """The same as a sum over how many rising players have moved before: ``a`` of them, and ``a + q + 1 - r`` sinking.

    ``C(p-1, a)·C(q, b) / (p + q)·C(p+q-1, a+b)``, each term exact before it is rounded.
    """
    if not p:
        return 0.0
    terms = range(max(r - q - 1, 0), min(p, r))
    befores = [(a, a + q + 1 - r) for a in terms]
    return math.fsum(
        math.comb(p - 1, a) * math.comb(q, b) / ((p + q) * math.comb(p + q - 1, a + b)) for a, b in befores
    )


def order_rule(a: tf.Tensor, b: tf.Tensor, ranks: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """The multiplier of each element, given those of some of the sorted ones.

    Args:
        a, b: test and baseline values, (..., n).
        ranks: (k,): which of the sorted, 1 for the largest, n for the smallest.

    Returns:
        from (..., k) to (..., n).
    """
    count, kind, shape = a.shape[-1], a.dtype, a.shape
    if ranks.tolist() in ([1], [count]):
        sign = 1 if ranks[0] == 1 else -1
        slope = maximum.max_multipliers(sign * a, sign * b)
        return lambda m: m * slope
    a, b = (np.reshape(tf.cast(v, tf.float64).numpy(), (-1, count)) for v in (a, b))
    values = np.concatenate([a, b], -1)
    order = np.argsort(-values, axis=-1, kind="stable")
    values, place = np.take_along_axis(values, order, -1), np.argsort(order, axis=-1)
    at_a, at_b = place[:, :count], place[:, count:]
    start, stop = np.minimum(at_a, at_b), np.maximum(at_a, at_b)
    upper, lower = values[:, :-1], values[:, 1:]
    with np.errstate(invalid="ignore"):
        width = np.where(upper == lower, 0.0, upper - lower)
        move = np.where(a == b, 0.0, np.abs(a - b))
    # Above each gap between neighbours: how many test values, baseline values, and elements with both.
    above_a, above_b = (np.cumsum(part, -1)[:, :-1] for part in (order < count, order >= count))
    both = np.zeros_like(place)
    np.put_along_axis(both, stop, 1, -1)
    both = np.cumsum(both, -1)[:, :-1]
    p, q, r = np.broadcast_arrays((above_a - both)[..., None], (above_b - both)[..., None], ranks - both[..., None])
    shares = [deciding_chance(p, q, r), deciding_chance(q, p, r)]
    with np.errstate(invalid="ignore"):  # nobody is between the infinities of a mask
        up, down = (np.where(share > 0, share * width[..., None], 0.0) for share in shares)

    def back(m: tf.Tensor) -> tf.Tensor:
        m = np.reshape(tf.cast(m, tf.float64).numpy(), (-1, len(ranks), 1))
        sums = [_range_sums((part @ m)[..., 0], start, stop) for part in (up, down)]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(move == 0, 0.0, np.where(at_a < at_b, *sums) / move)
        return tf.cast(np.reshape(slope, shape), kind)

    return back


def _range_sums(values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """``Σ values[start:stop]`` of each row, from sums of 1, 2, 4, ... neighbours, so that nothing cancels."""
    total, at, length, step = np.zeros(start.shape), start, stop - start, 1
    while values.shape[-1] and step <= length.max(initial=0):
        taken = (length & step) > 0
        found = np.take_along_axis(values, np.minimum(at, values.shape[-1] - 1), -1)
        total, at = total + np.where(taken, found, 0.0), at + np.where(taken, step, 0)
        later = np.zeros_like(values)
        later[:, : max(values.shape[-1] - step, 0)] = values[:, step:]
        values, step = values + later, 2 * step
    return total


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
