"""Which compiled kernel runs a layer on the CPU, and how it is called; see `explain_core.rules.recurrence.Kernel`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from explain_core.kernels import available
from explain_core.rules.cells import GRU, LSTM, RNN, Cell, Members, Values
from explain_core.rules.recurrence import Kernel, Layer, factors_of
from explain_core.rules.rule_set import RuleSet
from explain_core.rules.scan import Returned, States


def choose(xp: Any, layer: Layer, plain: Kernel) -> Kernel:
    """The compiled kernel of a layer where there is one for its cell, device and precision, else ``plain``."""
    name = next((name for cell, name in _COMPILED if cell == layer.cell), None)
    if name is None or layer.weights.projection is not None or not xp.on_cpu(layer.x):
        return plain
    return Compiled(*_CALLS[name]) if available(name, np.dtype(xp.dtype_name(layer.x))) else plain


_COMPILED: list[tuple[Cell, str]] = [
    (LSTM("tanh", "sigmoid"), "lstm"),
    (GRU("tanh", "sigmoid", reset_after=True), "gru"),
    (GRU("tanh", "sigmoid", reset_after=False), "gru"),
    (RNN("tanh"), "rnn"),
    (RNN("relu"), "rnn"),
]
"""Cells that there are kernels for."""


@dataclass(frozen=True)
class Compiled:
    """A cell by its two kernels, on the numbers that a framework's tensors hold.

    Attributes:
        states_of: calls the kernel of the way forward, with a layer, its arrays as NumPy's, and options.
        multipliers_of: the same of the way back.
        multipliers_of_rows: the same of the way back from the states of few rows; None where there is none.
    """

    states_of: Callable[..., Any]
    multipliers_of: Callable[..., Returned]
    multipliers_of_rows: Callable[..., Returned] | None = None

    def forward(self, xp: Any, layer: Layer, rules: RuleSet, keep: bool) -> tuple[States, Any]:
        """See `Kernel`."""
        is_paired = rules.point is None
        test, base = _places(layer.members, layer.x.shape[1])
        of_rows = is_paired and not keep and self._goes_by_rows(layer, len(test))
        found = self.states_of(
            _Arrays(xp, layer),
            *((test[:0], base[:0]) if of_rows else (test, base)),
            keep=keep or of_rows or not is_paired,
            flags=None if layer.flags is None else xp.numpy(layer.flags)[..., 0],
            threads=xp.threads(),
            product=xp.product,
        )
        tensor = lambda array: None if array is None else xp.from_numpy(array)  # noqa: E731
        values = Values(tensor(found.pre), tensor(found.gates), tensor(getattr(found, "reset", None)))
        states = States(tensor(found.h), tensor(getattr(found, "c", None)), values)
        if not is_paired:
            return states, factors_of(xp, layer, states, rules)
        if of_rows:
            return states, _Rows(found, test, base)
        return states, tensor(found.factors.reshape(*found.factors.shape[:2], -1))

    def backward(
        self, xp: Any, layer: Layer, factors: Any, m_h: Any, m_c: Any, d_fresh: Any, counts: Any, keep: bool
    ) -> Returned:
        """See `Kernel`."""
        arriving = xp.numpy(m_h), None if m_c is None else xp.numpy(m_c)
        options = {"threads": xp.threads(), "product": xp.product}
        if isinstance(factors, _Rows):
            assert self.multipliers_of_rows is not None
            found = self.multipliers_of_rows(_Arrays(xp, layer), factors, *arriving, **options)
        else:
            found = self.multipliers_of(
                _Arrays(xp, layer),
                xp.numpy(factors),
                *arriving,
                keep=keep,
                counts=None if counts is None else xp.numpy(counts)[..., 0],
                fresh=None if d_fresh is None else xp.numpy(d_fresh),
                **options,
            )
        return Returned(*(None if array is None else xp.from_numpy(array) for array in found))

    def _goes_by_rows(self, layer: Layer, pairs: int) -> bool:
        """Whether the factors of so many pairs are better made from the states of their rows at each step."""
        is_given = self.multipliers_of_rows is not None and layer.input_weights is not None
        return is_given and layer.flags is None and pairs >= PAIRS_OF_A_ROW * layer.x.shape[1]


PAIRS_OF_A_ROW = 2
"""So many pairs for each row make their factors too large an array to be kept. Measured on LSTMs of 32 to 128 units."""


@dataclass(frozen=True)
class _Rows:
    """The states that rows left, in place of the factors of the pairs that are made of them."""

    states: Any
    test: np.ndarray
    base: np.ndarray


@dataclass(frozen=True)
class _Arrays:
    """What a layer is given, as NumPy's arrays."""

    xp: Any
    layer: Layer

    def __getattr__(self, name: str) -> np.ndarray:
        """One of `Layer`, or ``recurrent`` of its weights."""
        value = self.layer.weights.recurrent if name == "recurrent" else getattr(self.layer, name)
        return self.xp.numpy(value)

    @property
    def new_bias(self) -> np.ndarray | None:
        """Of a GRU whose reset comes after the product, zeros where it has none; None for the reset before it."""
        if not getattr(self.layer.cell, "reset_after", False):
            return None
        given = self.layer.weights.new_bias
        return self.xp.numpy(self.xp.zeros_like(self.layer.h[0]) if given is None else given)

    def by_factor(self, factors: np.ndarray) -> np.ndarray:
        """(T, N, F·H) to (T, N, F, H)."""
        return factors.reshape(*factors.shape[:2], -1, self.layer.weights.recurrent.shape[0])


