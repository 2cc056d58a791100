"""One recurrent layer on the rows of both members: once forward, and backward for every target.

Time comes first here and rows second: M = 2N rows are the N test members and then the N baselines.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from . import scan
from .cells import Cell, Tensors, difference, mean
from .methods import Method


@dataclass
class Passed:
    """What one backward pass saw at every step."""

    m_gates: tf.Tensor  # (T, N, G·H), multipliers of the gates' pre-activations
    m_first: tuple[tf.Tensor, tf.Tensor]  # (N, ·), multipliers of h and c before the first step
    of_mask: tf.Tensor  # (T, N, H), contribution of a mask in which the members differ
    carry: tf.Tensor  # (T, N, H), contribution that goes on to the state before
    mass: tf.Tensor  # (T, N), contribution that the states carry; equal to that of the gates and the carry
    after: tuple[tf.Tensor, tf.Tensor]  # (T, N, ·), multipliers of h and c after every step
    fresh: tuple[tf.Tensor, tf.Tensor]  # (T, N, ·), multipliers of h̃ and c̃
    outer: tf.Tensor  # (T, N, H), the part of the multipliers of h that comes from the layer's outputs
    choice: tf.Tensor  # (T, N, H), multipliers of outputs that are zero where masked


class Sweep:
    """The forward run.

    A mask in which the members differ is one more player: ``h = m·h̃ + (1 - m)·h_before`` is a sum of products, each
    with its midpoints.

    Args:
        x: (T, M, G·H), the input's part of the pre-activations.
        h, c: (M, H) before the first step; c of width 0 where the cell has none.
        flags: (T, M, 1), the mask.
        zero_output: whether steps that are masked give zero instead of the state.
        method: the rules that the multipliers go by.
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
        method: Method,
    ) -> None:
        self._cell, self._weights, self._zero_output, self._method = cell, weights, zero_output, method
        self._x, self.flags = x, flags
        self.h, self.c = scan.forward(cell, x, h, c, flags, weights)
        self._before_h = tf.concat([h[None], self.h[:-1]], 0)
        self._before_c = tf.concat([c[None], self.c[:-1]], 0)
        self._factors, self.facts = cell.prepare(x, self._before_h, self._before_c, weights, method)
        seen = tf.cast(flags, x.dtype)
        self._seen, self._seen_change = method.middle(seen), difference(seen)
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
        if self._method.point is not None:  # a derivative knows nothing of truth values
            of_mask = tf.zeros_like(of_mask)
        carry = cell.carry(self._factors, m_new_h, m_new_c, self._before_h, self._before_c)
        after, fresh = (m_h, m_c), (m_new_h, m_new_c)
        carry += (1 - seen) * passed_by + of_mask
        return Passed(m_gates, tuple(m_first), of_mask, carry, mass, after, fresh, d_state, d_choice)

    def nothing(self) -> Passed:
        """The pass of a target that does not depend on this layer."""
        h, c = difference(self.h), difference(self.c)
        zero = tf.zeros_like(h)
        first = tf.zeros_like(h[0]), tf.zeros_like(c[0])
        states = zero, tf.zeros_like(c)
        return Passed(tf.zeros_like(self.facts["change"]), first, zero, zero, zero[..., 0], states, states, zero, zero)

    def defects(self, passed: Passed) -> Tensors:
        """What a pass left of the difference at every step, by part: each (T, N), in float64.

        "mask" is there where the members' masks differ; "linear", the matrix products and sums, is rounding.
        """
        double = lambda t: tf.cast(t, tf.float64)  # noqa: E731
        x, before_h, before_c = map(double, (self._x, self._before_h, self._before_c))
        h, c, out = (difference(double(t)) for t in (self.h, self.c, self.out))
        (m_h, m_c), (m_new_h, m_new_c) = map(double, passed.after), map(double, passed.fresh)
        choice, m_gates, seen = double(passed.choice), double(passed.m_gates), double(self._seen)
        weights = {name: double(weight) for name, weight in self._weights.items()}
        parts = self._cell.parts(x, before_h, before_c, weights, self._method, m_new_h, m_new_c, m_gates)

        arrived = _dot(m_h, h) + _dot(m_c, c) + _dot(choice, out)
        inward = _dot(m_h - double(passed.outer), h) + _dot(m_c, c)
        first = sum(
            _dot(double(m), difference(s[0])) for m, s in zip(passed.m_first, (before_h, before_c), strict=True)
        )
        carried = tf.concat([first[None], inward[:-1]], 0)
        of_mask = tf.reduce_sum(double(passed.of_mask), -1)
        steps = arrived - _dot(m_gates, difference(x)) - of_mask - carried
        if bool(tf.reduce_any(self._seen_change != 0)):
            fresh = (difference(double(self.facts[name])) for name in ("h", "c"))
            taken = sum(_dot(m, change) for m, change in zip((m_new_h, m_new_c), fresh, strict=True))
            passed_by = _dot(m_h, difference(before_h)) + _dot(m_c, difference(before_c))
            parts["mask"] = arrived - taken - (1 - seen[..., 0]) * passed_by - of_mask
        return {**parts, "linear": steps - tf.add_n(list(parts.values()))}


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b, -1)
