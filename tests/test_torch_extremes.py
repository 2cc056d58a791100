"""Long, saturated, tiny and huge: where difference quotients lose their digits if they can."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exactness import Net, assert_exact, draw, weights_of
from reference.layers import linear
from reference.recurrent import run
from torch import nn

FEATURES, HIDDEN = 2, 3
KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


def last_step(kind: str, bias: bool = True, layers: int = 1) -> Net:
    torch.manual_seed(13)
    return Net(
        lambda net, x: net.head(net.rnn(x)[0][:, -1]),
        rnn=KINDS[kind](FEATURES, HIDDEN, layers, batch_first=True, bias=bias),
        head=nn.Linear(HIDDEN, 1, bias=bias),
    ).eval()


def mirror_of(net, kind):
    weights = weights_of(net)
    own = {name.removeprefix("rnn."): w for name, w in weights.items() if name.startswith("rnn.")}

    def mirror(x):
        result = run(kind, own, x)
        names = {"l0": "rnn"} if len(result.layers) == 1 else {n: f"rnn.{n}" for n in result.layers}
        return (
            linear(weights, result.outputs[-1].reshape(1, -1), "head."),
            {names[name]: layer for name, layer in result.layers.items()},
        )

    return mirror


@pytest.mark.parametrize("kind", KINDS)
def test_five_thousand_steps_in_float32(kind):
    net = last_step(kind)
    with torch.no_grad():  # so that the far past still counts: forget little, and look little at the input
        for name, weight in net.rnn.named_parameters():
            weight.mul_(0.5)
            if kind != "RNN" and name == "bias_ih_l0":
                keep = slice(HIDDEN, 2 * HIDDEN)  # forget gate of an LSTM, update gate of a GRU
                weight[keep] = 6.0
    x = draw(0, 1, 5000, FEATURES)
    ex = assert_exact(net, [x], mirror_of(net, kind), dtype=torch.float32, baselines=[0 * x], agreement=1e-4)
    if kind != "RNN":
        share = np.abs(ex.attributions.values[0, :2500]).sum() / np.abs(ex.attributions.values).sum()
        assert share > 1e-4, "the first half matters, so that 5,000 steps are tested"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_saturated_gates(kind, dtype):
    net = last_step(kind, layers=2)
    with torch.no_grad():
        for weight in net.rnn.parameters():
            weight.mul_(10)
    x = draw(0, 3, 20, FEATURES)
    # Where a tanh net saturates, the pair's predictions differ by hardly more than float32 resolves.
    rounding = 1 if kind == "RNN" else 0
    assert_exact(net, [x], mirror_of(net, kind), dtype=dtype, agreement=SATURATED[dtype], rounding=rounding)


# In a saturated net the next steps amplify the rounding of one step, in the model's own prediction too.
SATURATED = {torch.float32: 1e-4, torch.float64: 1e-10}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_tiny_differences_from_zero(kind, dtype):
    """Without biases the states are tiny too, so that even float32 resolves the prediction's difference."""
    net = last_step(kind, bias=False)
    x = 1e-30 * draw(0, 3, 10, FEATURES)
    assert_exact(net, [x], mirror_of(net, kind), dtype=dtype, baselines=[0 * x], agreement=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gap", [1e-30, 1e-12, 1e-7, 1e-3])
def test_tiny_differences_from_an_ordinary_baseline(kind, gap):
    """The prediction's difference may drown in its rounding; the attributions must be right all the same."""
    net = last_step(kind).double()
    base = draw(1, 1, 10, FEATURES) * (draw(2, 1, 10, FEATURES) > 0)
    x = base + gap * draw(0, 1, 10, FEATURES) * (base == 0)
    expected = derivative_at(net, base) * (x - base)
    ex = explain(net, x, base)
    found = ex.attributions.values
    assert np.isfinite(found).all()
    # To first order in the gap, and never further off than rounding of the states allows.
    np.testing.assert_allclose(found, expected, atol=(10 * gap + 1e-9) * np.abs(expected).max())
    rounding = 2 * np.finfo(np.float64).eps  # of states of order 1
    assert np.abs(ex.residual.values).max() <= rounding + 1e-12 * np.abs(found).sum()


def explain(net, x, base):
    import explain_core as xc

    return xc.explain(net, x, baselines=base)


def derivative_at(net, base: np.ndarray) -> np.ndarray:
    point = torch.from_numpy(base).requires_grad_()
    return torch.autograd.grad(net(point).sum(), point)[0].numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_huge_inputs(kind, dtype):
    net = last_step(kind)
    x = 1e4 * draw(0, 3, 10, FEATURES)
    assert_exact(net, [x], mirror_of(net, kind), dtype=dtype, baselines=[0 * x], agreement=1e-4)
