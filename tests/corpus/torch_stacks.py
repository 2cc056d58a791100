"""PyTorch models of many architectures, whose state dicts PairLift opens: `stacks` has each with what is said of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

SAMPLES, STEPS, FEATURES, UNITS = 3, 6, 4, 5


class Stack(nn.Module):
    """Recurrent layers and a head, under the names and with the reading that the case wants."""

    def __init__(self, forward: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._forward = forward

    def forward(self, *args: Tensor) -> Any:
        return self._forward(self, *args)


def last(name: str = "lstm", head: str = "fc") -> Callable[..., Tensor]:
    """The usual forward: the head on the last step."""
    return lambda net, x: net._modules[head](net._modules[name](x)[0][:, -1])


def plain(**options: Any) -> Stack:
    """The model of most tutorials."""
    width = (options.get("proj_size") or UNITS) * (2 if options.get("bidirectional") else 1)
    return Stack(last(), lstm=nn.LSTM(FEATURES, UNITS, batch_first=True, **options), fc=nn.Linear(width, 2))


def stacks() -> Iterator[tuple[str, Stack, dict[str, str], tuple[str, ...]]]:
    """State dicts of many architectures: name, model, what is chosen, words of the notes."""
    yield "lstm", plain(), {}, ("The head reads: last step",)
    yield "two layers", plain(num_layers=2), {}, ()
    yield "both directions", plain(bidirectional=True, num_layers=2), {}, ()
    yield "projected", plain(proj_size=3), {}, ()
    yield "no bias", plain(bias=False), {}, ()
    for kind in (nn.GRU, nn.RNN):
        yield (
            kind.__name__,
            Stack(last("net"), net=kind(FEATURES, UNITS, batch_first=True), fc=nn.Linear(UNITS, 1)),
            {},
            (),
        )
    yield (
        "relu rnn",
        Stack(last("rnn"), rnn=nn.RNN(FEATURES, UNITS, batch_first=True, nonlinearity="relu"), fc=nn.Linear(UNITS, 1)),
        {"nonlinearity": "relu"},
        ("Activation in the recurrent layers: relu",),
    )
    yield (
        "final states of both directions",
        Stack(
            lambda net, x: net.fc(torch.cat(tuple(net.lstm(x)[1][0][-2:]), 1)),
            lstm=nn.LSTM(FEATURES, UNITS, 2, batch_first=True, bidirectional=True),
            fc=nn.Linear(2 * UNITS, 2),
        ),
        {"read": "final state"},
        (),
    )
    yield (
        "the last direction alone",
        Stack(
            lambda net, x: net.fc(net.lstm(x)[1][0][-1]),
            lstm=nn.LSTM(FEATURES, UNITS, batch_first=True, bidirectional=True),
            fc=nn.Linear(UNITS, 2),
        ),
        {},
        ("final state of the last direction",),
    )
    yield (
        "all steps in a row",
        Stack(
            lambda net, x: net.fc(net.lstm(x)[0].flatten(1)),
            lstm=nn.LSTM(FEATURES, UNITS, batch_first=True),
            fc=nn.Linear(STEPS * UNITS, 2),
        ),
        {},
        ("all steps in a row",),
    )
    yield (
        "mean and max",
        Stack(
            lambda net, x: net.fc(torch.cat([net.lstm(x)[0].mean(1), net.lstm(x)[0].amax(1)], 1)),
            lstm=nn.LSTM(FEATURES, UNITS, batch_first=True),
            fc=nn.Linear(2 * UNITS, 2),
        ),
        {"read": "mean and max over time"},
        (),
    )
    yield (
        "relu after the recurrent layer",
        Stack(
            lambda net, x: net.fc(torch.relu(net.fc_1(torch.relu(net.lstm(x)[0][:, -1])))).log_softmax(1),
            lstm=nn.LSTM(FEATURES, UNITS, batch_first=True),
            fc_1=nn.Linear(UNITS, 7),
            fc=nn.Linear(7, 3),
        ),
        {"read_activation": "relu", "output_activation": "log_softmax"},
        ("Activation between the Linear layers: relu",),
    )
    yield (
        "sequential head",
        Stack(
            last(),
            lstm=nn.LSTM(FEATURES, UNITS, batch_first=True),
            fc=nn.Sequential(
                nn.Linear(UNITS, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Dropout(0.5), nn.Linear(7, 7), nn.Linear(7, 2)
            ),
        ),
        {"head_activation": "tanh"},
        ("BatchNorm1d has eps 1e-5",),
    )
    yield (
        "normalised",
        Stack(
            lambda net, x: net.fc(net.norm(net.lstm(net.first(x))[0])[:, -1]).squeeze(-1),
            first=nn.Linear(FEATURES, 3),
            lstm=nn.LSTM(3, UNITS, batch_first=True),
            norm=nn.LayerNorm(UNITS),
            fc=nn.Linear(UNITS, 1),
        ),
        {"squeeze": "yes"},
        ("LayerNorm",),
    )
    yield (
        "separately named layers, head first",
        Stack(
            lambda net, x: net.fc(net.lstm2(net.lstm1(x)[0])[0][:, -1]),
            fc=nn.Linear(6, 2),
            lstm1=nn.LSTM(FEATURES, UNITS, batch_first=True),
            lstm2=nn.LSTM(UNITS, 6, batch_first=True),
        ),
        {},
        ("lstm1, lstm2, fc",),
    )
    lists = {"lstms": nn.ModuleList(nn.LSTM(n, UNITS, batch_first=True) for n in (FEATURES, UNITS, UNITS))}
    lists |= {"norms": nn.ModuleList(nn.LayerNorm(UNITS) for _ in range(3)), "fc": nn.Linear(UNITS, 1)}
    yield (
        "list of layers and list of norms",
        Stack(_lists, **lists),
        {},
        ("lstms.0, norms.0, lstms.1", "numbers in names"),
    )
    yield (
        "list of Linear layers",
        Stack(
            lambda net, x: net.fc(net.fcs[1](net.fcs[0](net.gru(x)[0][:, -1]).tanh()).tanh()),
            gru=nn.GRU(FEATURES, UNITS, batch_first=True),
            fcs=nn.ModuleList([nn.Linear(UNITS, UNITS), nn.Linear(UNITS, UNITS)]),
            fc=nn.Linear(UNITS, 1),
        ),
        {"head_activation": "tanh"},
        (),
    )
    yield from _with_tensors_beside()
    yield from _reparametrized()
    yield "cells", Stack(_cells, one=nn.LSTMCell(FEATURES, UNITS), two=nn.GRUCell(UNITS, 3), fc=nn.Linear(3, 1)), {}, ()
    yield (
        "no recurrent layer",
        Stack(
            lambda net, x: net.body(x[:, 0]),
            body=nn.Sequential(nn.Linear(FEATURES, 7), nn.ReLU(), nn.Linear(7, 2)),
        ),
        {},
        ("no recurrent layer",),
    )


def _beside(model: Stack, **tensors: Tensor) -> Stack:
    """The model with learned tensors beside its layers."""
    for name, tensor in tensors.items():
        model.register_parameter(name, nn.Parameter(tensor))
    return model


def _started(rnn: str) -> Callable[..., Tensor]:
    """A forward from the model's own initial state, the same for each sample."""

    def forward(net: Stack, x: Tensor) -> Tensor:
        state = [net._parameters[name].expand(-1, len(x), -1).contiguous() for name in net._parameters]
        return net.fc(net._modules[rnn](x, tuple(state) if len(state) > 1 else state[0])[0][:, -1])

    return forward


