"""The judge is judged first: against PyTorch's forward, brute force over coalitions, captum, and shap."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from reference import layers, paired, peers
from reference.paired import Multipliers, PairedArray, elementwise
from reference.recurrent import run, trace
from torch import nn


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}


def random_pair(rng: np.random.Generator, *shape: int) -> PairedArray:
    return PairedArray(rng.normal(size=shape), rng.normal(size=shape))


# --- Forward: the same numbers as PyTorch ------------------------------------------------------------------

STACKS = {
    "LSTM": (nn.LSTM, {}),
    "LSTM stacked, both directions": (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "LSTM projected": (nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    "LSTM without bias": (nn.LSTM, {"bias": False}),
    "GRU": (nn.GRU, {}),
    "GRU stacked, both directions": (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "RNN tanh": (nn.RNN, {"num_layers": 2}),
    "RNN relu": (nn.RNN, {"nonlinearity": "relu", "bidirectional": True}),
}


@pytest.mark.parametrize("name", STACKS)
def test_recurrent_forward_is_torchs_and_attributions_conserve_at_every_step(name):
    torch.manual_seed(0)
    kind, options = STACKS[name]
    net = kind(3, 4, **options).double()
    rng = np.random.default_rng(1)
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    x = random_pair(rng, 7, 3)
    h_0 = random_pair(rng, rows, options.get("proj_size", 0) or 4)
    c_0 = random_pair(rng, rows, 4)
    states = (h_0, c_0) if kind is nn.LSTM else h_0
    result = run(
        name.split()[0],
        weights_of(net),
        x,
        h_0=h_0,
        c_0=c_0,
        nonlinearity=options.get("nonlinearity", "tanh"),
    )
    for member in ("test", "base"):

        def tensor(pair, member=member):
            return torch.from_numpy(getattr(pair, member))

        expected, final = net(tensor(x), tuple(map(tensor, states)) if kind is nn.LSTM else tensor(states))
        np.testing.assert_allclose(getattr(result.outputs, member), expected.detach(), atol=1e-14)
        h_n, *c_n = final if kind is nn.LSTM else (final,)
        np.testing.assert_allclose(getattr(result.h_n, member), h_n.detach(), atol=1e-14)
        if c_n:
            np.testing.assert_allclose(getattr(result.c_n, member), c_n[0].detach(), atol=1e-14)

    # One number that depends on every output and final state.
    parts = [result.outputs, result.h_n, *([result.c_n] if result.c_n else [])]
    total = sum((part * rng.normal(size=part.shape)).sum() for part in parts)
    m = Multipliers(total)
    contributions = [m.contributions(leaf) for leaf in (x, h_0, *([c_0] if result.c_n else []))]
    size = sum(abs(part).sum() for part in contributions)
    assert abs(sum(part.sum() for part in contributions) - total.delta) <= 1e-13 * size  # measured 4e-16
    for layer in result.layers.values():
        t = trace(layer, m)
        np.testing.assert_allclose(
            t.mass, t.contribution.sum((1, 2)) + t.carry.sum(1), atol=1e-13 * abs(t.contribution).max()
        )


def test_a_shorter_sequence_in_padding_is_the_sequence_alone():
    torch.manual_seed(0)
    weights = weights_of(nn.LSTM(2, 3, bidirectional=True))
    padded = random_pair(np.random.default_rng(0), 6, 2)
    alone = run("LSTM", weights, PairedArray(padded.test[:4], padded.base[:4]))
    within = run("LSTM", weights, padded, length=4)
    np.testing.assert_array_equal(within.outputs.test[:4], alone.outputs.test)
    np.testing.assert_array_equal(within.h_n.base, alone.h_n.base)
    assert not within.outputs.test[4:].any()
    m = Multipliers(within.outputs.sum())
    assert not m[padded][4:].any()
    assert not trace(within.layers["l0_reverse"], m).mass[4:].any()


def _layer_cases():
    torch.manual_seed(0)
    rng = np.random.default_rng(2)
    w = weights_of
    conv = nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2)
    batch = nn.BatchNorm1d(4).eval()
    batch.running_mean.normal_()
    batch.running_var.uniform_(0.5, 2)
    group = nn.GroupNorm(2, 4)
    attend = nn.MultiheadAttention(4, 2, batch_first=True)
    encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu").eval()
    first = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True).eval()
    for module in (conv, batch, group, attend, encoder, first):
        module.double()
    channels, steps = random_pair(rng, 4, 9), random_pair(rng, 5, 4)
    return {
        "conv1d": (
            conv,
            channels,
            lambda x: layers.conv1d(w(conv), x, stride=2, padding=2, dilation=2, groups=2),
        ),
        "batch norm": (batch, channels, lambda x: layers.batch_norm(w(batch), x)),
        "group norm": (group, channels, lambda x: layers.group_norm(w(group), x, 2)),
        "attention": (
            lambda x: attend(x, x, x)[0],
            steps,
            lambda x: layers.multihead_attention(w(attend), x, x, x, 2),
        ),
        "transformer": (
            encoder,
            steps,
            lambda x: layers.transformer_encoder_layer(w(encoder), x, 2, activation=paired.gelu),
        ),
        "transformer, norm first": (
            first,
            steps,
            lambda x: layers.transformer_encoder_layer(w(first), x, 2, norm_first=True),
        ),
        "softmax": (lambda x: torch.softmax(x, -1), steps, paired.softmax),
        "log-softmax": (lambda x: torch.log_softmax(x, -1), steps, paired.log_softmax),
        "max over time": (lambda x: x.amax(1), steps, lambda x: paired.max_over(x, 0)),
    }


@pytest.mark.parametrize("name", _layer_cases())
def test_layer_forward_is_torchs_and_contributions_are_complete(name):
    module, x, mirrored = _layer_cases()[name]
    result = mirrored(x)
    for member in ("test", "base"):
        with torch.no_grad():
            expected = module(torch.from_numpy(getattr(x, member))[None])[0]
        np.testing.assert_allclose(getattr(result, member), expected, atol=1e-13)
    total = (result * np.random.default_rng(0).normal(size=result.shape)).sum()
    found = Multipliers(total).contributions(x)
    assert abs(found.sum() - total.delta) <= 1e-13 * abs(found).sum()


ACTIVATIONS = {
    "sigmoid": (paired.sigmoid, torch.sigmoid),
    "tanh": (paired.tanh, torch.tanh),
    "relu": (paired.relu, torch.relu),
    "relu6": (paired.relu6, nn.ReLU6()),
    "leaky_relu": (paired.leaky_relu(), nn.LeakyReLU()),
    "elu": (paired.elu, nn.ELU()),
    "celu": (paired.celu(1.5), nn.CELU(1.5)),
    "selu": (paired.selu, nn.SELU()),
    "gelu": (paired.gelu, nn.GELU()),
    "gelu_tanh": (paired.gelu_tanh, nn.GELU("tanh")),
    "silu": (paired.silu, nn.SiLU()),
    "softplus": (paired.softplus, nn.Softplus(threshold=1000)),
    "mish": (paired.mish, nn.Mish()),
    "logsigmoid": (paired.logsigmoid, nn.LogSigmoid()),
    "softsign": (paired.softsign, nn.Softsign()),
    "tanhshrink": (paired.tanhshrink, nn.Tanhshrink()),
    "softshrink": (paired.softshrink, nn.Softshrink()),
    "hardshrink": (paired.hardshrink, nn.Hardshrink()),
    "hardtanh": (paired.hardtanh, nn.Hardtanh()),
    "hardsigmoid": (paired.hardsigmoid, nn.Hardsigmoid()),
    "hardswish": (paired.hardswish, nn.Hardswish()),
    "square": (paired.square, torch.square),
    "erf": (paired.erf, torch.erf),
    "absolute": (paired.absolute, torch.abs),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_scalar_function_is_torchs_with_its_derivative_where_the_pair_is_equal(name):
    mirrored, torchs = ACTIVATIONS[name]
    points = np.random.default_rng(0).normal(scale=3, size=20)
    x = PairedArray(points, points)
    y = elementwise(x, mirrored)
    tensor = torch.from_numpy(points).requires_grad_()
    expected = torchs(tensor)
    np.testing.assert_allclose(y.test, expected.detach(), rtol=1e-12, atol=1e-14)
    expected.sum().backward()
    # torch's own derivative of hardsigmoid is 1/6 in float32; the others agree to 1e-12.
    np.testing.assert_allclose(Multipliers(y.sum())[x], tensor.grad, rtol=1e-7, atol=1e-13)


# --- Difference quotients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.0, 1e-300, 1e-30, 1e-16, 1e-8, 1e-3, 1.0, 100.0])
@pytest.mark.parametrize("at", [0.0, 0.3, -2.0, 40.0, -300.0])
def test_secants_do_not_suffer_from_cancellation(at, gap):
    a = at + gap
    x = PairedArray([a], [at])
    found = Multipliers(elementwise(x, paired.tanh).sum())[x][0]
    with mpmath.workdps(700):
        first, second = mpmath.mpf(a), mpmath.mpf(at)
        d = first - second
        quotient = mpmath.sinh(d) / d if d else 1
        expected = float(quotient / (mpmath.cosh(first) * mpmath.cosh(second)))
    assert found == pytest.approx(expected, rel=1e-14, abs=1e-320)


# --- Shapley values by brute force -------------------------------------------------------------------------


def shapley_values(function, test: np.ndarray, base: np.ndarray) -> np.ndarray:
    """By definition: the mean over all orders of what each player's arrival changes."""
    values = np.zeros(len(test))
    for order in itertools.permutations(range(len(test))):
        now = base.copy()
        for player in order:
            before = function(now)
            now[player] = test[player]
            values[player] += function(now) - before
    return values / math.factorial(len(test))


