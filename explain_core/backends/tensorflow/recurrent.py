"""A recurrent layer as one fused paired operation.

The states of both members come from one scan over time with the two side by side as rows. Given them, all
pre-activations of all steps are one matrix product and all secants one pass over its result; only the
recurrence of the multipliers is sequential again (`scan`). A mask in which the members differ is one more
player: a step is ``h = m·h̃ + (1 - m)·h_before``, a product like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ..protocol import GateTrace
from . import scan
from .cells import GRU, LSTM, RNN, Cell, Tensors, difference, gates_of, halves, mean
from .graph import Precision
from .layers import Layer
from .pairs import Discrete, Pair, Value, attach, base, detach, each, is_paired, test


def _cell(layer: Layer) -> Cell:
    if layer.kind == "LSTM":
        return LSTM(layer.activation, layer.recurrent_activation)
    if layer.kind == "GRU":
        return GRU(layer.activation, layer.recurrent_activation, layer.reset_after)
    return RNN(layer.activation)


@dataclass
class Passed:
    """What one backward pass saw at every step."""

    m_gates: tf.Tensor  # (T, N, G·H)
    carry: tf.Tensor  # (T, N, H)
    mass: tf.Tensor  # (T, N)


class FusedLayer:
    """Runs one marked layer; `Interpreter` says how it is called.

    After a run, ``facts`` holds states and gates of both members; each backward pass adds one to ``passes``.
    """

    def __init__(self, layer: Layer, precision: Precision) -> None:
        self.layer = layer
        self.cell = _cell(layer)
        self.facts: Tensors = {}
        self.passes: list[Passed] = []
        self._precision = precision

    def __call__(self, values: Sequence[Value]) -> list[Value] | None:
        layer = self.layer
        count = 2 if layer.kind == "LSTM" else 1
        sequence, states = values[0], list(values[1 : 1 + count])
        mask = values[1 + count] if layer.masked else None
        # Before the first step that counts, Keras' output is zero and not the initial state.
        apart = layer.masked and not layer.zero_output_for_mask and not _is_zero(states[0])
        if apart and isinstance(mask, Discrete):
            return None
        if layer.go_backwards:
            sequence = each(sequence, _reverse)
        kernel, bias, weights = self._weights()
        projected = each(sequence, lambda t: tf.matmul(t, kernel))  # linear: on the tape as it is
        if bias is not None:
            projected = each(projected, lambda t: t + bias)
        outputs, *last = self._run(projected, states, mask, weights)
        if apart:
            waiting = tf.math.cumprod(
                1 - tf.cast(_reverse(mask) if layer.go_backwards else mask, kernel.dtype), axis=1
            )
            outputs = _minus(outputs, each(states[0], lambda h: waiting[:, :, None] * h[:, None, :]))
        final = each(outputs, lambda t: t[:, -1])
        return [final, outputs if layer.return_sequences else each(outputs, lambda t: t[:, -1:]), *last]

    def _weights(self) -> tuple[tf.Tensor, tf.Tensor | None, Tensors]:
        """The input kernel, its bias, and what the recurrence needs."""
        layer = self.layer
        kernel, recurrent, bias = (
            None if v is None else self._precision.cast(tf.convert_to_tensor(v.value))
            for v in (layer.kernel, layer.recurrent_kernel, layer.bias)
        )
        if not layer.reset_after:
            return kernel, bias, {"recurrent": recurrent}
        outer, inner = (None, tf.zeros_like(recurrent[0])) if bias is None else tf.unstack(bias)
        return kernel, outer, {"recurrent": recurrent, "bias": inner}

    def _run(self, x: Value, states: list[Value], mask: Value | None, weights: Tensors) -> list[Value]:
        """Outputs of all steps and the final states, of x (N, T, G·H) in the order in which the layer reads
        it.
        """
        cell, layer = self.cell, self.layer
        rows = tf.concat([tf.transpose(detach(member(x)), [1, 0, 2]) for member in (test, base)], 1)
        kind, flags = rows.dtype, tf.ones((*rows.shape[:2], 1), tf.bool)
        if mask is not None:
            flags = tf.concat([tf.transpose(member(mask))[:, :, None] for member in (test, base)], 1)
            flags = tf.reverse(flags, [0]) if layer.go_backwards else flags
        start = [tf.concat([detach(test(s)), base(s)], 0) for s in states]
        h0, c0 = start if len(start) == 2 else (*start, tf.zeros((rows.shape[1], 0), kind))
        h, c = scan.forward(cell, rows, h0, c0, flags, weights)
        before_h, before_c = tf.concat([h0[None], h[:-1]], 0), tf.concat([c0[None], c[:-1]], 0)
        factors, facts = cell.prepare(rows, before_h, before_c, weights)
        self.facts = {**facts, "state": h, "cell": c}
        seen = tf.cast(flags, kind)
        counts, change = mean(seen), difference(seen)
        out = tf.where(flags, facts["h"], tf.zeros_like(h)) if layer.zero_output_for_mask else h

        def backward(d_out, *d_last):
            d_out = tf.transpose(d_out, [1, 0, 2])
            none = tf.zeros_like(d_out)
            d_state, d_choice = (none, d_out) if layer.zero_output_for_mask else (d_out, none)
            d_state += tf.scatter_nd([[h.shape[0] - 1]], d_last[0][None], d_state.shape)
            d_c = d_last[1] if len(d_last) == 2 else tf.zeros_like(c[0, : c.shape[1] // 2])
            d_fresh = counts * d_choice
            m_h0, m_c0, m_h, m_c = scan.backward(cell, factors, counts, d_state, d_fresh, d_c, weights)
            m_new_h, m_new_c = counts * m_h + d_fresh, counts * m_c
            m_gates = cell.gates(factors, m_new_h, m_new_c, weights)
            of_mask = change * (m_h * mean(facts["h"] - before_h) + d_choice * mean(facts["h"]))
            passed_by = (1 - counts) * m_h * difference(before_h)
            mass = tf.reduce_sum(m_h * difference(h) + d_choice * difference(out), -1)
            if c.shape[-1]:
                of_mask += change * m_c * mean(facts["c"] - before_c)
                passed_by += (1 - counts) * m_c * difference(before_c)
                mass += tf.reduce_sum(m_c * difference(c), -1)
            carry = cell.carry(factors, m_new_h, m_new_c, before_h, before_c) + passed_by + of_mask
            self.passes.append(Passed(m_gates, carry, mass))
            of_mask = tf.transpose(tf.reduce_sum(of_mask, -1))
            given = [tf.transpose(m_gates, [1, 0, 2]), m_h0, m_c0][: 1 + len(states)]
            given.append(_reverse(of_mask) if layer.go_backwards else of_mask)
            return [g for g, v in zip(given, (x, *states, mask), strict=True) if is_paired(v)]

        results = [tf.transpose(out, [1, 0, 2]), h[-1], c[-1]][: 1 + len(states)]
        tests, bases = zip(*map(halves, (tf.transpose(results[0], [1, 0, 2]), *results[1:])), strict=True)
        paired = [v for v in (x, *states, mask) if is_paired(v)]
        tests, bases = [_batch_first(t) for t in tests], [_batch_first(t) for t in bases]
        if not paired:
            return tests
        tests = attach([v.test if isinstance(v, Pair) else v.credit for v in paired], tests, backward)
        return [Pair(t, b) for t, b in zip(tests, bases, strict=True)]

    def end_pass(self, number: int) -> None:
        """After backward pass ``number``; a target that does not depend on this layer passes nothing
        through it.
        """
        if len(self.passes) == number:
            change = tf.zeros_like(difference(self.facts["state"]))
            self.passes.append(Passed(tf.zeros_like(self.facts["change"]), change, change[..., 0]))

    def trace(self) -> GateTrace:
        """What happened, as plain numpy and in the input's own order of time."""
        order, facts = self.cell.order, self.facts
        direction = slice(None, None, -1 if self.layer.go_backwards else 1)

        def by_time(t: tf.Tensor) -> np.ndarray:  # (T, R, ...) -> (R, T, ...)
            return np.moveaxis(t.numpy()[direction], 0, 1)

        def by_gate(t: tf.Tensor) -> np.ndarray:  # (T, R, G·H) -> (R, T, G, H)
            parts = gates_of(t, len(order))
            return by_time(tf.stack([parts[place] for place in order], -2))

        def by_member(rows: np.ndarray) -> np.ndarray:  # (2N, ...) -> (2, N, ...)
            return rows.reshape(2, -1, *rows.shape[1:])

        change, passes = facts["change"], self.passes
        return GateTrace(
            kind=self.layer.kind,
            gates=self.cell.names,
            contribution=np.stack([by_gate(p.m_gates * change) for p in passes]),
            carry=np.stack([by_time(p.carry) for p in passes]),
            mass=np.stack([by_time(p.mass) for p in passes]),
            activation=by_member(by_gate(facts["gates"])),
            state=by_member(by_time(facts["state"])),
            cell=by_member(by_time(facts["cell"])) if self.layer.kind == "LSTM" else None,
        )


def _is_zero(state: Value) -> bool:
    return not is_paired(state) and not bool(tf.reduce_any(state != 0))


def _reverse(t: tf.Tensor) -> tf.Tensor:
    return tf.reverse(t, [1])


def _batch_first(t: tf.Tensor) -> tf.Tensor:
    return tf.transpose(t, [1, 0, 2]) if t.shape.rank == 3 else t


def _minus(a: Value, b: Value) -> Value:
    if not (is_paired(a) or is_paired(b)):
        return a - b
    return Pair(test(a) - test(b), base(a) - base(b))
