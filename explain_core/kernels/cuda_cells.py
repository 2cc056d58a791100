"""The elementwise parts of paired LSTM, GRU and RNN as one Triton kernel each.

A program has `BLOCK` units of one row or pair. ``*_states`` goes through time by itself, for rows, where all
pre-activations are known; with one timestep it is a step of a loop. ``*_factors`` has every timestep of every pair at
once: what the way back multiplies by. ``*_back`` is a step back, without its matrix product.

Arrays are contiguous, time first, gates side by side: pre-activations (T, U, G·H), factors (T, N, F, H). Places are
64-bit numbers, as a long sequence of a large layer has more than 2³¹.
"""

from __future__ import annotations

import triton
import triton.language as tl

from explain_core.kernels.cuda_numbers import relu_secant, sigmoid, sigmoid_secant, tanh, tanh_secant

BLOCK = 128


@triton.jit
def _place(units, BLOCK: tl.constexpr):
    """The row (or pair, or step of a pair) of this program, its units, and which of them there are."""
    unit = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return tl.program_id(0).to(tl.int64), unit, unit < units


# --- LSTM ------------------------------------------------------------------------------------------------------------


@triton.jit
def lstm_states(pre, c_first, c, h, gates, steps, rows, units, KEEP: tl.constexpr, BLOCK: tl.constexpr):
    """``c = f·c + i·g`` and ``h = o·tanh(c)`` of each row, over time."""
    row, unit, there = _place(units, BLOCK)
    state = tl.load(c_first + row * units + unit, mask=there, other=0.0)
    at = row
    for _ in range(steps):
        a = pre + at * 4 * units + unit
        i = sigmoid(tl.load(a, mask=there, other=0.0))
        f = sigmoid(tl.load(a + units, mask=there, other=0.0))
        g = tanh(tl.load(a + 2 * units, mask=there, other=0.0))
        o = sigmoid(tl.load(a + 3 * units, mask=there, other=0.0))
        state = f * state + i * g
        tl.store(c + at * units + unit, state, mask=there)
        tl.store(h + at * units + unit, o * tanh(state), mask=there)
        if KEEP:
            to = gates + at * 4 * units + unit
            tl.store(to, i, mask=there)
            tl.store(to + units, f, mask=there)
            tl.store(to + 2 * units, g, mask=there)
            tl.store(to + 3 * units, o, mask=there)
        at += rows


@triton.jit
def lstm_factors(pre, c_first, c, test, base, factors, rows, pairs, units, BLOCK: tl.constexpr):
    """0..3: of the pre-activations of i, f, g by m_c, of o by m_h; 4: mean of f; 5: mean of o times tanh's secant."""
    step, unit, there = _place(units, BLOCK)
    t, pair = step // pairs, step % pairs
    one, other = tl.load(test + pair), tl.load(base + pair)
    at_a, at_b = t * rows + one, t * rows + other
    a, b = pre + at_a * 4 * units + unit, pre + at_b * 4 * units + unit
    i_a, i_b = tl.load(a, mask=there, other=0.0), tl.load(b, mask=there, other=0.0)
    f_a, f_b = tl.load(a + units, mask=there, other=0.0), tl.load(b + units, mask=there, other=0.0)
    g_a, g_b = tl.load(a + 2 * units, mask=there, other=0.0), tl.load(b + 2 * units, mask=there, other=0.0)
    o_a, o_b = tl.load(a + 3 * units, mask=there, other=0.0), tl.load(b + 3 * units, mask=there, other=0.0)
    c_a = tl.load(c + at_a * units + unit, mask=there, other=0.0)
    c_b = tl.load(c + at_b * units + unit, mask=there, other=0.0)
    if t == 0:
        before_a = tl.load(c_first + one * units + unit, mask=there, other=0.0)
        before_b = tl.load(c_first + other * units + unit, mask=there, other=0.0)
    else:
        before_a = tl.load(c + (at_a - rows) * units + unit, mask=there, other=0.0)
        before_b = tl.load(c + (at_b - rows) * units + unit, mask=there, other=0.0)
    to = factors + step * 6 * units + unit
    tl.store(to, 0.5 * (tanh(g_a) + tanh(g_b)) * sigmoid_secant(i_a, i_b), mask=there)
    tl.store(to + units, 0.5 * (before_a + before_b) * sigmoid_secant(f_a, f_b), mask=there)
    tl.store(to + 2 * units, 0.5 * (sigmoid(i_a) + sigmoid(i_b)) * tanh_secant(g_a, g_b), mask=there)
    tl.store(to + 3 * units, 0.5 * (tanh(c_a) + tanh(c_b)) * sigmoid_secant(o_a, o_b), mask=there)
    tl.store(to + 4 * units, 0.5 * (sigmoid(f_a) + sigmoid(f_b)), mask=there)
    tl.store(to + 5 * units, 0.5 * (sigmoid(o_a) + sigmoid(o_b)) * tanh_secant(c_a, c_b), mask=there)