def _with_tensors_beside() -> Iterator[tuple[str, Stack, dict[str, str], tuple[str, ...]]]:
    """Models with a learned initial state, or with a table of positions."""
    lstm = nn.LSTM(FEATURES, UNITS, 2, batch_first=True, bidirectional=True)
    model = Stack(_started("lstm"), lstm=lstm, fc=nn.Linear(2 * UNITS, 2))
    states = {"h0": torch.randn(4, 1, UNITS), "c0": torch.randn(4, 1, UNITS)}
    yield "learned initial state", _beside(model, **states), {}, ("starts from 'h0' and 'c0' of the file",)
    model = Stack(last("lstm"), lstm=nn.LSTM(FEATURES, UNITS, batch_first=True), fc=nn.Linear(UNITS, 2))
    states = {"init_hidden": torch.randn(1, UNITS), "init_cell": torch.randn(1, UNITS)}
    yield "unused initial state", _beside(model, **states), {"initial_state": "zeros"}, ("starts from zeros",)
    model = Stack(_from_cell, cell=nn.GRUCell(FEATURES, UNITS), fc=nn.Linear(UNITS, 2))
    yield "cell with an initial state", _beside(model, h_0=torch.randn(UNITS)), {}, ("starts from 'h_0' of the file",)
    for name, table, read, chosen in (
        ("positions", torch.randn(1, 9, 3), lambda first, pe: first + pe[0, :STEPS], {}),
        ("positions of a tutorial", torch.randn(9, 1, 3), lambda first, pe: first * 3**0.5 + pe[:STEPS, 0],
         {"positions": "added to √size times the vectors"}),
        ("positions left out", torch.randn(9, 3), lambda first, pe: first, {"positions": "left out"}),
    ):  # fmt: skip
        model = Stack(
            lambda net, x, read=read: net.fc(net.gru(read(net.first(x), net.pos.pe))[0][:, -1]),
            first=nn.Linear(FEATURES, 3),
            pos=_beside(Stack(lambda net, x: x), pe=table),
            gru=nn.GRU(3, UNITS, batch_first=True),
            fc=nn.Linear(UNITS, 1),
        )
        yield name, model, chosen, ("'pos.pe', one a timestep, at what 'first' gives", "rows for 9 timesteps")
    yield (
        "positions of the input",
        Stack(
            lambda net, x: net.fc(net.gru(x + net.pos_emb.weight[:STEPS])[0][:, -1]),
            gru=nn.GRU(FEATURES, UNITS, batch_first=True),
            pos_emb=nn.Embedding(9, FEATURES),
            fc=nn.Linear(UNITS, 1),
        ),
        {},
        ("'pos_emb.weight', one a timestep, at the input",),
    )


