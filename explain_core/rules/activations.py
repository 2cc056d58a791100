"""Secants of activation functions that are composed of others; see `secants`.

    product   ``secant(a·g) = g(low) + high · secant_g``, ``low`` and ``high`` of the two points

is the form for gated ones in which the least cancels, their gates rising from 0.
"""

from __future__ import annotations

import math

from explain_core.rules.arrays import Array, Arrays
from explain_core.rules.quotients import Function, quotient
from explain_core.rules.secants import clamp, exp, relu, sigmoid, softplus, tanh
from explain_core.rules.special import erf


def hardsigmoid(xp: Arrays, a: Array, b: Array) -> Array:
    """``(clamp(a, -3, 3) + 3) / 6``; without adding the 3, in which small differences would drown."""
    return clamp(xp, a, b, -3.0, 3.0) / 6


def softsign(xp: Arrays, a: Array, b: Array) -> Array:
    """``a / (1 + |a|)``; on one side of zero the two denominators remain, across it the quotient adds."""
    p, q = 1 + abs(a), 1 + abs(b)
    return xp.where((a < 0) == (b < 0), 1 / (p * q), quotient(xp, lambda x: x / (1 + abs(x)), a, b, 1.0))


def log_sigmoid(xp: Arrays, a: Array, b: Array) -> Array:
    """``log σ(a) = -softplus(-a)``."""
    return softplus(xp, -a, -b)


def elu(xp: Arrays, a: Array, b: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """``scale · (max(a, 0) + alpha · expm1(input_scale · min(a, 0)))``; also SELU and CELU."""
    positive = relu(xp, a, b)
    below_a, below_b = (input_scale * xp.clip(x, -math.inf, 0.0) for x in (a, b))
    return scale * (positive + alpha * input_scale * exp(xp, below_a, below_b) * (1 - positive))


def selu(xp: Arrays, a: Array, b: Array) -> Array:
    """Klambauer et al. 2017, with their constants."""
    return elu(xp, a, b, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


def celu(xp: Arrays, a: Array, b: Array, alpha: float = 1.0) -> Array:
    """``max(a, 0) + alpha · expm1(min(a, 0) / alpha)``."""
    return elu(xp, a, b, alpha, 1.0, 1 / alpha)


def _gated(xp: Arrays, a: Array, b: Array, gate: Function, gate_secant: Array) -> Array:
    return gate(xp.minimum(a, b)) + xp.maximum(a, b) * gate_secant


def silu(xp: Arrays, a: Array, b: Array) -> Array:
    """``a · σ(a)``."""
    return _gated(xp, a, b, xp.sigmoid, sigmoid(xp, a, b))


def hardswish(xp: Arrays, a: Array, b: Array) -> Array:
    """``a · hardsigmoid(a)``."""
    return _gated(xp, a, b, lambda x: xp.clip(x + 3, 0.0, 6.0) / 6, hardsigmoid(xp, a, b))


def mish(xp: Arrays, a: Array, b: Array) -> Array:
    """``a · tanh(softplus(a))`` (Misra 2019)."""
    of_gate = tanh(xp, xp.softplus(a), xp.softplus(b)) * softplus(xp, a, b)
    return _gated(xp, a, b, lambda x: xp.tanh(xp.softplus(x)), of_gate)


def gelu(xp: Arrays, a: Array, b: Array, approximate: str = "none") -> Array:
    """``a · Φ(a)`` (Hendrycks & Gimpel 2016), exactly or by its approximation with ``"tanh"``."""
    if approximate == "tanh":
        return _tanh_gelu(xp, a, b)
    root = math.sqrt(2)
    return _gated(xp, a, b, lambda x: xp.erfc(-x / root) / 2, erf(xp, a / root, b / root) / (2 * root))


def _tanh_gelu(xp: Arrays, a: Array, b: Array) -> Array:
    """Its gate is the logistic function of a cubic."""
    rate, cubic = 2 * math.sqrt(2 / math.pi), 0.044715
    argument = lambda x: rate * (x + cubic * x**3)  # noqa: E731
    of_argument = rate * (1 + cubic * (a * a + a * b + b * b))
    of_gate = of_argument * sigmoid(xp, argument(a), argument(b))
    return _gated(xp, a, b, lambda x: xp.sigmoid(argument(x)), of_gate)
