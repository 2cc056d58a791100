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
    cell: Cell,
    x: Pair,
    states: tuple[Pair, ...],
    w: Weights,
    rules: RuleSet,
    record: Any,
    own_states: bool = False,
    last: Tensor | None = None,
) -> tuple[Pair, ...]:
    """The hidden states after every step, and the cell states after the last.

    Args:
        x: (T, N, I).
        states: before the first step: h (N, P) and, where the cell has one, c (N, H).
        rules: the `RuleSet` that the multipliers go by.
        record: a `recorder.LayerRecord`, or None.
        own_states: whether hidden states have to come from PyTorch's own kernel.
        last: the last step of each sequence, (N,); None where that is the last of all.

    Returns:
        Pairs (T, N, P) and, where the cell has such states, (N, H).
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
        input_weights=w.w_ih.t(),
    )
    kernel = _kernel(layer, given, w, own_states or rules.point is not None)
    run = Recurrence(arrays, kernel, layer, rules, keep=record is not None)
    if record is not None:
        record.given(x, states)
        record.forward(run)

    def back(m_h: Tensor | None, m_c: Tensor | None = None) -> tuple[Tensor, ...]:
        found = run.back(
            layer.h.new_zeros(shape) if m_h is None else m_h,
            None if m_c is None else _spread(m_c, last, len(run.h)),
        )
        returned = found.returned
        if record is not None:
            record.backward(run, found)
        m_first = (returned.first_h, returned.first_c)[: len(states)]
        return returned.pre @ w.w_ih if returned.x is None else returned.x, *m_first

    members = [_members(layer, run.h)]
    if run.c is not None:
        test, base = _members(layer, run.c[-1:] if last is None else run.c)
        members.append((last_of(test, last), last_of(base, last)))
    tests, bases = zip(*members, strict=True)
    shape = tests[0].shape  # a rule that holds what it gives is held by it in turn, and neither is ever let go of
    with torch.enable_grad():
        on_tape = attach([*tests], back, x.tape, *(state.tape for state in states))
    return tuple(map(Pair, (on_tape,) if isinstance(on_tape, Tensor) else on_tape, bases))


def _members(layer: Layer, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (T, U, ·) of both members, each (T, N, ·) and no view: the model may write into what it is given."""
    test, base = layer.members.of(arrays, rows)
    memory = rows.untyped_storage().data_ptr()
    own = lambda member: member.clone() if member.untyped_storage().data_ptr() == memory else member  # noqa: E731
    return own(test), own(base.expand_as(test))


def last_of(states: Tensor, last: Tensor | None) -> Tensor:
    """(T, N, H) at each sample's last step: (N, H)."""
    return states[-1] if last is None else states[last, torch.arange(states.shape[1], device=states.device)]


def _spread(multiplier: Tensor, last: Tensor | None, steps: int) -> Tensor:
    """The multiplier of what `last_of` gives, as that of all steps."""
    whole = multiplier.new_zeros(steps, *multiplier.shape)
    at_last = torch.full((len(multiplier),), steps - 1, device=multiplier.device) if last is None else last
    whole[at_last, torch.arange(len(multiplier), device=multiplier.device)] = multiplier
    return whole


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
