"""Elementary functions as compiled loops take them: without a branch, so that every lane of a vector does the same.

A logistic function gives the pair ``(s, n)`` of its value and ``n = 1 - s``, a tangent the pair ``(t, u)`` of its value
and ``u = 1 - |t|``, both without cancellation however large the argument is. With them the secants need no other
exponential:

    σ(a) - σ(b) = s_a·n_b - n_a·s_b = tanh(Δ/2)·(s_a·n_b + n_a·s_b)
    tanh a - tanh b = tanh Δ · (1 - tanh a · tanh b)

The quotient of the difference and Δ amplifies rounding by at most 2.2 where the hyperbolic tangent of Δ (Δ/2) is
outside ±0.46; inside, tanh x / x is a polynomial in x². Coefficients are Chebyshev fits, with errors below a quarter of
the last place. NaN stays NaN.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

from explain_core.kernels.compiling import INLINE, MATH

_LOG2_E = 1.4426950408889634
# (e^r - 1 - r) / r² for |r| <= ln 2 / 2, highest power first
_EXP_32 = (1.3926184037700295e-3, 8.363178931176662e-3, 4.1666556149721146e-2, 0.16666576266288757, 0.5)
_EXP_64 = (
    2.510038549551032e-08,
    2.7620088445409746e-07,
    2.7557268459997064e-06,
    2.4801521295954376e-05,
    1.9841269863053618e-04,
    1.3888888917213717e-03,
    8.333333333330062e-03,
    4.166666666662413e-02,
    0.16666666666666669,
    0.5,
)
# (tanh(√y)/√y - 1) / y for 0 <= y <= 1/4, highest power first
_TANH_32 = (-6.942287553101778e-3, 2.147039584815502e-2, -5.393343046307564e-2, 0.1333322525024414, -0.3333333134651184)
_TANH_64 = (
    5.9458360786656666e-05,
    -2.2106030504673993e-04,
    5.849601025325196e-04,
    -1.4549581328943723e-03,
    3.592033292900658e-03,
    -8.86322925617238e-03,
    2.186948829660912e-02,
    -5.396825396359608e-02,
    0.1333333333332981,
    -0.3333333333333333,
)


def exp_of_minus(x):
    """``e^-|x|``, and the smallest normal number's order where that is smaller."""


def tanh_ratio(y):
    """``tanh(√y) / √y`` for y up to 1/4."""


@overload(exp_of_minus, jit_options={"fastmath": MATH})
def _exp_of_minus(x):
    if x == types.float32:
        number, whole, view = np.float32, np.int32, np.int32
        mantissa, bias, least, c = 23, 127, -86.0, _EXP_32
        ln2_high, ln2_low = number(0.693359375), number(-2.12194440e-4)
        c0, c1, c2, c3, c4 = map(number, c)

        def polynomial(r):
            return (((c0 * r + c1) * r + c2) * r + c3) * r + c4

    else:
        number, whole, view = np.float64, np.int64, np.int64
        mantissa, bias, least, c = 52, 1023, -707.0, _EXP_64
        ln2_high, ln2_low = number(6.93145751953125e-1), number(1.42860682030941723212e-6)
        c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = map(number, c)

        def polynomial(r):
            p = ((((c0 * r + c1) * r + c2) * r + c3) * r + c4) * r + c5
            return (((p * r + c6) * r + c7) * r + c8) * r + c9

    polynomial = njit(**INLINE)(polynomial)
    shift, bias, least = whole(mantissa), whole(bias), number(least)
    log2_e, one, rounder = number(_LOG2_E), number(1), number(1.5 * 2**mantissa)

    def compiled(x):
        x = -abs(x)
        x = least if x < least else x
        shifted = x * log2_e + rounder  # the last bits of which are the whole power of two
        power = shifted - rounder
        r = (x - power * ln2_high) - power * ln2_low
        scale = number(whole((number(shifted).view(view) + bias) << shift).view(number))
        return (r * r * polynomial(r) + r + one) * scale

    return compiled


@overload(tanh_ratio, jit_options={"fastmath": MATH})
def _tanh_ratio(y):
    if y == types.float32:
        one = np.float32(1)
        c0, c1, c2, c3, c4 = map(np.float32, _TANH_32)

        def compiled(y):
            return ((((c0 * y + c1) * y + c2) * y + c3) * y + c4) * y + one

    else:
        one = np.float64(1)
        c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 = map(np.float64, _TANH_64)

        def compiled(y):
            p = ((((c0 * y + c1) * y + c2) * y + c3) * y + c4) * y + c5
            return ((((p * y + c6) * y + c7) * y + c8) * y + c9) * y + one

    return compiled


@njit(**INLINE)
def sigmoid(a):
    """``σ(a)`` and ``1 - σ(a)``."""
    number = type(a)
    e = exp_of_minus(a)
    large = number(1) / (number(1) + e)
    small = e * large
    return (large, small) if a >= number(0) else (small, large)


@njit(**INLINE)
def tanh(a):
    """``tanh a`` and ``1 - |tanh a|``."""
    number = type(a)
    e = exp_of_minus(number(2) * a)
    inverse = number(1) / (number(1) + e)
    t = (number(1) - e) * inverse
    t = t if a >= number(0) else -t
    t = a * tanh_ratio(a * a) if abs(a) < number(0.5) else t
    return t, number(2) * e * inverse


@njit(**INLINE)
def sigmoid_secant(a, b, s_a, n_a, s_b, n_b):
    """``(σ(a) - σ(b)) / (a - b)``, at equal arguments the derivative."""
    number = type(a)
    change = number(0) if a == b else a - b  # also where both are infinite
    up, down = s_a * n_b, n_a * s_b
    near = number(0.5) * tanh_ratio(number(0.25) * change * change) * (up + down)
    return near if abs(change) < number(1) else (up - down) / change


@njit(**INLINE)
def tanh_secant(a, b, t_a, u_a, t_b, u_b):
    """``(tanh a - tanh b) / (a - b)``, at equal arguments the derivative."""
    number = type(a)
    change = number(0) if a == b else a - b  # also where both are infinite
    alike = t_a * t_b >= number(0)
    one_less_product = u_a + abs(t_a) * u_b if alike else number(1) - t_a * t_b
    of_alike = u_b - u_a if t_a + t_b >= number(0) else u_a - u_b
    far = (of_alike if alike else t_a - t_b) / change
    return tanh_ratio(change * change) * one_less_product if abs(change) < number(0.5) else far


@njit(**INLINE)
def relu_secant(a, b):
    """``(relu a - relu b) / (a - b)``, at equal arguments the derivative, 0 at 0."""
    number = type(a)
    between = (max(a, number(0)) - max(b, number(0))) / (a - b)
    slope = number(1) if a > number(0) else number(0)
    return slope if (a > number(0)) == (b > number(0)) else between
