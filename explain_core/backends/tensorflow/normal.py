"""Softmax and log-softmax over the last axis, running log-sum-exps, and batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import tensorflow as tf

from .formulas import secants
from .graph import Node
from .kinds import linear, refuse
from .pairs import Pair, Value, attach, detach, weighed
from .products import running


def _share_of_log_sum_exp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``ΔL / Δa_i`` for ``L = log Σ exp(a)``: ``secant_log(S, S') · secant_exp(a - c, a' - c)``.

    Any shift c that both members share gives the same. With ``c = max(L, L')`` the first factor is one over
    the secant of exp between ``L - c`` and ``L' - c``, and nothing overflows however far apart the members
    are.
    """
    top = tf.reduce_max(tf.maximum(a, b), axis=-1, keepdims=True)  # small numbers keep the digits of differences
    a, b = a - top, b - top
    total, total_base = (tf.reduce_logsumexp(t, axis=-1, keepdims=True) for t in (a, b))
    c = tf.maximum(total, total_base)
    return secants.exp(a - c, b - c) / secants.exp(total - c, total_base - c)


def log_softmax(node: Node, values: Sequence[Value]) -> list[Value]:
    """``y_i = a_i - L``: ``m_a = m_y - (Σ m_y) · m_L``."""
    (pair,) = values
    a, b = detach(pair.test), pair.base
    (y,), (y_base,) = node.run([a]), node.run([b])
    share = _share_of_log_sum_exp(a, b)
    out = attach([pair.test], y, lambda dy: dy - weighed(tf.reduce_sum(dy, -1, keepdims=True), share))
    return [Pair(out, y_base)]


def softmax(node: Node, values: Sequence[Value]) -> list[Value]:
    """``y_i = exp(a_i - L)``: the Rescale rule for exp, then as in `log_softmax`.

    Not ``exp(a_i) / Σ exp(a_j)``: that is complete too, but when all logits move together by D, which
    changes no probability, it shares out contributions that grow like ``sinh(D)/D``, and their sum drowns
    in their rounding.
    """
    (pair,) = values
    a, b = detach(pair.test), pair.base
    (y,), (y_base,) = node.run([a]), node.run([b])
    slope = secants.exp(tf.nn.log_softmax(a), tf.nn.log_softmax(b))
    share = _share_of_log_sum_exp(a, b)

    def backward(dy: tf.Tensor) -> tf.Tensor:
        dz = weighed(dy, slope)
        return dz - weighed(tf.reduce_sum(dz, -1, keepdims=True), share)

    return [Pair(attach([pair.test], y, backward), y_base)]


def cumulative_log_sum_exp(node: Node, values: Sequence[Value]) -> list[Value]:
    """``L_t = log Σ exp`` of each beginning, each by the rule of `_share_of_log_sum_exp`.

    With c the larger of the members' L and M that of their elements, element i has
    ``exp(M_i - c_t)·decay(|Δa_i|) / decay(|ΔL_t|)`` of step t. The sum over later steps goes back by
    ``exp(c_t - c_{t+1})``, which is at most 1.
    """

    def back(a: tf.Tensor, b: tf.Tensor, m: tf.Tensor) -> tf.Tensor:
        a, b = tf.cast(a, tf.float64), tf.cast(b, tf.float64)
        total, total_base = (tf.math.cumulative_logsumexp(v, -1) for v in (a, b))
        c = tf.maximum(total, total_base)
        of_element = tf.exp(_below(tf.maximum(a, b), c)) * secants.decay(secants.gap(a, b))
        falls = tf.unstack(tf.exp(_below(c[..., :-1], c[..., 1:])), axis=-1)
        steps = tf.unstack(m / secants.decay(secants.gap(total, total_base)), axis=-1)
        for t in range(len(steps) - 2, -1, -1):
            steps[t] = steps[t] + falls[t] * steps[t + 1]
        return of_element * tf.stack(steps, -1)

    return running(node, values, back)


def _below(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``a - b``, and minus infinity below the same infinity."""
    return tf.where(a == -math.inf, a, a - b)


def batch_norm(node: Node, values: Sequence[Value]) -> list[Value]:
    """Linear with the moving statistics, which a model predicts with; those of a batch would mix its samples.

    Written out, since the fused kernel knows no double precision. Its further outputs serve training only.
    """
    if node.attribute("is_training"):
        raise refuse(node, "it normalises by the statistics of the batch, as in training")
    last = node.attribute("data_format").decode().endswith("C")

    def run(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        x, *statistics = tensors
        broadcast = [1] * x.shape.rank
        broadcast[-1 if last else 1] = -1
        scale, offset, mean, variance = (tf.reshape(tf.cast(t, x.dtype), broadcast) for t in statistics)
        y = (x - mean) * (tf.math.rsqrt(variance + node.attribute("epsilon")) * scale) + offset
        return [y, *[tf.zeros_like(y)] * (len(node.outputs) - 1)]

    return linear(0)(replace(node, run=run), values)
