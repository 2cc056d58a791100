"""The paired GRU on the CPU, ``h = z·h + (1 - z)·n``, with both forms of its reset. See `explain_core.kernels`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from explain_core.kernels.compiling import kernel, loop
from explain_core.kernels.driving import Backward, Forward, Product, given, numpy_product
from explain_core.kernels.elementary import sigmoid, sigmoid_secant, tanh, tanh_secant
from explain_core.kernels.products import add_product
from explain_core.kernels.rows import add, copy, seen

FACTORS = 5


class GRUStates(NamedTuple):
    """What a forward run leaves."""

    h: np.ndarray  # (T, U, H) after each step
    factors: np.ndarray  # (T, N, 5, H)
    gates: np.ndarray | None  # (T, U, 3H), activations
    pre: np.ndarray | None  # (T, U, 3H), pre-activations
    reset: np.ndarray | None  # (T, U, H), what r multiplies: U_n h + b_n, or the state before


class GRUMultipliers(NamedTuple):
    """What a backward run leaves."""

    pre: np.ndarray  # (T, N, 3H), of the pre-activations; n's before the reset
    h_first: np.ndarray  # (N, H), of the state before the first step
    h: np.ndarray | None  # (T, N, H), of the states after each step


def gru_forward(
    x, w, h0, test, base, bias=None, keep=False, flags=None, threads=1, product: Product = numpy_product
) -> GRUStates:
    """Run the rows, and prepare the factors of the pairs.

    Args:
        x: (T, U, 3H), the input's part of the pre-activations and the biases, but for ``bias``; gates in the order
            r, z, n.
        w: (H, 3H), the recurrent kernel.
        h0: (U, H), states before the first step.
        bias: (H,), b_n of the reset after the product, ``n = tanh(x_n + r·(U_n h + b_n))``. None for the reset before
            it, ``n = tanh(x_n + U_n (r·h))``.
        test, base, keep, flags, threads, product: as in `lstm_forward`.

    Returns:
        `GRUStates`. The factors are

            0: the multiplier of the pre-activation of r, per unit of m_h (reset after) or of m_{r·h} (before)
            1, 2: of z and n, per unit of m_h      3: mean of z      4: mean of r
    """
    after = bias is not None
    layer = Forward(x, w, h0, test, base, flags, threads, whole=after)
    factors = np.empty((len(x), len(test), FACTORS, h0.shape[1]), x.dtype)
    kept = [layer.kept(keep), layer.kept(keep), np.empty((*x.shape[:2], h0.shape[1] if keep else 0), x.dtype)]
    bias = given(bias, h0.shape[1:], x.dtype)
    compiled = forward.prepare(x.dtype)

    def steps(first, last, s):
        arrays, places = (layer.weights, layer.x, layer.from_h), (s.rows, s.test, s.base, s.first)
        mask = layer.masked, layer.flags
        compiled(first, last, *arrays, *places, after, bias, *mask, layer.h, factors, keep, *kept)

    layer.run(product, steps)
    return GRUStates(layer.h[1:], factors, *(kept if keep else (None, None, None)))


def gru_back(
    factors, w, m_h, after=True, keep=False, counts=None, fresh=None, threads=1, product: Product = numpy_product
) -> GRUMultipliers:
    """Run the multipliers backward.

        reset after:    m_pre = m_h · factors 0..2
                        m_{h,t-1} = m_h · factor 3 + (m_r, m_z, m_n · factor 4) · Wᵀ
        reset before:   m_z, m_n = m_h · factors 1, 2      m_{r·h} = m_n · U_nᵀ      m_r = m_{r·h} · factor 0
                        m_{h,t-1} = m_h · factor 3 + m_{r·h} · factor 4 + (m_r, m_z) · (U_r, U_z)ᵀ

    Args:
        after: whether the reset comes after the product.
        factors, w: of `gru_forward`.
        m_h, keep, counts, fresh, threads, product: as in `lstm_back`.
    """
    layer = Backward(factors, w, m_h, counts, fresh, keep, threads, whole=after)
    carried = np.zeros(m_h.shape[1:], layer.dtype)
    into_h = np.empty((len(carried), w.shape[1] if after else len(w)), layer.dtype)
    kept = layer.kept()
    compiled = back.prepare(layer.dtype)

    def steps(first, last, s):
        arriving = layer.m_h, layer.masked, layer.counts, layer.has_fresh, layer.fresh
        arrays = layer.weights, layer.factors, s.first, s.count
        compiled(first, last, *arrays, after, *arriving, carried, into_h, layer.pre, keep, kept)

    layer.run(product, steps, lambda t: into_h, carried)
    return GRUMultipliers(layer.pre, carried, kept if keep else None)


@loop
def _gates(pre, s_r, n_r, s_z, n_z):
    units = len(s_r)
    for j in range(units):
        s_r[j], n_r[j] = sigmoid(pre[j])
        s_z[j], n_z[j] = sigmoid(pre[units + j])


@loop
def _reset(pre_n, x_n, s_r, inside):
    """The pre-activation of n of the reset after the product, in the place of the product, which goes to ``inside``."""
    for j in range(len(pre_n)):
        inside[j] = pre_n[j]
        pre_n[j] = x_n[j] + s_r[j] * inside[j]


@loop
def _times(to, a, b):
    for j in range(len(to)):
        to[j] = a[j] * b[j]


@loop
def _new(pre_n, s_z, n_z, before, t_n, u_n, h):
    for j in range(len(h)):
        t_n[j], u_n[j] = tanh(pre_n[j])
        h[j] = s_z[j] * before[j] + n_z[j] * t_n[j]


@loop
def _pair(to_r, to_z, to_n, keeps, opens, pre_a, pre_b, a, b, before_a, before_b, after):
    """Factors of one pair; ``a`` and ``b`` are activations of its members: r, z with complements, n with its own, and
    what r multiplies.
    """
    units = len(to_r)
    for j in range(units):
        half = type(a[0, j])(0.5)
        r = sigmoid_secant(pre_a[j], pre_b[j], a[0, j], a[1, j], b[0, j], b[1, j])
        z = sigmoid_secant(pre_a[units + j], pre_b[units + j], a[2, j], a[3, j], b[2, j], b[3, j])
        n = tanh_secant(pre_a[2 * units + j], pre_b[2 * units + j], a[4, j], a[5, j], b[4, j], b[5, j])
        n *= half * (a[3, j] + b[3, j])
        to_n[j] = n
        to_z[j] = half * ((before_a[j] - a[4, j]) + (before_b[j] - b[4, j])) * z
        to_r[j] = half * (a[6, j] + b[6, j]) * r * (n if after else type(n)(1))
        keeps[j] = half * (a[2, j] + b[2, j])
        opens[j] = half * (a[0, j] + b[0, j])


@kernel("int int r2 r3 r2 rows rows rows int bool r1 bool flags w3 w4 bool w3 w3 w3")
def forward(
    first,
    last,
    w,
    x,
    from_h,
    rows,
    test,
    base,
    at,
    after,
    bias,
    masked,
    flags,
    h,
    factors,
    keep,
    all_gates,
    all_pre,
    all_reset,
):
    units = h.shape[2]
    count = len(rows)
    pre = np.empty((count, 3 * units), x.dtype)
    acts = np.empty((count, 8, units), x.dtype)
    opened = np.empty((count, units), x.dtype)
    here = np.arange(count)
    own = w.shape[0] > 0
    for t in range(first, last):
        for u in range(count):
            copy(pre[u], x[t, rows[u]])
            if after:
                copy(pre[u, 2 * units :], bias)
            if not own:
                add(pre[u], from_h[rows[u]])
        if own:
            add_product(pre, 0, h[t], rows, w, 0, 3 * units if after else 2 * units)
        for u in range(count):
            r, a = rows[u], acts[u]
            _gates(pre[u], a[0], a[1], a[2], a[3])
            if after:
                _reset(pre[u, 2 * units :], x[t, r, 2 * units :], a[0], a[6])
            else:
                copy(a[6], h[t, r])
                _times(opened[u], a[0], a[6])
        if not after:
            add_product(pre, 2 * units, opened, here, w, 2 * units, 3 * units)
        for u in range(count):
            r, a = rows[u], acts[u]
            _new(pre[u, 2 * units :], a[2], a[3], h[t, r], a[4], a[5], a[7])
            copy(h[t + 1, r], h[t, r] if masked and not flags[t, r] else a[7])
            if keep:
                copy(all_pre[t, r], pre[u])
                for k in range(3):
                    copy(all_gates[t, r, k * units : (k + 1) * units], a[2 * k])
                copy(all_reset[t, r], a[6])
        for n in range(len(test)):
            a, b = test[n], base[n]
            f = factors[t, at + n]
            before_a, before_b = h[t, rows[a]], h[t, rows[b]]
            _pair(f[0], f[1], f[2], f[3], f[4], pre[a], pre[b], acts[a], acts[b], before_a, before_b, after)


@loop
def _multiply(m_h, to_r, to_z, to_n, keeps, opens, m_pre, into_h):
    """Reset after: ``m_h`` becomes what goes on to the state before past the gates."""
    units = len(m_h)
    for j in range(units):
        m_n = m_h[j] * to_n[j]
        into_h[j] = m_pre[j] = m_h[j] * to_r[j]
        into_h[units + j] = m_pre[units + j] = m_h[j] * to_z[j]
        m_pre[2 * units + j] = m_n
        into_h[2 * units + j] = m_n * opens[j]
        m_h[j] *= keeps[j]


@loop
def _multiply_new(m_h, to_z, to_n, keeps, m_pre):
    """Reset before: the gates that do not hang on the way through r·h."""
    units = len(m_h)
    for j in range(units):
        m_pre[units + j] = m_h[j] * to_z[j]
        m_pre[2 * units + j] = m_h[j] * to_n[j]
        m_h[j] *= keeps[j]


@loop
def _multiply_reset(m_opened, to_r, opens, m_pre, m_h):
    """Reset before: r, and the state that it multiplies."""
    for j in range(len(m_h)):
        m_pre[j] = m_opened[j] * to_r[j]
        m_h[j] += m_opened[j] * opens[j]


@kernel("int int r2 r4 int int bool r3 bool r2 bool r3 w2 w2 w3 bool w3")
def back(
    first,
    last,
    w,
    factors,
    at,
    count,
    after,
    m_h,
    masked,
    counts,
    has_fresh,
    fresh,
    carried,
    into_h,
    m_pre,
    keep,
    all_h,
):
    rows = np.arange(at, at + count)
    units = m_h.shape[2]
    new = np.empty(units, m_h.dtype)
    own = w.shape[0] > 0
    out = carried[at : at + count]
    for t in range(last - 1, first - 1, -1):
        for n in rows:
            here, f = carried[n], factors[t, n]
            add(here, m_h[t, n])
            if keep:
                copy(all_h[t, n], here)
            copy(new, here)
            if masked:
                seen(new, here, counts[t, n])
            else:
                here[:] = 0
            if has_fresh:
                add(new, fresh[t, n])
            if after:
                _multiply(new, f[0], f[1], f[2], f[3], f[4], m_pre[t, n], into_h[n])
            else:
                _multiply_new(new, f[1], f[2], f[3], m_pre[t, n])
            add(here, new)
        if after:
            if own:
                add_product(out, 0, into_h, rows, w, 0, units)
        else:
            into_h[at : at + count] = 0
            add_product(into_h[at : at + count], 0, m_pre[t, :, 2 * units :], rows, w[2 * units :], 0, units)
            for n in rows:
                _multiply_reset(into_h[n], factors[t, n, 0], factors[t, n, 4], m_pre[t, n], carried[n])
            add_product(out, 0, m_pre[t, :, : 2 * units], rows, w[: 2 * units], 0, units)
