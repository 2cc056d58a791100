"""Difference quotients ``(f(a) - f(b)) / (a - b)`` that stay accurate for every difference, zero included.

The Rescale rule of DeepLIFT (Shrikumar et al. 2017, section 3.5.1) multiplies by this quotient. Computed as it is
written it loses all digits as ``a - b`` shrinks; switching to the derivative below a threshold is wrong on both
sides of it. Here each function has a closed form in which nothing cancels, or is composed from such forms by

    chain     ``secant(g∘f) = secant_g(f(a), f(b)) · secant_f(a, b)``
    product   ``secant(a·g) = g(low) + high · secant_g``, ``low`` and ``high`` of the two points

A function of bounded range may take the plain quotient for large differences, where nothing cancels. Only the error
function has no closed form; see there.

All functions take two float tensors of one shape and return a tensor of that shape. At ``a == b`` they return the
derivative. They are symmetric in ``a`` and ``b``. Nothing here records autograd history.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
Secant = Callable[[Tensor, Tensor], Tensor]


def gap(a: Tensor, b: Tensor) -> Tensor:
    """``|a - b|``, and zero where both are the same infinity."""
    return torch.where(a == b, 0.0, (a - b).abs())


def decay(u: Tensor) -> Tensor:
    """``(1 - exp(-u)) / u`` for ``u >= 0``; 1 at 0."""
    return _ratio(lambda x: -torch.expm1(-x), u)


def _ratio(f: Function, u: Tensor) -> Tensor:
    """``f(u) / u`` for a function that is ``u`` itself up to its rounding where ``u`` is denormal, or 0."""
    return torch.where(u.abs() < torch.finfo(u.dtype).tiny, 1.0, f(u) / u)


def quotient(f: Function, a: Tensor, b: Tensor, at_equal: Tensor | float) -> Tensor:
    """The plain quotient, with a given value where ``a == b``."""
    return torch.where(a == b, at_equal, (f(a) - f(b)) / (a - b))


# --- the recurrent gates -----------------------------------------------------------------------------------------


def sigmoid(a: Tensor, b: Tensor) -> Tensor:
    """``σ(high) · σ(-low) · (1 - exp(-u))/u`` with ``u = |a - b|``.

    From ``σ(a) - σ(b) = (e^a - e^b) / ((1 + e^a)(1 + e^b))``, which is ``sinh(u/2) / (2 cosh(a/2) cosh(b/2))`` with
    exponentials that cannot overflow.
    """
    high, low = torch.maximum(a, b), torch.minimum(a, b)
    return decay(gap(a, b)) * torch.sigmoid(high) * torch.sigmoid(-low)


def tanh(a: Tensor, b: Tensor) -> Tensor:
    """``tanh(a) = 2σ(2a) - 1``."""
    return 4 * sigmoid(2 * a, 2 * b)


# --- piecewise linear functions ----------------------------------------------------------------------------------


def piecewise_linear(f: Function, knots: tuple[float, ...], slopes: tuple[float, ...]) -> Secant:
    """Secant of a continuous or stepping function that is linear between ``knots``.

    Args:
        f: the function itself.
        knots: where the slope changes, ascending.
        slopes: one more than knots. A knot belongs to the piece on its left.
    """

    def secant(a: Tensor, b: Tensor) -> Tensor:
        at = torch.tensor(knots, dtype=a.dtype, device=a.device)
        piece_a, piece_b = (torch.bucketize(x.contiguous(), at) for x in (a, b))
        slope = torch.tensor(slopes, dtype=a.dtype, device=a.device)[piece_a]
        return torch.where(piece_a == piece_b, slope, quotient(f, a, b, slope))

    return secant


relu = piecewise_linear(torch.relu, (0.0,), (0.0, 1.0))
absolute = piecewise_linear(torch.abs, (0.0,), (-1.0, 1.0))
relu6 = piecewise_linear(torch.nn.functional.relu6, (0.0, 6.0), (0.0, 1.0, 0.0))


def clamp(a: Tensor, b: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
    """``min(max(a, low), high)`` with constant bounds; a missing bound is infinite."""
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    return piecewise_linear(lambda x: x.clamp(low, high), (low, high), (0.0, 1.0, 0.0))(a, b)


def hardsigmoid(a: Tensor, b: Tensor) -> Tensor:
    """``(clamp(a, -3, 3) + 3) / 6``; without adding the 3, in which small differences would drown."""
    return clamp(a, b, -3.0, 3.0) / 6


def leaky_relu(a: Tensor, b: Tensor, slope: float = 0.01) -> Tensor:
    """``max(a, 0) + slope · min(a, 0)``."""
    positive = relu(a, b)
    return positive + slope * (1 - positive)


def prelu(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """`leaky_relu` with one constant slope, or one for each channel (axis 1)."""
    if weight.numel() > 1:
        weight = weight.reshape(-1, *[1] * (a.ndim - 2))
    positive = relu(a, b)
    return positive + weight * (1 - positive)


def threshold(a: Tensor, b: Tensor, at: float, value: float) -> Tensor:
    """``a`` above ``at``, else ``value``."""
    return piecewise_linear(lambda x: torch.threshold(x, at, value), (at,), (0.0, 1.0))(a, b)


def hardshrink(a: Tensor, b: Tensor, width: float = 0.5) -> Tensor:
    """``a`` outside ``[-width, width]``, else 0."""
    f = lambda x: torch.nn.functional.hardshrink(x, width)  # noqa: E731
    return piecewise_linear(f, (-width, width), (1.0, 0.0, 1.0))(a, b)


def softshrink(a: Tensor, b: Tensor, width: float = 0.5) -> Tensor:
    """``a`` moved towards zero by ``width``, 0 inside."""
    f = lambda x: torch.nn.functional.softshrink(x, width)  # noqa: E731
    return piecewise_linear(f, (-width, width), (1.0, 0.0, 1.0))(a, b)


# --- exponentials and logarithms ---------------------------------------------------------------------------------


def exp(a: Tensor, b: Tensor) -> Tensor:
    """``exp(max(a, b)) · (1 - exp(-u))/u``."""
    return torch.exp(torch.maximum(a, b)) * decay(gap(a, b))


def exp2(a: Tensor, b: Tensor) -> Tensor:
    """``2^a = exp(a ln 2)``, with the power itself taken in base 2."""
    return torch.exp2(torch.maximum(a, b)) * decay(gap(a, b) * math.log(2)) * math.log(2)


def log(a: Tensor, b: Tensor) -> Tensor:
    """``log1p(u / min(a, b)) / u``; where that ratio overflows, the logarithms are far apart."""
    low, u = torch.minimum(a, b), gap(a, b)
    far = (torch.log(torch.maximum(a, b)) - torch.log(low)) / u
    return torch.where(torch.isinf(u / low), far, _ratio(torch.log1p, u / low) / low)


def log2(a: Tensor, b: Tensor) -> Tensor:
    """``log(a) / log(2)``."""
    return log(a, b) / math.log(2)


def log10(a: Tensor, b: Tensor) -> Tensor:
    """``log(a) / log(10)``."""
    return log(a, b) / math.log(10)


def log1p(a: Tensor, b: Tensor) -> Tensor:
    """``log1p(u / (1 + min(a, b))) / u``."""
    low = 1 + torch.minimum(a, b)
    return _ratio(torch.log1p, gap(a, b) / low) / low


def entropy(a: Tensor, b: Tensor) -> Tensor:
    """``-a·ln a``: ``-(ln(high) + low·secant_ln)``; at ``a = b = 0`` it is infinite but meets no difference: 0."""
    high, low = torch.maximum(a, b), torch.minimum(a, b)
    grown = gap(a, b) / low
    inner = torch.where(torch.isinf(grown), 0.0, _ratio(torch.log1p, grown))
    return torch.where(high == 0, 0.0, -(torch.log(high) + inner))


def softplus(a: Tensor, b: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(βa)) / β``.

    Up to a difference of one it is ``log1p(σ(low)·expm1(u)) / u``, by its parts so that no difference is too small;
    above that, with ``softplus(x) = max(x, 0) + log1p(exp(-|x|))``, both parts are subtracted without loss. PyTorch's
    switch to the identity above ``threshold`` is followed, small as the jump is.
    """
    x, y = beta * a, beta * b
    low, high, u = torch.minimum(x, y), torch.maximum(x, y), gap(x, y)
    grown = torch.sigmoid(low) * _ratio(torch.expm1, u)
    near = grown * _ratio(torch.log1p, grown * u)
    tail_low, tail_high = torch.log1p(torch.exp(-low.abs())), torch.log1p(torch.exp(-high.abs()))
    far = (high.clamp(min=0) - low.clamp(min=0) + (tail_high - tail_low)) / u
    across = (high - low.clamp(min=0) - tail_low) / u
    switched = torch.where(low > threshold, 1.0, across)
    return torch.where(high > threshold, switched, torch.where(u <= 1, near, far))


