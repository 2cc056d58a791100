"""Layer-wise relevance propagation of PyTorch models, against the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from exactness import Net, draw, unchanged, weights_of
from relevance_agreement import absorbed, assert_adds_up, assert_relevance, expected_of, relevances
from relevance_reference import (
    FinalStates,
    LastStep,
    Layer,
    Linear,
    Recurrent,
    SumOverTime,
    linear,
    lstm,
    lstm_steps,
    torch_stack,
)
from torch import nn
from torch.nn.functional import linear as affine
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from explain_core import Explanation
from explain_core.methods import explain_with

# Said by PyTorch itself about its own speed whenever a model with proj_size runs.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

SAMPLES, STEPS, FEATURES, HIDDEN, OUTPUTS = 3, 6, 3, 4, 2
EPSILONS = (0.0, 1e-3, 0.1)
KINDS = {
    "LSTM": (nn.LSTM, {}),
    "GRU": (nn.GRU, {}),
    "RNN-tanh": (nn.RNN, {}),
    "RNN-relu": (nn.RNN, {"nonlinearity": "relu"}),
}
FORMS = {
    "plain": {},
    "two layers": {"num_layers": 2},
    "bidirectional": {"bidirectional": True},
    "two bidirectional layers": {"num_layers": 2, "bidirectional": True},
    "no biases": {"bias": False},
    "projected": {"proj_size": 2},
    "two projected bidirectional layers": {"proj_size": 2, "num_layers": 2, "bidirectional": True},
}


def recurrent(kind: str, **options) -> nn.Module:
    module, own = KINDS[kind]
    return module(FEATURES, HIDDEN, **{"batch_first": True, **own, **options})


def width_of(module: nn.Module) -> int:
    return (module.proj_size or HIDDEN) * (1 + module.bidirectional)


def drawn(net: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The model with weights large enough that activations bend, ready to be explained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(0.7 * torch.randn(weight.shape, generator=generator))
    return net.to(dtype).eval()


def stack_of(module: nn.Module, **states) -> list[Recurrent]:
    """The reference's layers of a recurrent module."""
    kind, _, activation = module.mode.partition("_")
    options = {"activation": activation.lower()} if activation else {}
    return torch_stack(kind, weights_of(module), **states, **options)


def dense(module: nn.Linear, activation: str = "linear") -> Linear:
    return Linear(**weights_of(module), activation=activation)


def relevance(net: nn.Module, inputs, eps: float, **options) -> Explanation:
    with unchanged(net):
        return explain_with("lrp", net, inputs, epsilon=eps, device="cpu", **options)


def units(count: int = OUTPUTS) -> list[tuple[int]]:
    return [(unit,) for unit in range(count)]


def check(net: nn.Module, model: list[Layer], eps: float, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> None:
    """Every output of a net of one input (N, T, I) and K outputs has the reference's relevances."""
    precision = str(dtype).removeprefix("torch.")
    x = draw(seed, SAMPLES, STEPS, FEATURES).astype(precision)
    found = relevance(net, x, eps)
    assert_relevance(found, expected_of(model, x, units(), eps), precision)


# --- Recurrent layers ---------------------------------------------------------------------------------------


def last_step(kind: str, form: str = "plain", seed: int = 0, dtype: torch.dtype = torch.float64) -> Net:
    module = recurrent(kind, **FORMS[form])
    net = Net(lambda net, x: net.head(net.rnn(x)[0][:, -1]), rnn=module, head=nn.Linear(width_of(module), OUTPUTS))
    return drawn(net, seed, dtype)


def layers_of(net: Net) -> list[Layer]:
    """Of a `last_step` net."""
    return [*stack_of(net.rnn), LastStep(), dense(net.head)]


@pytest.mark.parametrize("eps", EPSILONS)
@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in KINDS for form in FORMS if kind == "LSTM" or "projected" not in form]
)
def test_layers(kind, form, eps):
    net = last_step(kind, form)
    check(net, layers_of(net), eps)


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_many_weights_and_inputs(kind, seed):
    net = last_step(kind, "two bidirectional layers", seed)
    check(net, layers_of(net), 1e-3, seed=seed)


