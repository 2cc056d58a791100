"""Hidden states by PyTorch's own kernels (oneDNN, cuDNN), and from them all gates of all timesteps in bulk.

They are the model's own states to the last bit, which those of another kernel are not: after thousands of steps that
hardly forget, rounding tells them apart. Only the cell scan and the way back are sequential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.recurrent.weights import Weights
from explain_core.rules.cells import GRU, LSTM, RNN, Cell
from explain_core.rules.recurrence import Layer, Reference, factors_of
from explain_core.rules.rule_set import RuleSet
from explain_core.rules.scan import States

_NAMES: list[tuple[Cell, str]] = [
    (LSTM(), "lstm"),
    (GRU(), "gru"),
    (RNN("tanh"), "rnn_tanh"),
    (RNN("relu"), "rnn_relu"),
]


@dataclass(frozen=True)
class OwnStates(Reference):
    """A layer by PyTorch's kernel for its cell.

    Attributes:
        x: (T, U, I), what the layer is given.
        w: its weights, as PyTorch has them.
    """

    x: Tensor
    w: Weights

    def forward(self, xp: Any, layer: Layer, rules: RuleSet, keep: bool) -> tuple[States, Any]:
        """See `Kernel`."""
        h = self.hidden_states(layer)
        before = torch.cat([layer.h[None], h[:-1]])
        values = layer.cell.values(xp, layer.x, before, layer.weights)
        c = layer.c
        if c is not None:
            i, f, g, _ = values.gates.chunk(4, -1)
            c = i * g
            for t, before_c in enumerate([layer.c, *c[:-1]]):
                c[t].addcmul_(f[t], before_c)
        states = States(h, c, values)
        return states, factors_of(xp, layer, states, rules)

    def hidden_states(self, layer: Layer) -> Tensor:
        """After each step, (T, U, P)."""
        first = layer.h[None] if layer.c is None else (layer.h[None], layer.c[None])
        arguments = self.w.flat, self.w.b_ih is not None, 1, 0.0, False, False, False
        name = next(name for cell, name in _NAMES if cell == layer.cell)
        return getattr(torch, name)(self.x, first, *arguments)[0]
