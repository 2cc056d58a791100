"""One direction of one recurrent layer on pairs: its recurrence on PyTorch's tape, and its record."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch import arrays
from explain_core.backends.torch.pairs import Pair, attach
from explain_core.backends.torch.recurrent.on_gpu import OnGPU, is_covered
from explain_core.backends.torch.recurrent.own_states import OwnStates
from explain_core.backends.torch.recurrent.rows import rows_of
from explain_core.backends.torch.recurrent.weights import Weights
from explain_core.kernels.choice import choose
from explain_core.rules.cells import Cell
from explain_core.rules.recurrence import Kernel, Layer, Recurrence
from explain_core.rules.rule_set import RuleSet


@torch.no_grad()
def run_layer(
    cell: Cell, x: Pair, states: tuple[Pair, ...], w: Weights, rules: RuleSet, record: Any, own_states: bool = False
) -> tuple[Pair, ...]:
    """The states after every step.

    Args:
        x: (T, N, I).
        states: before the first step: h (N, P) and, where the cell has one, c (N, H).
        rules: the `RuleSet` that the multipliers go by.
        record: a `recorder.LayerRecord`, or None.
        own_states: whether hidden states have to come from PyTorch's own kernel.

    Returns:
        Pairs (T, N, P) and (T, N, H).
    """
    rows = rows_of([x, *states])
    weights, bias = w.of(cell)
    first = [rows.put(state) for state in states]
    given = rows.put(x)
    layer = Layer(
        cell,
        project(given, w.w_ih, bias),
        first[0],
        first[1] if cell.has_cell_state else None,
        weights,
        rows.members,
    )
    kernel = _kernel(layer, given, w, own_states or rules.point is not None)
    run = Recurrence(arrays, kernel, layer, rules, keep=record is not None)
    if record is not None:
        record.given(x, states)
        record.forward(run)

    def back(m_h: Tensor, m_c: Tensor | None = None) -> tuple[Tensor, ...]:
        found = run.back(m_h, m_c)
        returned = found.returned
        if record is not None:
            record.backward(run, found)
        m_first = (returned.first_h, returned.first_c)[: len(states)]
        return returned.pre @ w.w_ih, *m_first

    members = [layer.members.of(arrays, state) for state in (run.h, run.c)[: len(states)]]
    bases = [base.expand_as(test).clone() for test, base in members]  # the model may write into what it is given
    with torch.enable_grad():
        tests = attach([test.clone() for test, _ in members], back, x.tape, *(state.tape for state in states))
    tests = (tests,) if isinstance(tests, Tensor) else tests
    return tuple(map(Pair, tests, bases))


def _kernel(layer: Layer, x: Tensor, w: Weights, own_states: bool) -> Kernel:
    """What runs a layer; with PyTorch's own states for what imitates another package, which starts from these."""
    if is_covered(layer):
        return OnGPU(x, w)
    own = OwnStates(x, w)
    return own if own_states else choose(arrays, layer, own)


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x·Wᵀ + b`` of all timesteps, (T, U, I) to (T, U, G·H)."""
    rows = x.flatten(0, 1)
    found = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
    return found.view(*x.shape[:-1], -1)
