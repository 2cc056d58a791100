"""shap's tests of its DeepExplainer: sums, mostly. Its housing data is downloaded there and drawn here.

Those on TensorFlow are in `shap_tensorflow_rows`, for a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import explain_core as xc
from benchmarks.conformance.published import Outcome, Row, complete

FILE = "tests/explainers/test_deep.py"
SUMS = "complete to 0.001"
FEATURES, BACKGROUND = 8, 20


class Mnist(nn.Module):
    """Convolutions, among them a transposed one, pooling, five activations, batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        front = [nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.Tanh(), nn.Conv2d(10, 20, 5), nn.ConvTranspose2d(20, 20, 1)]
        self.front = nn.Sequential(*front, nn.AdaptiveAvgPool2d((4, 4)), nn.Softplus(), nn.Flatten())
        self.back = nn.Sequential(
            nn.Linear(320, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 10), nn.ELU(), nn.Softmax(1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.front(x).view(-1, 320))


class Single(nn.Module):
    """Convolutions of size one, average pooling, leaky ReLU, linear, max-pooling over two units."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES // 2, 2)
        self.front = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ConvTranspose1d(1, 1, 1), nn.AdaptiveAvgPool1d(FEATURES // 2))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.linear(nn.functional.leaky_relu(self.front(x.unsqueeze(1)).squeeze(1)))
        return nn.functional.max_pool1d(hidden.unsqueeze(1), 2).squeeze(1)


class Several(nn.Module):
    """Two inputs, of which the second may not be used."""

    def __init__(self, disconnected: bool, activation: nn.Module) -> None:
        super().__init__()
        self.disconnected = disconnected
        self.linear = nn.Linear(FEATURES // 2 if disconnected else FEATURES, 2)
        self.output = nn.Sequential(nn.MaxPool1d(2), activation)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        x = x1 if self.disconnected else torch.cat((x1, x2), -1)
        return self.output(self.linear(x).unsqueeze(1)).squeeze(1)


def sums(make: Callable[[], nn.Module], draw: Callable[[int], Any], background: int) -> Callable[[], Outcome]:
    def run() -> Outcome:
        torch.manual_seed(0)
        model, base, x = make().eval(), draw(background), draw(1)
        return complete(xc.explain(model, x, base, None, "torch", "cpu", True), 1e-3)

    return run


def pixels(count: int) -> Tensor:
    return torch.randn(count, 1, 28, 28)


def houses(count: int) -> Tensor:
    return torch.randn(count, FEATURES)


def halves(count: int) -> tuple[Tensor, Tensor]:
    return houses(count)[:, : FEATURES // 2], houses(count)[:, FEATURES // 2 :]


def row(test: str, model: str, run: Callable[[], Outcome] | None = None, reason: str = "") -> Row:
    return Row("shap", f"{FILE}::{test}", model, SUMS, run, reason)


ACTIVATIONS = {"relu": nn.ReLU, "selu": nn.SELU, "gelu": nn.GELU}
ROWS = [
    *(
        row(f"test_pytorch_mnist_cnn_call[{n}]", "convolutions and a perceptron", sums(Mnist, pixels, 3))
        for n in (True, False)
    ),
    row("test_pytorch_custom_nested_models", "nested modules", sums(Single, houses, BACKGROUND)),
    row("test_pytorch_single_output", "convolutions of size one, max-pooling", sums(Single, houses, BACKGROUND)),
    *(
        row(
            f"test_pytorch_multiple_inputs[{disconnected}-{name}]",
            f"two inputs, {'one unused, ' if disconnected else ''}{name}",
            sums(lambda d=disconnected, a=activation: Several(d, a()), halves, BACKGROUND),
        )
        for disconnected in (True, False)
        for name, activation in ACTIVATIONS.items()
    ),
    row("test_tf_deep_imbdb_transformers", "a language model", None, "its weights are downloaded from a hub"),
]
