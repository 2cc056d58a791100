"""The paired recurrences of LSTM, GRU and RNN, compiled for the CPU by numba: faster forms of one plain loop.

Shapes: T timesteps, U rows, N pairs, H units, G gates; arrays of one precision, float32 or float64, C-contiguous and
possibly read-only. Members of pairs are rows, and a row that several pairs share, such as a common baseline, is run
once: ``test`` and ``base`` (N,) say which rows a pair is made of. A pair of one row with itself has no difference.

`lstm`, `gru` and `rnn` have two functions each. Forward: states, and the factors (T, N, ·, H) that hold everything the
way back needs of the activations. Backward: once for every explained output,

    m_h̃, m_c̃ = m̄·m_h + fresh, m̄·m_c        of what the step gives; m̄ the mean of the mask over the pair, 1 without
    m_pre = multipliers of the pre-activations, (T, N, G·H)
    m_h, m_c of the step before = the cell's own, plus (1 - m̄)·m_h, (1 - m̄)·m_c

An input gets ``m_pre · W_xᵀ``; that product, and the one of inputs and weights before, are the caller's. The rules are
those of `explain_core.rules`, with activations that are exact to about one unit in the last place (`elementary`).

Nothing here imports numba until a recurrent layer asks whether there are kernels. Where `available` says no, the plain
loop is taken.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module

import numpy as np

from explain_core.kernels import store

CELLS = ("lstm", "gru", "rnn")
PRECISIONS = (np.dtype(np.float32), np.dtype(np.float64))


def available(cell: str, dtype: np.dtype) -> bool:
    """Whether the kernels of a cell are there for a precision; compiles or loads them when first asked.

    False without numba, for other precisions, and in a worker of the app for which they have not been stored yet.
    """
    return np.dtype(dtype) in PRECISIONS and _has_numba() and _prepared(cell, np.dtype(dtype))


def warm() -> None:
    """Compile all kernels and store them, for processes that may not. Takes most of a minute the first time."""
    os.environ.pop(store.ONLY_STORED, None)
    for cell in CELLS:
        for dtype in PRECISIONS:
            _prepare(cell, dtype)


@cache
def _has_numba() -> bool:
    try:
        import_module("numba")
    except ImportError:
        return False
    return True


_ready: set[tuple[str, np.dtype]] = set()


def _prepared(cell: str, dtype: np.dtype) -> bool:
    if (cell, dtype) in _ready:
        return True
    try:
        _prepare(cell, dtype)
    except store.NotCompiledError:  # they may be there the next time
        return False
    _ready.add((cell, dtype))
    return True


def _prepare(cell: str, dtype: np.dtype) -> None:
    module = import_module(f"explain_core.kernels.{cell}")
    module.forward.prepare(dtype)
    module.back.prepare(dtype)
    if cell == "lstm":
        import_module("explain_core.kernels.lstm_of_rows").back.prepare(dtype)
