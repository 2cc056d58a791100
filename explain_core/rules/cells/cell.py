"""What the equations of every recurrent cell have in common.

Shapes: T timesteps first, where there are several; then rows; units last. U are the distinct rows that run forward, N
the pairs that two of them make (`Members`), H the units, G the gates, whose values stand side by side in their order:
(..., G·H). A bar is the mean over the pair, Δ the difference, ``s`` the secant of an activation between its
pre-activations. A tilde marks what the cell gives before a mask decides whether the step counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from explain_core.rules.relevance import Relevance
from explain_core.rules.rule_set import RuleSet


class Weights(NamedTuple):
    """What the recurrence of a cell multiplies its hidden state by.

    Attributes:
        recurrent: (P, G·H), P the size of the hidden state: H unless it is projected.
        new_bias: (H,), of a GRU whose reset gate multiplies it; None elsewhere, where biases are in the input's part.
        projection: (H, P), from ``o·tanh(c)`` to the hidden state of a projected LSTM; None elsewhere.
    """

    recurrent: Any
    new_bias: Any = None
    projection: Any = None

    def map(self, function: Any) -> Weights:
        """Each of them changed alike."""
        return Weights(*(None if weight is None else function(weight) for weight in self))


class Values(NamedTuple):
    """What a cell computes at a step, or at all of them, for each of U rows.

    Attributes:
        pre: pre-activations of the gates, (..., U, G·H).
        gates: their activations, (..., U, G·H).
        inner: what the reset gate of a GRU multiplies, (..., U, H); None elsewhere.
    """

    pre: Any
    gates: Any
    inner: Any = None


class Multipliers(NamedTuple):
    """Multipliers at each step, (..., N, ·): of the gates' pre-activations, and of ``h̃`` and ``c̃``."""

    pre: Any
    h: Any
    c: Any


@dataclass(frozen=True)
class Members:
    """Which of U rows is the test and which the baseline member of each of N pairs: slices, or arrays (N,)."""

    test: Any
    base: Any

    def of(self, xp: Any, rows: Any) -> tuple[Any, Any]:
        """The rows (..., U, ·) of both members, each (..., N, ·)."""
        return tuple(
            rows[..., at, :] if isinstance(at, slice) else xp.take_rows(rows, at) for at in (self.test, self.base)
        )

    def difference(self, xp: Any, rows: Any) -> Any:
        """Test minus baseline: (..., U, ·) to (..., N, ·)."""
        test, base = self.of(xp, rows)
        return test - base


@dataclass(frozen=True)
class Paired:
    """What a cell read and computed at a step, or at all of them, with both members of each pair side by side.

    Attributes:
        h, c: the states before, (..., U, ·); ``c`` is None where a cell has no cell state.
    """

    xp: Any
    rules: RuleSet
    members: Members
    values: Values
    h: Any
    c: Any

    def middle(self, rows: Any) -> Any:
        """What the other factor of a product is multiplied by: the mean over the pair, or what the rules say."""
        return self.rules.middle(*self.members.of(self.xp, rows))

    def slope(self, secant: Any, rows: Any) -> Any:
        """The secant of a function between the members' values, or what the rules say."""
        return self.rules.slope(self.xp, secant, *self.members.of(self.xp, rows))

    def difference(self, rows: Any) -> Any:
        """Test minus baseline."""
        return self.members.difference(self.xp, rows)

    def defect(self, m_out: Any, out: Any, *inputs: tuple[Any, Any]) -> Any:
        """``m_out·Δout - Σ m_in·Δin`` of a node, summed over units; ``out`` and each input's second are of all rows."""
        left = m_out * self.difference(out)
        for m, value in inputs:
            left = left - m * self.difference(value)
        return self.xp.sum(left)[..., 0]


def parts_of(values: Any, count: int) -> list[Any]:
    """Gates, or factors, one by one: (..., G·H) to G of (..., H)."""
    units = values.shape[-1] // count
    return [values[..., k * units : (k + 1) * units] for k in range(count)]


class Cell(Protocol):
    """One kind of cell with its options.

    ``x`` is the input's part of the pre-activations, all biases in it but `Weights.new_bias`: (..., U, G·H). ``h`` and
    ``c`` are the states before the step. ``m_h`` and ``m_c`` are the multipliers of ``h̃`` and ``c̃``, (..., N, ·), and
    ``transposed`` are the weights with their axes swapped, so that no step has to.
    """

    kind: ClassVar[str]
    gates: ClassVar[tuple[str, ...]]
    has_cell_state: ClassVar[bool]

    def values(self, xp: Any, x: Any, h: Any, weights: Weights) -> Values:
        """The gates, from the states before a step; (..., U, ·)."""

    def states(self, xp: Any, values: Values, h: Any, c: Any, weights: Weights) -> tuple[Any, Any]:
        """``h̃`` (..., U, P) and ``c̃`` (..., U, H), which is None where a cell has no cell state."""

    def factors(self, at: Paired) -> Any:
        """What the backward recurrence multiplies by, (..., N, F·H): where the rules come in."""

    def relevance(self, at: Paired, rules: Relevance) -> Any:
        """`factors` for layer-wise relevance propagation, where gates have none."""

    def back(self, xp: Any, factors: Any, m_h: Any, m_c: Any, transposed: Weights) -> tuple[Any, Any, Any]:
        """Multipliers of the gates' pre-activations (N, G·H) and, through the cell, of the states before the step."""

    def changes(self, at: Paired, x: Any, weights: Weights) -> Any:
        """Δ of the gates' pre-activations (..., N, G·H), without what another gate's contribution already counts.

        It asks for no states before the step.
        """

    def carry(self, xp: Any, factors: Any, m: Multipliers, change_h: Any, change_c: Any, transposed: Weights) -> Any:
        """Contribution (..., N, H) that goes on to the states before, whose Δ are given, past the gates."""

    def parts(self, at: Paired, m: Multipliers, transposed: Weights) -> dict[str, Any]:
        """The defect ``m_out·Δout - Σ m_in·Δin`` of each nonlinearity and product, summed over units, (..., N)."""
