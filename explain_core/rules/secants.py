"""Secants: difference quotients ``(f(a) - f(b)) / (a - b)`` that stay accurate for every difference, zero included.

The Rescale rule of DeepLIFT (Shrikumar et al. 2017, section 3.5.1) multiplies by this quotient. Computed as it is
written it loses all digits as ``a - b`` shrinks; switching to the derivative below a threshold is wrong on both
sides of it. Here each function has a closed form in which nothing cancels, or is composed from such forms (see
`quotients`).

All take two arrays of one shape and return an array of that shape. At ``a == b`` they return the derivative, and 0
where that is infinite (a difference of zero passes nothing on). They are symmetric in ``a`` and ``b``. This module has
the functions of straight pieces, exponentials, logarithms and powers; `circular`, `special` and `activations` have
more.
"""

from __future__ import annotations

import math

from explain_core.rules.arrays import Array, Arrays
from explain_core.rules.quotients import decay, gap, inverse_or_zero, piecewise_linear, quotient, ratio

# --- functions of straight pieces --------------------------------------------------------------------------------


def identity(xp: Arrays, a: Array, b: Array) -> Array:
    """Of ``a`` itself."""
    return xp.where(a == a, 1.0, a)


def clamp(xp: Arrays, a: Array, b: Array, low: Array | float | None = None, high: Array | float | None = None) -> Array:
    """``min(max(a, low), high)`` with constant bounds; a missing bound is infinite."""
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    return piecewise_linear(xp, lambda x: xp.clip(x, low, high), a, b, (low, high), (0.0, 1.0, 0.0))


def relu(xp: Arrays, a: Array, b: Array) -> Array:
    """``max(a, 0)``."""
    return piecewise_linear(xp, lambda x: xp.clip(x, 0.0, math.inf), a, b, (0.0,), (0.0, 1.0))


def leaky_relu(xp: Arrays, a: Array, b: Array, slope: Array | float = 0.01) -> Array:
    """``max(a, 0) + slope · min(a, 0)``."""
    positive = relu(xp, a, b)
    return positive + slope * (1 - positive)


def relu6(xp: Arrays, a: Array, b: Array) -> Array:
    """``min(max(a, 0), 6)``."""
    return clamp(xp, a, b, 0.0, 6.0)


def absolute(xp: Arrays, a: Array, b: Array) -> Array:
    """``|a|``."""
    return piecewise_linear(xp, abs, a, b, (0.0,), (-1.0, 1.0))


def threshold(xp: Arrays, a: Array, b: Array, at: float, value: float) -> Array:
    """``a`` above ``at``, else ``value``."""
    return piecewise_linear(xp, lambda x: xp.where(x > at, x, value), a, b, (at,), (0.0, 1.0))


def hardshrink(xp: Arrays, a: Array, b: Array, width: float = 0.5) -> Array:
    """``a`` outside ``[-width, width]``, else 0."""
    shrunk = lambda x: xp.where(abs(x) <= width, 0.0, x)  # noqa: E731
    return piecewise_linear(xp, shrunk, a, b, (-width, width), (1.0, 0.0, 1.0))


def softshrink(xp: Arrays, a: Array, b: Array, width: float = 0.5) -> Array:
    """``a`` moved towards zero by ``width``, 0 inside."""
    shrunk = lambda x: xp.clip(x - width, 0.0, math.inf) + xp.clip(x + width, -math.inf, 0.0)  # noqa: E731
    return piecewise_linear(xp, shrunk, a, b, (-width, width), (1.0, 0.0, 1.0))


# --- exponentials ------------------------------------------------------------------------------------------------


def exp(xp: Arrays, a: Array, b: Array) -> Array:
    """``exp(max(a, b)) · (1 - exp(-u))/u`` with ``u = |a - b|``."""
    return xp.exp(xp.maximum(a, b)) * decay(xp, gap(xp, a, b))


def exp2(xp: Arrays, a: Array, b: Array) -> Array:
    """``2^a = exp(a ln 2)``, with the power itself taken in base 2."""
    return xp.exp2(xp.maximum(a, b)) * decay(xp, gap(xp, a, b) * math.log(2)) * math.log(2)


def sigmoid(xp: Arrays, a: Array, b: Array) -> Array:
    """``σ(high) · σ(-low) · (1 - exp(-u))/u`` with ``u = |a - b|``.

    From ``σ(a) - σ(b) = (e^a - e^b) / ((1 + e^a)(1 + e^b))``, which is ``sinh(u/2) / (2 cosh(a/2) cosh(b/2))`` with
    exponentials that cannot overflow.
    """
    high, low = xp.maximum(a, b), xp.minimum(a, b)
    return decay(xp, gap(xp, a, b)) * xp.sigmoid(high) * xp.sigmoid(-low)


def tanh(xp: Arrays, a: Array, b: Array) -> Array:
    """``tanh(a) = 2σ(2a) - 1``."""
    return 4 * sigmoid(xp, 2 * a, 2 * b)


def softplus(xp: Arrays, a: Array, b: Array, beta: float = 1.0, threshold: float = math.inf) -> Array:
    """``log(1 + exp(βa)) / β``, and the identity above ``βa = threshold``.

    Up to a difference of one it is ``log1p(σ(low)·expm1(u)) / u``, by its parts so that no difference is too small;
    above that, with ``softplus(x) = max(x, 0) + log1p(exp(-|x|))``, both parts are subtracted without loss. A switch to
    the identity is followed, small as the jump is.
    """
    x, y = beta * a, beta * b
    low, high, u = xp.minimum(x, y), xp.maximum(x, y), gap(xp, x, y)
    grown = xp.sigmoid(low) * ratio(xp, xp.expm1, u)
    near = grown * ratio(xp, xp.log1p, grown * u)
    tail_low, tail_high = (xp.log1p(xp.exp(-abs(v))) for v in (low, high))
    above_low, above_high = (xp.clip(v, 0.0, math.inf) for v in (low, high))
    far = (above_high - above_low + (tail_high - tail_low)) / u
    smooth = xp.where(u <= 1, near, far)
    if threshold == math.inf:
        return smooth
    across = xp.where(low > threshold, 1.0, (high - above_low - tail_low) / u)
    return xp.where(high > threshold, across, smooth)


