"""Activations and their secants in Triton, to a few roundings for every argument.

Triton's own exponential in single precision loses digits with the size of its argument, and has no ``expm1``; both are
written out here. The formulas are those of the engine's secants: nothing cancels.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def decaying(x):
    """``exp(-x)`` for ``x >= 0``: a power of two, exact, times a polynomial on an interval of half a logarithm of 2."""
    if x.dtype == tl.float64:
        n = tl.floor(0.5 - 1.4426950408889634 * tl.minimum(x, 700.0))
        r = (-tl.minimum(x, 700.0) - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10
        p = tl.full(x.shape, 1.0, tl.float64)
        for k in tl.static_range(14, 0, -1):
            p = 1.0 + p * r * (1.0 / k)
        power = ((n.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)
    else:
        n = tl.floor(0.5 - 1.4426950408889634 * tl.minimum(x, 87.0))
        r = (-tl.minimum(x, 87.0) - n * 0.693359375) + n * 2.12194440054690583e-4
        p = tl.full(x.shape, 1.0, tl.float32)
        for k in tl.static_range(8, 0, -1):
            p = 1.0 + p * r * (1.0 / k)
        power = ((n.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)
    return tl.where(x == x, p * power, x)  # minima drop what is not a number


@triton.jit
def decay(u):
    """``(1 - exp(-u)) / u`` for ``u >= 0``; 1 at 0. Below 1 by its series, above where nothing cancels."""
    small = tl.minimum(u, 1.0)
    p = tl.full(u.shape, 1.0, u.dtype)
    if u.dtype == tl.float64:
        for k in tl.static_range(19, 1, -1):
            p = 1.0 - p * small * (1.0 / k)
    else:
        for k in tl.static_range(11, 1, -1):
            p = 1.0 - p * small * (1.0 / k)
    far = (1.0 - decaying(u)) / tl.maximum(u, 1.0)
    return tl.where(u < 1.0, p, far)


@triton.jit
def sigmoid(a):
    e = decaying(tl.abs(a))
    return tl.where(a < 0, e, 1.0) / (1.0 + e)


@triton.jit
def tanh(a):
    """``a·(1 - exp(-2|a|))/|a| / (1 + exp(-2|a|))``."""
    u = 2 * tl.abs(a)
    near = 2 * a * decay(u) / (1.0 + decaying(u))
    return tl.where(u > 60.0, tl.where(a < 0, -1.0, 1.0), near)


@triton.jit
def sigmoid_secant(a, b):
    """``σ(high) · σ(-low) · decay(|a - b|)``."""
    gap = tl.where(a == b, 0.0, tl.abs(a - b))
    return decay(gap) * sigmoid(tl.maximum(a, b)) * sigmoid(-tl.minimum(a, b))


@triton.jit
def tanh_secant(a, b):
    """``tanh(a) = 2σ(2a) - 1``."""
    return 4 * sigmoid_secant(2 * a, 2 * b)


@triton.jit
def relu_secant(a, b):
    """``Δmax(·, 0)/Δ``; the derivative, 0 at 0, where they are equal."""
    slope = tl.where(a > 0, 1.0, 0.0)
    apart = tl.where(a == b, 1.0, a - b)
    return tl.where((a > 0) == (b > 0), slope, (tl.maximum(a, 0.0) - tl.maximum(b, 0.0)) / apart)
