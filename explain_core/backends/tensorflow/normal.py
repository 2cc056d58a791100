"""Softmax and log-softmax over the last axis, and batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tensorflow as tf

from . import secants
from .graph import Node
from .kinds import linear, refuse
from .pairs import Pair, Value, attach, detach


def _log_sum_exp(t: tf.Tensor) -> tf.Tensor:
    return tf.reduce_logsumexp(t, axis=-1, keepdims=True)


def log_softmax(node: Node, values: Sequence[Value]) -> list[Value]:
    """``y_i = a_i - L`` with ``L = log Σ exp``: ``m_a = m_y - (Σ m_y) · m_L``.

    ``m_L = secant_log(S, S') · secant_exp(a - c, a' - c)`` for any shift c that both members share. With
    ``c = max(L, L')`` the first factor is one over the secant of exp between ``L - c`` and ``L' - c``, and
    nothing overflows however far apart the members are.
    """
    (pair,) = values
    a, b = detach(pair.test), pair.base
    (y,), (y_base,) = node.run([a]), node.run([b])
    total, total_base = _log_sum_exp(a), _log_sum_exp(b)
    c = tf.maximum(total, total_base)
    share = secants.exp(a - c, b - c) / secants.exp(total - c, total_base - c)
    out = attach([pair.test], y, lambda dy: dy - tf.reduce_sum(dy, -1, keepdims=True) * share)
    return [Pair(out, y_base)]


def softmax(node: Node, values: Sequence[Value]) -> list[Value]:
    """``y_i = e_i / S`` with ``e = exp(a - c)``, ``S = Σ e`` and one shift c for both members.

    The rules of exp and of division multiply out to a form in which the shift and all overflow are gone:
    ``m_a = ½ secant_exp(a - L', a' - L') · (m_y - <m_y>) + ½ secant_exp(a - L, a' - L) · (m_y - <m_y>')``
    where <·> and <·>' are means weighted by y and y'.
    """
    (pair,) = values
    a, b = detach(pair.test), pair.base
    (y,), (y_base,) = node.run([a]), node.run([b])
    total, total_base = _log_sum_exp(a), _log_sum_exp(b)
    over_base = secants.exp(a - total_base, b - total_base) / 2
    over_test = secants.exp(a - total, b - total) / 2

    def backward(dy: tf.Tensor) -> tf.Tensor:
        return over_base * _beyond_mean(dy, y) + over_test * _beyond_mean(dy, y_base)

    return [Pair(attach([pair.test], y, backward), y_base)]


def _beyond_mean(m: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """``m - Σ weights·m``, measured from the element with the largest weight so that it does not cancel."""
    m -= tf.gather(m, tf.argmax(weights, -1)[..., None], batch_dims=m.shape.rank - 1)
    return m - tf.reduce_sum(weights * m, -1, keepdims=True)


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
