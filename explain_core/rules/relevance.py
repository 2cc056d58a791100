"""Layer-wise relevance propagation (Bach et al. 2015), as Arras et al. (2017, 2019) take it through recurrent layers.

It shares out the prediction itself, and knows no baseline. The relevance of a value is ``R = m·value``; the multipliers
``m`` go back by these rules, of which only the test member is asked:

    sum         ``z = Σ w_i·a_i + b``: ``m_i = w_i·m_z·z / (z + ε·sign z)``, the ε rule
    product     of a gate and a signal: the signal has all, ``m_signal = m·gate`` and ``m_gate = 0``
    function    of one value: relevance goes on unchanged, ``m_a = m_y·y / a``

So ``Σ R`` of the inputs differs from the prediction by what is absorbed on the way: by biases and other constants
(`BIASES`), each ``b·m_z·z / (z + ε·sign z)``, and by ε (`STABILIZER`). Functions that have none of these rules are
taken by their slope, ``m_a = m_y·∂y/∂a``, and absorb what that misses of their value (`SLOPES`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from explain_core.rules.rule_set import TEST, RuleSet

BIASES, STABILIZER, SLOPES = "biases", "stabilizer", "slopes"

EPSILON = 1e-3
"""The ε of Arras et al."""


@dataclass(frozen=True)
class Relevance(RuleSet):
    """The rules with their ε, which may be 0: then nothing is lost to it, and a sum of exactly 0 passes nothing on."""

    name: str = "relevance"
    point: int | None = TEST
    secants: bool = False
    epsilon: float = EPSILON

    def share(self, xp: Any, value: Any, total: Any) -> Any:
        """``value / (total + ε·sign(total))``, with 1 for the sign of 0; 0 where that divides by 0."""
        stable = xp.where(total < 0, total - self.epsilon, total + self.epsilon)
        by_zero = stable == 0
        return xp.where(by_zero, 0.0, value / xp.where(by_zero, 1.0, stable))

    def through(self, xp: Any, secant: Any, at_zero: Any, a: Any) -> Any:
        """``y / a`` of a function of one value, by its secant from 0 and what it is there; ε holds what is there."""
        return secant(xp, a, xp.zeros_like(a)) + self.share(xp, at_zero, a)


def is_constant_signal(xp: Any, gate: Any, constant: Any) -> bool:
    """Whether the constant beside a gate is a signal, such as a first state, which has all of their product.

    It has the shape of the gate and is no mask of zeros and ones: what is spread over a gate's elements only scales it.
    """
    shape = tuple(gate.shape)
    return math.prod(shape) > 1 and shape == tuple(constant.shape) and xp.any((constant != 0) & (constant != 1))
