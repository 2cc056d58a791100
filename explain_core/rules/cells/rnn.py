"""The vanilla RNN (Elman 1990): ``h̃ = σ(x + h·W)``, so that ``m_pre = m_h·s(pre)``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from explain_core.rules.cells.activations import ACTIVATIONS
from explain_core.rules.cells.cell import Multipliers, Paired, Values, Weights
from explain_core.rules.relevance import Relevance


@dataclass(frozen=True)
class RNN:
    """One factor: of the pre-activation by m_h."""

    activation: str = "tanh"
    kind: ClassVar[str] = "RNN"
    gates: ClassVar[tuple[str, ...]] = ("new",)
    has_cell_state: ClassVar[bool] = False

    def values(self, xp: Any, x: Any, h: Any, weights: Weights) -> Values:
        """See `Cell`."""
        pre = x + xp.matmul(h, weights.recurrent)
        return Values(pre, ACTIVATIONS[self.activation].of(xp, pre))

    def states(self, xp: Any, values: Values, h: Any, c: Any, weights: Weights) -> tuple[Any, Any]:
        """See `Cell`."""
        return values.gates, None

    def factors(self, at: Paired) -> Any:
        """See `Cell`."""
        return at.slope(ACTIVATIONS[self.activation].secant, at.values.pre)

    def relevance(self, at: Paired, rules: Relevance) -> Any:
        """See `Cell`."""
        return rules.share(at.xp, at.middle(at.values.gates), at.middle(at.values.pre))

    def back(self, xp: Any, factors: Any, m_h: Any, m_c: Any, transposed: Weights) -> tuple[Any, Any, Any]:
        """See `Cell`."""
        m_pre = m_h * factors
        return m_pre, xp.matmul(m_pre, transposed.recurrent), m_c

    def changes(self, at: Paired, x: Any, weights: Weights) -> Any:
        """See `Cell`."""
        return at.difference(at.values.pre)

    def carry(self, xp: Any, factors: Any, m: Multipliers, change_h: Any, change_c: Any, transposed: Weights) -> Any:
        """See `Cell`: everything goes through the gate."""
        return xp.zeros_like(change_h)

    def parts(self, at: Paired, m: Multipliers, transposed: Weights) -> dict[str, Any]:
        """See `Cell`."""
        return {"new": at.defect(m.h, at.values.gates, (m.pre, at.values.pre))}
