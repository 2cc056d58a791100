"""The PyTorch module of a plain stack, with parameters under the names that the state dict gives them."""

from __future__ import annotations

import torch
from torch import nn

from explain_core.models.architecture import Architecture
from explain_core.models.shapes import Recurrent

_ACTIVATIONS = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "softmax": lambda: nn.Softmax(dim=-1),
}


class Stack(nn.Module):
    """Embedding (or none), recurrent layers in a row, a way to read them, Linear layers.

    Takes (sample, time, feature), or token ids (sample, time) when there is an embedding.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        options = architecture.options
        self._read = options.read
        self._embedding: tuple[nn.Module, ...] = ()  # a tuple, so that the module is registered under one name only
        if architecture.embedding:
            path, tokens, size = architecture.embedding
            self._embedding = (_place(self, path, nn.Embedding(tokens, size)),)
        self._recurrent = tuple(
            _place(self, layer.path, _recurrent(layer, options.nonlinearity)) for layer in architecture.recurrent
        )
        self._head = tuple(
            _place(self, linear.path, nn.Linear(linear.input_size, linear.output_size, linear.bias))
            for linear in architecture.head
        )
        self._between = _ACTIVATIONS[options.head_activation]()
        self._after = _ACTIVATIONS[options.output_activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for embedding in self._embedding:
            x = embedding(x)
        final: torch.Tensor | tuple[torch.Tensor, torch.Tensor] = ()
        for layer in self._recurrent:
            x, final = layer(x)
        x = self._reduce(x, final)
        for position, linear in enumerate(self._head):
            x = linear(self._between(x) if position else x)
        return self._after(x)

    def _reduce(self, x: torch.Tensor, final) -> torch.Tensor:
        if self._read == "last step":
            return x[:, -1]
        if self._read == "mean over time":
            return x.mean(1)
        if self._read == "max over time":
            return x.amax(1)
        if self._read == "every step":
            return x
        hidden = final[0] if isinstance(final, tuple) else final
        directions = 2 if self._recurrent[-1].bidirectional else 1
        return torch.cat(tuple(hidden[-directions:]), dim=-1)


def _recurrent(layer: Recurrent, nonlinearity: str) -> nn.Module:
    kind = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}[layer.kind]
    extra = {"nonlinearity": nonlinearity} if layer.kind == "RNN" else {}
    if layer.proj_size:
        extra["proj_size"] = layer.proj_size
    return kind(
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bias=layer.bias,
        batch_first=True,
        bidirectional=layer.bidirectional,
        **extra,
    )


def _place(root: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Register a module under a dotted path, with empty modules on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root._modules[parent]
    root.add_module(name, module)
    return module
