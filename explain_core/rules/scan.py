"""The two recurrences of a recurrent layer, step by step: states forward in time, multipliers backward.

This is the reference: it runs any cell on any device, and `explain_core.kernels` has faster forms of the same
functions, each tested against these. Time comes first, then rows: U distinct ones forward, N pairs of them backward.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from explain_core.rules.cells import Cell, Values, Weights


class States(NamedTuple):
    """What a layer did.

    Attributes:
        h, c: states after each step, (T, U, P) and (T, U, H); ``c`` is None where the cell has none.
        values: the gates of each step.
    """

    h: Any
    c: Any
    values: Values


class Returned(NamedTuple):
    """The multipliers that came back through a layer.

    Attributes:
        pre: of the gates' pre-activations, (T, N, G·H); None where a kernel gave ``x`` in its place.
        first_h, first_c: of the states before the first step, (N, ·).
        h, c: of the states after each step, from everywhere, (T, N, ·).
        x: of what the layer is given, (T, N, I), where a kernel has made the product with the weights itself.
    """

    pre: Any
    first_h: Any
    first_c: Any
    h: Any
    c: Any
    x: Any = None


def forward(xp: Any, cell: Cell, x: Any, h: Any, c: Any, flags: Any, weights: Weights) -> States:
    """The states of every step.

    Args:
        x: (T, U, G·H), the input's part of the pre-activations.
        h, c: (U, P) and (U, H), before the first step.
        flags: (T, U, 1), False where a step leaves the states as they are; None where all count.
    """

    def step(before: tuple, now: dict) -> tuple[tuple, tuple]:
        values = cell.values(xp, now["x"], before[0], weights)
        h, c = before
        after = cell.states(xp, values, h, c, weights)
        if flags is not None:
            after = tuple(
                None if old is None else xp.where(now["flags"], new, old)
                for new, old in zip(after, before, strict=True)
            )
        return after, (*after, values)

    given = {"x": x} if flags is None else {"x": x, "flags": flags}
    _, (all_h, all_c, values) = xp.scan(step, (h, c), given)
    return States(all_h, all_c, Values(*values))


def backward(
    xp: Any, cell: Cell, factors: Any, m_h: Any, m_c: Any, d_fresh: Any, counts: Any, weights: Weights
) -> Returned:
    """The multipliers of every step, from those that arrive at the layer's outputs.

    At a step with the mean m̄ of the mask over the pair

        m_h̃ = m̄·m_h + d_fresh    m_c̃ = m̄·m_c
        m_h, m_c of the step before = the cell's own, plus (1 - m̄)·m_h and (1 - m̄)·m_c

    Args:
        factors: of `Cell.factors`, (T, N, F·H).
        m_h, m_c: (T, N, ·), what arrives from outside at the states after each step; ``m_c`` is None for nothing.
        d_fresh: (T, N, H), multipliers of h̃ where outputs are zero where masked; None without.
        counts: (T, N, 1), the mean of the mask over the pair; None where all steps count.
    """
    transposed = weights.map(xp.transpose)

    def step(after: tuple, now: dict) -> tuple[tuple, tuple]:
        at_h, at_c = after[0] + now["h"], after[1]
        if m_c is not None:
            at_c = at_c + now["c"]
        new_h, new_c = at_h, at_c
        if counts is not None:
            new_h, new_c = now["counts"] * at_h, None if at_c is None else now["counts"] * at_c
        if d_fresh is not None:
            new_h = new_h + now["fresh"]
        m_pre, before_h, before_c = cell.back(xp, now["factors"], new_h, new_c, transposed)
        if counts is not None:
            passed = 1 - now["counts"]
            before_h = before_h + passed * at_h
            before_c = None if at_c is None else before_c + passed * at_c
        return (before_h, before_c), (m_pre, at_h, at_c)

    given = {"factors": factors, "h": m_h, "c": m_c, "fresh": d_fresh, "counts": counts}
    given = {name: values for name, values in given.items() if values is not None}
    units = weights.recurrent.shape[-1] // len(cell.gates)
    start = xp.zeros_like(m_h[0]), xp.zeros_like(factors[0][..., :units]) if cell.has_cell_state else None
    (first_h, first_c), (m_pre, all_h, all_c) = xp.scan(step, start, given, reverse=True)
    return Returned(m_pre, first_h, first_c, all_h, all_c)
