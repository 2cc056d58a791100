"""One recurrent layer in one direction, on both members: once forward, and backward for every explained output.

Shapes as in `cells`: time first, then rows, U distinct ones or N pairs of them.

A mask in which the members differ is one more player: ``h = m·h̃ + (1 - m)·h_before`` is a sum of products, each with
its means.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from explain_core.rules import scan
from explain_core.rules.cells import Cell, Members, Multipliers, Paired, Values, Weights
from explain_core.rules.relevance import Relevance
from explain_core.rules.rule_set import PAIRED, RuleSet
from explain_core.rules.scan import Returned, States


@dataclass(frozen=True)
class Layer:
    """What a layer is given, in the order of time in which it reads.

    Attributes:
        x: (T, U, G·H), the input's part of the pre-activations.
        h, c: before the first step, (U, P) and (U, H); ``c`` is None for a cell without a cell state.
        flags: (T, U, 1), the mask; None where every step counts.
        members: which of the rows make a pair.
        zero_output: whether steps that are masked give zero instead of the state.
        input_weights: (I, G·H), for kernels that may then give multipliers of the input, and none of ``x``; or None.
    """

    cell: Cell
    x: Any
    h: Any
    c: Any
    weights: Weights
    members: Members
    flags: Any = None
    zero_output: bool = False
    input_weights: Any = None


class Kernel(Protocol):
    """How the two recurrences run: step by step (`Reference`), or compiled (`explain_core.kernels`)."""

    def forward(self, xp: Any, layer: Layer, rules: RuleSet, keep: bool) -> tuple[States, Any]:
        """The states, and the factors (T, N, F·H); without ``keep`` the gates in the states may be None."""

    def backward(
        self, xp: Any, layer: Layer, factors: Any, m_h: Any, m_c: Any, d_fresh: Any, counts: Any, keep: bool
    ) -> Returned:
        """See `scan.backward`; without ``keep`` the multipliers of the states may be None."""


class Reference:
    """Step by step, with the array functions of a framework: any cell, any device."""

    def forward(self, xp: Any, layer: Layer, rules: RuleSet, keep: bool) -> tuple[States, Any]:
        """See `Kernel`."""
        states = scan.forward(xp, layer.cell, layer.x, layer.h, layer.c, layer.flags, layer.weights)
        return states, factors_of(xp, layer, states, rules)

    def backward(
        self, xp: Any, layer: Layer, factors: Any, m_h: Any, m_c: Any, d_fresh: Any, counts: Any, keep: bool
    ) -> Returned:
        """See `Kernel`."""
        return scan.backward(xp, layer.cell, factors, m_h, m_c, d_fresh, counts, layer.weights)


def factors_of(xp: Any, layer: Layer, states: States, rules: RuleSet) -> Any:
    """The factors of all steps at once, (T, N, F·H)."""
    at = _paired(xp, layer, states, rules)
    return layer.cell.relevance(at, rules) if isinstance(rules, Relevance) else layer.cell.factors(at)


def _paired(xp: Any, layer: Layer, states: States, rules: RuleSet, of: Any = lambda value: value) -> Paired:
    """All steps at once, each array as ``of`` makes it."""
    before = (_before(xp, first, after) for first, after in ((layer.h, states.h), (layer.c, states.c)))
    return Paired(xp, rules, layer.members, Values(*map(of, states.values)), *map(of, before))


def _before(xp: Any, first: Any, states: Any) -> Any:
    """The states before each step, (T, U, ·); None for none."""
    return None if states is None else xp.concat_first([first[None], states[:-1]])


class Pass(NamedTuple):
    """What one backward pass came with and found: (T, N, ·)."""

    outer_h: Any  # the part of the multipliers of h that comes from the layer's outputs
    outer_c: Any  # the same of c; None without
    choice: Any  # multipliers of outputs that are zero where masked; None where there are none
    returned: Returned
    of_mask: Any  # contribution of a mask in which the members differ, (T, N, P); None without a mask

    def fresh(self, counts: Any) -> tuple[Any, Any]:
        """The multipliers of h̃ and c̃."""
        m_h, m_c = self.returned.h, self.returned.c
        if counts is None:
            return m_h, m_c
        m_h = m_h if self.choice is None else m_h + self.choice
        return counts * m_h, None if m_c is None else counts * m_c


class Recurrence:
    """The forward run of a layer.

    Args:
        rules: those that the multipliers go by.
        keep: whether contributions or defects will be asked for.

    Attributes:
        h, c: (T, U, ·), the states after each step.
        out: (T, U, P), what the layer gives.
    """

    def __init__(self, xp: Any, kernel: Kernel, layer: Layer, rules: RuleSet = PAIRED, keep: bool = False) -> None:
        self._xp, self._kernel, self._rules = xp, kernel, rules
        self._keep = keep or layer.flags is not None
        self.layer = layer
        self.states, self._factors = kernel.forward(xp, layer, rules, self._keep)
        self.h, self.c = self.states.h, self.states.c
        self.out, self._counts = self.h, None
        if layer.flags is not None:
            seen = xp.cast(layer.flags, layer.x)
            self._counts = rules.middle(*layer.members.of(xp, seen))
            self._change_of_counts = layer.members.difference(xp, seen)
            self.out = self.h * seen if layer.zero_output else self.h

    def back(self, d_out: Any, d_c: Any = None, d_last: Any = None) -> Pass:
        """One backward pass.

        Args:
            d_out: (T, N, P), multipliers of the outputs.
            d_last: (N, P), multipliers of the final state; None where nothing depends on it but through the outputs.
            d_c: (T, N, H), multipliers of the cell states after each step; None for a cell without them, or where
                nothing else depends on them.
        """
        d_h, choice, fresh = d_out, None, None
        if self._counts is not None and self.layer.zero_output:
            d_h, choice, fresh = self._xp.zeros_like(d_out), d_out, self._counts * d_out
        if d_last is not None:
            d_h = self._xp.concat_first([d_h[:-1], d_h[-1:] + d_last])
        returned = self._kernel.backward(self._xp, self.layer, self._factors, d_h, d_c, fresh, self._counts, self._keep)
        of_mask = None if self._counts is None else self._of_mask(returned, choice)
        return Pass(d_h, d_c, choice, returned, of_mask)

    def _of_mask(self, returned: Returned, choice: Any) -> Any:
        """The contribution of a mask that the members do not share; a derivative knows nothing of truth values."""
        if self._rules.point is not None:
            return self._xp.zeros_like(returned.h)
        fresh_h, fresh_c = self._fresh()
        mean = lambda rows: PAIRED.middle(*self.layer.members.of(self._xp, rows))  # noqa: E731
        found = returned.h * mean(fresh_h - self._before_h)
        if choice is not None:
            found = found + choice * mean(fresh_h)
        if fresh_c is not None:
            found = found + returned.c * mean(fresh_c - self._before_c)
        return self._change_of_counts * found

    # --- what charts and tests show of a pass ---

    def gates(self) -> Any:
        """The gates' activations, (T, U, G·H)."""
        return self.states.values.gates

    def contribution(self, found: Pass) -> Any:
        """Of each gate's pre-activation, (T, N, G·H)."""
        layer = self.layer
        # The changes are those of gates alone: the states before are long arrays to put together.
        at = Paired(self._xp, self._rules, layer.members, self.states.values, None, None)
        changes = layer.cell.changes(at, layer.x, layer.weights)
        changes *= found.returned.pre  # in place where a framework can: these are the largest arrays of all
        return changes

    def carry(self, found: Pass) -> Any:
        """What goes on to the states before, past the gates, (T, N, H)."""
        xp, cell, transposed = self._xp, self.layer.cell, self.layer.weights.map(self._xp.transpose)
        change_h = _before(xp, self._change(self.layer.h), self._change(self.h))
        change_c = _before(xp, self._change(self.layer.c), self._change(self.c))
        m = Multipliers(found.returned.pre, *found.fresh(self._counts))
        carried = cell.carry(xp, self._factors, m, change_h, change_c, transposed)
        if self._counts is None:
            return carried
        passed_by = found.returned.h * change_h
        if change_c is not None:
            passed_by = passed_by + found.returned.c * change_c
        return carried + (1 - self._counts) * passed_by + found.of_mask

    def mass(self, found: Pass) -> Any:
        """What the states carry, (T, N): equal to the contributions of the gates and the carry."""
        return self._mass(found, lambda value: value)

    def stabilized(self, found: Pass) -> Any:
        """The relevance that ε took on the way back (`rules.relevance`), (N,), in float64.

        It is what arrived at the outputs, less what went on to inputs and first states, and to biases.
        """
        xp, layer, returned = self._xp, self.layer, found.returned
        test = lambda rows: xp.double(layer.members.of(xp, rows)[0])  # noqa: E731
        of = lambda m, value: 0.0 if m is None else self._dot(xp.double(m), value)  # noqa: E731
        lost = of(found.outer_h, test(self.h)) + of(found.choice, test(self.out)) - of(returned.pre, test(layer.x))
        first = of(returned.first_h, test(layer.h))
        if layer.c is not None:
            lost = lost + of(found.outer_c, test(self.c))
            first = first + of(returned.first_c, test(layer.c))
        if layer.weights.new_bias is not None:
            units = layer.weights.new_bias.shape[-1]
            m_inner = returned.pre[..., -units:] * self._factors[..., -units:]
            lost = lost - of(m_inner, xp.double(layer.weights.new_bias))
        return xp.sum(xp.transpose(lost))[..., 0] - first

    def defects(self, found: Pass) -> dict[str, Any]:
        """What a pass left of the difference at every step, by part: each (T, N), in float64.

        "mask" is there where the members' masks differ; "linear", the matrix products and sums, is rounding.
        """
        xp, layer = self._xp, self.layer
        double = lambda value: None if value is None else xp.double(value)  # noqa: E731
        returned = Returned(*map(double, found.returned))
        m_fresh = found.fresh(self._counts)
        parts = layer.cell.parts(
            _paired(xp, layer, self.states, self._rules, double),
            Multipliers(returned.pre, *map(double, m_fresh)),
            layer.weights.map(lambda weight: double(xp.transpose(weight))),
        )
        arrived = self._mass(found, double)
        inward = self._dot(returned.h - double(found.outer_h), self._change(double(self.h)))
        first = self._dot(returned.first_h, self._change(double(self.layer.h)))
        if returned.c is not None:
            through_c = returned.c if found.outer_c is None else returned.c - double(found.outer_c)
            inward = inward + self._dot(through_c, self._change(double(self.c)))
            first = first + self._dot(returned.first_c, self._change(double(self.layer.c)))
        carried = xp.concat_first([first[None], inward[:-1]])
        steps = arrived - self._dot(returned.pre, self._change(double(layer.x))) - carried
        if self._counts is not None:
            of_mask = xp.sum(double(found.of_mask))[..., 0]
            steps = steps - of_mask
            if xp.any(self._change_of_counts != 0):
                parts["mask"] = arrived - of_mask - self._taken(m_fresh, returned, double)
        return {**parts, "linear": steps - sum(parts.values())}

    def _taken(self, m_fresh: tuple[Any, Any], returned: Returned, double: Any) -> Any:
        """What the cell takes of a step, and what passes by it behind a mask, (T, N)."""
        total = 0.0
        for m_new, m, fresh, before in zip(
            m_fresh, (returned.h, returned.c), self._fresh(), (self._before_h, self._before_c), strict=True
        ):
            if fresh is None:
                continue
            total = total + self._dot(double(m_new), self._change(double(fresh)))
            total = total + (1 - double(self._counts)[..., 0]) * self._dot(m, self._change(double(before)))
        return total

    def _mass(self, found: Pass, of: Any) -> Any:
        total = self._dot(of(found.returned.h), self._change(of(self.h)))
        if self.c is not None:
            total = total + self._dot(of(found.returned.c), self._change(of(self.c)))
        if found.choice is not None:
            total = total + self._dot(of(found.choice), self._change(of(self.out)))
        return total

    def _fresh(self) -> tuple[Any, Any]:
        """``h̃`` and ``c̃``."""
        layer = self.layer
        return layer.cell.states(self._xp, self.states.values, self._before_h, self._before_c, layer.weights)

    @cached_property
    def _before_h(self) -> Any:
        return _before(self._xp, self.layer.h, self.h)

    @cached_property
    def _before_c(self) -> Any:
        return _before(self._xp, self.layer.c, self.c)

    def _change(self, rows: Any) -> Any:
        return None if rows is None else self.layer.members.difference(self._xp, rows)

    def _dot(self, a: Any, b: Any) -> Any:
        return self._xp.sum(a * b)[..., 0]
