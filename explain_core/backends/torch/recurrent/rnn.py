"""The paired vanilla RNN over a whole sequence (Elman 1990): ``h_t = σ(W_ih x + b_ih + W_hh h_{t-1} + b_hh)``."""

from __future__ import annotations

import torch
from torch import Tensor

from explain_core.backends.torch.formulas import secants
from explain_core.backends.torch.pairs import Pair, attach
from explain_core.backends.torch.recurrent.defects import rnn_parts
from explain_core.backends.torch.recurrent.weights import (
    Weights,
    both,
    difference,
    previous,
    project,
    run_kernel,
)

GATES = ("new",)
_KERNELS = {"tanh": (torch.rnn_tanh, secants.tanh), "relu": (torch.rnn_relu, secants.relu)}


@torch.no_grad()
def rnn_scan(activation: str, x: Pair, h0: Pair, w: Weights, method, record) -> Pair:
    """Hidden states of every step: (T, N, I) and (N, H) to (T, N, H); ``method`` and ``record`` as in `lstm`.

    ``activation`` is ``tanh`` or ``relu``.
    """
    kernel, secant = _KERNELS[activation]
    n, units = x.test.shape[1], w.w_hh.shape[0]
    xs, first = both(x), both(h0)
    h = run_kernel(kernel, xs, lambda i: first[i, None], w)
    pre = project(xs, w.w_ih, None if w.b_ih is None else w.b_ih + w.b_hh)
    pre = project(previous(h, first), w.w_hh, None, onto=pre)
    slope = method.slope(secant, pre)

    if record is not None:
        record.forward(h.unsqueeze(-2), h, None)
        change_pre, change_h = difference(pre), difference(h)

    def back(m_all: Tensor) -> tuple[Tensor, ...]:
        m_pre = torch.empty_like(slope)
        m_h = m_all.new_zeros(n, units)
        seen = []
        for t in range(len(slope) - 1, -1, -1):
            m_h = m_h + m_all[t]
            if record is not None:
                seen.append(m_h)
            torch.mul(m_h, slope[t], out=m_pre[t])
            m_h = m_pre[t] @ w.w_hh
        if record is not None:
            all_h = torch.stack(seen[::-1])
            record.backward((m_pre * change_pre).unsqueeze(-2), None, (all_h * change_h).sum(-1))
        m_x = m_pre @ w.w_ih
        if record is not None and record.keeps_ledger:
            parts = rnn_parts(pre, h, all_h, m_pre)
            record.defects(parts, m_x, difference(xs), [(m_all, all_h, m_h, change_h, difference(first))])
        return m_x, m_h

    with torch.enable_grad():
        test = attach([h[0].clone()], back, x.tape, h0.tape)
    return Pair(test, h[1])
