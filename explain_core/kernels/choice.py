"""Which kernel runs a layer, by its cell, device, precision and options; see `explain_core.rules.recurrence.Kernel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from explain_core.kernels import available
from explain_core.rules.cells import GRU, LSTM, RNN, Cell, Members, Values
from explain_core.rules.recurrence import Kernel, Layer, factors_of
from explain_core.rules.rule_set import RuleSet
from explain_core.rules.scan import Returned, States

_COMPILED = {
    LSTM("tanh", "sigmoid"): "lstm",
    GRU("tanh", "sigmoid", reset_after=True): "gru",
    GRU("tanh", "sigmoid", reset_after=False): "gru",
    RNN("tanh"): "rnn",
    RNN("relu"): "rnn",
}
"""Cells that there are kernels for, and the module of each."""


def choose(xp: Any, layer: Layer, plain: Kernel) -> Kernel:
    """The compiled kernel of a layer where there is one, else ``plain``."""
    name = _COMPILED.get(layer.cell)
    if name is None or layer.weights.projection is not None or not xp.on_cpu(layer.x):
        return plain
    return Compiled(layer.cell) if available(name, np.dtype(xp.dtype_name(layer.x))) else plain


@dataclass(frozen=True)
class Compiled:
    """A cell by the kernels of this package, on the numbers that a framework's tensors hold."""

    cell: Cell

    def forward(self, xp: Any, layer: Layer, rules: RuleSet, keep: bool) -> tuple[States, Any]:
        """See `Kernel`."""
        is_paired = rules.point is None
        options = {"keep": keep or not is_paired, "threads": xp.threads(), "product": xp.product}
        if layer.flags is not None:
            options["flags"] = xp.numpy(layer.flags)[..., 0]
        rows = layer.x.shape[1]
        given = xp.numpy(layer.x), xp.numpy(layer.weights.recurrent), xp.numpy(layer.h)
        members = _places(layer.members, rows)
        inner = None
        if isinstance(self.cell, LSTM):
            from explain_core.kernels.lstm import lstm_forward

            found = lstm_forward(*given, xp.numpy(layer.c), *members, **options)
        elif isinstance(self.cell, GRU):
            from explain_core.kernels.gru import gru_forward

            found = gru_forward(*given, *members, bias=self._new_bias(xp, layer), **options)
            inner = found.reset
        else:
            from explain_core.kernels.rnn import rnn_forward

            found = rnn_forward(*given, *members, relu=self.cell.activation == "relu", **options)
        tensor = lambda array: None if array is None else xp.from_numpy(array)  # noqa: E731
        values = Values(*map(tensor, (found.pre, found.gates, inner)))
        states = States(tensor(found.h), tensor(getattr(found, "c", None)), values)
        if not is_paired:
            return states, factors_of(xp, layer, states, rules)
        return states, tensor(found.factors.reshape(*found.factors.shape[:2], -1))

    def backward(
        self, xp: Any, layer: Layer, factors: Any, m_h: Any, m_c: Any, d_fresh: Any, counts: Any, keep: bool
    ) -> Returned:
        """See `Kernel`."""
        number = lambda tensor: None if tensor is None else xp.numpy(tensor)  # noqa: E731
        units = layer.weights.recurrent.shape[0]
        factors = number(factors)
        by_factor = factors.reshape(*factors.shape[:2], -1, units)
        options = {
            "keep": keep,
            "counts": None if counts is None else number(counts)[..., 0],
            "fresh": number(d_fresh),
            "threads": xp.threads(),
            "product": xp.product,
        }
        recurrent, m_h = number(layer.weights.recurrent), number(m_h)
        tensor = lambda array: None if array is None else xp.from_numpy(array)  # noqa: E731
        if isinstance(self.cell, LSTM):
            from explain_core.kernels.lstm import lstm_back

            found = lstm_back(by_factor, recurrent, m_h, number(m_c), **options)
            return Returned(*map(tensor, found))
        if isinstance(self.cell, GRU):
            from explain_core.kernels.gru import gru_back

            found = gru_back(by_factor, recurrent, m_h, after=self.cell.reset_after, **options)
        else:
            from explain_core.kernels.rnn import rnn_back

            found = rnn_back(factors, recurrent, m_h, **options)
        return Returned(tensor(found.pre), tensor(found.h_first), None, tensor(found.h), None)

    def _new_bias(self, xp: Any, layer: Layer) -> np.ndarray | None:
        if not self.cell.reset_after:
            return None
        given = layer.weights.new_bias
        return xp.numpy(xp.zeros_like(layer.h[0]) if given is None else given)


def _places(members: Members, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The row of each pair's two members, (N,)."""
    test, base = (
        np.arange(rows)[at] if isinstance(at, slice) else np.asarray(at) for at in (members.test, members.base)
    )
    return test, np.ascontiguousarray(np.broadcast_to(base, test.shape))
