"""The whole way back of a small paired LSTM or GRU as one Triton kernel that keeps the recurrent weights on the chip.

A program has `ROWS` pairs and all units, and goes through time by itself: nothing is launched and no weight is read
from memory within the loop. Products are in single precision as it is written, not in TF32. Arrays are those of
`cuda_cells`; ``w`` is the recurrent kernel (H, G·H).
"""

from __future__ import annotations

import triton
import triton.language as tl

ROWS = 16


@triton.jit
def _gate(w, gate, unit, units, GATES: tl.constexpr):
    """What takes the multipliers of one gate's pre-activations to those of the state before: (of the gate, of h)."""
    there = (unit[:, None] < units) & (unit[None, :] < units)
    return tl.load(w + unit[None, :] * (GATES * units) + gate * units + unit[:, None], mask=there, other=0.0)


@triton.jit
def lstm_back_all(
    factors, out_h, out_c, w, m_pre, first_h, first_c, all_h, all_c, steps, pairs, units,
    HAS_C: tl.constexpr, KEEP: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Every step of `cuda_cells.lstm_back` and the product between them, last step first."""
    pair = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    unit = tl.arange(0, WIDTH)
    there = (pair[:, None] < pairs) & (unit[None, :] < units)
    to_i, to_f = _gate(w, 0, unit, units, 4), _gate(w, 1, unit, units, 4)
    to_g, to_o = _gate(w, 2, unit, units, 4), _gate(w, 3, unit, units, 4)
    h = tl.zeros((ROWS, WIDTH), tl.float32)
    c = tl.zeros((ROWS, WIDTH), tl.float32)
    row = pair.to(tl.int64) + pairs * (steps - 1)
    for _ in range(steps):
        at = row[:, None] * units + unit[None, :]
        h += tl.load(out_h + at, mask=there, other=0.0)
        if HAS_C:
            c += tl.load(out_c + at, mask=there, other=0.0)
        if KEEP:
            tl.store(all_h + at, h, mask=there)
            tl.store(all_c + at, c, mask=there)
        by = factors + row[:, None] * (6 * units) + unit[None, :]
        to = m_pre + row[:, None] * (4 * units) + unit[None, :]
        m = c + h * tl.load(by + 5 * units, mask=there, other=0.0)
        i = m * tl.load(by, mask=there, other=0.0)
        f = m * tl.load(by + units, mask=there, other=0.0)
        g = m * tl.load(by + 2 * units, mask=there, other=0.0)
        o = h * tl.load(by + 3 * units, mask=there, other=0.0)
        c = m * tl.load(by + 4 * units, mask=there, other=0.0)
        tl.store(to, i, mask=there)
        tl.store(to + units, f, mask=there)
        tl.store(to + 2 * units, g, mask=there)
        tl.store(to + 3 * units, o, mask=there)
        h = tl.dot(i, to_i, input_precision="ieee")
        h = tl.dot(f, to_f, h, input_precision="ieee")
        h = tl.dot(g, to_g, h, input_precision="ieee")
        h = tl.dot(o, to_o, h, input_precision="ieee")
        row -= pairs
    at = pair.to(tl.int64)[:, None] * units + unit[None, :]
    tl.store(first_h + at, h, mask=there)
    tl.store(first_c + at, c, mask=there)


@triton.jit
def gru_back_all(
    factors, out_h, w, m_pre, first_h, all_h, steps, pairs, units,
    KEEP: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Every step of `cuda_cells.gru_back` and the product between them, last step first."""
    pair = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    unit = tl.arange(0, WIDTH)
    there = (pair[:, None] < pairs) & (unit[None, :] < units)
    to_r, to_z, to_n = _gate(w, 0, unit, units, 3), _gate(w, 1, unit, units, 3), _gate(w, 2, unit, units, 3)
    h = tl.zeros((ROWS, WIDTH), tl.float32)
    row = pair.to(tl.int64) + pairs * (steps - 1)
    for _ in range(steps):
        at = row[:, None] * units + unit[None, :]
        h += tl.load(out_h + at, mask=there, other=0.0)
        if KEEP:
            tl.store(all_h + at, h, mask=there)
        by = factors + row[:, None] * (5 * units) + unit[None, :]
        to = m_pre + row[:, None] * (3 * units) + unit[None, :]
        n = h * tl.load(by + 2 * units, mask=there, other=0.0)
        z = h * tl.load(by + units, mask=there, other=0.0)
        r = h * tl.load(by, mask=there, other=0.0)
        tl.store(to, r, mask=there)
        tl.store(to + units, z, mask=there)
        tl.store(to + 2 * units, n, mask=there)
        inner = n * tl.load(by + 4 * units, mask=there, other=0.0)
        h = h * tl.load(by + 3 * units, mask=there, other=0.0)
        h = tl.dot(r, to_r, h, input_precision="ieee")
        h = tl.dot(z, to_z, h, input_precision="ieee")
        h = tl.dot(inner, to_n, h, input_precision="ieee")
        row -= pairs
    tl.store(first_h + pair.to(tl.int64)[:, None] * units + unit[None, :], h, mask=there)