def two_branches(activation_a, activation_b, combine):
    """``combine(f(a), g(b))``: a net of two players, whose paired rules give the exact Shapley values."""

    def net(x: PairedArray) -> PairedArray:
        return combine(elementwise(x[0:1] * 1.7 - 0.2, activation_a), elementwise(x[1:2] * -0.9, activation_b)).sum()

    return net


TWO_PLAYERS = {
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / (b + 3.0),
    "product of a product": lambda a, b: (a * b) * 2.5 - a,
    "max": lambda a, b: paired.two_arguments(a, b, paired.maximum),
    "max over an axis": lambda a, b: paired.max_over(paired.concat([a, b]), 0),
    "min": lambda a, b: paired.two_arguments(a, b, paired.minimum),
    "pow": lambda a, b: paired.two_arguments(a + 2.0, b, paired.power_of),
    "atan2": lambda a, b: paired.two_arguments(a, b, paired.atan2),
    "matmul": lambda a, b: a.reshape(1, 1) @ b.reshape(1, 1),
    "softplus gate": lambda a, b: elementwise(a, paired.sigmoid) * elementwise(b, paired.softplus),
}


@pytest.mark.parametrize("name", TWO_PLAYERS)
def test_two_player_nets_get_their_shapley_values(name):
    net = two_branches(paired.sigmoid, paired.tanh, TWO_PLAYERS[name])
    for seed in range(5):
        x = random_pair(np.random.default_rng(seed), 2)
        exact = shapley_values(lambda v: net(PairedArray(v, v)).test.item(), x.test, x.base)
        np.testing.assert_allclose(Multipliers(net(x)).contributions(x), exact, atol=1e-13)


