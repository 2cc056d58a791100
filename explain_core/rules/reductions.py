"""Products and norms of many elements.

With each factor at its test or its baseline value a product is linear in every player, and its Shapley values are the
mean of the derivative along the straight line between both members (Owen 1972, *Multilinear extensions of games*). Of
n factors that differ the derivative is a polynomial of degree n - 1 there, for which ⌈n/2⌉ points of Gauss-Legendre
quadrature are exact: for two factors that is the midpoint.
"""

from __future__ import annotations

import numpy as np

from explain_core.rules.arrays import Array, Arrays


def points_on_the_line(factors: int) -> list[tuple[float, float]]:
    """Where the derivative is taken, as the share of the test member, and its weights, which sum to 1.

    Args:
        factors: how many that differ are multiplied with one another at most.
    """
    nodes, weights = np.polynomial.legendre.leggauss((factors + 1) // 2)
    return [(float(1 + node) / 2, float(weight) / 2) for node, weight in zip(nodes, weights, strict=True)]


def norm_multipliers(xp: Arrays, a: Array, b: Array, norm: Array, norm_base: Array) -> Array:
    """``Δ|x| = Σ (a_i + b_i)·Δx_i / (|a| + |b|)`` from the two norms; 0 where both are 0."""
    total = norm + norm_base
    return xp.where(total == 0, 0.0, (a + b) / total)
