"""One recurrent layer on the rows of both members: once forward, and backward for every target.

Time comes first here and rows second: M = 2N rows are the N test members and then the N baselines.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from . import scan
from .cells import Cell, Tensors, difference, mean


@dataclass
class Passed:
    """What one backward pass saw at every step."""

    m_gates: tf.Tensor  # (T, N, G·H), multipliers of the gates' pre-activations
    m_first: tuple[tf.Tensor, tf.Tensor]  # (N, ·), multipliers of h and c before the first step
    of_mask: tf.Tensor  # (T, N, H), contribution of a mask in which the members differ
    carry: tf.Tensor  # (T, N, H), contribution that goes on to the state before
    mass: tf.Tensor  # (T, N), contribution that the states carry; equal to that of the gates and the carry


class Sweep:
    """The forward run.

    A mask in which the members differ is one more player: ``h = m·h̃ + (1 - m)·h_before`` is a sum of products, each
    with its midpoints.

    Args:
        x: (T, M, G·H), the input's part of the pre-activations.
        h, c: (M, H) before the first step; c of width 0 where the cell has none.
        flags: (T, M, 1), the mask.
        zero_output: whether steps that are masked give zero instead of the state.
    """

    def __init__(
        self,
        cell: Cell,
        x: tf.Tensor,
        h: tf.Tensor,
        c: tf.Tensor,
        flags: tf.Tensor,
        weights: Tensors,
        zero_output: bool,
    ) -> None:
        self._cell, self._weights, self._zero_output = cell, weights, zero_output
        self.h, self.c = scan.forward(cell, x, h, c, flags, weights)
        self._before_h = tf.concat([h[None], self.h[:-1]], 0)
        self._before_c = tf.concat([c[None], self.c[:-1]], 0)
        self._factors, self.facts = cell.prepare(x, self._before_h, self._before_c, weights)
        seen = tf.cast(flags, x.dtype)
        self._seen, self._seen_change = mean(seen), difference(seen)
        self.out = tf.where(flags, self.facts["h"], tf.zeros_like(self.h)) if zero_output else self.h

    def back(self, d_out: tf.Tensor, d_h: tf.Tensor, d_c: tf.Tensor) -> Passed:
        """One backward pass.

        Args:
            d_out: (T, N, H), multipliers of the outputs.
            d_h, d_c: (N, ·), multipliers of the final states.
        """
        cell, facts, seen = self._cell, self.facts, self._seen
        none = tf.zeros_like(d_out)
        d_state, d_choice = (none, d_out) if self._zero_output else (d_out, none)
        d_state = tf.concat([d_state[:-1], d_state[-1:] + d_h], 0)
        *m_first, m_h, m_c = scan.backward(cell, self._factors, seen, d_state, seen * d_choice, d_c, self._weights)
        m_new_h, m_new_c = seen * (m_h + d_choice), seen * m_c
        m_gates = cell.gates(self._factors, m_new_h, m_new_c, self._weights)

        by_mask = m_h * mean(facts["h"] - self._before_h) + d_choice * mean(facts["h"])
        passed_by = m_h * difference(self._before_h)
        mass = tf.reduce_sum(m_h * difference(self.h) + d_choice * difference(self.out), -1)
        if self.c.shape[-1]:
            by_mask += m_c * mean(facts["c"] - self._before_c)
            passed_by += m_c * difference(self._before_c)
            mass += tf.reduce_sum(m_c * difference(self.c), -1)
        of_mask = self._seen_change * by_mask
        carry = cell.carry(self._factors, m_new_h, m_new_c, self._before_h, self._before_c)
        return Passed(m_gates, tuple(m_first), of_mask, carry + (1 - seen) * passed_by + of_mask, mass)

    def nothing(self) -> Passed:
        """The pass of a target that does not depend on this layer."""
        h, c = difference(self.h), difference(self.c)
        zero = tf.zeros_like(h)
        first = tf.zeros_like(h[0]), tf.zeros_like(c[0])
        return Passed(tf.zeros_like(self.facts["change"]), first, zero, zero, zero[..., 0])
