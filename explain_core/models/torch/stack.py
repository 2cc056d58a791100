"""The PyTorch module of a plain stack, with parameters under the names that the state dict gives them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from explain_core.models.torch.architecture import Architecture
from explain_core.models.torch.beside import Positions
from explain_core.models.torch.layers import Embedding, Layer, Linear, Norm
from explain_core.models.torch.shapes import Recurrent, Shapes

_ACTIVATIONS = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softmax": lambda: nn.Softmax(dim=-1),
    "log_softmax": lambda: nn.LogSoftmax(dim=-1),
}


class Stack(nn.Module):
    """An embedding (or none), layers for each step, a way to read the recurrent ones, and a head.

    Takes (sample, time, feature), token ids (sample, time) when there is an embedding, or (sample, feature) when no
    layer is recurrent.
    """

    def __init__(self, architecture: Architecture, shapes: Shapes) -> None:
        super().__init__()
        options = architecture.options
        self._read = options.read
        # Tuples, so that each module is registered under the name of the file only.
        self._before = tuple(_place(self, layer, options.nonlinearity) for layer in architecture.before)
        self._head = tuple(_place(self, layer, options.nonlinearity) for layer in architecture.head)
        self._activations = architecture.activations
        self._paths = tuple(layer.path for layer in architecture.before)
        self._initial, positions = architecture.initial, architecture.positions
        self._starts_from_zeros, self._scales = options.initial_state == "zeros", "times" in options.positions
        self._positions = None if options.positions == "left out" else positions
        for name in (
            *(self._initial.names if self._initial else ()),
            *([positions.name] if positions else []),
        ):
            _register(self, name, nn.Parameter(torch.empty(shapes[name]), requires_grad=False))
        self._of_input = _ACTIVATIONS[options.input_activation]()
        self._of_read = _ACTIVATIONS[options.read_activation]()
        self._between = _ACTIVATIONS[options.head_activation]()
        self._after = _ACTIVATIONS[options.output_activation]()
        self._squeezes = options.squeeze == "yes"

    def forward(self, x: Tensor) -> Tensor:
        final, positions = None, self._positions
        if positions is not None and positions.after is None:
            x = self._with_positions(x, positions)
        for path, layer in zip(self._paths, self._before, strict=True):
            if isinstance(layer, (nn.RNNBase, nn.RNNCellBase)):
                x, final = _run(layer, x, self._start(layer, len(x)))
            else:
                x = _each_step(layer, x)
                x = self._of_input(x) if isinstance(layer, nn.Linear) else x
                if positions is not None and positions.after == path:
                    x = self._with_positions(x, positions)
        if final is not None:
            x = self._of_read(self._reduce(x, final))
        for layer, has_activation in zip(self._head, self._activations, strict=True):
            x = _each_step(layer, self._between(x) if has_activation else x)
        x = self._after(x)
        return x.squeeze(-1) if self._squeezes else x

    def _with_positions(self, x: Tensor, positions: Positions) -> Tensor:
        """A row of the table added to each step of (sample, time, feature)."""
        table = self.get_parameter(positions.name).reshape(positions.steps, positions.size)
        return (x * positions.size**0.5 if self._scales else x) + table[: x.shape[1]]

    def _start(self, layer: nn.Module, samples: int) -> Any:
        """The state that the recurrent layer starts from, for each sample; None for zeros."""
        if self._initial is None or self._starts_from_zeros:
            return None
        states = []
        for name in self._initial.names:
            stored = self.get_parameter(name)
            state = stored.reshape(-1, 1, stored.shape[-1]).expand(-1, samples, -1).contiguous()
            states.append(state[0] if isinstance(layer, nn.RNNCellBase) else state)
        return tuple(states) if len(states) > 1 else states[0]

    def _reduce(self, x: Tensor, final: Tensor) -> Tensor:
        """What the head reads, of the outputs (sample, time, unit) and the final states (direction, sample, unit)."""
        read = self._read
        assert read is not None  # it is chosen wherever there is a recurrent layer
        match read:
            case "every step":
                return x
            case "last step":
                return x[:, -1]
            case "final state":
                return torch.cat(tuple(final), dim=-1)
            case "final state of the last direction":
                return final[-1]
            case "last step, directions added":
                return x[:, -1].unflatten(-1, (2, -1)).sum(-2)
            case "last step, mean of directions":
                return x[:, -1].unflatten(-1, (2, -1)).mean(-2)
            case "all steps in a row":
                return x.flatten(1)
        pools = {"mean": x.mean(1), "max": x.amax(1), "last step": x[:, -1]}
        names = read.removesuffix(" over time").replace(", ", " and ").split(" and ")
        return torch.cat([pools[name] for name in names], dim=-1)


def _run(layer: nn.RNNBase | nn.RNNCellBase, x: Tensor, state: Any) -> tuple[Tensor, Tensor]:
    """Outputs (sample, time, unit) and the last layer's final hidden states (direction, sample, unit)."""
    if isinstance(layer, nn.RNNBase):
        outputs, final = layer(x, state)
        hidden = final[0] if isinstance(final, tuple) else final
        return outputs, hidden[-2 if layer.bidirectional else -1 :]
    outputs = []
    for step in x.unbind(1):
        state = layer(step, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs, 1), outputs[-1][None]


def _each_step(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer over the last axis; BatchNorm1d takes features on axis 1."""
    if isinstance(layer, nn.BatchNorm1d) and x.ndim == 3:
        return layer(x.transpose(1, 2)).transpose(1, 2)
    return layer(x)


def _place(root: nn.Module, layer: Layer, nonlinearity: str) -> nn.Module:
    """Register a layer under its dotted path, with empty modules on the way."""
    module = _module(layer, nonlinearity)
    _register(root, layer.path, module)
    return module


def _register(root: nn.Module, path: str, part: nn.Module | nn.Parameter) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    if isinstance(part, nn.Parameter):
        root.register_parameter(name, part)
    else:
        root.add_module(name, part)


def _module(layer: Layer, nonlinearity: str) -> nn.Module:
    match layer:
        case Embedding():
            return nn.Embedding(layer.tokens, layer.output_size)
        case Linear():
            return nn.Linear(layer.input_size, layer.output_size, layer.bias)
        case Norm(kind="batch"):
            return nn.BatchNorm1d(layer.input_size, affine=layer.affine)
        case Norm():
            return nn.LayerNorm(layer.input_size)
    return _recurrent(layer, nonlinearity)


def _recurrent(layer: Recurrent, nonlinearity: str) -> nn.Module:
    extra: dict[str, Any] = {"nonlinearity": nonlinearity} if layer.kind == "RNN" else {}
    if layer.is_cell:
        cell = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}[layer.kind]
        return cell(layer.input_size, layer.hidden_size, layer.bias, **extra)
    if layer.proj_size:
        extra["proj_size"] = layer.proj_size
    kind = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}[layer.kind]
    return kind(
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bias=layer.bias,
        batch_first=True,
        bidirectional=layer.bidirectional,
        **extra,
    )
