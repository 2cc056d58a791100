"""Models in one expression with their mirrors on one sample: what the tests of single layers are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from exactness import DTYPES, Net, assert_exact, draw, weights_of
from reference.layers import linear
from reference.paired import PairedArray
from reference.recurrent import Weights, run
from torch import nn

SAMPLES, STEPS, FEATURES = 3, 6, 4


@dataclass(frozen=True)
class Case:
    """A model made anew by `net()`, and `mirror(weights, x)` of one sample x (T, F)."""

    net: Callable[[], nn.Module]
    mirror: Callable[[Weights, PairedArray], PairedArray]
    options: dict = field(default_factory=dict)


def part(weights: Weights, name: str) -> Weights:
    return {key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")}


def run_cases(cases: dict[str, Case]):
    return pytest.mark.parametrize(
        ("case", "dtype"),
        [
            pytest.param(case, dtype, id=f"{name}-{str(dtype).removeprefix('torch.')}")
            for name, case in cases.items()
            for dtype in DTYPES
        ],
    )


def check_case(case: Case, dtype: torch.dtype) -> None:
    torch.manual_seed(7)
    net = case.net().eval()
    for name, buffer in net.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 2.0)
    for name, parameter in net.named_parameters():
        if "norm" in name and parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    inputs = [draw(0, SAMPLES, STEPS, FEATURES)]
    assert_exact(net, inputs, lambda x: case.mirror(weights_of(net), x), dtype=dtype, **case.options)


def flat(w: Weights, x: PairedArray) -> PairedArray:
    return linear(w, x.reshape(1, -1), "head.")


def last(x):
    return x[STEPS - 1].reshape(1, -1)


def recurrent(w: Weights, name: str, x: PairedArray) -> PairedArray:
    return run("LSTM", part(w, name), x).outputs


def with_lstm(forward, **modules) -> Callable[[], nn.Module]:
    return lambda: Net(
        forward, lstm=nn.LSTM(FEATURES, FEATURES, batch_first=True), **{n: m() for n, m in modules.items()}
    )


def head(width: int = STEPS * FEATURES, outputs: int = 2) -> nn.Linear:
    return nn.Linear(width, outputs)
