"""Matrix products of one timestep, compiled into the loop over time, and when a library's product is faster.

The sum over the rows of the kernel is made in their order for every element, whichever other rows there are, so equal
rows give equal results to the last bit. Blocks of four rows by four terms keep every loaded number in use, as long as
the columns of a block stay in the processor's first cache.
"""

from __future__ import annotations

from explain_core.kernels.compiling import loop, part

_COLUMNS = 256


def library_is_faster(rows: int, units: int, columns: int) -> bool:
    """Whether the product (rows, units) × (units, columns) is for a library, with one call from Python each timestep.

    Measured by ``python -m benchmarks.kernels --products``.
    """
    return rows >= 16 and rows * units * columns > 2**22


@loop
def _four_rows(out_a, out_b, out_c, out_d, a, b, c, d, k, w_0, w_1, w_2, w_3):
    a_0, a_1, a_2, a_3 = a[k], a[k + 1], a[k + 2], a[k + 3]
    b_0, b_1, b_2, b_3 = b[k], b[k + 1], b[k + 2], b[k + 3]
    c_0, c_1, c_2, c_3 = c[k], c[k + 1], c[k + 2], c[k + 3]
    d_0, d_1, d_2, d_3 = d[k], d[k + 1], d[k + 2], d[k + 3]
    for j in range(len(w_0)):
        w, x, y, z = w_0[j], w_1[j], w_2[j], w_3[j]
        out_a[j] = a_3 * z + (a_2 * y + (a_1 * x + (a_0 * w + out_a[j])))
        out_b[j] = b_3 * z + (b_2 * y + (b_1 * x + (b_0 * w + out_b[j])))
        out_c[j] = c_3 * z + (c_2 * y + (c_1 * x + (c_0 * w + out_c[j])))
        out_d[j] = d_3 * z + (d_2 * y + (d_1 * x + (d_0 * w + out_d[j])))


@loop
def _row(out, a, k, w_0, w_1, w_2, w_3):
    a_0, a_1, a_2, a_3 = a[k], a[k + 1], a[k + 2], a[k + 3]
    for j in range(len(w_0)):
        out[j] = a_3 * w_3[j] + (a_2 * w_2[j] + (a_1 * w_1[j] + (a_0 * w_0[j] + out[j])))


@loop
def _one_term(out, a, w):
    for j in range(len(w)):
        out[j] = a * w[j] + out[j]


@part
def add_product(out, offset, states, rows, w, first, last):
    """Add ``states[rows] · w[:, first:last]`` to the columns of ``out`` from ``offset`` on.

    Shapes: out (R, ·), states (·, K), rows (R,), w (K, ·). ``states`` must not be ``out``.
    """
    count, terms = len(rows), w.shape[0]
    fours = terms - terms % 4
    for begin in range(first, last, _COLUMNS):
        end = min(begin + _COLUMNS, last)
        at = offset + begin - first
        to = at + end - begin
        u = 0
        while u + 4 <= count:
            a, b, c, d = states[rows[u]], states[rows[u + 1]], states[rows[u + 2]], states[rows[u + 3]]
            out_a, out_b, out_c, out_d = out[u, at:to], out[u + 1, at:to], out[u + 2, at:to], out[u + 3, at:to]
            for k in range(0, fours, 4):
                w_0, w_1, w_2, w_3 = w[k, begin:end], w[k + 1, begin:end], w[k + 2, begin:end], w[k + 3, begin:end]
                _four_rows(out_a, out_b, out_c, out_d, a, b, c, d, k, w_0, w_1, w_2, w_3)
            for k in range(fours, terms):
                _one_term(out_a, a[k], w[k, begin:end])
                _one_term(out_b, b[k], w[k, begin:end])
                _one_term(out_c, c[k], w[k, begin:end])
                _one_term(out_d, d[k], w[k, begin:end])
            u += 4
        while u < count:
            a, out_a = states[rows[u]], out[u, at:to]
            for k in range(0, fours, 4):
                w_0, w_1, w_2, w_3 = w[k, begin:end], w[k + 1, begin:end], w[k + 2, begin:end], w[k + 3, begin:end]
                _row(out_a, a, k, w_0, w_1, w_2, w_3)
            for k in range(fours, terms):
                _one_term(out_a, a[k], w[k, begin:end])
            u += 1