@pytest.mark.parametrize("seed", range(30))
def test_maximum_of_several_gives_their_shapley_values(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    test, base = rng.integers(-3, 4, (2, n)).astype(float)  # small integers, so that ties occur
    found = paired.shapley_max(test, base) * (test - base)
    np.testing.assert_allclose(found, shapley_values(np.max, test, base), atol=1e-14)


def test_maximum_is_continuous_where_an_element_does_not_differ():
    rng = np.random.default_rng(0)
    for _ in range(30):
        test, base = rng.normal(size=(2, 4))
        base[1] = test[1]
        for nudge in (1e-7, -1e-7):
            moved = base.copy()
            moved[1] += nudge
            # The game is piecewise linear in the nudged element, so this far from ties the slopes are equal.
            np.testing.assert_allclose(paired.shapley_max(test, moved), paired.shapley_max(test, base), atol=1e-5)


@pytest.mark.parametrize("common", [0, 5, 20, 100])
@pytest.mark.parametrize("spread", [1, 10, 30])
def test_softmax_is_bounded_however_far_apart_the_pair_is(spread, common):
    rng = np.random.default_rng(0)
    for _ in range(10):
        x = PairedArray(spread * rng.normal(size=5) + common, spread * rng.normal(size=5))
        y = (paired.softmax(x) * rng.normal(size=5)).sum()
        found = Multipliers(y).contributions(x)
        # Measured: off by at most 7e-14, sizes up to 2.5 |Δa|.
        assert abs(found.sum() - y.delta) <= 1e-14 * (1 + abs(x.delta).sum())
        assert abs(found).max() <= 5 * (1 + abs(x.delta).max())


def test_softmax_by_a_quotient_explodes_with_a_common_difference():
    """Why the quotient ``exp(a - s)/Σ exp(a - s)`` is not sound as it stands: y does not move at all here."""
    logits = np.array([0.3, -0.2, 1.0])
    for common in (1.0, 5.0, 20.0):
        x = PairedArray(logits + common, logits)
        contributions, expected = (
            Multipliers(rule(x)[0]).contributions(x) for rule in (paired.softmax_by_quotient, paired.softmax)
        )
        np.testing.assert_allclose(contributions, expected * np.sinh(common) / common, rtol=1e-6)


# --- Peers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", peers.PROBLEMS)
def test_shap_on_written_out_cells_says_the_same(name):
    p = peers.problem(name)
    answers = peers.shap_answers()
    for n, row in enumerate(p.test):
        x = PairedArray(row, p.base[0])
        out = run(p.kind, p.weights, x).h_n @ p.weights["head"].T
        found = Multipliers(out).contributions(x)
        expected = answers[f"{name}/attributions"][n]
        assert out.test.item() == pytest.approx(answers[f"{name}/prediction"][n], abs=1e-14)
        # Measured: at most 2e-14 of the largest.
        np.testing.assert_allclose(found, expected, atol=1e-12 * abs(expected).max())


@pytest.mark.parametrize("seed", range(3))
def test_captum_on_feed_forward_nets_says_the_same(seed):
    net, mirrored = peers.feed_forward(seed)
    x = random_pair(np.random.default_rng(seed), 4)
    expected = peers.captum_answer(net, x.test[None], x.base[None])[0]
    found = Multipliers(mirrored(x)).contributions(x)
    # Measured: at most 3e-15; captum takes the derivative where |Δ| < 1e-10.
    np.testing.assert_allclose(found, expected, atol=1e-12 * abs(expected).max())
