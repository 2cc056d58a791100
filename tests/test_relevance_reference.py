"""The judge of relevance propagation is judged first: by hand, by autograd, by what was published, and by its sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from relevance_reference import (
    Cell,
    EpsilonRule,
    FinalStates,
    LastStep,
    Linear,
    Recurrent,
    SumOverTime,
    explain,
    gru,
    linear,
    lstm,
    rnn,
    torch_stack,
    weighted_sum,
)
from torch import nn

# Said by PyTorch itself about its own speed whenever a model with proj_size runs.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

STEPS, FEATURES, HIDDEN = 6, 3, 4
KINDS = {
    "LSTM": (nn.LSTM, "LSTM", {}),
    "LSTM projected": (nn.LSTM, "LSTM", {"proj_size": 2}),
    "LSTM without biases": (nn.LSTM, "LSTM", {"bias": False}),
    "GRU": (nn.GRU, "GRU", {}),
    "RNN tanh": (nn.RNN, "RNN", {}),
    "RNN relu": (nn.RNN, "RNN", {"nonlinearity": "relu"}),
}


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


# --- By hand -----------------------------------------------------------------------------------------------


def test_a_linear_layer_gives_its_terms_their_shares():
    # z = (2·1 + 3·(-1), 2·2 + 3·1) + (0.5, 1) = (-0.5, 8); ε = 0.5 makes of these -1 and 8.5.
    weight, bias = np.array([[1.0, -1.0], [2.0, 1.0]]), numbers(0.5, 1)
    of_x, absorbed = linear(numbers(2, 3), weight, bias, numbers(1, 17), eps=0.5)
    np.testing.assert_allclose(of_x, [2 / -1 + 4 * 2, -3 / -1 + 3 * 2], rtol=1e-15)
    assert absorbed["biases"] == pytest.approx(0.5 / -1 + 1 * 2, rel=1e-15)
    assert absorbed["stabilizer"] == pytest.approx(1 * (1 - 0.5) + 17 * (1 - 8 / 8.5), rel=1e-14)


def test_a_sum_of_zero_counts_as_positive_and_without_stabilizer_gives_nothing():
    x, weight = numbers(1, 1), np.array([[2.0, -2.0]])
    of_x, absorbed = linear(x, weight, None, numbers(3), eps=0.5)
    np.testing.assert_array_equal(of_x, [12, -12])
    assert absorbed == {"biases": 0, "stabilizer": 3}
    of_x, absorbed = linear(x, weight, None, numbers(3))
    np.testing.assert_array_equal(of_x, [0, 0])
    assert absorbed == {"biases": 0, "stabilizer": 3}


def test_a_sum_and_a_mean_over_time_are_sums_of_their_terms():
    x = np.array([[1.0, 2.0], [3.0, -1.0]])
    of_x, absorbed = weighted_sum(x, 1.0, numbers(2, 3), eps=1.0)
    np.testing.assert_allclose(of_x, [[1 * 2 / 5, 2 * 3 / 2], [3 * 2 / 5, -1 * 3 / 2]], rtol=1e-15)
    assert absorbed["stabilizer"] == pytest.approx(2 * (1 / 5) + 3 * (1 / 2), rel=1e-15)
    of_x, _ = weighted_sum(x, 0.5, numbers(2, 3), eps=1.0)
    np.testing.assert_allclose(of_x, [[0.5 * 2 / 3, 1 * 3 / 1.5], [1.5 * 2 / 3, -0.5 * 3 / 1.5]], rtol=1e-15)


def test_an_lstm_of_one_unit():
    # Gates have no weights, so they are 1/2. c_1 = c_0/2 + g/2 and c_2 = c_1/2 + g/2 with g = tanh(1·x + b).
    weights = np.array([[0.0], [0.0], [1.0], [0.0]])
    bias, none = numbers(0, 0, 0.25, 0), np.zeros((4, 1))
    x, g, c0 = np.array([[0.5], [0.5]]), np.tanh(0.75), numbers(3)
    c1 = (3 + g) / 2
    c2 = (c1 + g) / 2
    of_x, of_h0, of_c0, absorbed = lstm(x, weights, none, bias, None, np.array([[0.0], [8.0]]), c0=c0)
    of_c1 = 8 * (c1 / 2) / c2
    at_g = numbers(of_c1 * (g / 2) / c1, 8 * (g / 2) / c2)
    np.testing.assert_allclose(of_x[:, 0], at_g * 0.5 / 0.75, rtol=1e-15)
    np.testing.assert_allclose(of_c0, of_c1 * (3 / 2) / c1, rtol=1e-15)
    np.testing.assert_array_equal(of_h0, 0)
    assert absorbed["biases"] == pytest.approx(at_g.sum() * 0.25 / 0.75, rel=1e-15)
    assert absorbed["stabilizer"] == 0


def test_an_lstms_state_and_stabilizer_take_their_part_of_the_candidate():
    # One step: a_g = 2·1 + 0.5·4 - 1 = 3, of ε = 1 it is 4. c = g/2, and that with ε.
    w, u = np.array([[0.0], [0.0], [2.0], [0.0]]), np.array([[0.0], [0.0], [0.5], [0.0]])
    of_x, of_h0, of_c0, absorbed = lstm(
        np.array([[1.0]]), w, u, numbers(0, 0, -1, 0), None, np.array([[1.0]]), h0=numbers(4), eps=1.0
    )
    half = np.tanh(3) / 2
    at_g = half / (half + 1)
    np.testing.assert_allclose([*of_x[0], *of_h0, *of_c0], [at_g * 2 / 4, at_g * 2 / 4, 0], rtol=1e-15)
    assert absorbed["biases"] == pytest.approx(-at_g / 4, rel=1e-15)
    assert absorbed["stabilizer"] == pytest.approx((1 - at_g) + at_g / 4, rel=1e-15)


def test_a_projection_has_no_stabilizer():
    # o·tanh(c) of the two units are in the proportion 1 : tanh-of-more; both go through one sum of weights 3 and -1.
    w = np.zeros((8, 1))
    w[4:6, 0] = 1, 2
    g = np.tanh([1, 2])
    m = np.tanh(g / 2) / 2
    projection = np.array([[3.0, -1.0]])
    of_x, *_, absorbed = lstm(
        np.array([[1.0]]), w, np.zeros((8, 1)), None, None, np.array([[5.0]]), w_hr=projection, eps=0.1
    )
    at_m = 5 * projection[0] * m / (projection[0] @ m)
    at_g = at_m * (g / 2) / (g / 2 + 0.1)
    np.testing.assert_allclose(of_x[0, 0], (at_g * numbers(1 / 1.1, 2 / 2.1)).sum(), rtol=1e-14)
    assert of_x.sum() + absorbed["stabilizer"] == pytest.approx(5, rel=1e-15)


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_of_one_unit(reset_after):
    # Gates are 1/2. q = 2·3 + 1 = 7: a_n = 1·2 + 0.5 + 7/2 = 6. Reset before: a_n = 1·2 + 0.5 + 2·(3/2) + 1 = 6.5.
    w, u = np.array([[0.0], [0.0], [1.0]]), np.array([[0.0], [0.0], [2.0]])
    b_ih, b_hh, h0 = numbers(0, 0, 0.5), numbers(0, 0, 1), numbers(3)
    of_x, of_h0, absorbed = gru(
        np.array([[2.0]]), w, u, b_ih, b_hh, np.array([[10.0]]), h0=h0, reset_after=reset_after, eps=0.5
    )
    a_n = 6 if reset_after else 6.5
    n = np.tanh(a_n)
    h = 1.5 + n / 2 + 0.5
    at_n = 10 * (n / 2) / h
    if reset_after:
        at_q = at_n * 3.5 / 6.5
        from_n, biases = at_q * 6 / 7.5, at_n * 0.5 / 6.5 + at_q * 1 / 7.5
        stabilizer = 10 * 0.5 / h + at_n * 0.5 / 6.5 + at_q * 0.5 / 7.5
    else:
        from_n, biases = at_n * 3 / 7, at_n * 1.5 / 7
        stabilizer = 10 * 0.5 / h + at_n * 0.5 / 7
    np.testing.assert_allclose(of_x, [[at_n * 2 / (a_n + 0.5)]], rtol=1e-15)
    np.testing.assert_allclose(of_h0, [10 * 1.5 / h + from_n], rtol=1e-15)
    assert absorbed["biases"] == pytest.approx(biases, rel=1e-14)
    assert absorbed["stabilizer"] == pytest.approx(stabilizer, rel=1e-14)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_plain_layer_of_one_unit(activation):
    # a = 2·1 + 3·(1/3) + 1 = 4; the activation does not change the shares.
    of_x, of_h0, absorbed = rnn(
        np.array([[1.0]]),
        np.array([[2.0]]),
        np.array([[3.0]]),
        numbers(0.75),
        numbers(0.25),
        np.array([[8.0]]),
        h0=numbers(1 / 3),
        activation=activation,
    )
    np.testing.assert_allclose([of_x[0, 0], of_h0[0], absorbed["biases"]], [4, 2, 2], rtol=1e-15)


@pytest.mark.parametrize(("layer", "gates"), [(lstm, 4), (gru, 3), (rnn, 1)])
def test_relevance_of_the_last_states_is_added_to_that_of_the_outputs(layer, gates):
    weights = [draw(seed, gates * HIDDEN, size) for seed, size in ((0, FEATURES), (1, HIDDEN))]
    x, of_outputs, last = draw(2, STEPS, FEATURES), draw(3, STEPS, HIDDEN), draw(4, HIDDEN)
    at_outputs = of_outputs.copy()
    at_outputs[-1] += last
    expected, *_ = layer(x, *weights, None, None, at_outputs)
    # In an LSTM all of h goes to c, so that it does not matter which of the two is explained.
    for name in ("relevance_of_last_h", "relevance_of_last_c")[: 2 if layer is lstm else 1]:
        found, *_ = layer(x, *weights, None, None, of_outputs, **{name: last})
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * abs(expected).max())


def test_what_reads_over_time():
    x, of_outputs = draw(0, STEPS, 4), draw(1, 4)
    for mean, weight in ((True, 1 / STEPS), (False, 1.0)):
        found, absorbed = SumOverTime(mean).relevance(x, of_outputs, 0.5)
        expected, expected_absorbed = weighted_sum(x, weight, of_outputs, eps=0.5)
        np.testing.assert_array_equal(found, expected)
        assert absorbed == expected_absorbed
        np.testing.assert_allclose(SumOverTime(mean).run(x), (weight * x).sum(0), rtol=1e-14)
    at = {LastStep: [(-1, 0), (-1, 1), (-1, 2), (-1, 3)], FinalStates: [(-1, 0), (-1, 1), (0, 2), (0, 3)]}
    for read, places in at.items():
        expected = np.zeros(x.shape)
        for place, value in zip(places, of_outputs, strict=True):
            expected[place] = value
        np.testing.assert_array_equal(read().run(x), [x[place] for place in places])
        found, absorbed = read().relevance(x, of_outputs, 0.5)
        np.testing.assert_array_equal(found, expected)
        assert not absorbed


# --- By autograd: relevance is the input times a gradient of which each rule changes a factor (Ancona et al. 2018) --


def summed(z: torch.Tensor, eps: float) -> torch.Tensor:
    """A sum whose gradient goes on times z/(z + ε·sign(z)), while its relevance is z times its gradient."""
    value = z.detach()
    z.register_hook(lambda slope: slope * value / torch.where(value < 0, value - eps, value + eps))
    return z


def passed(function, a: torch.Tensor) -> torch.Tensor:
    """f(a) whose slope is f(a)/a, by which relevance passes unchanged."""
    return a * (function(a) / a).detach()


def gate(a: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(a).detach()


def lstm_by_autograd(x, w, u, b, h, c, eps):
    outputs = []
    for x_t in x:
        i, f, g, o = (w @ x_t + u @ h + b).chunk(4)
        c = summed(gate(f) * c + gate(i) * passed(torch.tanh, summed(g, eps)), eps)
        h = gate(o) * passed(torch.tanh, c)
        outputs.append(h)
    return torch.stack(outputs)


def gru_by_autograd(x, w, u, b_x, b_h, h, eps, reset_after):
    outputs = []
    for x_t in x:
        (x_r, x_z, x_n), (h_r, h_z, h_n) = (w @ x_t + b_x).chunk(3), (u @ h + b_h).chunk(3)
        r, z = gate(x_r + h_r), gate(x_z + h_z)
        u_n, b_n = u.chunk(3)[2], b_h.chunk(3)[2]
        recurrent = r * summed(h_n, eps) if reset_after else u_n @ (r * h) + b_n
        h = summed(z * h + (1 - z) * passed(torch.tanh, summed(x_n + recurrent, eps)), eps)
        outputs.append(h)
    return torch.stack(outputs)


def rnn_by_autograd(x, w, u, b, h, eps, activation):
    outputs = []
    for x_t in x:
        h = passed(activation, summed(w @ x_t + u @ h + b, eps))
        outputs.append(h)
    return torch.stack(outputs)


BY_AUTOGRAD = {
    "LSTM": (4, lambda x, w, u, b_x, b_h, h, c, eps: lstm_by_autograd(x, w, u, b_x + b_h, h, c, eps), lstm, {}),
    "GRU": (3, lambda x, w, u, b_x, b_h, h, eps: gru_by_autograd(x, w, u, b_x, b_h, h, eps, True), gru, {}),
    "GRU reset before": (
        3,
        lambda x, w, u, b_x, b_h, h, eps: gru_by_autograd(x, w, u, b_x, b_h, h, eps, False),
        gru,
        {"reset_after": False},
    ),
    "RNN tanh": (1, lambda x, w, u, b_x, b_h, h, eps: rnn_by_autograd(x, w, u, b_x + b_h, h, eps, torch.tanh), rnn, {}),
    "RNN relu": (
        1,
        lambda x, w, u, b_x, b_h, h, eps: rnn_by_autograd(x, w, u, b_x + b_h, h, eps, torch.relu),
        rnn,
        {"activation": "relu"},
    ),
}


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.2])
@pytest.mark.parametrize("name", BY_AUTOGRAD)
def test_relevance_is_input_times_the_changed_gradient(name, eps):
    gates, by_autograd, by_reference, options = BY_AUTOGRAD[name]
    states = 2 if by_reference is lstm else 1
    weights = [0.7 * draw(1, gates * HIDDEN, FEATURES), 0.7 * draw(2, gates * HIDDEN, HIDDEN)]
    biases = [draw(3, gates * HIDDEN), draw(4, gates * HIDDEN)]
    leaves = [draw(0, STEPS, FEATURES), *(draw(5 + k, HIDDEN) for k in range(states))]
    tensors = [torch.from_numpy(leaf).requires_grad_() for leaf in leaves]
    outputs = by_autograd(tensors[0], *map(torch.from_numpy, [*weights, *biases]), *tensors[1:], eps)
    read = draw(9, STEPS, HIDDEN)
    (outputs * torch.from_numpy(read)).sum().backward()

    given = outputs.detach().numpy()
    initial = dict(zip(("h0", "c0"), leaves[1:], strict=False))
    *found, _ = by_reference(leaves[0], *weights, *biases, given * read, **initial, **options, eps=eps)
    size = max(abs(part).max() for part in found)
    for part, tensor, leaf in zip(found, tensors, leaves, strict=True):
        expected = leaf * tensor.grad.numpy()
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-12 * size)


# --- What was published ------------------------------------------------------------------------------------


def test_without_stabilizer_a_network_of_relus_has_gradient_times_input():
    """Ancona et al. 2018, proposition 1; Shrikumar et al. 2016. With biases too."""
    torch.manual_seed(0)
    net, head = nn.RNN(FEATURES, HIDDEN, 2, nonlinearity="relu", bidirectional=True).double(), nn.Linear(8, 2).double()
    x = torch.from_numpy(draw(0, STEPS, FEATURES)).requires_grad_()
    head(net(x)[0].mean(0))[1].backward()
    weights = {name: tensor.detach().numpy() for name, tensor in head.named_parameters()}
    model = [*stack_of(net, "RNN", activation="relu"), SumOverTime(mean=True), Linear(**weights)]
    found = explain(model, x.detach().numpy(), (1,)).relevance
    np.testing.assert_allclose(found, (x * x.grad).detach(), rtol=0, atol=1e-13 * abs(found).max())


def test_an_lstm_that_adds_numbers_gives_each_its_own_size():
    """The arithmetic task of Arras et al. 2019, at gates that are open: relevances are the numbers that were added."""
    w, open_gates = np.zeros((4, 1)), numbers(50, 50, 0, 50)
    w[2] = 1e-5
    x = draw(0, 8, 1)
    h = np.tanh(np.tanh(1e-5 * x).sum())
    of_outputs = np.zeros((8, 1))
    of_outputs[-1] = h
    of_x, *_ = lstm(x, w, np.zeros((4, 1)), open_gates, None, of_outputs)
    np.testing.assert_allclose(of_x / h, x / x.sum(), rtol=1e-9)


# --- What the reference promises itself: the forward run and the sum --------------------------------------------


def stack_of(net: nn.Module, kind: str, **options) -> list[Recurrent]:
    return torch_stack(kind, {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}, **options)


def stacked(name: str, seed: int, **more):
    """A module of two layers in both directions, and what the reference makes of it, with initial states."""
    module, kind, options = KINDS[name]
    torch.manual_seed(seed)
    net = module(FEATURES, HIDDEN, 2, bidirectional=True, **options).double()
    activation = {"activation": options["nonlinearity"]} if "nonlinearity" in options else {}
    h0 = draw(seed + 10, 4, options.get("proj_size", HIDDEN))
    states = {"h0": h0, "c0": draw(seed + 11, 4, HIDDEN)} if kind == "LSTM" else {"h0": h0}
    return net, stack_of(net, kind, **states, **activation), [torch.from_numpy(state) for state in states.values()]


@pytest.mark.parametrize("name", KINDS)
def test_the_forward_run_is_torchs(name):
    net, layers, states = stacked(name, 0)
    x = draw(0, STEPS, FEATURES)
    expected, final = net(torch.from_numpy(x), tuple(states) if len(states) > 1 else states[0])
    found = x
    for layer in layers:
        found = layer.run(found)
    np.testing.assert_allclose(found, expected.detach(), rtol=0, atol=1e-14)
    h_n = (final[0] if len(states) > 1 else final)[-2:].flatten()
    np.testing.assert_allclose(FinalStates().run(found), h_n.detach(), rtol=0, atol=1e-14)


READS = {
    "last step": [LastStep()],
    "final states": [FinalStates()],
    "mean over time": [SumOverTime(mean=True)],
    "sum over time": [SumOverTime()],
    "every step": [],
}


@pytest.mark.parametrize("eps", [0.0, 1e-3, 0.2])
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_relevance_of_the_input_was_absorbed(name, read, eps):
    for seed in range(3):
        _, layers, _ = stacked(name, seed)
        width = 2 * KINDS[name][2].get("proj_size", HIDDEN)
        head = [Linear(draw(seed + 20, 5, width), draw(seed + 21, 5), "tanh"), Linear(draw(seed + 22, 2, 5))]
        x = draw(seed, STEPS, FEATURES)
        found = explain([*layers, *READS[read], *head], x, (2, 1) if read == "every step" else (1,), eps)
        absorbed = found.absorbed
        size = np.abs(found.relevance).sum() + sum(map(abs, absorbed.values()))
        assert found.relevance.shape == x.shape
        assert abs(found.relevance).min() > 0
        assert abs(absorbed["constants"]) > 0
        assert abs(absorbed["biases"]) > 0
        assert abs(found.relevance.sum() + sum(absorbed.values()) - found.prediction) <= 1e-14 * size  # measured 1e-15
        assert abs(absorbed["stabilizer"]) > 1e-6 * size if eps else absorbed["stabilizer"] == 0


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_conserves_with_either_reset(reset_after):
    weights = {"w_ih": draw(0, 12, FEATURES), "w_hh": draw(1, 12, HIDDEN), "b_ih": draw(2, 12), "b_hh": draw(3, 12)}
    cell = Cell("GRU", weights, {"reset_after": reset_after}, {"h0": draw(4, HIDDEN)})
    found = explain([Recurrent((cell,)), LastStep(), Linear(draw(5, 1, HIDDEN))], draw(6, STEPS, FEATURES), (0,), 0.05)
    size = np.abs(found.relevance).sum()
    assert abs(found.relevance.sum() + sum(found.absorbed.values()) - found.prediction) <= 1e-14 * size
    assert [sorted(absorbed) for absorbed in found.layers] == [["biases", "constants", "stabilizer"]] * 3


def test_terms_keep_their_shapes_and_groups():
    rule = EpsilonRule(0.0)
    one, many = rule(numbers(4, 6), numbers(1, 1), np.array([[1.0, 2.0], [0.0, 1.0]]), biases=[None, numbers(0, 1)])
    np.testing.assert_array_equal(one, [1, 2])
    np.testing.assert_array_equal(many, [[1, 2], [0, 2]])
    assert rule.absorbed == {"biases": 2, "stabilizer": 0}