# --- logarithms --------------------------------------------------------------------------------------------------


def log(xp: Arrays, a: Array, b: Array) -> Array:
    """``log1p(u / min(a, b)) / u``; where that ratio overflows, the logarithms are far apart."""
    low, u = xp.minimum(a, b), gap(xp, a, b)
    far = (xp.log(xp.maximum(a, b)) - xp.log(low)) / u
    return xp.where(xp.isinf(u / low), far, ratio(xp, xp.log1p, u / low) / low)


def log2(xp: Arrays, a: Array, b: Array) -> Array:
    """``log(a) / log(2)``."""
    return log(xp, a, b) / math.log(2)


def log10(xp: Arrays, a: Array, b: Array) -> Array:
    """``log(a) / log(10)``."""
    return log(xp, a, b) / math.log(10)


def log1p(xp: Arrays, a: Array, b: Array) -> Array:
    """``log1p(u / (1 + min(a, b))) / u``."""
    low = 1 + xp.minimum(a, b)
    return ratio(xp, xp.log1p, gap(xp, a, b) / low) / low


def entropy(xp: Arrays, a: Array, b: Array) -> Array:
    """``-a·ln a``: ``-(ln(high) + low·secant_ln)``; at ``a = b = 0`` it is infinite but meets no difference: 0."""
    high, low = xp.maximum(a, b), xp.minimum(a, b)
    grown = gap(xp, a, b) / low
    inner = xp.where(xp.isinf(grown), 0.0, ratio(xp, xp.log1p, grown))
    return xp.where(high == 0, 0.0, -(xp.log(high) + inner))


# --- powers ------------------------------------------------------------------------------------------------------


def square(xp: Arrays, a: Array, b: Array) -> Array:
    """``a + b``."""
    return a + b


def sqrt(xp: Arrays, a: Array, b: Array) -> Array:
    """``1 / (√a + √b)``."""
    return inverse_or_zero(xp, xp.sqrt(a) + xp.sqrt(b))


def reciprocal(xp: Arrays, a: Array, b: Array) -> Array:
    """``-1 / (a·b)``, by two divisions so that the product cannot overflow."""
    return -1 / a / b


def rsqrt(xp: Arrays, a: Array, b: Array) -> Array:
    """``-1 / (√a·√b·(√a + √b))``."""
    root_a, root_b = xp.sqrt(a), xp.sqrt(b)
    return -1 / (root_a * root_b * (root_a + root_b))


_LARGEST_SUM = 16


def power(xp: Arrays, a: Array, b: Array, exponent: Array | float) -> Array:
    """``a ** exponent`` with an exponent that both members share.

    Small whole exponents are sums of products. Others are ``high^(k-1) · (1 - r^k) / (1 - r)`` with the ratio ``r`` of
    the smaller to the larger base, ``1 - r^k`` by ``expm1`` and ``log1p`` where the power changes by less than a factor
    of e; beyond that nothing cancels.
    """
    if isinstance(exponent, (int, float)) and float(exponent).is_integer() and abs(exponent) <= _LARGEST_SUM:
        return _whole_power(xp, a, b, int(exponent))
    exponent = xp.array(exponent, a)
    smaller = abs(a) < abs(b)
    low, high = xp.where(smaller, a, b), xp.where(smaller, b, a)
    growth = exponent * xp.log1p((low - high) / high)
    near = (xp.signbit(a) == xp.signbit(b)) & (abs(growth) < 1)
    change = xp.where(near, -xp.expm1(growth), 1 - (low / high) ** exponent)
    grown = high ** (exponent - 1) * (change / ((high - low) / high))
    falling = (high**exponent - low**exponent) / (high - low)  # whose ratio may overflow
    apart = xp.where((exponent < 0) & ~near, falling, grown)
    slope = xp.where((a == 0) & (exponent != 1), 0.0, exponent * a ** (exponent - 1))
    return xp.where(xp.is_still(a, b), slope, apart)


def _whole_power(xp: Arrays, a: Array, b: Array, exponent: int) -> Array:
    """``a^k - b^k = (a - b) Σ a^i b^(k-1-i)``, and for a negative k over ``a^k b^k``."""
    whole = abs(exponent)
    if not whole:
        return xp.where(a == a, 0.0, a)
    total = sum(a**i * b ** (whole - 1 - i) for i in range(whole))
    return total if exponent > 0 else -total / a**whole / b**whole


def exponential(xp: Arrays, a: Array, b: Array, base: Array | float) -> Array:
    """``base ** a`` with a base that both members share: `exp` of ``a·ln base``, with the power itself taken in that
    base. A base of zero or infinity steps at ``a = 0``, and one below zero has powers at whole numbers only.
    """
    base = xp.array(base, a)
    rate = xp.log(base)
    top = xp.where(rate > 0, xp.maximum(a, b), xp.minimum(a, b))
    smooth = base**top * decay(xp, gap(xp, a, b) * abs(rate)) * rate
    steps = (base <= 0) | xp.isinf(base)
    return xp.where(steps, quotient(xp, lambda x: base**x, a, b, 0.0), smooth)
