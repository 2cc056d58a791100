"""How multipliers pass what is not linear: by differences of the two runs, or by a derivative in one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TEST, BASE = 0, 1


@dataclass(frozen=True)
class RuleSet:
    """The rules of one way to attribute: this engine's, and those that it is compared with.

    Attributes:
        name: as people choose it.
        point: the run, `TEST` or `BASE`, in which derivatives are taken; None where none is.
        secants: whether functions of one value go by their secant.
    """

    name: str
    point: int | None = None
    secants: bool = True

    def slope(self, xp: Any, secant: Any, a: Any, b: Any) -> Any:
        """``Δy/Δa`` of an elementwise function between the test's ``a`` and the baseline's ``b``, or its derivative."""
        if self.secants or self.point is None:
            return secant(xp, a, b)
        at = (a, b)[self.point]
        return secant(xp, at, at)

    def middle(self, a: Any, b: Any) -> Any:
        """What the other factor of a product is multiplied by: the mean over the pair, or one member's value."""
        return (a + b) / 2 if self.point is None else (a, b)[self.point]


PAIRED = RuleSet("paired")
GRADIENT = RuleSet("gradient", point=TEST, secants=False)
RESCALE_ONLY = RuleSet("rescale-only", point=TEST)