def _lstm_states(given: _Arrays, test: np.ndarray, base: np.ndarray, **options: Any) -> Any:
    from explain_core.kernels.lstm import lstm_forward

    return lstm_forward(given.x, given.recurrent, given.h, given.c, test, base, **options)


def _lstm_multipliers(given: _Arrays, factors: Any, m_h: Any, m_c: Any, **options: Any) -> Returned:
    from explain_core.kernels.lstm import lstm_back

    return Returned(*lstm_back(given.by_factor(factors), given.recurrent, m_h, m_c, **options))


def _lstm_multipliers_of_rows(given: _Arrays, rows: _Rows, m_h: Any, m_c: Any, **options: Any) -> Returned:
    from explain_core.kernels.lstm_of_rows import lstm_back_of_rows

    at = rows.states.pre, given.c, rows.states.c, rows.test, rows.base
    found = lstm_back_of_rows(*at, given.recurrent, given.input_weights, m_h, m_c, **options)
    return Returned(None, found.h_first, found.c_first, None, None, found.x)


def _gru_states(given: _Arrays, test: np.ndarray, base: np.ndarray, **options: Any) -> Any:
    from explain_core.kernels.gru import gru_forward

    return gru_forward(given.x, given.recurrent, given.h, test, base, bias=given.new_bias, **options)


def _gru_multipliers(given: _Arrays, factors: Any, m_h: Any, m_c: Any, **options: Any) -> Returned:
    from explain_core.kernels.gru import gru_back

    after = given.new_bias is not None
    found = gru_back(given.by_factor(factors), given.recurrent, m_h, after=after, **options)
    return Returned(found.pre, found.h_first, None, found.h, None)


def _rnn_states(given: _Arrays, test: np.ndarray, base: np.ndarray, **options: Any) -> Any:
    from explain_core.kernels.rnn import rnn_forward

    relu = getattr(given.layer.cell, "activation", None) == "relu"
    return rnn_forward(given.x, given.recurrent, given.h, test, base, relu=relu, **options)


def _rnn_multipliers(given: _Arrays, factors: Any, m_h: Any, m_c: Any, **options: Any) -> Returned:
    from explain_core.kernels.rnn import rnn_back

    found = rnn_back(factors, given.recurrent, m_h, **options)
    return Returned(found.pre, found.h_first, None, found.h, None)


_CALLS = {
    "lstm": (_lstm_states, _lstm_multipliers, _lstm_multipliers_of_rows),
    "gru": (_gru_states, _gru_multipliers),
    "rnn": (_rnn_states, _rnn_multipliers),
}


def _places(members: Members, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The row of each pair's two members, (N,)."""
    numbers = np.arange(rows)
    test, base = (numbers[at if isinstance(at, slice) else np.asarray(at)] for at in (members.test, members.base))
    return test, np.ascontiguousarray(np.broadcast_to(base, test.shape))
