"""The LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000), with a projection where it has one (Sak et al. 2014).

``c̃ = f·c + i·g``, ``h̃ = o·σ(c̃)``, gates in the order i, f, g, o. With ``m = m_c + m_h·ō·s(c̃)``:

    m_i = m·ḡ     m_f = m·c̄     m_g = m·ī     m_o = m_h·mean(σ(c̃))     each times ``s`` of its pre-activation
    m_c of the step before = m·f̄     m_h of the step before = m_pre · Wᵀ
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from explain_core.rules.cells.activations import ACTIVATIONS
from explain_core.rules.cells.cell import Multipliers, Paired, Values, Weights, parts_of
from explain_core.rules.relevance import Relevance


@dataclass(frozen=True)
class LSTM:
    """Factors: of the pre-activations of i, f and g by m, of o by m_h; ``f̄``; and ``ō·s(c̃)``."""

    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    kind: ClassVar[str] = "LSTM"
    gates: ClassVar[tuple[str, ...]] = ("input", "forget", "candidate", "output")
    has_cell_state: ClassVar[bool] = True

    def values(self, xp: Any, x: Any, h: Any, weights: Weights) -> Values:
        """See `Cell`."""
        pre = x + xp.matmul(h, weights.recurrent)
        a_i, a_f, a_g, a_o = parts_of(pre, 4)
        gate = ACTIVATIONS[self.recurrent_activation].of
        g = ACTIVATIONS[self.activation].of(xp, a_g)
        return Values(pre, xp.concat([gate(xp, a_i), gate(xp, a_f), g, gate(xp, a_o)]))

    def states(self, xp: Any, values: Values, h: Any, c: Any, weights: Weights) -> tuple[Any, Any]:
        """See `Cell`."""
        c = _cell_state(values, c)
        h = parts_of(values.gates, 4)[3] * ACTIVATIONS[self.activation].of(xp, c)
        return (h if weights.projection is None else xp.matmul(h, weights.projection)), c

    def factors(self, at: Paired) -> Any:
        """See `Cell`."""
        a_i, a_f, a_g, a_o = parts_of(at.values.pre, 4)
        i, f, g, o = map(at.middle, parts_of(at.values.gates, 4))
        activation, gate = ACTIVATIONS[self.activation], ACTIVATIONS[self.recurrent_activation]
        cell = _cell_state(at.values, at.c)
        return at.xp.concat(
            [
                g * at.slope(gate.secant, a_i),
                at.middle(at.c) * at.slope(gate.secant, a_f),
                i * at.slope(activation.secant, a_g),
                at.middle(activation.of(at.xp, cell)) * at.slope(gate.secant, a_o),
                f,
                o * at.slope(activation.secant, cell),
            ]
        )

    def relevance(self, at: Paired, rules: Relevance) -> Any:
        """See `Cell`: ``c̃`` is a sum of two signals, g's pre-activation another."""
        xp, activation = at.xp, ACTIVATIONS[self.activation]
        i, f, g, o = map(at.middle, parts_of(at.values.gates, 4))
        cell = at.middle(_cell_state(at.values, at.c))
        none, whole = xp.zeros_like(i), rules.share(xp, cell, cell)
        by_g = i * whole * rules.share(xp, g, at.middle(parts_of(at.values.pre, 4)[2]))
        return xp.concat([none, none, by_g, none, f * whole, o * activation.passed(xp, rules, cell)])

    def back(self, xp: Any, factors: Any, m_h: Any, m_c: Any, transposed: Weights) -> tuple[Any, Any, Any]:
        """See `Cell`."""
        by_i, by_f, by_g, by_o, kept, through = parts_of(factors, 6)
        m_out = _before_projection(xp, m_h, transposed)
        m = m_c + m_out * through
        m_pre = xp.concat([m * by_i, m * by_f, m * by_g, m_out * by_o])
        return m_pre, xp.matmul(m_pre, transposed.recurrent), m * kept

    def changes(self, at: Paired, x: Any, weights: Weights) -> Any:
        """See `Cell`."""
        return at.difference(at.values.pre)

    def carry(self, xp: Any, factors: Any, m: Multipliers, change_h: Any, change_c: Any, transposed: Weights) -> Any:
        """See `Cell`."""
        *_, kept, through = parts_of(factors, 6)
        carried = _before_projection(xp, m.h, transposed) * through
        carried += m.c
        carried *= kept
        carried *= change_c
        return carried

    def parts(self, at: Paired, m: Multipliers, transposed: Weights) -> dict[str, Any]:
        """See `Cell`."""
        xp, c, values, middle, defect = at.xp, at.c, at.values, at.middle, at.defect
        activation = ACTIVATIONS[self.activation]
        a_i, a_f, a_g, a_o = parts_of(values.pre, 4)
        i, f, g, o = parts_of(values.gates, 4)
        m_ipre, m_fpre, m_gpre, m_opre = parts_of(m.pre, 4)
        cell = _cell_state(values, c)
        shown = activation.of(xp, cell)
        m_out = _before_projection(xp, m.h, transposed)
        m_shown, m_o = m_out * middle(o), m_out * middle(shown)
        m_through = m_shown * at.slope(activation.secant, cell)
        m_cell = m.c + m_through
        m_i, m_f, m_g = m_cell * middle(g), m_cell * middle(c), m_cell * middle(i)
        return {
            "input": defect(m_i, i, (m_ipre, a_i)),
            "forget": defect(m_f, f, (m_fpre, a_f)),
            "candidate": defect(m_g, g, (m_gpre, a_g)),
            "output": defect(m_o, o, (m_opre, a_o)),
            "input product": defect(m_cell, i * g, (m_i, i), (m_g, g)),
            "forget product": defect(m_cell, f * c, (m_f, f), (m_cell * middle(f), c)),
            "cell tanh": defect(m_shown, shown, (m_through, cell)),
            "output product": defect(m_out, o * shown, (m_o, o), (m_shown, shown)),
        }


def _cell_state(values: Values, c: Any) -> Any:
    """``c̃``, from the cell state before the step."""
    i, f, g, _ = parts_of(values.gates, 4)
    return f * c + i * g


def _before_projection(xp: Any, m_h: Any, transposed: Weights) -> Any:
    """The multiplier of ``o·σ(c̃)``."""
    return m_h if transposed.projection is None else xp.matmul(m_h, transposed.projection)
