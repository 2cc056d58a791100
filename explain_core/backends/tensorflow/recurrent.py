"""A recurrent Keras layer as one fused operation of the paired graph: see `explain_core.rules.recurrence`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from ...kernels.choice import choose
from ...rules.cells import GRU, LSTM, RNN, Cell, Weights
from ...rules.recurrence import Layer as Given
from ...rules.recurrence import Pass, Recurrence
from ..protocol import GateTrace, LayerDefects
from . import arrays
from .graph import Precision
from .layers import Layer
from .methods import METHODS, Method
from .pairs import Discrete, Pair, Value, attach, base, detach, each, is_paired, test
from .rows import rows_of
from .scan import Compiled

Fused = Callable[[Sequence[Value]], list[Value] | None]
"""A layer as it is called, with what its marked loop takes; None where that loop has to be interpreted after all."""


def _cell(layer: Layer) -> Cell:
    if layer.kind == "LSTM":
        return LSTM(layer.activation, layer.recurrent_activation)
    if layer.kind == "GRU":
        return GRU(layer.activation, layer.recurrent_activation, layer.reset_after)
    return RNN(layer.activation)


class FusedLayer:
    """Runs one marked layer once; `Interpreter` says how it is called. Each backward pass adds to its trace.

    Args:
        keep: whether a trace or defects will be asked for.
        own_states: whether hidden states have to come from TensorFlow's own operations.

    Attributes:
        run: what it did, once it ``has_run``.
    """

    def __init__(
        self,
        layer: Layer,
        precision: Precision,
        method: Method = METHODS["paired"],
        keep: bool = False,
        own_states: bool = False,
    ) -> None:
        self.layer = layer
        self.run: Recurrence
        self.has_run = False
        self._method, self._keep, self._own_states = method, keep, own_states
        self._cell, self._precision = _cell(layer), precision
        self._passes: list[Pass] = []
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
            sequence = _reversed(sequence)
            mask = None if mask is None else _reversed(mask)
        outputs, *last = self._run(sequence, states, mask)
        if apart:
            seen = tf.cast(mask, outputs.test.dtype if is_paired(outputs) else outputs.dtype)
            waiting = tf.math.cumprod(1 - seen, axis=1)[:, :, None]
            outputs = _minus(outputs, each(states[0], lambda h: waiting * h[:, None, :]))
        final = each(outputs, lambda t: t[:, -1])
        return [final, outputs if layer.return_sequences else each(outputs, lambda t: t[:, -1:]), *last]

    def _weights(self) -> tuple[tf.Tensor, tf.Tensor | None, Weights]:
        """The input kernel, its bias, and what the recurrence needs; gates in the order of the equations."""
        layer = self.layer
        kernel, recurrent, bias = (
            None if v is None else self._precision.cast(tf.convert_to_tensor(v.value))
            for v in (layer.kernel, layer.recurrent_kernel, layer.bias)
        )
        if layer.kind != "GRU":
            return kernel, bias, Weights(recurrent)
        kernel, recurrent, bias = (None if v is None else _reset_first(v) for v in (kernel, recurrent, bias))
        if not layer.reset_after or bias is None:
            return kernel, bias, Weights(recurrent)
        units = layer.recurrent_kernel.shape[0]
        outer, inner = tf.unstack(bias)
        outer += tf.concat([inner[: 2 * units], tf.zeros_like(inner[2 * units :])], 0)
        return kernel, outer, Weights(recurrent, inner[2 * units :])

    def _run(self, sequence: Value, states: list[Value], mask: Value | None) -> list[Value]:
        """Outputs of all steps and final states, of (N, T, F) in the order in which the layer reads it."""
        layer = self.layer
        w, bias, weights = self._weights()
        inputs = [sequence, *states, *([] if mask is None else [mask])]
        rows = rows_of(*inputs)
        x = tf.matmul(_swap(rows.put(sequence)), w)
        h, *c = map(rows.put, states)
        given = Given(
            self._cell,
            x if bias is None else x + bias,
            h,
            c[0] if c else None,
            weights,
            rows.members,
            None if mask is None else tf.transpose(rows.put(mask))[:, :, None],
            layer.zero_output_for_mask,
        )
        kernel = Compiled() if self._own_states or self._method.point is not None else choose(arrays, given, Compiled())
        self.run = run = Recurrence(arrays, kernel, given, self._method, self._keep)
        self.has_run = True

        def backward(d_out: tf.Tensor, d_h: tf.Tensor, *d_c: tf.Tensor) -> list[tf.Tensor]:
            d_state = _at_the_end(d_c[0], len(run.h)) if d_c else None
            found = run.back(_swap(d_out), d_state, d_h)
            self._passes.append(found)
            returned = found.returned
            m_sequence = tf.matmul(_swap(returned.pre), w, transpose_b=True)
            of_mask = () if mask is None else (tf.transpose(tf.reduce_sum(found.of_mask, -1)),)
            m_states = (returned.first_h, returned.first_c)[: len(states)]
            multipliers = [m_sequence, *m_states, *of_mask]
            return [m for m, v in zip(multipliers, inputs, strict=True) if is_paired(v)]

        first, *last = (
            rows.members.of(arrays, v) for v in (run.out, run.h[-1], *([] if run.c is None else [run.c[-1]]))
        )
        members = [[_swap(v) for v in first], *last]
        tests, bases = [t for t, _ in members], [tf.broadcast_to(b, t.shape) for t, b in members]
        paired = [v for v in inputs if is_paired(v)]
        if not paired:
            return tests
        tests = attach([v.test if isinstance(v, Pair) else v.credit for v in paired], tests, backward)
        return [Pair(t, b) for t, b in zip(tests, bases, strict=True)]

    def end_pass(self, number: int) -> None:
        """After the pass for target ``number``, which has not come through here if it does not depend on it."""
        if len(self._passes) == number:
            h, _ = self.run.layer.members.of(arrays, self.run.h)
            self._passes.append(self.run.back(tf.zeros_like(h)))

    def trace(self) -> GateTrace:
        """What happened, as plain numpy and in the input's own order of time."""
        run, cell = self.run, self._cell
        sequence, *initial = (np.stack([detach(member(v)).numpy() for member in (test, base)]) for v in self._given)
        return GateTrace(
            kind=cell.kind,
            gates=cell.gates,
            contribution=np.stack([self._by_gate(self._by_time(run.contribution(found))) for found in self._passes]),
            carry=np.stack([self._by_time(run.carry(found)) for found in self._passes]),
            mass=np.stack([self._by_time(run.mass(found)) for found in self._passes]),
            activation=self._by_gate(self._by_member(run.gates())),
            state=self._by_member(run.h),
            cell=None if run.c is None else self._by_member(run.c),
            input=sequence,
            initial_state=initial[0],
            initial_cell=initial[1] if cell.has_cell_state else None,
            lengths=None if run.layer.flags is None else _lengths(self._by_member(run.layer.flags)[..., 0]),
            backwards=self.layer.go_backwards,
        )

    def stabilized(self) -> np.ndarray:
        """The relevance that ε took, for every pass, (K,); see `Recurrence.stabilized`."""
        return np.array([float(tf.reduce_sum(self.run.stabilized(found))) for found in self._passes])

    def defects(self) -> LayerDefects:
        """What every step left of the difference, for every pass, in the input's own order of time."""
        run, members = self.run, self.run.layer.members
        found = [run.defects(passed) for passed in self._passes]
        changes = [members.difference(arrays, rows) for rows in (run.h, run.c) if rows is not None]
        multipliers = [[m for m in (p.returned.h, p.returned.c) if m is not None] for p in self._passes]
        return LayerDefects(
            kind=self._cell.kind,
            parts=tuple(found[0]),
            defect=np.stack([np.stack([self._by_time(part) for part in parts.values()], -1) for parts in found]),
            multiplier=np.stack([self._by_time(_norm(states)) for states in multipliers]),
            change=np.stack([self._by_time(_norm(changes))] * len(found)),
            backwards=self.layer.go_backwards,
        )

    def _by_time(self, t: tf.Tensor) -> np.ndarray:
        """(T, N, ...) to (N, T, ...)."""
        return np.moveaxis(t.numpy()[:: -1 if self.layer.go_backwards else 1], 0, 1)

    def _by_member(self, rows: tf.Tensor) -> np.ndarray:
        """(T, U, ...) to (2, N, T, ...)."""
        found = [self._by_time(member) for member in self.run.layer.members.of(arrays, rows)]
        return np.stack(np.broadcast_arrays(*found))

    def _by_gate(self, values: np.ndarray) -> np.ndarray:
        """(..., G·H) to (..., G, H)."""
        return values.reshape(*values.shape[:-1], len(self._cell.gates), -1)


