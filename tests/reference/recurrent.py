"""LSTM, GRU and RNN, one sample and one step at a time, out of `PairedArray` operations.

Weights are a dict of NumPy arrays under PyTorch's own names (``weight_ih_l0``, ``bias_hh_l1_reverse``, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reference.paired import (
    Multipliers,
    PairedArray,
    alias,
    as_pair,
    concat,
    elementwise,
    relu,
    sigmoid,
    stack,
    tanh,
)

GATES = {
    "LSTM": ("input", "forget", "candidate", "output"),
    "GRU": ("reset", "update", "new"),
    "RNN": ("new",),
}
Weights = Mapping[str, np.ndarray]


@dataclass
class Step:
    """The nodes of one step that its gate contributions are read from."""

    hidden: PairedArray  # h_t, as the outputs and the next step use it
    gates: tuple[PairedArray, ...]  # gate values
    previous_hidden: PairedArray
    before_gates: tuple[PairedArray, ...]  # pre-activations
    cell: PairedArray | None = None  # LSTM: c_t, as h_t uses it
    carried_cell: PairedArray | None = None  # LSTM: c_t, as the next step and the final state use it
    previous_cell: PairedArray | None = None
    new_from_input: PairedArray | None = None  # GRU: W_in x + b_in
    new_from_hidden: PairedArray | None = None  # GRU: W_hn h + b_hn

    def contributions(self, m: Multipliers) -> np.ndarray:
        """``m_pre·Δpre`` per gate and unit: (G, H)."""
        parts = [m.contributions(pre) for pre in self.before_gates]
        if self.new_from_input is not None:
            reset, new = self.gates[0], self.before_gates[2]
            parts[2] = m[new] * (self.new_from_input.delta + reset.mean * self.new_from_hidden.delta)
        return np.stack(parts)

    def carry(self, m: Multipliers) -> np.ndarray:
        """What goes straight on to the state before: (H,)."""
        if self.cell is not None:
            return m[self.cell] * self.gates[1].mean * self.previous_cell.delta
        if self.new_from_input is not None:
            return m[self.hidden] * self.gates[1].mean * self.previous_hidden.delta
        return np.zeros(self.hidden.shape)

    def mass(self, m: Multipliers) -> float:
        """``Σ m_h·Δh_t + Σ m_c·Δc_t``, the latter before the path through h_t is added."""
        mass = m.contributions(self.hidden).sum()
        return mass + m.contributions(self.carried_cell).sum() if self.cell is not None else mass


@dataclass
class Layer:
    """One direction of one layer over one sample; `steps` in the order of the input, None past its end."""

    kind: str
    steps: list[Step | None]


@dataclass
class Trace:
    """What one layer did for one output of one sample, in the words of `backends.protocol.GateTrace`."""

    contribution: np.ndarray  # (T, G, H)
    carry: np.ndarray  # (T, H)
    mass: np.ndarray  # (T,)


def trace(layer: Layer, m: Multipliers) -> Trace:
    first = next(step for step in layer.steps if step is not None)
    gates, units = len(first.gates), first.gates[0].shape[0]
    nothing = (np.zeros((gates, units)), np.zeros(units), 0.0)
    rows = [nothing if s is None else (s.contributions(m), s.carry(m), s.mass(m)) for s in layer.steps]
    contribution, carry, mass = (np.stack(column) for column in zip(*rows, strict=True))
    return Trace(contribution, carry, mass)


def affine(weights: Weights, which: str, suffix: str, x: PairedArray) -> PairedArray:
    """``W x + b`` for a vector x: (I,) -> (G·H,)."""
    y = (x.reshape(1, -1) @ weights[f"weight_{which}{suffix}"].T)[0]
    bias = weights.get(f"bias_{which}{suffix}")
    return y if bias is None else y + bias


def _split(pair: PairedArray, parts: int) -> list[PairedArray]:
    size = pair.shape[0] // parts
    return [pair[i * size : (i + 1) * size] for i in range(parts)]


def lstm_step(
    weights: Weights, suffix: str, x: PairedArray, h: PairedArray, c: PairedArray
) -> tuple[PairedArray, PairedArray, Step]:
    pre = _split(affine(weights, "ih", suffix, x) + affine(weights, "hh", suffix, h), 4)
    i, f, o = (elementwise(pre[k], sigmoid) for k in (0, 1, 3))
    g = elementwise(pre[2], tanh)
    cell = f * c + i * g
    hidden = o * elementwise(cell, tanh)
    if f"weight_hr{suffix}" in weights:
        hidden = affine(weights, "hr", suffix, hidden)
    carried = alias(cell)
    return hidden, carried, Step(hidden, (i, f, g, o), h, tuple(pre), cell, carried, c)


def gru_step(weights: Weights, suffix: str, x: PairedArray, h: PairedArray) -> tuple[PairedArray, Step]:
    from_x = _split(affine(weights, "ih", suffix, x), 3)
    from_h = _split(affine(weights, "hh", suffix, h), 3)
    before_reset, before_update = from_x[0] + from_h[0], from_x[1] + from_h[1]
    r, z = elementwise(before_reset, sigmoid), elementwise(before_update, sigmoid)
    before_new = from_x[2] + r * from_h[2]
    n = elementwise(before_new, tanh)
    hidden = (1 - z) * n + z * h
    step = Step(
        hidden,
        (r, z, n),
        h,
        (before_reset, before_update, before_new),
        new_from_input=from_x[2],
        new_from_hidden=from_h[2],
    )
    return hidden, step


def rnn_step(
    weights: Weights, suffix: str, x: PairedArray, h: PairedArray, nonlinearity: str = "tanh"
) -> tuple[PairedArray, Step]:
    pre = affine(weights, "ih", suffix, x) + affine(weights, "hh", suffix, h)
    hidden = elementwise(pre, {"tanh": tanh, "relu": relu}[nonlinearity])
    return hidden, Step(hidden, (hidden,), h, (pre,))


@dataclass
class Run:
    """One sample through a recurrent stack."""

    outputs: PairedArray  # (T, D·H); zeros past the sample's length
    h_n: PairedArray  # (L·D, H)
    c_n: PairedArray | None  # LSTM: (L·D, cell units)
    layers: dict[str, Layer]  # by PyTorch's suffix: "l0", "l0_reverse", "l1", ...


def run(
    kind: str,
    weights: Weights,
    x: PairedArray,
    *,
    h_0: PairedArray | None = None,
    c_0: PairedArray | None = None,
    length: int | None = None,
    nonlinearity: str = "tanh",
) -> Run:
    """One sample through `nn.LSTM`, `nn.GRU` or `nn.RNN`; the weights' names say how many layers it has.

    Args:
        x: (T, I).
        h_0: (L·D, H), c_0: (L·D, cell units); zeros where not given.
        length: steps to take; the rest of x is padding.
    """
    steps = x.shape[0] if length is None else int(length)
    padding = x.shape[0] - steps
    sequence = [x[t] for t in range(steps)]
    layers: dict[str, Layer] = {}
    finals: list[tuple[PairedArray, PairedArray | None]] = []
    depth = sum(name.startswith("weight_ih_l") and not name.endswith("_reverse") for name in weights)
    directions = ("", "_reverse") if "weight_ih_l0_reverse" in weights else ("",)
    for level in range(depth):
        by_direction = []
        for direction in directions:
            suffix = f"_l{level}{direction}"
            row = len(finals)
            units = weights[f"weight_hh{suffix}"].shape
            h = as_pair(np.zeros(units[1])) if h_0 is None else h_0[row]
            c = as_pair(np.zeros(units[0] // 4)) if c_0 is None else c_0[row]
            order = list(range(steps)) if not direction else list(reversed(range(steps)))
            taken: list[Step | None] = [None] * x.shape[0]
            for t in order:
                if kind == "LSTM":
                    h, c, taken[t] = lstm_step(weights, suffix, sequence[t], h, c)
                elif kind == "GRU":
                    h, taken[t] = gru_step(weights, suffix, sequence[t], h)
                else:
                    h, taken[t] = rnn_step(weights, suffix, sequence[t], h, nonlinearity)
            finals.append((h, c))
            layers[suffix.removeprefix("_")] = Layer(kind, taken)
            by_direction.append([step.hidden for step in taken if step is not None])
        sequence = [concat(both) if len(both) > 1 else both[0] for both in zip(*by_direction, strict=True)]
    outputs = stack(sequence)
    if padding:
        outputs = concat([outputs, as_pair(np.zeros((padding, outputs.shape[1])))])
    return Run(
        outputs,
        stack([h for h, _ in finals]),
        stack([c for _, c in finals]) if kind == "LSTM" else None,
        layers,
    )
