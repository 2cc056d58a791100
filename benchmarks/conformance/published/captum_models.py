"""The small models of captum's tests, restated; halves of them stand for "up to a layer" and "from a layer on"."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.conformance.published.functional import Of

ACROSS, DOWN = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[2.0, 3.0, 0.0]])


class OfTwo(Of):
    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return self.function(self, x1, x2)


def two_branches(activation: Callable[[Tensor], Tensor]) -> nn.Module:
    """``2·f(x1) + 2·f(x2 - 1.5)``"""
    return OfTwo(lambda net, x1, x2: 2 * activation(x1) + 2 * activation(x2 - 1.5))


def hidden(x1: Tensor, x2: Tensor, scale: float = 1.0) -> Tensor:
    """What goes into the ReLU of `relu_linear`: two units."""
    return torch.cat([x1 @ ACROSS.T, scale * (x2 @ DOWN.T)], 1)


def relu_linear(inplace: bool = False) -> nn.Module:
    """``sum(relu(W1 x1, W2 x2))``"""
    relu = nn.ReLU(inplace=inplace)
    return OfTwo(lambda net, x1, x2: net.relu(hidden(x1, x2)).sum(1, keepdim=True), relu=relu)


def linear_pool_linear() -> nn.Module:
    """The maximum of four."""
    return Of(lambda net, x: net.pool(x.unsqueeze(1))[:, 0], pool=nn.MaxPool1d(4))


def reused() -> nn.Module:
    """One ReLU at two places."""
    parts = {"first": nn.Linear(3, 2), "relu": nn.ReLU(), "second": nn.Linear(2, 2)}
    return Of(lambda net, x: net.relu(net.second(net.relu(net.first(x)))), **parts)


def ones(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    layer.weight = nn.Parameter(torch.ones(outputs, inputs))
    return layer


def sigmoid_model() -> nn.Module:
    return nn.Sequential(ones(20, 5, False), nn.ReLU(), ones(5, 1, False), nn.Sigmoid())


def softmax_model(inputs: int) -> nn.Module:
    layers = [ones(inputs, 20, True), nn.ReLU(), ones(20, 20, True), nn.ReLU(), ones(20, 10, True), nn.Softmax(1)]
    return nn.Sequential(*layers)


def convolutions(dimensions: int) -> nn.Module:
    """Two convolutions with max-pooling, and a softmax over ten classes that all get the same weights."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dimensions - 1]
    layers = [conv(1, 2, 3), nn.ReLU(), pool(2), conv(2, 4, 3), nn.ReLU(), pool(2), nn.Flatten()]
    ends = [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 10)]
    for end in (ends[0], ends[2]):
        end.weight = nn.Parameter(torch.ones_like(end.weight))
    return nn.Sequential(*layers, *ends, nn.Softmax(1))
