"""The paired vanilla RNN on the CPU, ``h = σ(pre)`` with tanh or relu. See `explain_core.kernels` for shapes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from explain_core.kernels.compiling import kernel, loop
from explain_core.kernels.driving import Backward, Forward, Product, numpy_product
from explain_core.kernels.elementary import relu_secant, tanh, tanh_secant
from explain_core.kernels.products import add_product
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
    layer = Forward(x, w, h0, test, base, flags, threads)
    factors = np.empty((len(x), len(test), h0.shape[1]), x.dtype)
    kept = [layer.kept(keep), layer.kept(keep)]
    compiled = forward.prepare(x.dtype)

    def steps(first, last, s):
        given, places = (layer.weights, layer.x, layer.from_h), (s.rows, s.test, s.base, s.first)
        compiled(first, last, *given, *places, relu, layer.masked, layer.flags, layer.h, factors, keep, *kept)

    layer.run(product, steps)
    return RNNStates(layer.h[1:], factors, *(kept if keep else (None, None)))


def rnn_back(
    factors, w, m_h, keep=False, counts=None, fresh=None, threads=1, product: Product = numpy_product
) -> RNNMultipliers:
    """Run the multipliers backward: ``m_pre = m_h · factor``, ``m_{h,t-1} = m_pre · Wᵀ``.

    Arguments as in `lstm_back`.
    """
    layer = Backward(factors, w, m_h, counts, fresh, keep, threads)
    carried = np.zeros(m_h.shape[1:], layer.dtype)
    kept = layer.kept()
    compiled = back.prepare(layer.dtype)

    def steps(first, last, s):
        arriving = layer.m_h, layer.masked, layer.counts, layer.has_fresh, layer.fresh
        given = layer.weights, layer.factors, s.first, s.count
        compiled(first, last, *given, *arriving, carried, layer.pre, keep, kept)

    layer.run(product, steps, layer.pre.__getitem__, carried)
    return RNNMultipliers(layer.pre, carried, kept if keep else None)


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
