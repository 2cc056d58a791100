"""A recurrent Keras layer as one fused operation of the paired graph.

The states of both members come from one scan over time with the two side by side as rows. Given them, all
pre-activations of all steps are one matrix product and all secants one pass over its result; only the
recurrence of the multipliers is sequential again (`sweep`, `scan`, `cells`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ..protocol import GateTrace, LayerDefects
from .cells import GRU, LSTM, RNN, Cell, Tensors, difference, gates_of
from .graph import Precision
from .layers import Layer
from .methods import PAIRED, Method
from .pairs import Discrete, Pair, Value, attach, base, detach, each, is_paired, test
from .sweep import Passed, Sweep


def _cell(layer: Layer) -> Cell:
    if layer.kind == "LSTM":
        return LSTM(layer.activation, layer.recurrent_activation)
    if layer.kind == "GRU":
        return GRU(layer.activation, layer.recurrent_activation, layer.reset_after)
    return RNN(layer.activation)


class FusedLayer:
    """Runs one marked layer once; `Interpreter` says how it is called. Each backward pass adds to its trace."""

    def __init__(self, layer: Layer, precision: Precision, method: Method = PAIRED) -> None:
        self.layer = layer
        self._method = method
        self.sweep: Sweep | None = None  # until it has run
        self._cell, self._precision = _cell(layer), precision
        self._passes: list[Passed] = []
        self._given: list[Value] = []  # the sequence and the initial states, as they came

    def __call__(self, values: Sequence[Value]) -> list[Value] | None:
        layer = self.layer
        count = 2 if layer.kind == "LSTM" else 1
        sequence, states = values[0], list(values[1 : 1 + count])
        mask = values[1 + count] if layer.masked else None
        # Before the first step that counts, Keras' output is zero and not the initial state.
        apart = layer.masked and not layer.zero_output_for_mask and not _is_zero(states[0])
        if apart and isinstance(mask, Discrete):
            return None
        self._given = [sequence, *states]
        if layer.go_backwards:
            sequence = each(sequence, _reverse)
        kernel, bias, weights = self._weights()
        x = each(sequence, lambda t: tf.matmul(t, kernel))  # linear: on the tape as it is
        if bias is not None:
            x = each(x, lambda t: t + bias)
        outputs, *last = self._run(x, states, mask, weights)
        if apart:
            seen = tf.cast(_reverse(mask) if layer.go_backwards else mask, kernel.dtype)
            waiting = tf.math.cumprod(1 - seen, axis=1)[:, :, None]
            outputs = _minus(outputs, each(states[0], lambda h: waiting * h[:, None, :]))
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
        """Outputs of all steps and final states, of x (N, T, G·H) in the order in which the layer reads it."""
        layer = self.layer
        rows = tf.concat([_swap(detach(member(x))) for member in (test, base)], 1)
        flags = tf.ones((*rows.shape[:2], 1), tf.bool)
        if mask is not None:
            flags = tf.concat([tf.transpose(member(mask))[:, :, None] for member in (test, base)], 1)
            flags = tf.reverse(flags, [0]) if layer.go_backwards else flags
        start = [tf.concat([detach(test(s)), base(s)], 0) for s in states]
        h, c = start if len(start) == 2 else (*start, tf.zeros((rows.shape[1], 0), rows.dtype))
        self.sweep = sweep = Sweep(self._cell, rows, h, c, flags, weights, layer.zero_output_for_mask, self._method)

        def backward(d_out: tf.Tensor, d_h: tf.Tensor, *d_c: tf.Tensor) -> list[tf.Tensor]:
            passed = sweep.back(_swap(d_out), d_h, d_c[0] if d_c else tf.zeros((*d_h.shape[:1], 0), d_h.dtype))
            self._passes.append(passed)
            of_mask = tf.transpose(tf.reduce_sum(passed.of_mask, -1))
            of_mask = _reverse(of_mask) if layer.go_backwards else of_mask
            multipliers = [_swap(passed.m_gates), *passed.m_first[: len(states)], of_mask]
            return [m for m, v in zip(multipliers, (x, *states, mask), strict=True) if is_paired(v)]

        pairs = x.shape[0] if not is_paired(x) else x.test.shape[0]
        results = [sweep.out, sweep.h[-1], sweep.c[-1]][: 1 + len(states)]
        tests = [_swap(results[0][:, :pairs]), *(r[:pairs] for r in results[1:])]
        bases = [_swap(results[0][:, pairs:]), *(r[pairs:] for r in results[1:])]
        paired = [v for v in (x, *states, mask) if is_paired(v)]
        if not paired:
            return tests
        tests = attach([v.test if isinstance(v, Pair) else v.credit for v in paired], tests, backward)
        return [Pair(t, b) for t, b in zip(tests, bases, strict=True)]

    def end_pass(self, number: int) -> None:
        """After the pass for target ``number``, which has not come through here if it does not depend on it."""
        if len(self._passes) == number:
            self._passes.append(self.sweep.nothing())

    def trace(self) -> GateTrace:
        """What happened, as plain numpy and in the input's own order of time."""
        facts, passes, order = self.sweep.facts, self._passes, self._cell.order
        direction = slice(None, None, -1 if self.layer.go_backwards else 1)

        def by_time(t: tf.Tensor) -> np.ndarray:  # (T, R, ...) -> (R, T, ...)
            return np.moveaxis(t.numpy()[direction], 0, 1)

        def by_gate(t: tf.Tensor) -> np.ndarray:  # (T, R, G·H) -> (R, T, G, H)
            parts = gates_of(t, len(order))
            return by_time(tf.stack([parts[place] for place in order], -2))

        def by_member(rows: np.ndarray) -> np.ndarray:  # (2N, ...) -> (2, N, ...)
            return rows.reshape(2, -1, *rows.shape[1:])

        sequence, *initial = (np.stack([detach(member(v)).numpy() for member in (test, base)]) for v in self._given)
        return GateTrace(
            kind=self.layer.kind,
            gates=self._cell.names,
            contribution=np.stack([by_gate(p.m_gates * facts["change"]) for p in passes]),
            carry=np.stack([by_time(p.carry) for p in passes]),
            mass=np.stack([by_time(p.mass) for p in passes]),
            activation=by_member(by_gate(facts["gates"])),
            state=by_member(by_time(self.sweep.h)),
            cell=by_member(by_time(self.sweep.c)) if self.layer.kind == "LSTM" else None,
            input=sequence,
            initial_state=initial[0],
            initial_cell=initial[1] if self.layer.kind == "LSTM" else None,
            lengths=by_member(_lengths(by_time(self.sweep.flags)[..., 0])) if self.layer.masked else None,
            backwards=self.layer.go_backwards,
        )

    def defects(self) -> LayerDefects:
        """What every step left of the difference, for every pass, in the input's own order of time."""
        direction = slice(None, None, -1 if self.layer.go_backwards else 1)
        by_time = lambda t: np.asarray(t)[direction].T  # noqa: E731
        norm = lambda *states: np.linalg.norm(np.concatenate([s.numpy().astype(float) for s in states], -1), axis=-1)  # noqa: E731
        found = [self.sweep.defects(passed) for passed in self._passes]
        change = by_time(norm(difference(self.sweep.h), difference(self.sweep.c)))
        return LayerDefects(
            kind=self.layer.kind,
            parts=tuple(found[0]),
            defect=np.stack([np.stack([by_time(part) for part in parts.values()], -1) for parts in found]),
            multiplier=np.stack([by_time(norm(*passed.after)) for passed in self._passes]),
            change=np.stack([change] * len(found)),
            backwards=self.layer.go_backwards,
        )


def _lengths(flags: np.ndarray) -> np.ndarray:
    """Timesteps (R,) up to the last that a mask (R, T) lets through."""
    steps = flags.shape[1]
    return np.where(flags.any(1), steps - flags[:, ::-1].argmax(1), 0)


def _is_zero(state: Value) -> bool:
    return not is_paired(state) and not bool(tf.reduce_any(state != 0))


def _reverse(t: tf.Tensor) -> tf.Tensor:
    return tf.reverse(t, [1])


def _swap(t: tf.Tensor) -> tf.Tensor:
    """Samples first to time first, and back."""
    return tf.transpose(t, [1, 0, 2])


def _minus(a: Value, b: Value) -> Value:
    if not (is_paired(a) or is_paired(b)):
        return a - b
    return Pair(test(a) - test(b), base(a) - base(b))
