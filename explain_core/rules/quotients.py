"""What difference quotients ``(f(a) - f(b)) / (a - b)`` are made of.

Two rules make accurate forms of other accurate forms:

    chain     ``secant(g∘f) = secant_g(f(a), f(b)) · secant_f(a, b)``
    inverse   ``secant(f⁻¹)(a, b) = 1 / secant_f(f⁻¹(a), f⁻¹(b))``

A function of bounded range may take the plain quotient for large differences, where nothing cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_

import numpy as np

from explain_core.rules.arrays import Array, Arrays

Function = Callable[[Array], Array]

_NODES, _WEIGHTS = (tuple(float(v) for v in part) for part in np.polynomial.legendre.leggauss(12))
QUADRATURE = tuple(zip(_NODES, _WEIGHTS, strict=True))
"""Nodes in (-1, 1) and weights, which sum to 2, of 12-point Gauss-Legendre quadrature."""


def gap(xp: Arrays, a: Array, b: Array) -> Array:
    """``|a - b|``, and zero where both are the same infinity."""
    return xp.where(a == b, 0.0, abs(a - b))


def ratio(xp: Arrays, f: Function, u: Array) -> Array:
    """``f(u) / u`` for a function that is ``u`` itself up to its rounding where ``u`` is denormal, or 0."""
    return xp.where(abs(u) < xp.tiny(u), 1.0, f(u) / u)


def decay(xp: Arrays, u: Array) -> Array:
    """``(1 - exp(-u)) / u`` for ``u >= 0``; 1 at 0."""
    return ratio(xp, lambda x: -xp.expm1(-x), u)


def inverse_or_zero(xp: Arrays, x: Array) -> Array:
    """``1/x``, and 0 where that is infinite."""
    return xp.where(x == 0, 0.0, 1 / x)


def quotient(xp: Arrays, f: Function, a: Array, b: Array, at_equal: Array | float) -> Array:
    """The plain quotient, with a given value where there is no difference."""
    return xp.where(xp.is_still(a, b), at_equal, (f(a) - f(b)) / (a - b))


def step(xp: Arrays, f: Function, a: Array, b: Array) -> Array:
    """Of a function that is constant but for jumps, such as a rounding."""
    return quotient(xp, f, a, b, 0.0)


def mean_derivative(xp: Arrays, derivative: Function, a: Array, b: Array) -> Array:
    """The mean of a derivative over ``[b, a]``, which is the quotient, by 12-point Gauss-Legendre quadrature."""
    middle, half = (a + b) / 2, gap(xp, a, b) / 2
    return sum(weight / 2 * derivative(middle + node * half) for node, weight in QUADRATURE)


def piecewise_linear(
    xp: Arrays, f: Function, a: Array, b: Array, knots: tuple[Array | float, ...], slopes: tuple[Array | float, ...]
) -> Array:
    """Of a continuous or stepping function that is linear between ``knots``.

    Args:
        f: the function itself.
        knots: where the slope changes, ascending.
        slopes: one more than knots. A knot belongs to the piece on its left.
    """
    sides = [(a <= knot, b <= knot) for knot in knots]
    slope = xp.array(slopes[0], a)
    for (is_below, _), above in zip(sides, slopes[1:], strict=True):
        slope = xp.where(is_below, slope, above)
    same_piece = reduce(and_, (of_a == of_b for of_a, of_b in sides))
    return xp.where(same_piece, slope, (f(a) - f(b)) / (a - b))
