"""The GRU (Cho et al. 2014), with its reset gate before or after the recurrent product.

``h̃ = z·h + (1 - z)·n``, gates in the order r, z, n:

    after    ``n = σ(x_n + r·q)`` with ``q = h·W_n + b_n``      before    ``n = σ(x_n + (r·q)·W_n)`` with ``q = h``

    m_n = m_h·(1 - z̄)     m_z = m_h·mean(h - n)     each times ``s`` of its pre-activation
    m_r = m_{r·q}·q̄·s(r's)     m_q = m_{r·q}·r̄     m_{r·q} that of n's pre-activation, or that times ``W_nᵀ``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from explain_core.rules.cells.activations import ACTIVATIONS
from explain_core.rules.cells.cell import Multipliers, Paired, Values, Weights, parts_of
from explain_core.rules.relevance import Relevance


@dataclass(frozen=True)
class GRU:
    """Factors: of the pre-activation of r by m_h, or by m_{r·q} where the reset is before; of z and n by m_h; z̄; r̄."""

    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    reset_after: bool = True
    kind: ClassVar[str] = "GRU"
    gates: ClassVar[tuple[str, ...]] = ("reset", "update", "new")
    has_cell_state: ClassVar[bool] = False

    def values(self, xp: Any, x: Any, h: Any, weights: Weights) -> Values:
        """See `Cell`."""
        units = h.shape[-1]
        gate, activation = ACTIVATIONS[self.recurrent_activation].of, ACTIVATIONS[self.activation].of
        if self.reset_after:
            from_h = xp.matmul(h, weights.recurrent)
            gating, inner = from_h[..., : 2 * units], from_h[..., 2 * units :]
            if weights.new_bias is not None:
                inner = inner + weights.new_bias
        else:
            gating, inner = xp.matmul(h, weights.recurrent[:, : 2 * units]), h
        a_rz = x[..., : 2 * units] + gating
        rz = gate(xp, a_rz)
        r = rz[..., :units]
        opened = r * inner if self.reset_after else xp.matmul(r * inner, weights.recurrent[:, 2 * units :])
        a_n = x[..., 2 * units :] + opened
        n = activation(xp, a_n)
        return Values(xp.concat([a_rz, a_n]), xp.concat([rz, n]), inner)

    def states(self, xp: Any, values: Values, h: Any, c: Any, weights: Weights) -> tuple[Any, Any]:
        """See `Cell`."""
        _, z, n = parts_of(values.gates, 3)
        return z * h + (1 - z) * n, None

    def factors(self, at: Paired) -> Any:
        """See `Cell`."""
        a_r, a_z, a_n = parts_of(at.values.pre, 3)
        r, z, n = parts_of(at.values.gates, 3)
        gate, activation = ACTIVATIONS[self.recurrent_activation].secant, ACTIVATIONS[self.activation].secant
        kept = at.middle(z)
        by_r = at.middle(at.values.inner) * at.slope(gate, a_r)
        by_n = (1 - kept) * at.slope(activation, a_n)
        by_z = at.middle(at.h - n) * at.slope(gate, a_z)
        return at.xp.concat([by_r * by_n if self.reset_after else by_r, by_z, by_n, kept, at.middle(r)])

    def relevance(self, at: Paired, rules: Relevance) -> Any:
        """See `Cell`: sums are ``h̃``, n's pre-activation, and q where the reset comes after."""
        xp = at.xp
        r, z, n = map(at.middle, parts_of(at.values.gates, 3))
        h, inner = at.middle(at.h), at.middle(at.values.inner)
        fresh = z * h + (1 - z) * n
        none, whole = xp.zeros_like(z), rules.share(xp, fresh, fresh)
        by_n = (1 - z) * whole * rules.share(xp, n, at.middle(parts_of(at.values.pre, 3)[2]))
        opened = r * rules.share(xp, inner, inner) if self.reset_after else r
        return xp.concat([none, none, by_n, z * whole, opened])

    def back(self, xp: Any, factors: Any, m_h: Any, m_c: Any, transposed: Weights) -> tuple[Any, Any, Any]:
        """See `Cell`."""
        by_r, by_z, by_n, kept, opened = parts_of(factors, 5)
        units = m_h.shape[-1]
        m_z, m_n = m_h * by_z, m_h * by_n
        if self.reset_after:
            m_r = m_h * by_r
            into_h = xp.matmul(xp.concat([m_r, m_z, m_n * opened]), transposed.recurrent)
        else:
            m_product = self._of_product(xp, m_n, transposed)
            m_r = m_product * by_r
            into_h = xp.matmul(xp.concat([m_r, m_z]), transposed.recurrent[: 2 * units]) + m_product * opened
        m_pre = xp.concat([m_r, m_z, m_n])
        return m_pre, into_h + m_h * kept, m_c

    def changes(self, at: Paired, x: Any, weights: Weights) -> Any:
        """See `Cell`. The pre-activation of n holds r·q; the part that is due to r counts as r's."""
        r, _, _ = parts_of(at.values.gates, 3)
        units = r.shape[-1]
        of_inner = at.middle(r) * at.difference(at.values.inner)
        if not self.reset_after:
            of_inner = at.xp.matmul(of_inner, weights.recurrent[:, 2 * units :])
        of_new = at.difference(x[..., 2 * units :]) + of_inner
        return at.xp.concat([at.difference(at.values.pre[..., : 2 * units]), of_new])

    def carry(self, xp: Any, factors: Any, m: Multipliers, change_h: Any, change_c: Any, transposed: Weights) -> Any:
        """See `Cell`."""
        return m.h * parts_of(factors, 5)[3] * change_h

    def parts(self, at: Paired, m: Multipliers, transposed: Weights) -> dict[str, Any]:
        """See `Cell`."""
        h, values, middle, defect = at.h, at.values, at.middle, at.defect
        a_r, a_z, a_n = parts_of(values.pre, 3)
        r, z, n = parts_of(values.gates, 3)
        m_rpre, m_zpre, m_npre = parts_of(m.pre, 3)
        inner = values.inner
        m_z, m_n, m_kept = m.h * middle(h - n), m.h * (1 - middle(z)), m.h * middle(z)
        m_product = self._of_product(at.xp, m_npre, transposed)
        m_r = m_product * middle(inner)
        return {
            "reset": defect(m_r, r, (m_rpre, a_r)),
            "update": defect(m_z, z, (m_zpre, a_z)),
            "new": defect(m_n, n, (m_npre, a_n)),
            "reset product": defect(m_product, r * inner, (m_r, r), (m_product * middle(r), inner)),
            "update product": defect(m.h, z * (h - n) + n, (m_z, z), (m_n, n), (m_kept, h)),
        }

    def _of_product(self, xp: Any, m_n: Any, transposed: Weights) -> Any:
        """The multiplier of r·q, from that of n's pre-activation."""
        return m_n if self.reset_after else xp.matmul(m_n, transposed.recurrent[2 * m_n.shape[-1] :])