def _reparametrized() -> Iterator[tuple[str, Stack, dict[str, str], tuple[str, ...]]]:
    """Models whose weights are computed from others."""
    utils, new = nn.utils, nn.utils.parametrizations
    ways = {
        "weight norm": lambda model: (new.weight_norm(model.lstm, "weight_hh_l0"), new.weight_norm(model.fc)),
        "weight norm by columns": lambda model: new.weight_norm(model.fc, dim=1),
        "weight norm of all": lambda model: new.weight_norm(model.fc, dim=None),
        "weight norm, old": lambda model: (utils.weight_norm(model.lstm, "weight_ih_l0"), utils.weight_norm(model.fc)),
        "spectral norm": lambda model: new.spectral_norm(model.fc),
        "spectral norm, old": lambda model: utils.spectral_norm(model.fc),
        "pruned": lambda model: prune.random_unstructured(model.fc, "weight", 0.5),
    }
    for name, change in ways.items():
        model = plain()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the old ways, whose files remain
            change(model)
        with torch.no_grad():
            for tensor in model.fc.parameters():
                tensor.mul_(1.5)  # so that no part is what the others give
        yield name, model, {}, ("Computed from their parts, as in evaluation", "'fc.weight'")


def _from_cell(net: Stack, x: Tensor) -> Tensor:
    state = net.h_0.expand(len(x), -1)
    for step in x.unbind(1):
        state = net.cell(step, state)
    return net.fc(state)


def _lists(net: Stack, x: Tensor) -> Tensor:
    for layer, norm in zip(net.lstms, net.norms, strict=True):
        x = norm(layer(x)[0])
    return net.fc(x[:, -1])


def _cells(net: Stack, x: Tensor) -> Tensor:
    h = c = x.new_zeros(len(x), UNITS)
    g = x.new_zeros(len(x), 3)
    for step in x.unbind(1):
        h, c = net.one(step, (h, c))
        g = net.two(h, g)
    return net.fc(g)
