"""Random compositions of layers against the reference: a few in every run, many by the marker ``fuzz``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from cases import part
from exactness import Net, assert_exact, draw, weights_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import layers, paired
from reference.paired import PairedArray, concat, elementwise
from reference.recurrent import Weights, run
from torch import nn

ACTIVATIONS = {
    "relu": (nn.ReLU, paired.relu),
    "tanh": (nn.Tanh, paired.tanh),
    "sigmoid": (nn.Sigmoid, paired.sigmoid),
    "elu": (nn.ELU, paired.elu),
    "gelu": (nn.GELU, paired.gelu),
    "silu": (nn.SiLU, paired.silu),
    "softplus": (nn.Softplus, paired.softplus),
}
Mirror = Callable[[Weights, PairedArray], PairedArray]


@dataclass(frozen=True)
class Block:
    """Sequences (N, T, C) to (N, T, width), and the same for one sample (T, C)."""

    module: nn.Module
    mirror: Mirror
    width: int


def dense(channels: int, width: int, activation: str) -> Block:
    module, function = ACTIVATIONS[activation]
    return Block(
        nn.Sequential(nn.Linear(channels, width), module()),
        lambda w, x: elementwise(layers.linear(w, x, "0."), function),
        width,
    )


def recurrent(channels: int, width: int, kind: str, bidirectional: bool, depth: int) -> Block:
    rnn = getattr(nn, kind)(channels, width, depth, batch_first=True, bidirectional=bidirectional)
    return Block(
        Net(lambda net, x: net.rnn(x)[0], rnn=rnn),
        lambda w, x: run(kind, part(w, "rnn"), x).outputs,
        width * (1 + bidirectional),
    )


def convolution(channels: int, width: int, dilation: int) -> Block:
    conv = nn.Conv1d(channels, width, 3, padding=dilation, dilation=dilation)
    return Block(
        Net(lambda net, x: net.conv(x.transpose(1, 2)).transpose(1, 2), conv=conv),
        lambda w, x: layers.conv1d(part(w, "conv"), x.transpose(1, 0), padding=dilation, dilation=dilation).transpose(
            1, 0
        ),
        width,
    )


def normalisation(channels: int) -> Block:
    # A large eps keeps rows that hardly vary from being blown up, which would test rounding and nothing else.
    return Block(nn.LayerNorm(channels, eps=0.1), lambda w, x: layers.layer_norm(w, x, eps=0.1), channels)


def gate(channels: int, width: int) -> Block:
    def mirror(w, x):
        return layers.linear(w, x, "a.") * elementwise(layers.linear(w, x, "b."), paired.sigmoid)

    module = Net(
        lambda net, x: net.a(x) * net.b(x).sigmoid(),
        a=nn.Linear(channels, width),
        b=nn.Linear(channels, width),
    )
    return Block(module, mirror, width)


def rivals(channels: int, width: int) -> Block:
    def mirror(w, x):
        return paired.two_arguments(layers.linear(w, x, "a."), layers.linear(w, x, "b."), paired.maximum)

    module = Net(
        lambda net, x: torch.maximum(net.a(x), net.b(x)),
        a=nn.Linear(channels, width),
        b=nn.Linear(channels, width),
    )
    return Block(module, mirror, width)


def attention(channels: int, width: int) -> Block:
    """Queries and keys are bounded: logits far apart in the pair have a test of their own."""

    def forward(net, x):
        return torch.softmax(net.q(x).tanh() @ net.k(x).tanh().mT, -1) @ net.v(x)

    def mirror(w, x):
        q, k, v = (layers.linear(w, x, f"{name}.") for name in "qkv")
        scores = elementwise(q, paired.tanh) @ elementwise(k, paired.tanh).transpose(1, 0)
        return paired.softmax(scores) @ v

    return Block(Net(forward, **{name: nn.Linear(channels, width) for name in "qkv"}), mirror, width)


def reversal(channels: int) -> Block:
    return Block(Net(lambda _, x: nn.functional.dropout(x.flip(1), training=False)), lambda _, x: x[::-1], channels)


def residual(channels: int, inside: Callable[[int], Block]) -> Block:
    """``x + P f(x)``."""
    block = inside(channels)
    module = Net(
        lambda net, x: x + net.project(net.inside(x)),
        inside=block.module,
        project=nn.Linear(block.width, channels),
    )
    return Block(module, lambda w, x: x + layers.linear(w, block.mirror(part(w, "inside"), x), "project."), channels)


def twice(channels: int, inside: Callable[[int], Block]) -> Block:
    """The same modules at two places: ``g(g(x))`` with ``g = P f``."""
    block = inside(channels)

    def mirror(w, x):
        for _ in range(2):
            x = layers.linear(w, block.mirror(part(w, "inside"), x), "project.")
        return x

    module = Net(
        lambda net, x: net.project(net.inside(net.project(net.inside(x)))),
        inside=block.module,
        project=nn.Linear(block.width, channels),
    )
    return Block(module, mirror, channels)


def beside(channels: int, left: Callable[[int], Block], right: Callable[[int], Block]) -> Block:
    a, b = left(channels), right(channels)
    return Block(
        Net(lambda net, x: torch.cat([net.a(x), net.b(x)], -1), a=a.module, b=b.module),
        lambda w, x: concat([a.mirror(part(w, "a"), x), b.mirror(part(w, "b"), x)], 1),
        a.width + b.width,
    )


def factory(make, *arguments) -> Callable[[int], Block]:
    build = lambda channels: make(channels, *arguments)  # noqa: E731 - so that hypothesis can print it
    build.__name__ = f"{make.__name__}{tuple(getattr(a, '__name__', a) for a in arguments)}"
    return build


WIDTHS = st.integers(2, 5)
SIMPLE = st.one_of(
    st.builds(factory, st.just(dense), WIDTHS, st.sampled_from(sorted(ACTIVATIONS))),
    st.builds(
        factory,
        st.just(recurrent),
        WIDTHS,
        st.sampled_from(["LSTM", "GRU", "RNN"]),
        st.booleans(),
        st.integers(1, 2),
    ),
    st.builds(factory, st.just(convolution), WIDTHS, st.integers(1, 2)),
    st.builds(factory, st.just(normalisation)),
    st.builds(factory, st.just(gate), WIDTHS),
    st.builds(factory, st.just(rivals), WIDTHS),
    st.builds(factory, st.just(attention), WIDTHS),
    st.builds(factory, st.just(reversal)),
)
BLOCKS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(factory, st.just(residual), inner),
        st.builds(factory, st.just(twice), inner),
        st.builds(factory, st.just(beside), inner, inner),
    ),
    max_leaves=3,
)
POOLS = {
    "last": (lambda x: x[:, -1], lambda x: x[x.shape[0] - 1].reshape(1, -1)),
    "mean": (lambda x: x.mean(1), lambda x: x.average(0, keepdims=True)),
    "flat": (lambda x: x.flatten(1), lambda x: x.reshape(1, -1)),
}


def compose(blocks, pool: str, steps: int, channels: int, outputs: int) -> tuple[Net, Callable]:
    built, width = [], channels
    for block in blocks:
        built.append(block(width))
        width = built[-1].width
    pooled, pooled_mirror = POOLS[pool]
    net = Net(
        lambda net, x: net.head(pooled(net.body(x))),
        body=nn.Sequential(*[block.module for block in built]),
        head=nn.Linear(width * (steps if pool == "flat" else 1), outputs),
    ).eval()

    def mirror(x):
        weights = weights_of(net)
        for i, block in enumerate(built):
            x = block.mirror(part(weights, f"body.{i}"), x)
        return layers.linear(weights, pooled_mirror(x), "head.")

    return net, mirror


def agrees_with_the_reference(blocks, pool, steps, channels, outputs, scale, seed, dtype):
    torch.manual_seed(seed)
    net, mirror = compose(blocks, pool, steps, channels, outputs)
    x = scale * draw(seed, 2, steps, channels)
    base = scale * draw(seed + 1, 2, steps, channels)
    base[0, 0] = x[0, 0]  # some members of the pair are equal
    assert_exact(net, [x], mirror, dtype=dtype, baselines=[base], agreement=BOUNDS[dtype], rounding=30)


# A random stack may amplify the rounding of float32.
BOUNDS = {torch.float32: 1e-3, torch.float64: 1e-10}

MODELS = {
    "blocks": st.lists(BLOCKS, min_size=1, max_size=4),
    "pool": st.sampled_from(sorted(POOLS)),
    "steps": st.integers(1, 6),
    "channels": st.integers(2, 4),
    "outputs": st.integers(1, 2),
    "scale": st.sampled_from([0.1, 1.0, 1.0, 10.0]),
    "seed": st.integers(0, 2**16),
    "dtype": st.sampled_from([torch.float64, torch.float64, torch.float32]),
}
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


@settings(max_examples=40, derandomize=True, database=None, **SLOW)
@given(**MODELS)
def test_random_models(**model):
    agrees_with_the_reference(**model)


@pytest.mark.fuzz
@settings(max_examples=1000, database=None, **SLOW)
@given(**MODELS)
def test_many_random_models(**model):
    agrees_with_the_reference(**model)