@triton.jit
def lstm_back(
    factors, out_h, out_c, m_h, m_c, m_pre, all_h, all_c, units, HAS_C: tl.constexpr, KEEP: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One step: from the multipliers after it to those of its pre-activations, and of the cell state before it."""
    pair, unit, there = _place(units, BLOCK)
    at = pair * units + unit
    h = tl.load(m_h + at, mask=there, other=0.0) + tl.load(out_h + at, mask=there, other=0.0)
    c = tl.load(m_c + at, mask=there, other=0.0)
    if HAS_C:
        c += tl.load(out_c + at, mask=there, other=0.0)
    if KEEP:
        tl.store(all_h + at, h, mask=there)
        tl.store(all_c + at, c, mask=there)
    by = factors + pair * 6 * units + unit
    to = m_pre + pair * 4 * units + unit
    c += h * tl.load(by + 5 * units, mask=there, other=0.0)
    tl.store(to, c * tl.load(by, mask=there, other=0.0), mask=there)
    tl.store(to + units, c * tl.load(by + units, mask=there, other=0.0), mask=there)
    tl.store(to + 2 * units, c * tl.load(by + 2 * units, mask=there, other=0.0), mask=there)
    tl.store(to + 3 * units, h * tl.load(by + 3 * units, mask=there, other=0.0), mask=there)
    tl.store(m_c + at, c * tl.load(by + 4 * units, mask=there, other=0.0), mask=there)


# --- GRU -------------------------------------------------------------------------------------------------------------


@triton.jit
def gru_states(x, from_h, h_before, pre, inner, h, gates, rows, units, KEEP: tl.constexpr, BLOCK: tl.constexpr):
    """One step, or all of them where the states are known: ``n = tanh(x_n + r·q)``, ``h = z·h + (1 - z)·n``.

    ``from_h`` is the recurrent product with its bias; its last third is q, which is written to ``inner``.
    """
    row, unit, there = _place(units, BLOCK)
    a, b = x + row * 3 * units + unit, from_h + row * 3 * units + unit
    a_r = tl.load(a, mask=there, other=0.0) + tl.load(b, mask=there, other=0.0)
    a_z = tl.load(a + units, mask=there, other=0.0) + tl.load(b + units, mask=there, other=0.0)
    q = tl.load(b + 2 * units, mask=there, other=0.0)
    r, z = sigmoid(a_r), sigmoid(a_z)
    a_n = tl.load(a + 2 * units, mask=there, other=0.0) + r * q
    n = tanh(a_n)
    before = tl.load(h_before + row * units + unit, mask=there, other=0.0)
    to = pre + row * 3 * units + unit
    tl.store(to, a_r, mask=there)
    tl.store(to + units, a_z, mask=there)
    tl.store(to + 2 * units, a_n, mask=there)
    tl.store(inner + row * units + unit, q, mask=there)
    tl.store(h + row * units + unit, z * before + (1 - z) * n, mask=there)
    if KEEP:
        to = gates + row * 3 * units + unit
        tl.store(to, r, mask=there)
        tl.store(to + units, z, mask=there)
        tl.store(to + 2 * units, n, mask=there)


@triton.jit
def gru_factors(pre, inner, h_before, test, base, factors, rows, pairs, units, BLOCK: tl.constexpr):
    """0, 1, 2: of the pre-activations of r, z and n by m_h; 3: mean of z; 4: mean of r."""
    step, unit, there = _place(units, BLOCK)
    t, pair = step // pairs, step % pairs
    at_a, at_b = t * rows + tl.load(test + pair), t * rows + tl.load(base + pair)
    a, b = pre + at_a * 3 * units + unit, pre + at_b * 3 * units + unit
    r_a, r_b = tl.load(a, mask=there, other=0.0), tl.load(b, mask=there, other=0.0)
    z_a, z_b = tl.load(a + units, mask=there, other=0.0), tl.load(b + units, mask=there, other=0.0)
    n_a, n_b = tl.load(a + 2 * units, mask=there, other=0.0), tl.load(b + 2 * units, mask=there, other=0.0)
    q_a = tl.load(inner + at_a * units + unit, mask=there, other=0.0)
    q_b = tl.load(inner + at_b * units + unit, mask=there, other=0.0)
    h_a = tl.load(h_before + at_a * units + unit, mask=there, other=0.0)
    h_b = tl.load(h_before + at_b * units + unit, mask=there, other=0.0)
    to = factors + step * 5 * units + unit
    passed = 0.5 * ((h_a - tanh(n_a)) + (h_b - tanh(n_b)))
    left = 0.5 * (sigmoid(-z_a) + sigmoid(-z_b))  # 1 - z
    by_n = left * tanh_secant(n_a, n_b)
    tl.store(to, 0.5 * (q_a + q_b) * sigmoid_secant(r_a, r_b) * by_n, mask=there)
    tl.store(to + units, passed * sigmoid_secant(z_a, z_b), mask=there)
    tl.store(to + 2 * units, by_n, mask=there)
    tl.store(to + 3 * units, 0.5 * (sigmoid(z_a) + sigmoid(z_b)), mask=there)
    tl.store(to + 4 * units, 0.5 * (sigmoid(r_a) + sigmoid(r_b)), mask=there)


@triton.jit
def gru_back(factors, out_h, m_h, m_pre, into, all_h, units, KEEP: tl.constexpr, BLOCK: tl.constexpr):
    """One step: multipliers of its pre-activations, of its recurrent product, and in ``m_h`` what passes by that."""
    pair, unit, there = _place(units, BLOCK)
    at = pair * units + unit
    h = tl.load(m_h + at, mask=there, other=0.0) + tl.load(out_h + at, mask=there, other=0.0)
    if KEEP:
        tl.store(all_h + at, h, mask=there)
    by = factors + pair * 5 * units + unit
    n = h * tl.load(by + 2 * units, mask=there, other=0.0)
    z = h * tl.load(by + units, mask=there, other=0.0)
    r = h * tl.load(by, mask=there, other=0.0)
    to, inward = m_pre + pair * 3 * units + unit, into + pair * 3 * units + unit
    tl.store(to, r, mask=there)
    tl.store(to + units, z, mask=there)
    tl.store(to + 2 * units, n, mask=there)
    tl.store(inward, r, mask=there)
    tl.store(inward + units, z, mask=there)
    tl.store(inward + 2 * units, n * tl.load(by + 4 * units, mask=there, other=0.0), mask=there)
    tl.store(m_h + at, h * tl.load(by + 3 * units, mask=there, other=0.0), mask=there)


# --- RNN -------------------------------------------------------------------------------------------------------------


@triton.jit
def rnn_states(pre, h, units, RELU: tl.constexpr, BLOCK: tl.constexpr):
    """``h = σ(pre)``."""
    row, unit, there = _place(units, BLOCK)
    a = tl.load(pre + row * units + unit, mask=there, other=0.0)
    value = tl.where(a <= 0, 0.0, a) if RELU else tanh(a)
    tl.store(h + row * units + unit, value, mask=there)


@triton.jit
def rnn_factors(pre, test, base, factors, rows, pairs, units, RELU: tl.constexpr, BLOCK: tl.constexpr):
    """Of the pre-activation by m_h."""
    step, unit, there = _place(units, BLOCK)
    t, pair = step // pairs, step % pairs
    a = tl.load(pre + (t * rows + tl.load(test + pair)) * units + unit, mask=there, other=0.0)
    b = tl.load(pre + (t * rows + tl.load(base + pair)) * units + unit, mask=there, other=0.0)
    slope = relu_secant(a, b) if RELU else tanh_secant(a, b)
    tl.store(factors + step * units + unit, slope, mask=there)


@triton.jit
def rnn_back(factors, out_h, m_h, m_pre, all_h, units, KEEP: tl.constexpr, BLOCK: tl.constexpr):
    """One step: multipliers of its pre-activations."""
    pair, unit, there = _place(units, BLOCK)
    at = pair * units + unit
    h = tl.load(m_h + at, mask=there, other=0.0) + tl.load(out_h + at, mask=there, other=0.0)
    if KEEP:
        tl.store(all_h + at, h, mask=there)
    tl.store(m_pre + at, h * tl.load(factors + at, mask=there, other=0.0), mask=there)
