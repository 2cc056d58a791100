"""The models of tangermeme's tests, restated. Layers are made in the order of theirs, to draw the same weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.conformance.published.functional import Of

LENGTH = 100
WIDE = 4 * LENGTH


class Total(nn.Module):
    """The sum of everything: (sample, ...) to (sample, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1, keepdim=True)


def conv(channels: int, out: int, size: int, **options) -> nn.Conv1d:
    return nn.Conv1d(channels, out, (size,), **options)


def dense(x: Tensor, layer: nn.Linear) -> Tensor:
    return layer(x.flatten(1))


def flat_dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(WIDE, 1))


def scaled(alpha: Tensor | None = None, beta: Tensor | None = None) -> nn.Module:
    """A dense layer times ``beta`` plus ``alpha``, which are given for each sample."""
    model = nn.Linear(WIDE, 1)
    return Of(
        lambda net, x: dense(x, net.layer) * (1 if beta is None else beta) + (0 if alpha is None else alpha),
        layer=model,
    )


def dense_of_two() -> nn.Module:
    """A dense layer that has a convolution beside it, which is made but not used."""
    return Of(lambda net, x: dense(x, net.dense), dense=nn.Linear(WIDE, 1), conv=conv(4, 12, 3))


def conv_of_two() -> nn.Module:
    """The sum of a convolution that has a dense layer beside it."""
    return Of(lambda net, x: net.conv(x).sum((-1, -2)).unsqueeze(-1), dense=nn.Linear(WIDE, 1), conv=conv(4, 12, 3))


def first_sum() -> nn.Module:
    return Of(lambda net, x: x.sum(-1)[:, :1])


def first_place() -> nn.Module:
    return Of(lambda net, x: x.permute(0, 2, 1)[:, 0, :1])


def total_conv() -> nn.Module:
    return nn.Sequential(conv(4, 12, 3), Total())


def deep_sea() -> nn.Module:
    """Two convolutions with max-pooling before each ReLU, then two dense layers."""
    layers = [conv(4, 32, 3, padding="same"), nn.MaxPool1d(3), nn.ReLU()]
    layers += [conv(32, 16, 3, padding="same"), nn.MaxPool1d(3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(176, 20), nn.ReLU(), nn.Linear(20, 1))


def residual(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    modules = {
        "first": conv(4, 4, 3, padding="same"),
        "activation": activation(),
        "second": conv(4, 4, 3, padding="same"),
    }
    return Of(
        lambda net, x: dense(net.second(net.activation(net.first(x))) + x, net.dense),
        **modules,
        dense=nn.Linear(WIDE, 1),
    )


def expanded() -> nn.Module:
    """A convolution in 2D whose kernel is as high as the alphabet."""
    modules = {"conv": nn.Conv2d(1, 8, (4, 3)), "dense": nn.Linear(8 * (LENGTH - 2), 1)}
    return Of(lambda net, x: dense(torch.relu(net.conv(x.unsqueeze(1))).squeeze(2), net.dense), **modules)


class Twice(torch.autograd.Function):
    """A linear function with a gradient of its own."""

    @staticmethod
    def forward(ctx, x):
        return x * 2.0

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2.0


class Root(torch.autograd.Function):
    """A square root with a gradient of its own."""

    @staticmethod
    def forward(ctx, x):
        y = torch.sqrt(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 0.5 / ctx.saved_tensors[0]


def custom_linear() -> nn.Module:
    modules = {"conv": conv(4, 4, 3, padding="same"), "dense": nn.Linear(WIDE, 1)}
    return Of(lambda net, x: dense(torch.relu(net.conv(Twice.apply(x))), net.dense), **modules)


def custom_root() -> nn.Module:
    modules = {"conv": conv(4, 4, 3, padding="same"), "dense": nn.Linear(WIDE, 1)}
    return Of(lambda net, x: dense(Root.apply(net.conv(x) + 5.0), net.dense), **modules)


def dilated() -> nn.Module:
    layers: list[nn.Module] = []
    for number, channels in enumerate((4, 8, 8)):
        layers += [conv(channels, 8, 3, dilation=2**number, padding="same"), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * LENGTH, 1))


def many_activations() -> nn.Module:
    layers: list[nn.Module] = []
    for channels, activation in ((4, nn.GELU), (8, nn.SiLU), (8, nn.Tanh)):
        layers += [conv(channels, 8, 3, padding="same"), activation()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * LENGTH, 1))


def with_dropout() -> nn.Module:
    layers = [conv(4, 8, 3, padding="same"), nn.Dropout(0.5), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * LENGTH, 1))


def several_outputs() -> nn.Module:
    """The first of three outputs beside a convolution."""
    return Of(lambda net, x: dense(x, net.dense)[:, :1], conv=conv(4, 12, 3), dense=nn.Linear(WIDE, 3))


def convolved(*after: Callable[[], nn.Module], before: tuple[nn.Module, ...] = (), **options) -> nn.Module:
    """A convolution of eight filters of size five between other layers; those after it are made after it."""
    layer = conv(4, 8, 5, **options)
    return nn.Sequential(*before, layer, *(make() for make in after))
