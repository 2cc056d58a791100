"""The paired GRU over a whole sequence, in PyTorch's form (Cho et al. 2014, with the reset after the product).

``n = tanh(W_n x + b_n + r·(U_n h + d_n))``, ``h_t = (1 - z)·n + z·h_{t-1}``, gates in the order r, z, n:

    m_n = m_h · (1 - z̄)     m_z = m_h · mean(h_{t-1} - n)     m_{h,t-1} = m_h · z̄ + (gates' multipliers) · W_hh
    m_npre = m_n · secant_tanh     m_r = m_npre · mean(U_n h + d_n)     m_{U_n h} = m_npre · r̄
"""

from __future__ import annotations

import torch
from torch import Tensor

from explain_core.backends.torch.formulas import secants
from explain_core.backends.torch.pairs import Pair, attach
from explain_core.backends.torch.recurrent.defects import gru_parts
from explain_core.backends.torch.recurrent.weights import (
    Weights,
    both,
    difference,
    previous,
    project,
    run_kernel,
)

GATES = ("reset", "update", "new")


@torch.no_grad()
def gru_scan(x: Pair, h0: Pair, w: Weights, method, record) -> Pair:
    """Hidden states of every step: (T, N, I) and (N, H) to (T, N, H); ``method`` and ``record`` as in `lstm`."""
    steps, n = x.test.shape[:2]
    units = w.w_hh.shape[1]
    xs, first = both(x), both(h0)
    h = run_kernel(torch.gru, xs, lambda i: first[i, None], w)
    before = previous(h, first)

    from_x = project(xs, w.w_ih, w.b_ih).view(2, steps, n, 3, units)
    from_h = project(before, w.w_hh, w.b_hh).view(2, steps, n, 3, units)
    pre = from_x + from_h
    hidden_new = from_h[..., 2, :]
    gate = torch.sigmoid(pre)
    reset = gate[..., 0, :]
    pre[..., 2, :] = from_x[..., 2, :] + reset * hidden_new
    torch.tanh(pre[..., 2, :], out=gate[..., 2, :])

    slope = method.slope(secants.sigmoid, pre)
    new_slope = method.slope(secants.tanh, pre[..., 2, :])
    middle_update, middle_reset = method.middle(gate[..., 1, :]), method.middle(reset)
    slope[..., 2, :] = new_slope * (1 - middle_update)  # m_npre per m_h
    slope[..., 1, :] *= method.middle(before - gate[..., 2, :])  # m_zpre per m_h
    slope[..., 0, :] *= method.middle(hidden_new) * slope[..., 2, :]  # m_rpre per m_h

    if record is not None:
        record.forward(gate, h, None)
        change = difference(pre)
        change[..., 2, :] = difference(from_x[..., 2, :]) + middle_reset * difference(hidden_new)
        change_h, change_before = difference(h), difference(before)

    def back(m_all: Tensor) -> tuple[Tensor, ...]:
        m_pre = torch.empty_like(slope)
        m_h = m_all.new_zeros(n, units)
        seen = []
        for t in range(steps - 1, -1, -1):
            m_h = m_h + m_all[t]
            torch.mul(m_h.unsqueeze(1), slope[t], out=m_pre[t])
            carried = m_h * middle_update[t]
            if record is not None:
                seen.append(m_h)
                record.carry(t, carried)
            into_h = torch.cat([m_pre[t, :, :2], (m_pre[t, :, 2] * middle_reset[t]).unsqueeze(1)], 1)
            m_h = torch.addmm(carried, into_h.view(n, -1), w.w_hh)
        if record is not None:
            all_h = torch.stack(seen[::-1])
            record.backward(m_pre * change, change_before, (all_h * change_h).sum(-1))
        m_x = m_pre.view(steps, n, -1) @ w.w_ih
        if record is not None and record.keeps_ledger:
            parts = gru_parts(method, pre, gate, before, hidden_new, all_h, m_pre)
            record.defects(parts, m_x, difference(xs), [(m_all, all_h, m_h, change_h, difference(first))])
        return m_x, m_h

    with torch.enable_grad():
        test = attach([h[0].clone()], back, x.tape, h0.tape)
    return Pair(test, h[1])
