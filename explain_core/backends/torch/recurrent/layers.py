"""PyTorch's recurrent operations as they stand in a captured graph: layers, directions, packing, single cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.pairs import Pair, apply_linear
from explain_core.backends.torch.recurrent.paired import last_of, run_layer
from explain_core.backends.torch.recurrent.weights import Weights, as_pair, require_constant
from explain_core.errors import UnsupportedOperation
from explain_core.rules.cells import GRU, LSTM, RNN, Cell

RNN_TANH, RNN_RELU = RNN("tanh"), RNN("relu")


# --- layers --------------------------------------------------------------------------------------------------------


def _stack(
    ops,
    cell: Cell,
    x: Pair,
    states: list,
    parameters: list[Tensor],
    layers: int,
    two_way: bool,
    lengths: Tensor | None = None,
    samples: tuple[int, ...] | None = None,
) -> tuple[Pair, list[Pair]]:
    """Run all layers and directions.

    Args:
        x: (T, N, I).
        states: initial states, each (layers·directions, N, H).
        lengths: (N,) for padded sequences.
        samples: which sample each row is, where they are in another order.

    Returns:
        Outputs (T, N, directions·P), zero on padding, and the final states, each (layers·directions, N, H).
    """
    require_constant(parameters)
    directions = 2 if two_way else 1
    per_direction = len(parameters) // (layers * directions)
    order, valid, last = _time_orders(x.test, lengths)
    finals: list[list[Pair]] = [[] for _ in states]
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            at = layer * directions + direction
            weights = _weights(parameters[at * per_direction : (at + 1) * per_direction])
            first = tuple(apply_linear(lambda s, at=at: s[at], state) for state in states)
            backwards = direction == 1
            name = ops.layer_name(weights.w_ih, cell.kind, layer if layers > 1 else None, two_way, backwards)
            record = ops.recorder.layer(name, cell.kind, cell.gates, order if backwards else None, valid, samples)
            given = apply_linear(lambda v: _reorder(v, order), x) if backwards else x
            out, *cells = run_layer(cell, given, first, weights, ops.method, record, ops.own_states, last)
            for final, state in zip(finals, (apply_linear(lambda v: last_of(v, last), out), *cells), strict=True):
                final.append(state)
            outputs.append(apply_linear(lambda v: _reorder(v, order), out) if backwards else out)
        x = outputs[0] if directions == 1 else apply_linear(lambda a, b: torch.cat([a, b], -1), *outputs)
        if valid is not None:
            x = apply_linear(lambda v: torch.where(valid.unsqueeze(-1), v, 0.0), x)
    return x, [apply_linear(lambda *each: torch.stack(each), *final) for final in finals]


def _weights(group: list[Tensor]) -> Weights:
    """PyTorch lists w_ih, w_hh, then both biases if any, then the projection if any."""
    if len(group) in (2, 4):
        return Weights(*group)
    return Weights(*group[:-1], w_hr=group[-1])


def _time_orders(x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The order (T, N) that turns each sequence round within its length, which steps are real, and the last of each."""
    steps, n = x.shape[:2]
    time = torch.arange(steps, device=x.device).unsqueeze(1).expand(steps, n)
    if lengths is None:
        return time.flip(0), None, None
    lengths = lengths.to(x.device)
    valid = time < lengths
    return torch.where(valid, lengths - 1 - time, time), valid, lengths - 1


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(0, order.unsqueeze(-1).expand(x.shape))


def _check_dropout(dropout: float, train: bool, layers: int) -> None:
    if train and dropout > 0 and layers > 1:
        raise UnsupportedOperation("dropout between recurrent layers is left on")


