"""The paired LSTM over a whole sequence.

``c_t = f·c_{t-1} + i·g``, ``h_t = o·tanh(c_t)`` (Hochreiter & Schmidhuber 1997; Gers et al. 2000), gates in PyTorch's
order i, f, g, o. Bars are means over the pair:

    m_c += m_h · ō · secant_tanh(c, c')
    m_o = m_h · mean(tanh c)    m_f = m_c · mean(c_{t-1})    m_i = m_c · ḡ    m_g = m_c · ī
    m_pre = m_gate · secant of the gate's activation
    m_{c,t-1} = m_c · f̄        m_{h,t-1} = m_pre · W_hh      m_x = m_pre · W_ih

The hidden states come from PyTorch's own kernel, so all gates of all timesteps are two matrix products, and only the
cell scan and the way back are sequential.
"""

from __future__ import annotations

import torch
from torch import Tensor

from explain_core.backends.torch.formulas import secants
from explain_core.backends.torch.pairs import Pair, attach
from explain_core.backends.torch.recurrent.defects import lstm_parts
from explain_core.backends.torch.recurrent.weights import (
    Weights,
    both,
    difference,
    previous,
    project,
    run_kernel,
)

GATES = ("input", "forget", "candidate", "output")


@torch.no_grad()
def lstm_scan(x: Pair, h0: Pair, c0: Pair, w: Weights, method, record) -> tuple[Pair, Pair]:
    """Hidden and cell states of every step.

    Args:
        x: (T, N, I).
        h0, c0: (N, P) and (N, H).
        method: the `methods.Method` that the multipliers go by.
        record: a `recorder.LayerRecord`, or None.

    Returns:
        Pairs (T, N, P) and (T, N, H).
    """
    steps, n = x.test.shape[:2]
    units = w.w_hh.shape[0] // 4
    xs, h_first, c_first = both(x), both(h0), both(c0)
    h = run_kernel(torch.lstm, xs, lambda i: (h_first[i, None], c_first[i, None]), w)

    pre = project(xs, w.w_ih, None if w.b_ih is None else w.b_ih + w.b_hh)
    pre = project(previous(h, h_first), w.w_hh, None, onto=pre).view(2, steps, n, 4, units)
    gate = torch.sigmoid(pre)
    torch.tanh(pre[..., 2, :], out=gate[..., 2, :])
    c = _cell_states(gate, c_first)
    c_before = previous(c, c_first)

    middle_gate = method.middle(gate)
    slope = method.slope(secants.sigmoid, pre)
    slope[..., 2, :] = method.slope(secants.tanh, pre[..., 2, :])
    slope[..., 0, :] *= middle_gate[..., 2, :]
    slope[..., 1, :] *= method.middle(c_before)
    slope[..., 2, :] *= middle_gate[..., 0, :]
    slope[..., 3, :] *= method.middle(torch.tanh(c))
    keep = middle_gate[..., 1, :]
    through_h = middle_gate[..., 3, :] * method.slope(secants.tanh, c)

    if record is not None:
        record.forward(gate, h, c)
        change_pre, change_h, change_c = difference(pre), difference(h), difference(c)
        change_before = difference(c_before)

    def back(m_h_all: Tensor, m_c_all: Tensor) -> tuple[Tensor, ...]:
        m_pre = torch.empty_like(slope)
        m_h, m_c = m_h_all.new_zeros(n, h.shape[-1]), m_h_all.new_zeros(n, units)
        seen_h, seen_c = [], []
        for t in range(steps - 1, -1, -1):
            m_h = m_h + m_h_all[t]
            m_c = m_c + m_c_all[t]
            if record is not None:
                seen_h.append(m_h)
                seen_c.append(m_c)
            m_out = m_h if w.w_hr is None else m_h @ w.w_hr
            m_c = torch.addcmul(m_c, m_out, through_h[t])
            torch.mul(m_c.unsqueeze(1), slope[t, :, :3], out=m_pre[t, :, :3])
            torch.mul(m_out, slope[t, :, 3], out=m_pre[t, :, 3])
            m_h = m_pre[t].view(n, -1) @ w.w_hh
            m_c = m_c * keep[t]
            if record is not None:
                record.carry(t, m_c)
        if record is not None:
            all_h, all_c = torch.stack(seen_h[::-1]), torch.stack(seen_c[::-1])
            mass = (all_h * change_h).sum(-1) + (all_c * change_c).sum(-1)
            record.backward(m_pre * change_pre, change_before, mass)
        m_x = m_pre.view(steps, n, -1) @ w.w_ih
        if record is not None and record.keeps_ledger:
            m_out = all_h if w.w_hr is None else all_h @ w.w_hr
            parts = lstm_parts(method, pre, gate, c_before, c, m_out, all_c, m_pre)
            states = [
                (m_h_all, all_h, m_h, change_h, difference(h_first)),
                (m_c_all, all_c, m_c, change_c, difference(c_first)),
            ]
            record.defects(parts, m_x, difference(xs), states)
        return m_x, m_h, m_c

    with torch.enable_grad():
        h_test, c_test = attach([h[0].clone(), c[0].clone()], back, x.tape, h0.tape, c0.tape)
    return Pair(h_test, h[1]), Pair(c_test, c[1])


def _cell_states(gate: Tensor, first: Tensor) -> Tensor:
    """The cell scan: gates (2, T, N, 4, H) and the initial (2, N, H) to (2, T, N, H)."""
    cells = gate[..., 0, :] * gate[..., 2, :]
    before = first
    for t in range(cells.shape[1]):
        before = cells[:, t].addcmul_(gate[:, t, :, 1], before)
    return cells
