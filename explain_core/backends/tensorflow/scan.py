"""The two recurrences of a recurrent layer, compiled: states forward in time, multipliers backward.

T timesteps first, rows second: M = 2N rows are the N test members and then the N baselines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import tensorflow as tf

from .cells import Cell, Tensors


def forward(cell: Cell, *arguments) -> tuple[tf.Tensor, tf.Tensor]:
    """States of both members, by the function that `_forward` makes: once for all sizes of a kind of cell."""
    return _forward(cell, arguments[0].dtype)(*arguments)


def backward(cell: Cell, *arguments) -> tuple[tf.Tensor, ...]:
    """Multipliers of the states, by the function that `_backward` makes."""
    return _backward(cell, arguments[1].dtype)(*arguments)


def _compiled(scan: Callable) -> Callable:
    """``scan`` as one graph for tensors of any size, so that no length or batch is compiled for again."""
    graphs: dict[str, Callable] = {}

    def run(*arguments):
        specs = tf.nest.map_structure(lambda t: tf.TensorSpec([None] * t.shape.rank, t.dtype), arguments)
        key = repr(specs)
        if key not in graphs:
            graphs[key] = tf.function(scan, autograph=False).get_concrete_function(*specs)
        return graphs[key](*arguments)

    return run


@cache
def _forward(cell: Cell, kind: tf.DType) -> Callable:
    """A function of x (T, M, G·H), h and c before the first step (M, ·), the mask (T, M, 1) and the weights.

    It returns h and c after every step, (T, M, ·).
    """

    def scan(x, h, c, mask, weights: Tensors):
        steps = tf.shape(x)[0]
        kept = [tf.TensorArray(kind, steps, element_shape=s.shape) for s in (h, c)]

        def step(t, h, c, all_h, all_c):
            new_h, new_c = cell.step(x[t], h, c, weights)
            h, c = tf.where(mask[t], new_h, h), tf.where(mask[t], new_c, c)
            return t + 1, h, c, all_h.write(t, h), all_c.write(t, c)

        *_, all_h, all_c = tf.while_loop(lambda t, *_: t < steps, step, (0, h, c, *kept))
        return all_h.stack(), all_c.stack()

    return _compiled(scan)


@cache
def _backward(cell: Cell, kind: tf.DType) -> Callable:
    """A function of what the layer's outputs pass back, for

    - ``d_h`` and ``d_fresh``, (T, N, H): the states h, and h̃ of every step before the mask;
    - ``d_c``, (N, ·): the final cell state;
    - ``counts``, (T, N, 1): the mean of the mask over the pair.

    It returns the multipliers of h and c before the first step, (N, ·), and after every step, (T, N, ·). At
    a step

        m_h̃ = m̄·m_h + d_fresh    m_c̃ = m̄·m_c
        m_h, m_c of the step before = the cell's own, plus (1 - m̄)·m_h and (1 - m̄)·m_c
    """

    def scan(factors: Tensors, counts, d_h, d_fresh, d_c, weights: Tensors):
        steps = tf.shape(d_h)[0]
        kept = [tf.TensorArray(kind, steps, element_shape=s.shape) for s in (d_h[0], d_c)]

        def step(t, m_h, m_c, all_h, all_c):
            m_h += d_h[t]
            m_new_h, m_new_c = counts[t] * m_h + d_fresh[t], counts[t] * m_c
            here = {name: factor[t] for name, factor in factors.items()}
            m_gates = cell.gates(here, m_new_h, m_new_c, weights)
            before_h, before_c = cell.back(here, m_gates, m_new_h, m_new_c, weights)
            passed = 1 - counts[t]
            kept_h, kept_c = all_h.write(t, m_h), all_c.write(t, m_c)
            return t - 1, before_h + passed * m_h, before_c + passed * m_c, kept_h, kept_c

        start = (steps - 1, tf.zeros_like(d_h[0]), d_c, *kept)
        _, m_h, m_c, all_h, all_c = tf.while_loop(lambda t, *_: t >= 0, step, start)
        return m_h, m_c, all_h.stack(), all_c.stack()

    return _compiled(scan)