def _layer_rule(cell: Cell) -> Callable:
    """``aten.<cell>.input(x, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)``."""

    def rule(ops, x, hx, parameters, has_biases, layers, dropout, train, two_way, batch_first) -> Any:
        _check_dropout(dropout, train, layers)
        x = as_pair(x)
        states = [as_pair(s) for s in (hx if isinstance(hx, (list, tuple)) else [hx])]
        batched = x.test.ndim == 3
        if not batched:
            x = apply_linear(lambda v: v.unsqueeze(1), x)
            states = [apply_linear(lambda v: v.unsqueeze(1), s) for s in states]
        elif batch_first:
            x = apply_linear(lambda v: v.transpose(0, 1), x)
        out, finals = _stack(ops, cell, x, states, parameters, layers, two_way)
        if not batched:
            out, *finals = (apply_linear(lambda v: v.squeeze(1), v) for v in (out, *finals))
        elif batch_first:
            out = apply_linear(lambda v: v.transpose(0, 1), out)
        return (out, *finals)

    return rule


def _packed_rule(cell: Cell) -> Callable:
    """``aten.<cell>.data(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional)``.

    The packed rows are laid out on a padded grid (T, N); steps beyond a sequence's length run on zeros and lead
    nowhere, because outputs and final states are taken from the steps before.
    """

    def rule(ops, data, batch_sizes, hx, parameters, has_biases, layers, dropout, train, two_way) -> Any:
        _check_dropout(dropout, train, layers)
        data = as_pair(data)
        states = [as_pair(s) for s in (hx if isinstance(hx, (list, tuple)) else [hx])]
        steps, n = len(batch_sizes), int(batch_sizes[0])
        sizes = batch_sizes.to(data.test.device)
        filled = torch.arange(n, device=sizes.device) < sizes.unsqueeze(1)
        rows = filled.flatten().nonzero().squeeze(1)

        def spread(v: Tensor) -> Tensor:
            return v.new_zeros(steps * n, v.shape[-1]).index_copy(0, rows, v).view(steps, n, -1)

        grid = apply_linear(spread, data)
        samples = ops.packed_orders.get(tuple(batch_sizes.tolist()))
        out, finals = _stack(ops, cell, grid, states, parameters, layers, two_way, filled.sum(0), samples)
        return (apply_linear(lambda v: v.flatten(0, 1)[rows], out), *finals)

    return rule


lstm, lstm_packed = _layer_rule(LSTM()), _packed_rule(LSTM())
gru, gru_packed = _layer_rule(GRU()), _packed_rule(GRU())
rnn_tanh, rnn_tanh_packed = _layer_rule(RNN_TANH), _packed_rule(RNN_TANH)
rnn_relu, rnn_relu_packed = _layer_rule(RNN_RELU), _packed_rule(RNN_RELU)


# --- single steps --------------------------------------------------------------------------------------------------


def _cell_rule(cell: Cell) -> Callable:
    """``aten.<cell>_cell(x, hx, w_ih, w_hh, b_ih, b_hh)``: a sequence of one step."""

    def rule(ops, x, hx, w_ih, w_hh, b_ih=None, b_hh=None) -> Any:
        require_constant([w_ih, w_hh, b_ih, b_hh])
        states = tuple(as_pair(s) for s in (hx if isinstance(hx, (list, tuple)) else [hx]))
        x = as_pair(x)
        batched = x.test.ndim == 2
        if not batched:
            x, *states = (apply_linear(lambda v: v.unsqueeze(0), v) for v in (x, *states))
        name = ops.layer_name(w_ih, cell.kind, None, False, False)
        record = ops.recorder.layer(name, cell.kind, cell.gates)
        weights = Weights(w_ih, w_hh, b_ih, b_hh)
        given = apply_linear(lambda v: v.unsqueeze(0), x)
        out, *cells = run_layer(cell, given, tuple(states), weights, ops.method, record, ops.own_states)
        after = [apply_linear(lambda v: v[0], out), *cells]
        if not batched:
            after = [apply_linear(lambda v: v[0], state) for state in after]
        return tuple(after) if cell.has_cell_state else after[0]

    return rule


lstm_cell, gru_cell = _cell_rule(LSTM()), _cell_rule(GRU())
rnn_tanh_cell, rnn_relu_cell = _cell_rule(RNN_TANH), _cell_rule(RNN_RELU)