def log_sigmoid(a: Tensor, b: Tensor) -> Tensor:
    """``log σ(a) = -softplus(-a)``."""
    return softplus(-a, -b, threshold=math.inf)


def elu(a: Tensor, b: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """``scale · (max(a, 0) + alpha · expm1(input_scale · min(a, 0)))``; also SELU and CELU."""
    positive = relu(a, b)
    negative = exp(input_scale * a.clamp(max=0), input_scale * b.clamp(max=0)) * (1 - positive)
    return scale * (positive + alpha * input_scale * negative)


def selu(a: Tensor, b: Tensor) -> Tensor:
    """Klambauer et al. 2017, with their constants."""
    return elu(a, b, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


def celu(a: Tensor, b: Tensor, alpha: float = 1.0) -> Tensor:
    """``max(a, 0) + alpha · expm1(min(a, 0) / alpha)``."""
    return elu(a, b, alpha, 1.0, 1 / alpha)


# --- powers ------------------------------------------------------------------------------------------------------


def square(a: Tensor, b: Tensor) -> Tensor:
    """``a + b``."""
    return a + b


def sqrt(a: Tensor, b: Tensor) -> Tensor:
    """``1 / (√a + √b)``. At ``a = b = 0``, where it is infinite but meets no difference, 0."""
    total = torch.sqrt(a) + torch.sqrt(b)
    return torch.where(total == 0, 0.0, 1 / total)


def reciprocal(a: Tensor, b: Tensor) -> Tensor:
    """``-1 / (a·b)``, by two divisions so that the product cannot overflow."""
    return -1 / a / b


def rsqrt(a: Tensor, b: Tensor) -> Tensor:
    """``-1 / (√a·√b·(√a + √b))``."""
    root_a, root_b = torch.sqrt(a), torch.sqrt(b)
    return -1 / (root_a * root_b * (root_a + root_b))


def power(a: Tensor, b: Tensor, exponent: float | Tensor) -> Tensor:
    """``a ** exponent`` with an exponent that both members share.

    Small whole exponents are sums of products. Others are ``high^(k-1) · (1 - r^k) / (1 - r)`` with the ratio ``r`` of
    the smaller to the larger base, ``1 - r^k`` by ``expm1`` and ``log1p`` where the power changes by less than a factor
    of e; beyond that nothing cancels.
    """
    if not isinstance(exponent, Tensor) and float(exponent).is_integer() and abs(exponent) <= 16:
        whole = abs(int(exponent))
        if whole == 0:
            return torch.zeros_like(a)
        total = sum(a**i * b ** (whole - 1 - i) for i in range(whole))
        return total if exponent > 0 else -total / a**whole / b**whole
    low = torch.where(a.abs() < b.abs(), a, b)
    high = torch.where(a.abs() < b.abs(), b, a)
    growth = exponent * torch.log1p((low - high) / high)
    near = (torch.signbit(a) == torch.signbit(b)) & (growth.abs() < 1)
    ratio = low / high
    change = torch.where(near, -torch.expm1(growth), 1 - ratio**exponent)
    grown = high ** (exponent - 1) * (change / ((high - low) / high))
    falling = (high**exponent - low**exponent) / (high - low)  # whose ratio may overflow
    apart = torch.where((torch.as_tensor(exponent, device=a.device) < 0) & ~near, falling, grown)
    return torch.where(a == b, torch.where(a == 0, 0.0, exponent * a ** (exponent - 1)), apart)


def exponential(base: float | Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``base ** a`` with a base that both members share: `exp` of ``a·ln base``, with the power itself taken in that
    base. A base of zero or infinity steps at ``a = 0``, and one below zero has powers at whole numbers only.
    """
    base = torch.as_tensor(base, dtype=a.dtype, device=a.device)
    rate = torch.log(base)
    top = torch.where(rate > 0, torch.maximum(a, b), torch.minimum(a, b))
    smooth = torch.pow(base, top) * decay(gap(a, b) * rate.abs()) * rate
    steps = (base <= 0) | torch.isinf(base)
    return torch.where(steps, quotient(lambda x: torch.pow(base, x), a, b, 0.0), smooth)


# --- circular and hyperbolic functions ---------------------------------------------------------------------------


def sinc(x: Tensor) -> Tensor:
    """``sin(x) / x``; 1 at 0."""
    return _ratio(torch.sin, x)


def _middle(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``(a + b)/2`` and the rounding that it lost (Knuth's two-sum)."""
    total = a + b
    part = total - a
    lost = (a - (total - part)) + (b - part)
    return total / 2, lost / 2


def sin(a: Tensor, b: Tensor) -> Tensor:
    """``cos((a + b)/2) · sinc((a - b)/2)``; the plain quotient for differences above one."""
    middle, lost = _middle(a, b)
    near = (torch.cos(middle) - lost * torch.sin(middle)) * sinc((a - b) / 2)
    return torch.where(gap(a, b) <= 1, near, quotient(torch.sin, a, b, near))


def cos(a: Tensor, b: Tensor) -> Tensor:
    """``-sin((a + b)/2) · sinc((a - b)/2)``; the plain quotient for differences above one."""
    middle, lost = _middle(a, b)
    near = -(torch.sin(middle) + lost * torch.cos(middle)) * sinc((a - b) / 2)
    return torch.where(gap(a, b) <= 1, near, quotient(torch.cos, a, b, near))


def tan(a: Tensor, b: Tensor) -> Tensor:
    """``sinc(a - b) / (cos a · cos b)``; the plain quotient for differences above one."""
    near = sinc(a - b) / torch.cos(a) / torch.cos(b)
    return torch.where(gap(a, b) <= 1, near, quotient(torch.tan, a, b, near))


def atan(a: Tensor, b: Tensor) -> Tensor:
    """``atan((a - b) / (1 + a·b)) / (a - b)`` for equal signs; the plain quotient otherwise loses nothing."""
    u = a - b
    near = torch.where(u == 0, 1 / (1 + a * a), torch.atan(u / (1 + a * b)) / u)
    return torch.where(a * b >= 0, near, (torch.atan(a) - torch.atan(b)) / u)


def sinh(a: Tensor, b: Tensor) -> Tensor:
    """Half of ``exp(a)`` and of ``-exp(-a)``, both of which rise."""
    return (exp(a, b) + exp(-a, -b)) / 2


def cosh(a: Tensor, b: Tensor) -> Tensor:
    """``2·sinh(s/2)·sinh(d/2) / (a - b)`` with the sum and difference of ``|a|`` and ``|b|``, by `decay`."""
    a_size, b_size = a.abs(), b.abs()
    falls = decay(a_size + b_size) * decay(gap(a_size, b_size))
    return (a + b) / 2 * torch.exp(torch.maximum(a_size, b_size)) * falls


def slope_of(a: Tensor, b: Tensor, leg: Function) -> Tensor:
    """``(|a| + |b|) / (|a|·leg(b) + |b|·leg(a))``; 0 where that is infinite and meets no difference."""
    a_size, b_size = a.abs(), b.abs()
    total = a_size + b_size
    of_a, of_b = (torch.where(total == 0, 0.5, size / total) for size in (a_size, b_size))  # 1 - of_a would cancel
    mixed = of_a * leg(b) + of_b * leg(a)
    return torch.where((mixed == 0) & (a == b), 0.0, 1 / mixed)


def asinh(a: Tensor, b: Tensor) -> Tensor:
    """``asinh(u·r) / u`` with ``r = (|a| + |b|) / (|a|√(1+b²) + |b|√(1+a²))`` for equal signs."""
    u, slope = gap(a, b), slope_of(a, b, lambda x: torch.hypot(torch.ones_like(x), x))
    near = torch.where(u * slope == 0, slope, torch.asinh(u * slope) / u)
    return torch.where(torch.signbit(a) == torch.signbit(b), near, quotient(torch.asinh, a, b, near))


# --- by quadrature -----------------------------------------------------------------------------------------------

_NODES, _WEIGHTS = (tuple(float(v) for v in part) for part in np.polynomial.legendre.leggauss(12))


def erf(a: Tensor, b: Tensor) -> Tensor:
    """The mean of the derivative over ``[b, a]`` by 12-point Gauss-Legendre quadrature, exact to rounding for
    differences up to one half; above that the plain quotient of ``erfc`` on the side of its tail.
    """
    middle, half = (a + b) / 2, (a - b) / 2
    nodes = zip(_NODES, _WEIGHTS, strict=True)
    near = sum(weight * torch.exp(-((middle + node * half) ** 2)) for node, weight in nodes) / math.sqrt(math.pi)
    sign = torch.where(middle < 0, -1.0, 1.0)
    far = quotient(lambda x: -sign * torch.erfc(sign * x), a, b, near)
    return torch.where(gap(a, b) <= 0.5, near, far)


def erfc(a: Tensor, b: Tensor) -> Tensor:
    """``1 - erf(a)``."""
    return -erf(a, b)


# --- composed activations ----------------------------------------------------------------------------------------


def gated(gate: Function, gate_secant: Secant) -> Secant:
    """Secant of ``a · gate(a)`` for a gate that rises from 0, by the product form in which the least cancels."""

    def secant(a: Tensor, b: Tensor) -> Tensor:
        return gate(torch.minimum(a, b)) + torch.maximum(a, b) * gate_secant(a, b)

    return secant


def _normal_cdf(x: Tensor) -> Tensor:
    return torch.erfc(-x / math.sqrt(2)) / 2


def _normal_cdf_secant(a: Tensor, b: Tensor) -> Tensor:
    return erf(a / math.sqrt(2), b / math.sqrt(2)) / (2 * math.sqrt(2))


_TANH_GELU = math.sqrt(2 / math.pi)


def _tanh_gelu_argument(x: Tensor) -> Tensor:
    return _TANH_GELU * (x + 0.044715 * x**3)


def _tanh_gelu_gate(x: Tensor) -> Tensor:
    return torch.sigmoid(2 * _tanh_gelu_argument(x))


def _tanh_gelu_gate_secant(a: Tensor, b: Tensor) -> Tensor:
    argument = _TANH_GELU * (1 + 0.044715 * (a * a + a * b + b * b))
    return 2 * argument * sigmoid(2 * _tanh_gelu_argument(a), 2 * _tanh_gelu_argument(b))


silu = gated(torch.sigmoid, sigmoid)
hardswish = gated(torch.nn.functional.hardsigmoid, hardsigmoid)
mish = gated(
    lambda x: torch.tanh(torch.nn.functional.softplus(x)),
    lambda a, b: tanh(*map(torch.nn.functional.softplus, (a, b))) * softplus(a, b),
)
_gelu_erf = gated(_normal_cdf, _normal_cdf_secant)
_gelu_tanh = gated(_tanh_gelu_gate, _tanh_gelu_gate_secant)


def gelu(a: Tensor, b: Tensor, approximate: str = "none") -> Tensor:
    """``a · Φ(a)`` (Hendrycks & Gimpel 2016), exactly or by its tanh approximation."""
    return _gelu_tanh(a, b) if approximate == "tanh" else _gelu_erf(a, b)
