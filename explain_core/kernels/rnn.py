"""The paired vanilla RNN on the CPU, ``h = σ(pre)`` with tanh or relu. See `explain_core.kernels` for shapes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from explain_core.kernels.compiling import kernel, loop
from explain_core.kernels.driving import Product, given, in_threads, nothing, numpy_product, shares
from explain_core.kernels.elementary import relu_secant, tanh, tanh_secant
from explain_core.kernels.products import add_product, library_is_faster
from explain_core.kernels.rows import add, copy, seen


class RNNStates(NamedTuple):
    """What a forward run leaves."""

    h: np.ndarray  # (T, U, H) after each step
    factors: np.ndarray  # (T, N, H), the secant of the activation
    gates: np.ndarray | None  # (T, U, H), activations: what the step gives before a mask
    pre: np.ndarray | None  # (T, U, H), pre-activations


class RNNMultipliers(NamedTuple):
    """What a backward run leaves."""

    pre: np.ndarray  # (T, N, H), of the pre-activations
    h_first: np.ndarray  # (N, H), of the state before the first step
    h: np.ndarray | None  # (T, N, H), of the states after each step


def rnn_forward(
    x, w, h0, test, base, relu=False, keep=False, flags=None, threads=1, product: Product = numpy_product
) -> RNNStates:
    """Run the rows, and prepare the factors of the pairs.

    Args:
        x: (T, U, H), the input's part of the pre-activations and the biases.
        w: (H, H), the recurrent kernel.
        h0: (U, H), states before the first step.
        relu: whether the activation is relu instead of tanh.
        test, base, keep, flags, threads, product: as in `lstm_forward`.
    """
    steps, rows, units = x.shape
    x = given(x, (steps, rows, units), x.dtype)
    parts = shares(test, base, rows, steps * rows * units, threads)
    h = np.empty((steps + 1, rows, units), x.dtype)
    h[0] = h0
    factors = np.empty((steps, len(test), units), x.dtype)
    kept = [np.empty(x.shape, x.dtype) if keep else nothing(3, x.dtype) for _ in range(2)]
    masked = flags is not None
    flags = given(flags, (steps, rows), np.dtype(bool))
    by_library = library_is_faster(rows, units, units)
    from_h = np.empty((rows, units), x.dtype) if by_library else nothing(2, x.dtype)
    weights = given(None if by_library else w, (units, units), x.dtype)
    compiled = forward.prepare(x.dtype)

    def run(first, last):
        def share(s):
            places = s.rows, s.test, s.base, s.first
            compiled(first, last, weights, x, from_h, *places, relu, masked, flags, h, factors, keep, *kept)

        in_threads(share, parts)

    if by_library:
        for t in range(steps):
            product(h[t], w, from_h)
            run(t, t + 1)
    else:
        run(0, steps)
    return RNNStates(h[1:], factors, *(kept if keep else (None, None)))


def rnn_back(
    factors, w, m_h, keep=False, counts=None, fresh=None, threads=1, product: Product = numpy_product
) -> RNNMultipliers:
    """Run the multipliers backward: ``m_pre = m_h · factor``, ``m_{h,t-1} = m_pre · Wᵀ``.

    Arguments as in `lstm_back`.
    """
    factors = np.ascontiguousarray(factors)
    steps, pairs, units = factors.shape
    dtype = factors.dtype
    alone = np.arange(pairs)
    parts = shares(alone, alone, pairs, steps * pairs * units, threads)
    m_pre = np.empty(factors.shape, dtype)
    carried = np.zeros((pairs, units), dtype)
    kept = np.empty(m_h.shape, dtype) if keep else nothing(3, dtype)
    masked, has_fresh = counts is not None, fresh is not None
    counts = given(counts, (steps, pairs), dtype)
    fresh, m_h = (given(array, (steps, pairs, units), dtype) for array in (fresh, m_h))
    by_library = library_is_faster(pairs, units, units)
    weights = given(None if by_library else w.T, (units, units), dtype)
    compiled = back.prepare(dtype)

    def run(first, last):
        def share(s):
            arriving = m_h, masked, counts, has_fresh, fresh
            compiled(first, last, weights, factors, s.first, s.count, *arriving, carried, m_pre, keep, kept)

        in_threads(share, parts)

    if by_library:
        through = np.empty((pairs, units), dtype)
        for t in range(steps - 1, -1, -1):
            run(t, t + 1)
            product(m_pre[t], w.T, through)
            carried += through
    else:
        run(0, steps)
    return RNNMultipliers(m_pre, carried, kept if keep else None)


@loop
def _activate(pre, u_h, h):
    for j in range(len(h)):
        h[j], u_h[j] = tanh(pre[j])


@loop
def _rectify(pre, h):
    for j in range(len(h)):
        h[j] = max(pre[j], type(pre[j])(0))


@loop
def _pair(factor, pre_a, pre_b, t_a, u_a, t_b, u_b):
    for j in range(len(factor)):
        factor[j] = tanh_secant(pre_a[j], pre_b[j], t_a[j], u_a[j], t_b[j], u_b[j])


@loop
def _rectified_pair(factor, pre_a, pre_b):
    for j in range(len(factor)):
        factor[j] = relu_secant(pre_a[j], pre_b[j])


@kernel("int int r2 r3 r2 rows rows rows int bool bool flags w3 w3 bool w3 w3")
def forward(first, last, w, x, from_h, rows, test, base, at, relu, masked, flags, h, factors, keep, all_gates, all_pre):
    units = h.shape[2]
    count = len(rows)
    pre = np.empty((count, units), x.dtype)
    acts = np.empty((count, 2, units), x.dtype)
    own = w.shape[0] > 0
    for t in range(first, last):
        for u in range(count):
            copy(pre[u], x[t, rows[u]])
            if not own:
                add(pre[u], from_h[rows[u]])
        if own:
            add_product(pre, 0, h[t], rows, w, 0, units)
        for u in range(count):
            r, a = rows[u], acts[u]
            if relu:
                _rectify(pre[u], a[0])
            else:
                _activate(pre[u], a[1], a[0])
            copy(h[t + 1, r], h[t, r] if masked and not flags[t, r] else a[0])
            if keep:
                copy(all_pre[t, r], pre[u])
                copy(all_gates[t, r], a[0])
        for n in range(len(test)):
            a, b = test[n], base[n]
            if relu:
                _rectified_pair(factors[t, at + n], pre[a], pre[b])
            else:
                _pair(factors[t, at + n], pre[a], pre[b], acts[a, 0], acts[a, 1], acts[b, 0], acts[b, 1])


@loop
def _multiply(m_h, factor, m_pre):
    for j in range(len(m_h)):
        m_pre[j] = m_h[j] * factor[j]


@kernel("int int r2 r3 int int r3 bool r2 bool r3 w2 w3 bool w3")
def back(first, last, w, factors, at, count, m_h, masked, counts, has_fresh, fresh, carried, m_pre, keep, all_h):
    rows = np.arange(at, at + count)
    units = m_h.shape[2]
    new = np.empty(units, m_h.dtype)
    own = w.shape[0] > 0
    for t in range(last - 1, first - 1, -1):
        for n in rows:
            here = carried[n]
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
            _multiply(new, factors[t, n], m_pre[t, n])
        if own:
            add_product(carried[at : at + count], 0, m_pre[t], rows, w, 0, units)
