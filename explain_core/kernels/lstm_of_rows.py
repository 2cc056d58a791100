"""The way back of an LSTM of which many pairs are made of few rows, as with a background.

The factors of all pairs and steps, and the multipliers of their pre-activations, are then the largest arrays by far,
and memory is slower than what computes them. Here each step makes the factors anew from the states of the rows, and
gives the multipliers of its inputs before it goes on, so that no more than one step of either is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from explain_core.kernels.compiling import kernel
from explain_core.kernels.driving import Product, given, in_threads, nothing, numpy_product, shares
from explain_core.kernels.lstm import FACTORS, activate, multiply, pair_factors
from explain_core.kernels.products import add_product, library_is_faster
from explain_core.kernels.rows import add, copy


class RowMultipliers(NamedTuple):
    """What a backward run leaves."""

    x: np.ndarray  # (T, N, I), of the inputs
    h_first: np.ndarray  # (N, H), of the states before the first step
    c_first: np.ndarray  # (N, H)


def lstm_back_of_rows(
    pre, c0, c, test, base, w, w_x, m_h, m_c=None, threads=1, product: Product = numpy_product
) -> RowMultipliers:
    """Run the multipliers backward; see `explain_core.kernels.lstm.lstm_back` for the equations.

    Args:
        pre, c: (T, U, 4H) and (T, U, H), pre-activations and cell states that `lstm_forward` has kept.
        c0: (U, H), cell states before the first step.
        test, base: (N,), the rows that are each pair's members.
        w, w_x: (H, 4H) and (I, 4H), the kernels of the states and of the inputs.
        m_h, m_c: (T, N, H), multipliers that arrive at the states after each step; ``m_c`` may be None.
        threads, product: as in `lstm_forward`.
    """
    steps, units, pairs = pre.shape[0], c0.shape[1], len(test)
    dtype = pre.dtype
    parts = shares(test, base, len(c0), steps * pairs * units, threads)
    both = np.ascontiguousarray(np.concatenate([w, w_x]).T)  # (4H, H + I): one product for states and inputs
    by_library = library_is_faster(pairs, *both.shape)
    weights = nothing(2, dtype) if by_library else both
    has_c = m_c is not None
    m_h, m_c = (given(array, (steps, pairs, units), dtype) for array in (m_h, m_c))
    pre, c, c0 = map(np.ascontiguousarray, (pre, c, c0))
    m_pre = np.empty((pairs, 4 * units), dtype)
    through = np.zeros((pairs, both.shape[1]), dtype)
    carried = np.zeros((pairs, units), dtype)
    m_x = np.empty((steps, pairs, len(w_x)), dtype)
    compiled = back.prepare(dtype)

    def run(first, last):
        def share(s):
            states = pre, c0, c, s.rows, s.test, s.base, s.first
            compiled(first, last, weights, *states, m_h, has_c, m_c, through, carried, m_pre, m_x)

        in_threads(share, parts)

    if by_library:
        for t in range(steps - 1, -1, -1):
            run(t, t + 1)
            product(m_pre, both, through)
            m_x[t] = through[:, units:]
    else:
        run(0, steps)
    return RowMultipliers(m_x, np.ascontiguousarray(through[:, :units]), carried)


@kernel("int int r2 r3 r2 r3 rows rows rows int r3 bool r3 w2 w2 w2 w3")
def back(first, last, w, pre, c0, c, rows, test, base, at, m_h, has_c, m_c, through, carried, m_pre, m_x):
    units = m_h.shape[2]
    count = len(test)
    acts = np.empty((len(rows), 12, units), pre.dtype)
    f = np.empty((FACTORS, units), pre.dtype)
    pairs = np.arange(at, at + count)
    own = w.shape[0] > 0
    for t in range(last - 1, first - 1, -1):
        before = c[t - 1] if t > 0 else c0
        for u in range(len(rows)):
            r, a = rows[u], acts[u]
            activate(pre[t, r], before[r], a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11])
        for n in range(count):
            a, b, p = test[n], base[n], pairs[n]
            r, s = rows[a], rows[b]
            pair_factors(
                f[0], f[1], f[2], f[3], f[4], f[5], pre[t, r], pre[t, s], acts[a], acts[b], before[r], before[s]
            )
            here_h = through[p, :units]
            add(here_h, m_h[t, p])
            if has_c:
                add(carried[p], m_c[t, p])
            multiply(here_h, carried[p], f[0], f[1], f[2], f[3], f[4], f[5], m_pre[p])
        if own:
            through[at : at + count] = 0
            add_product(through[at : at + count], 0, m_pre, pairs, w, 0, w.shape[1])
            for p in pairs:
                copy(m_x[t, p], through[p, units:])
