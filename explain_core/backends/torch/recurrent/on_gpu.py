"""A layer on a GPU: hidden states by cuDNN, everything else by the kernels of `explain_core.backends.torch.cuda`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch import cuda
from explain_core.backends.torch.recurrent.own_states import OwnStates
from explain_core.rules.cells import GRU, RNN, Values
from explain_core.rules.recurrence import Layer
from explain_core.rules.rule_set import RuleSet
from explain_core.rules.scan import Returned, States


class OnGPU(OwnStates):
    """See `Kernel`; without masks and projections, which PyTorch's layers have none of or few."""

    def forward(self, xp: Any, layer: Layer, rules: RuleSet, keep: bool) -> tuple[States, Any]:
        """See `Kernel`."""
        if rules.point is not None:
            return super().forward(xp, layer, rules, keep)
        numbers = torch.arange(layer.x.shape[1], device=layer.x.device)
        test = numbers[layer.members.test]
        pairs = test, numbers[layer.members.base].expand_as(test)
        w, h = layer.weights.recurrent, self.hidden_states(layer)
        if layer.c is not None:
            found = cuda.lstm_forward(layer.x, w, layer.h, layer.c, *pairs, keep, h)
        elif isinstance(layer.cell, RNN):
            found = cuda.rnn_forward(layer.x, w, layer.h, *pairs, layer.cell.activation, keep, h)
        else:
            found = cuda.gru_forward(layer.x, w, layer.weights.new_bias, layer.h, *pairs, keep, h)
        states = States(found.h, found.c, Values(found.pre, found.gates, found.inner))
        return states, found.factors.flatten(-2)

    def backward(
        self, xp: Any, layer: Layer, factors: Tensor, m_h: Any, m_c: Any, d_fresh: Any, counts: Any, keep: bool
    ) -> Returned:
        """See `Kernel`."""
        w = layer.weights.recurrent
        by_factor = factors.unflatten(-1, (-1, layer.h.shape[-1]))
        if layer.c is not None:
            return Returned(*cuda.lstm_back(by_factor, w, m_h, m_c, keep))
        back = cuda.gru_back if isinstance(layer.cell, GRU) else cuda.rnn_back
        return Returned(*back(by_factor, w, m_h, keep))


def is_covered(layer: Layer) -> bool:
    """Whether the kernels of a GPU run this layer."""
    return layer.weights.projection is None and cuda.usable(layer.x.device)
