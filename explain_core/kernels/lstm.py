"""The paired LSTM on the CPU. See `explain_core.kernels` for shapes, and `lstm_back` for the recurrence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from explain_core.kernels.compiling import kernel, loop
from explain_core.kernels.driving import Backward, Forward, Product, numpy_product
from explain_core.kernels.elementary import sigmoid, sigmoid_secant, tanh, tanh_secant
from explain_core.kernels.products import add_product
from explain_core.kernels.rows import add, copy, seen

FACTORS = 6


class LSTMStates(NamedTuple):
    """What a forward run leaves."""

    h: np.ndarray  # (T, U, H) after each step
    c: np.ndarray  # (T, U, H)
    factors: np.ndarray  # (T, N, 6, H)
    gates: np.ndarray | None  # (T, U, 4H), activations
    pre: np.ndarray | None  # (T, U, 4H), pre-activations


class LSTMMultipliers(NamedTuple):
    """What a backward run leaves."""

    pre: np.ndarray  # (T, N, 4H), of the pre-activations
    h_first: np.ndarray  # (N, H), of the states before the first step
    c_first: np.ndarray  # (N, H)
    h: np.ndarray | None  # (T, N, H), of the states after each step
    c: np.ndarray | None  # (T, N, H), the same, without the path through h


def lstm_forward(x, w, h0, c0, test, base, keep=False, flags=None, threads=1, product: Product = numpy_product):
    """Run the rows, and prepare the factors of the pairs.

    Args:
        x: (T, U, 4H), the input's part of the pre-activations and the biases; gates in the order i, f, g, o.
        w: (H, 4H), the recurrent kernel.
        h0, c0: (U, H), states before the first step.
        test, base: (N,), the rows that are each pair's members.
        keep: whether to give activations and pre-activations.
        flags: (T, U) bool; where it is False, a row keeps its states. None: nowhere.
        threads: how many to use.
        product: for matrix products that are large.

    Returns:
        `LSTMStates`. The factors, of all numbers that the way back multiplies by, are

            0..3: the pre-activations of i, f, g per unit of m_c and of o per unit of m_h
            4: mean of f                5: mean of o · secant of tanh c
    """
    layer = Forward(x, w, h0, test, base, flags, threads)
    c = layer.from_first(c0)
    factors = np.empty((len(x), len(test), FACTORS, h0.shape[1]), x.dtype)
    kept = [layer.kept(keep), layer.kept(keep)]
    compiled = forward.prepare(x.dtype)

    def steps(first, last, s):
        given, places = (layer.weights, layer.x, layer.from_h), (s.rows, s.test, s.base, s.first)
        compiled(first, last, *given, *places, layer.masked, layer.flags, layer.h, c, factors, keep, *kept)

    layer.run(product, steps)
    return LSTMStates(layer.h[1:], c[1:], factors, *(kept if keep else (None, None)))


def lstm_back(
    factors, w, m_h, m_c=None, keep=False, counts=None, fresh=None, threads=1, product: Product = numpy_product
):
    """Run the multipliers backward.

        m_c += m_h · factor 5       m_pre = m_c · factors 0..2, m_h · factor 3
        m_{c,t-1} = m_c · factor 4      m_{h,t-1} = m_pre · Wᵀ

    Args:
        factors, w, threads, product: as in `lstm_forward`.
        m_h: (T, N, H), multipliers that arrive from outside at the states after each step.
        m_c: the same for the cell states, or None.
        keep: whether to give the multipliers of the states after each step.
        counts: (T, N), the mean of the flags over the pair, or None without a mask.
        fresh: (T, N, H), multipliers that arrive at what the step itself gives, whether the mask lets it through or
            not; they are multiplied by ``counts`` already. None for none.

    Returns:
        `LSTMMultipliers`.
    """
    layer = Backward(factors, w, m_h, counts, fresh, keep, threads)
    has_c, m_c = m_c is not None, layer.arrived(m_c)
    carried = np.zeros((2, *m_h.shape[1:]), layer.dtype)
    kept = [layer.kept(), layer.kept()]
    compiled = back.prepare(layer.dtype)

    def steps(first, last, s):
        arriving = layer.m_h, has_c, m_c, layer.masked, layer.counts, layer.has_fresh, layer.fresh
        given = layer.weights, layer.factors, s.first, s.count
        compiled(first, last, *given, *arriving, carried, layer.pre, keep, *kept)

    layer.run(product, steps, layer.pre.__getitem__, carried[0])
    return LSTMMultipliers(layer.pre, *carried, *(kept if keep else (None, None)))


@loop
def activate(pre, before, s_i, n_i, s_f, n_f, t_g, u_g, s_o, n_o, c, t_c, u_c, h):
    """One row: pre-activations (4H,) and the cell state before, to all that its pairs need."""
    units = len(h)
    for j in range(units):
        s_i[j], n_i[j] = sigmoid(pre[j])
        s_f[j], n_f[j] = sigmoid(pre[units + j])
        t_g[j], u_g[j] = tanh(pre[2 * units + j])
        s_o[j], n_o[j] = sigmoid(pre[3 * units + j])
        c[j] = s_f[j] * before[j] + s_i[j] * t_g[j]
        t_c[j], u_c[j] = tanh(c[j])
        h[j] = s_o[j] * t_c[j]


@loop
def pair_factors(to_i, to_f, to_g, to_o, keeps, to_c, pre_a, pre_b, a, b, before_a, before_b):
    """Factors of one pair, from what `activate` left of its members."""
    units = len(to_i)
    for j in range(units):
        half = type(a[0, j])(0.5)
        i = sigmoid_secant(pre_a[j], pre_b[j], a[0, j], a[1, j], b[0, j], b[1, j])
        f = sigmoid_secant(pre_a[units + j], pre_b[units + j], a[2, j], a[3, j], b[2, j], b[3, j])
        g = tanh_secant(pre_a[2 * units + j], pre_b[2 * units + j], a[4, j], a[5, j], b[4, j], b[5, j])
        o = sigmoid_secant(pre_a[3 * units + j], pre_b[3 * units + j], a[6, j], a[7, j], b[6, j], b[7, j])
        c = tanh_secant(a[8, j], b[8, j], a[9, j], a[10, j], b[9, j], b[10, j])
        to_i[j] = half * (a[4, j] + b[4, j]) * i
        to_f[j] = half * (before_a[j] + before_b[j]) * f
        to_g[j] = half * (a[0, j] + b[0, j]) * g
        to_o[j] = half * (a[9, j] + b[9, j]) * o
        keeps[j] = half * (a[2, j] + b[2, j])
        to_c[j] = half * (a[6, j] + b[6, j]) * c


@kernel("int int r2 r3 r2 rows rows rows int bool flags w3 w3 w4 bool w3 w3")
def forward(first, last, w, x, from_h, rows, test, base, at, masked, flags, h, c, factors, keep, all_gates, all_pre):
    units = h.shape[2]
    count = len(rows)
    pre = np.empty((count, 4 * units), x.dtype)
    acts = np.empty((count, 12, units), x.dtype)
    own = w.shape[0] > 0
    for t in range(first, last):
        for u in range(count):
            copy(pre[u], x[t, rows[u]])
            if not own:
                add(pre[u], from_h[rows[u]])
        if own:
            add_product(pre, 0, h[t], rows, w, 0, 4 * units)
        for u in range(count):
            r, a = rows[u], acts[u]
            activate(pre[u], c[t, r], a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11])
            stays = masked and not flags[t, r]
            copy(h[t + 1, r], h[t, r] if stays else a[11])
            copy(c[t + 1, r], c[t, r] if stays else a[8])
            if keep:
                copy(all_pre[t, r], pre[u])
                for k in range(4):
                    copy(all_gates[t, r, k * units : (k + 1) * units], a[2 * k])
        for n in range(len(test)):
            a, b = test[n], base[n]
            f = factors[t, at + n]
            before_a, before_b = c[t, rows[a]], c[t, rows[b]]
            pair_factors(f[0], f[1], f[2], f[3], f[4], f[5], pre[a], pre[b], acts[a], acts[b], before_a, before_b)


@loop
def multiply(m_h, m_c, to_i, to_f, to_g, to_o, keeps, to_c, m_pre):
    units = len(m_h)
    for j in range(units):
        m = m_c[j] + m_h[j] * to_c[j]
        m_pre[j] = m * to_i[j]
        m_pre[units + j] = m * to_f[j]
        m_pre[2 * units + j] = m * to_g[j]
        m_pre[3 * units + j] = m_h[j] * to_o[j]
        m_c[j] = m * keeps[j]


@kernel("int int r2 r4 int int r3 bool r3 bool r2 bool r3 w3 w3 bool w3 w3")
def back(
    first,
    last,
    w,
    factors,
    at,
    count,
    m_h,
    has_c,
    m_c,
    masked,
    counts,
    has_fresh,
    fresh,
    carried,
    m_pre,
    keep,
    all_h,
    all_c,
):
    rows = np.arange(at, at + count)
    units = m_h.shape[2]
    new_h, new_c = np.empty(units, m_h.dtype), np.empty(units, m_h.dtype)
    own = w.shape[0] > 0
    for t in range(last - 1, first - 1, -1):
        for n in rows:
            here_h, here_c = carried[0, n], carried[1, n]
            add(here_h, m_h[t, n])
            if has_c:
                add(here_c, m_c[t, n])
            if keep:
                copy(all_h[t, n], here_h)
                copy(all_c[t, n], here_c)
            copy(new_h, here_h)
            copy(new_c, here_c)
            if masked:
                seen(new_h, here_h, counts[t, n])
                seen(new_c, here_c, counts[t, n])
            else:
                here_h[:] = 0
                here_c[:] = 0
            if has_fresh:
                add(new_h, fresh[t, n])
            f = factors[t, n]
            multiply(new_h, new_c, f[0], f[1], f[2], f[3], f[4], f[5], m_pre[t, n])
            add(here_c, new_c)
        if own:
            add_product(carried[0, at : at + count], 0, m_pre[t], rows, w, 0, units)
