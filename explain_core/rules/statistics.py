"""Division by a scale: what a normalisation divides by, a statistic made by reducing over an axis.

Two-player Shapley values of ``y = a/b`` weigh the two orders, numerator first and denominator first, alike. With a
denominator that is near zero in one member, one of the orders passes through ``a/b'``, which no input gives and nothing
bounds. Here an order weighs as much as the scale that the numerator moves under, ``|b| : |b'|``:

    m_a = 2 / (b + b'),    m_b = -(y + y') / (b + b')      for b, b' of one sign

which is ``Δy = (Δa - mean(y)·Δb) / mean(b)``: the midpoint rule of the product ``a = y·b`` solved for ``Δy``. It is
complete, within a few times Δy of it everywhere, and nearer to the exact Shapley values of a normalisation's inputs at
ordinary baselines as well; docs/normalisation.md has the figures.
"""

from __future__ import annotations

from explain_core.rules.arrays import Array, Arrays


def _weights(xp: Arrays, b: Array, b_base: Array) -> tuple[Array, Array]:
    """``|b|`` and ``|b'|`` as shares of their sum; one half each where both are zero."""
    one, other = abs(b) / 2 + xp.tiny(b), abs(b_base) / 2 + xp.tiny(b)
    return one / (one + other), other / (one + other)


def _parts(xp: Arrays, b: Array, b_base: Array) -> tuple[Array, Array]:
    """Each order's weight over the scale that it divides by; 0 over 0."""
    under, under_base = _weights(xp, b, b_base)
    return xp.where(b == 0, 0.0, under / b), xp.where(b_base == 0, 0.0, under_base / b_base)


def numerator(xp: Arrays, b: Array, b_base: Array) -> Array:
    """The multiplier of ``a`` for that of ``a/b``, b a statistic."""
    first, second = _parts(xp, b, b_base)
    return first + second


def denominator(xp: Arrays, y: Array, y_base: Array, b: Array, b_base: Array) -> Array:
    """The multiplier of ``b`` for that of ``y = a/b``, b a statistic."""
    first, second = _parts(xp, b, b_base)
    return -(first * y_base + second * y)


def factor(xp: Arrays, r: Array, r_base: Array) -> Array:
    """The multiplier of ``a`` for that of ``a·r``, r the inverse of a statistic."""
    under_base, under = _weights(xp, r, r_base)
    return under * r + under_base * r_base


def inverse(xp: Arrays, a: Array, a_base: Array, r: Array, r_base: Array) -> Array:
    """The multiplier of ``r`` for that of ``a·r``, r the inverse of a statistic."""
    under_base, under = _weights(xp, r, r_base)
    return under * a_base + under_base * a