@pytest.mark.parametrize("form", ["plain", "two bidirectional layers"])
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision(kind, form):
    """A sum near zero turns rounding into relevance, by one over ε."""
    net = last_step(kind, form, dtype=torch.float32)
    check(net, layers_of(net), 0.1, dtype=torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_time_first(kind):
    module = recurrent(kind, bidirectional=True, batch_first=False)
    net = drawn(Net(lambda net, x: net.head(net.rnn(x)[0][-1]), rnn=module, head=nn.Linear(2 * HIDDEN, OUTPUTS)))
    x = draw(0, SAMPLES, STEPS, FEATURES)
    found = relevance(net, np.swapaxes(x, 0, 1), 1e-3, sample_axis=1)
    assert_relevance(found, expected_of(layers_of(net), x, units(), 1e-3), "float64")


def final_states(net: Net, x: torch.Tensor) -> torch.Tensor:
    _, final = net.rnn(x)
    h_n = final[0] if isinstance(final, tuple) else final
    return net.head(torch.cat([h_n[-2], h_n[-1]], 1))


READS: dict[str, tuple[Callable, Layer]] = {
    "final states": (final_states, FinalStates()),
    "mean over time": (lambda net, x: net.head(net.rnn(x)[0].mean(1)), SumOverTime(mean=True)),
    "sum over time": (lambda net, x: net.head(net.rnn(x)[0].sum(1)), SumOverTime()),
}


@pytest.mark.parametrize("eps", EPSILONS)
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_head_reads(kind, read, eps):
    forward, layer = READS[read]
    module = recurrent(kind, num_layers=2, bidirectional=True)
    net = drawn(Net(forward, rnn=module, head=nn.Linear(2 * HIDDEN, OUTPUTS)))
    check(net, [*stack_of(module), layer, dense(net.head)], eps)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_at_a_timestep(kind):
    net = drawn(Net(lambda net, x: net.head(net.rnn(x)[0]), rnn=recurrent(kind), head=nn.Linear(HIDDEN, OUTPUTS)))
    x = draw(0, SAMPLES, STEPS, FEATURES)
    found = relevance(net, x, 1e-3, target=(3, 1))
    expected = expected_of([*stack_of(net.rnn), dense(net.head)], x, [(3, 1)], 1e-3)
    assert_relevance(found, expected, "float64")
    (parts,) = relevances(found)
    assert not parts[:, :, 4:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_recurrent_layer_alone_is_a_model(kind):
    net = drawn(Net(lambda net, x: net.rnn(x)[0][:, -1], rnn=recurrent(kind)))
    x = draw(0, SAMPLES, STEPS, FEATURES)
    unit = (0,) if kind != "RNN-relu" else (int(net(torch.from_numpy(x)).min(0).values.argmax()),)  # one that is alive
    found = relevance(net, x, 1e-3, target=unit[0])
    assert_relevance(found, expected_of([*stack_of(net.rnn), LastStep()], x, [unit], 1e-3), "float64")


# --- States -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", EPSILONS)
@pytest.mark.parametrize("kind", KINDS)
def test_initial_states_that_are_constants_absorb(kind, eps):
    module = recurrent(kind, num_layers=2, bidirectional=True)
    names = ("h0", "c0") if kind == "LSTM" else ("h0",)
    states = {name: draw(7 + place, 4, HIDDEN) for place, name in enumerate(names)}

    def forward(net, x):
        given = [getattr(net, name)[:, None].expand(-1, len(x), -1).contiguous() for name in names]
        return net.head(net.rnn(x, tuple(given) if len(given) > 1 else given[0])[0][:, -1])

    net = Net(forward, rnn=module, head=nn.Linear(2 * HIDDEN, OUTPUTS))
    for name, values in states.items():
        net.register_buffer(name, torch.from_numpy(values))
    net = drawn(net)
    check(net, [*stack_of(module, **states), LastStep(), dense(net.head)], eps)


@pytest.mark.parametrize("eps", EPSILONS)
def test_states_that_are_inputs_and_outputs(eps):
    """Relevance of an LSTM's initial states, from both of its last ones."""

    def forward(net, x, h_0, c_0):
        _, (h_n, c_n) = net.rnn(x, (h_0.transpose(0, 1).contiguous(), c_0.transpose(0, 1).contiguous()))
        return net.head(torch.cat([h_n[0], c_n[0]], 1))

    net = drawn(Net(forward, rnn=recurrent("LSTM"), head=nn.Linear(2 * HIDDEN, 1)))
    leaves = [draw(0, SAMPLES, STEPS, FEATURES), draw(1, SAMPLES, 1, HIDDEN), draw(2, SAMPLES, 1, HIDDEN)]
    found = relevance(net, tuple(leaves), eps)
    assert_adds_up(found, "float64")
    parts = relevances(found)
    cell, head = stack_of(net.rnn)[0].cells[0].weights, dense(net.head)
    for n, (x, h_0, c_0) in enumerate(zip(*leaves, strict=True)):
        last = lstm_steps(x, **cell, h0=h_0[0], c0=c_0[0])[-1]
        read = np.concatenate([last.h, last.c])
        of_read, _ = linear(read, head.weight, head.bias, head.run(read), eps=eps)
        *expected, _ = lstm(
            x,
            **cell,
            relevance_of_outputs=np.zeros((STEPS, HIDDEN)),
            relevance_of_last_h=of_read[:HIDDEN],
            relevance_of_last_c=of_read[HIDDEN:],
            h0=h_0[0],
            c0=c_0[0],
            eps=eps,
        )
        size = max(np.abs(part).max() for part in expected)
        for part, wanted in zip(parts, expected, strict=True):
            np.testing.assert_allclose(part[0, n].reshape(wanted.shape), wanted, rtol=0, atol=1e-10 * size)


# --- Around recurrent layers --------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", EPSILONS)
@pytest.mark.parametrize("kind", KINDS)
def test_linear_layers_and_activations_before_and_after(kind, eps):
    head = nn.Sequential(nn.Linear(HIDDEN, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, OUTPUTS))
    before = nn.Linear(FEATURES, FEATURES)
    net = Net(
        lambda net, x: net.head(net.rnn(torch.relu(net.before(x)))[0][:, -1]),
        before=before,
        rnn=recurrent(kind),
        head=head,
    )
    drawn(net, seed=1)
    model = [dense(before, "relu"), *stack_of(net.rnn), LastStep()]
    check(net, [*model, dense(head[0], "relu"), dense(head[2], "tanh"), dense(head[4])], eps)


@pytest.mark.parametrize("kind", KINDS)
def test_the_relevance_of_a_token_is_the_sum_over_its_vector(kind):
    net = Net(
        lambda net, ids: net.head(net.rnn(net.embedding(ids))[0][:, -1]),
        embedding=nn.Embedding(10, FEATURES),
        rnn=recurrent(kind),
        head=nn.Linear(HIDDEN, OUTPUTS),
    )
    drawn(net)
    ids = np.random.default_rng(0).integers(0, 10, (SAMPLES, STEPS))
    found = relevance(net, ids, 1e-3)
    vectors = weights_of(net.embedding)["weight"][ids]
    expected = expected_of(layers_of(net), vectors, units(), 1e-3)
    summed = [[replace(one, relevance=one.relevance.sum(1)) for one in of_output] for of_output in expected]
    assert_relevance(found, summed, "float64")


LENGTHS = np.array([4, 6, 1, 5])


def packed_final(net: Net, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    _, final = net.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    h_n = final[0] if isinstance(final, tuple) else final
    return net.head(torch.cat([h_n[-2], h_n[-1]], 1))


def packed_sum(net: Net, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    outputs, _ = net.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return net.head(pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])[0].sum(1))


@pytest.mark.parametrize(("forward", "read"), [(packed_final, FinalStates()), (packed_sum, SumOverTime())])
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_sequence_is_the_sequence_alone_and_its_padding_nothing(kind, forward, read):
    module = recurrent(kind, num_layers=2, bidirectional=True)
    net = drawn(Net(forward, rnn=module, head=nn.Linear(2 * HIDDEN, OUTPUTS)))
    x = draw(0, len(LENGTHS), STEPS, FEATURES)
    found = relevance(net, (x, LENGTHS), 1e-3)
    model = [*stack_of(module), read, dense(net.head)]
    real = np.arange(STEPS) < LENGTHS[:, None]
    assert_relevance(found, expected_of(model, x, units(), 1e-3, real), "float64")


# --- Cells in loops and cells of single operations: ε enters at every operation, so there is none -----------


def states_of(x: torch.Tensor, count: int, value: float = 0.0) -> list[torch.Tensor]:
    return [x.new_full((len(x), HIDDEN), value) for _ in range(count)]


def weights(net: Net) -> tuple[torch.Tensor, ...]:
    return net.rnn.weight_ih_l0, net.rnn.weight_hh_l0, net.rnn.bias_ih_l0, net.rnn.bias_hh_l0


def lstm_update(a: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    i, f, g, o = a.chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm_of_products(net: Net, x: torch.Tensor, start: float = 0.0) -> torch.Tensor:
    w, u, b, d = weights(net)
    h, c = states_of(x, 2, start)
    for x_t in x.unbind(1):
        h, c = lstm_update(x_t @ w.T + b + h @ u.T + d, c)
    return net.head(h)


def lstm_gate_by_gate(net: Net, x: torch.Tensor) -> torch.Tensor:
    w, u, b, d = (weight.chunk(4) for weight in weights(net))
    h, c = states_of(x, 2)
    for t in range(x.shape[1]):
        i, f, g, o = (affine(x[:, t], w[k], b[k]) + affine(h, u[k], d[k]) for k in range(4))
        c = c * f.sigmoid() + g.tanh() * i.sigmoid()
        h = c.tanh() * o.sigmoid()
    return net.head(h)


def lstm_of_one_matrix(net: Net, x: torch.Tensor) -> torch.Tensor:
    w, u, b, d = weights(net)
    both, bias = torch.cat([w, u], 1).T, b + d
    h, c = states_of(x, 2)
    for t in range(x.shape[1]):
        h, c = lstm_update(torch.addmm(bias, torch.cat([x[:, t], h], 1), both), c)
    return net.head(h)


def lstm_with_inputs_at_once(net: Net, x: torch.Tensor) -> torch.Tensor:
    w, u, b, d = weights(net)
    h, c = states_of(x, 2)
    from_x = affine(x, w, b)
    for t in range(x.shape[1]):
        h, c = lstm_update(from_x[:, t] + affine(h, u, d), c)
    return net.head(h)


def gru_parts(net: Net, x_t: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
    w, u, b, d = weights(net)
    (x_r, x_z, x_n), (h_r, h_z, h_n) = affine(x_t, w, b).chunk(3, 1), affine(h, u, d).chunk(3, 1)
    return torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z), x_n, h_n


def gru_of_products(net: Net, x: torch.Tensor) -> torch.Tensor:
    (h,) = states_of(x, 1)
    for x_t in x.unbind(1):
        r, z, x_n, h_n = gru_parts(net, x_t, h)
        h = (1 - z) * torch.tanh(x_n + r * h_n) + z * h
    return net.head(h)


def gru_of_a_difference(net: Net, x: torch.Tensor) -> torch.Tensor:
    """The new state as PyTorch's own kernels write it, ``n + z·(h - n)``: the shares of h and n are the same."""
    (h,) = states_of(x, 1)
    for x_t in x.unbind(1):
        r, z, x_n, h_n = gru_parts(net, x_t, h)
        n = torch.tanh(x_n + r * h_n)
        h = n + z * (h - n)
    return net.head(h)


def gru_with_reset_before(net: Net, x: torch.Tensor) -> torch.Tensor:
    _, u, _, d = (weight.chunk(3)[2] for weight in weights(net))
    (h,) = states_of(x, 1)
    for x_t in x.unbind(1):
        r, z, x_n, _ = gru_parts(net, x_t, h)
        h = z * h + (1 - z) * torch.tanh(x_n + affine(r * h, u, d))
    return net.head(h)


def rnn_of_products(activation: Callable) -> Callable:
    def forward(net, x):
        w, u, b, d = weights(net)
        (h,) = states_of(x, 1)
        for x_t in x.unbind(1):
            h = activation(x_t @ w.T + b + h @ u.T + d)
        return net.head(h)

    return forward


# By name the kind, the model's function, and what its cell has that is not in the recurrent module.
BY_HAND: dict[str, tuple[str, Callable, dict[str, object]]] = {
    "LSTM of products": ("LSTM", lstm_of_products, {}),
    "LSTM from a given state": (
        "LSTM",
        partial(lstm_of_products, start=0.7),
        {"states": {"h0": np.full(HIDDEN, 0.7), "c0": np.full(HIDDEN, 0.7)}},
    ),
    "LSTM gate by gate": ("LSTM", lstm_gate_by_gate, {}),
    "LSTM of one matrix": ("LSTM", lstm_of_one_matrix, {}),
    "LSTM with inputs at once": ("LSTM", lstm_with_inputs_at_once, {}),
    "GRU of products": ("GRU", gru_of_products, {}),
    "GRU of a difference": ("GRU", gru_of_a_difference, {}),
    "GRU with reset before": ("GRU", gru_with_reset_before, {"options": {"reset_after": False}}),
    "RNN tanh": ("RNN-tanh", rnn_of_products(torch.tanh), {}),
    "RNN relu": ("RNN-relu", rnn_of_products(torch.relu), {}),
}


def by_hand(name: str) -> tuple[Net, list[Layer]]:
    """A net whose cell is written out, on the weights of a recurrent module that it does not call."""
    kind, forward, own = BY_HAND[name]
    net = drawn(Net(forward, rnn=recurrent(kind), head=nn.Linear(HIDDEN, OUTPUTS)))
    (layer,) = stack_of(net.rnn)
    (cell,) = layer.cells
    return net, [Recurrent((replace(cell, **own),)), LastStep(), dense(net.head)]


@pytest.mark.parametrize("name", BY_HAND)
def test_cells_written_by_hand(name):
    net, model = by_hand(name)
    check(net, model, 0.0)


CELLS = {
    "LSTM": (nn.LSTMCell, {}),
    "GRU": (nn.GRUCell, {}),
    "RNN-tanh": (nn.RNNCell, {}),
    "RNN-relu": (nn.RNNCell, {"nonlinearity": "relu"}),
}


@pytest.mark.parametrize("kind", CELLS)
def test_cells_in_a_loop(kind):
    def forward(net, x):
        state, outputs = None, []
        for x_t in x.unbind(1):
            state = net.cell(x_t, state)
            outputs.append(state[0] if kind == "LSTM" else state)
        return net.head(torch.stack(outputs, 1).mean(1))

    module, options = CELLS[kind]
    net = drawn(Net(forward, cell=module(FEATURES, HIDDEN, **options), head=nn.Linear(HIDDEN, OUTPUTS)))
    activation = {"activation": options.get("nonlinearity", "tanh")} if kind.startswith("RNN") else {}
    named = {f"{name}_l0": weight for name, weight in weights_of(net.cell).items()}
    layers = torch_stack(kind.partition("-")[0], named, **activation)
    check(net, [*layers, SumOverTime(mean=True), dense(net.head)], 0.0)


# --- What does not depend on who else is explained ----------------------------------------------------------


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN-tanh", "RNN-relu", "LSTM of products"])
def test_samples_and_outputs_together_are_each_alone(name):
    net = by_hand(name)[0] if name in BY_HAND else last_step(name, "two bidirectional layers")
    x = draw(0, SAMPLES, STEPS, FEATURES)
    together = relevance(net, x, 1e-3)
    (parts,) = relevances(together)
    for n in range(SAMPLES):
        for k in range(OUTPUTS):
            alone = relevance(net, x[n : n + 1], 1e-3, target=k)
            assert_same(relevances(alone)[0][0, 0], parts[k, n])
            for by in ("biases", "stabilizer"):
                np.testing.assert_allclose(absorbed(alone, by)[0, 0], absorbed(together, by)[k, n], rtol=1e-10)


def test_epsilon_is_a_thousandth_unless_given():
    net = last_step("LSTM")
    x = draw(0, SAMPLES, STEPS, FEATURES)
    found = explain_with("lrp", net, x, device="cpu")
    np.testing.assert_array_equal(relevances(found)[0], relevances(relevance(net, x, 1e-3))[0])
    assert found.attrs["options"] == {"epsilon": 1e-3}


def test_inputs_of_zeros_have_no_relevance():
    net = last_step("LSTM", "two bidirectional layers")
    found = relevance(net, np.zeros((1, STEPS, FEATURES)), 1e-3)
    assert not relevances(found)[0].any()
    np.testing.assert_allclose(absorbed(found)[:, 0], found.prediction.values[0], rtol=1e-12)
