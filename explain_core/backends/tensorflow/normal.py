"""Softmax and log-softmax over the last axis, running log-sum-exps, and batch normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import tensorflow as tf

from .formulas import softmax as formulas
from .graph import Node
from .kinds import Rule, linear, refuse
from .pairs import Pair, Value, attach, detach
from .products import running


def _over_last_axis(make_rule: Callable[..., Callable[[tf.Tensor], tf.Tensor]]) -> Rule:
    """A function of the last axis, whose multipliers ``make_rule(test, baseline)`` takes backward."""

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        (pair,) = values
        a, b = detach(pair.test), pair.base
        (y,), (y_base,) = node.run([a]), node.run([b])
        return [Pair(attach([pair.test], y, make_rule(a, b)), y_base)]

    return rule


softmax = _over_last_axis(formulas.softmax_rule)
log_softmax = _over_last_axis(formulas.log_softmax_rule)


def cumulative_log_sum_exp(node: Node, values: Sequence[Value]) -> list[Value]:
    """``log Σ exp`` of each beginning."""
    return running(node, values, lambda a, b, m: formulas.cumulative_logsumexp_rule(a, b)(m))


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