def _reset_first(weight: tf.Tensor) -> tf.Tensor:
    """The update gate, the reset gate and the new one, as Keras has them, in the order of the equations."""
    update, reset, new = tf.split(weight, 3, axis=-1)
    return tf.concat([reset, update, new], -1)


def _at_the_end(m: tf.Tensor, steps: int) -> tf.Tensor | None:
    """Multipliers of the last step (N, H) as those of all (T, N, H); None for zeros."""
    if not bool(tf.reduce_any(m != 0)):
        return None
    return tf.concat([tf.zeros((steps - 1, *m.shape), m.dtype), m[None]], 0)


def _norm(states: Sequence[tf.Tensor]) -> tf.Tensor:
    """The Euclidean norm over units, of several kinds of state together: (T, N, ·) to (T, N)."""
    return tf.norm(tf.concat([tf.cast(state, tf.float64) for state in states], -1), axis=-1)


def _lengths(flags: np.ndarray) -> np.ndarray:
    """Timesteps (2, N) up to the last that a mask (2, N, T) lets through."""
    steps = flags.shape[-1]
    return np.where(flags.any(-1), steps - flags[..., ::-1].argmax(-1), 0)


def _is_zero(state: Value) -> bool:
    return not is_paired(state) and not bool(tf.reduce_any(state != 0))


def _reverse(t: tf.Tensor) -> tf.Tensor:
    return tf.reverse(t, [1])


def _reversed(value: Value) -> Value:
    """Any value in the other order of time."""
    if isinstance(value, Discrete):
        return replace(value, test=_reverse(value.test), base=_reverse(value.base), credit=_reverse(value.credit))
    return each(value, _reverse)


def _swap(t: tf.Tensor) -> tf.Tensor:
    """Samples first to time first, and back."""
    return tf.transpose(t, [1, 0, 2])


def _minus(a: Value, b: Value) -> Value:
    if not (is_paired(a) or is_paired(b)):
        return a - b
    return Pair(test(a) - test(b), base(a) - base(b))
