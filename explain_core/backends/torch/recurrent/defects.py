"""What the nonlinearities and products of one step leave of its difference, by part, in float64.

Every function takes what the scan has: values of both members (2, T, N, H), multipliers (T, N, H) of the states after
each step and of the gates' pre-activations (T, N, G, H). Each part is ``m_out·Δout - Σ m_in·Δin`` summed over units,
(T, N); the multipliers inside a step are the method's own (see `lstm`, `gru`, `rnn` for the equations).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.formulas import secants


def _node(m_out: Tensor, out: Tensor, *inputs: tuple[Tensor, Tensor]) -> Tensor:
    """The defect of one node; ``out`` and the second of each input are (2, T, N, H)."""
    left = m_out * (out[0] - out[1])
    for m, value in inputs:
        left = left - m * (value[0] - value[1])
    return left.sum(-1)


def _doubles(*tensors: Tensor) -> list[Tensor]:
    return [t.double() for t in tensors]


def lstm_parts(
    method: Any, pre: Tensor, gate: Tensor, c_before: Tensor, c: Tensor, m_out: Tensor, m_c: Tensor, m_pre: Tensor
) -> dict[str, Tensor]:
    """``m_out``: of ``o·tanh(c)``; ``m_c``: of the cell state, without what comes through it."""
    pre, gate, c_before, c, m_out, m_c, m_pre = _doubles(pre, gate, c_before, c, m_out, m_c, m_pre)
    i, f, g, o = gate.unbind(-2)
    shown = torch.tanh(c)
    m_shown, m_o = m_out * method.middle(o), m_out * method.middle(shown)
    m_through = m_shown * method.slope(secants.tanh, c)
    m_cell = m_c + m_through
    m_gates = m_cell * method.middle(g), m_cell * method.middle(c_before), m_cell * method.middle(i), m_o
    of_gates = [
        _node(m, value, (m_pre[..., k, :], pre[..., k, :]))
        for k, (m, value) in enumerate(zip(m_gates, (i, f, g, o), strict=True))
    ]
    kept = m_cell * method.middle(f)
    return {
        "input": of_gates[0],
        "forget": of_gates[1],
        "candidate": of_gates[2],
        "output": of_gates[3],
        "input product": _node(m_cell, i * g, (m_gates[0], i), (m_gates[2], g)),
        "forget product": _node(m_cell, f * c_before, (m_gates[1], f), (kept, c_before)),
        "cell tanh": _node(m_shown, shown, (m_through, c)),
        "output product": _node(m_out, o * shown, (m_o, o), (m_shown, shown)),
    }


def gru_parts(
    method: Any, pre: Tensor, gate: Tensor, h_before: Tensor, hidden_new: Tensor, m_h: Tensor, m_pre: Tensor
) -> dict[str, Tensor]:
    """``hidden_new``: ``U_n h + d_n``, which the reset gate multiplies; ``pre[..., 2, :]`` is the whole of ``n``'s."""
    pre, gate, h_before, hidden_new, m_h, m_pre = _doubles(pre, gate, h_before, hidden_new, m_h, m_pre)
    r, z, n = gate.unbind(-2)
    m_z, m_n, kept = m_h * method.middle(h_before - n), m_h * (1 - method.middle(z)), m_h * method.middle(z)
    m_npre = m_pre[..., 2, :]
    m_r, m_hidden = m_npre * method.middle(hidden_new), m_npre * method.middle(r)
    return {
        "reset": _node(m_r, r, (m_pre[..., 0, :], pre[..., 0, :])),
        "update": _node(m_z, z, (m_pre[..., 1, :], pre[..., 1, :])),
        "new": _node(m_n, n, (m_npre, pre[..., 2, :])),
        "reset product": _node(m_npre, r * hidden_new, (m_r, r), (m_hidden, hidden_new)),
        "update product": _node(m_h, z * (h_before - n) + n, (m_z, z), (m_n, n), (kept, h_before)),
    }


def rnn_parts(pre: Tensor, h: Tensor, m_h: Tensor, m_pre: Tensor) -> dict[str, Tensor]:
    """The one nonlinearity of an Elman network."""
    pre, h, m_h, m_pre = _doubles(pre, h, m_h, m_pre)
    return {"new": _node(m_h, h, (m_pre, pre))}


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm over units, of several kinds of state together: (T, N, ·) to (T, N)."""
    return torch.cat([t.double() for t in tensors], -1).norm(dim=-1)
