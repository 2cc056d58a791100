"""`nn.LSTMCell`, `nn.GRUCell`, `nn.RNNCell` and cells written by hand: one step, loops, in-place outputs."""

from __future__ import annotations

import pytest
import torch
from exactness import DTYPES, Net, assert_exact, draw, weights_of
from reference.layers import linear
from reference.paired import PairedArray, as_pair, concat, elementwise, relu, sigmoid, tanh
from reference.recurrent import Layer, Step, gru_step, lstm_step, rnn_step
from torch import nn

SAMPLES, STEPS, FEATURES, HIDDEN = 3, 6, 3, 4
CELLS = {
    "LSTM": (nn.LSTMCell, {}),
    "GRU": (nn.GRUCell, {}),
    "RNN-tanh": (nn.RNNCell, {}),
    "RNN-relu": (nn.RNNCell, {"nonlinearity": "relu"}),
}


def cell_of(kind: str, inputs: int = FEATURES, **options):
    torch.manual_seed(4)
    module, own = CELLS[kind]
    return module(inputs, HIDDEN, **own, **options)


def mirrored_step(kind: str, weights, x: PairedArray, states: tuple) -> tuple[tuple, Step]:
    """States after one step, h first, and the step's own nodes."""
    if kind == "LSTM":
        *states, step = lstm_step(weights, "", x, *states)
    elif kind == "GRU":
        *states, step = gru_step(weights, "", x, *states)
    else:
        *states, step = rnn_step(weights, "", x, *states, kind.removeprefix("RNN-"))
    return tuple(states), step


def zeros(kind: str) -> tuple:
    return tuple(as_pair([0.0] * HIDDEN) for _ in range(1 + (kind == "LSTM")))


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("kind", CELLS)
def test_one_step_is_explained_to_input_and_states(kind, bias, dtype):
    cell = cell_of(kind, bias=bias)

    def mirror(x, *states):
        return concat(list(mirrored_step(kind, weights_of(cell), x, states)[0]))

    states = [draw(1 + i, SAMPLES, HIDDEN) for i in range(1 + (kind == "LSTM"))]
    assert_exact(
        cell,
        [draw(0, SAMPLES, FEATURES), *states],
        mirror,
        dtype=dtype,
        pack=lambda x, *given: (x, given if kind == "LSTM" else given[0]),
    )


@pytest.mark.parametrize("kind", CELLS)
def test_one_step_from_zero_states(kind):
    cell = cell_of(kind)

    def mirror(x):
        return concat(list(mirrored_step(kind, weights_of(cell), x, zeros(kind))[0]))

    assert_exact(cell, [draw(0, SAMPLES, FEATURES)], mirror)


@pytest.mark.parametrize("kind", CELLS)
def test_one_unbatched_step(kind):
    cell = cell_of(kind)

    def mirror(x):
        return concat(list(mirrored_step(kind, weights_of(cell), x, zeros(kind))[0]))

    assert_exact(cell, [draw(0, 1, FEATURES)], mirror, pack=lambda x: x[0], sample_axis=None)


# --- Loops: each a way in which people write them ----------------------------------------------------------


def hidden_of(state):
    return state[0] if isinstance(state, tuple) else state


def stacked_outputs(net, x):
    state, outputs = None, []
    for t in range(x.shape[1]):
        state = net.cell(x[:, t], state)
        outputs.append(hidden_of(state))
    return net.head(torch.stack(outputs, 1))


def unbound_inputs(net, x):
    state, outputs = None, []
    for step in x.unbind(1):
        state = net.cell(step, state)
        outputs.append(hidden_of(state).unsqueeze(1))
    return net.head(torch.cat(outputs, dim=1))


def preallocated_outputs(net, x):
    state = None
    outputs = x.new_zeros(x.shape[0], x.shape[1], HIDDEN)
    for t in range(x.shape[1]):
        state = net.cell(x[:, t], state)
        outputs[:, t] = hidden_of(state)
    return net.head(outputs)


def copied_outputs(net, x):
    state = None
    outputs = torch.empty(x.shape[1], x.shape[0], HIDDEN, dtype=x.dtype)
    for t in range(x.shape[1]):
        state = net.cell(x[:, t], state)
        outputs[t].copy_(hidden_of(state))
    return net.head(outputs.transpose(0, 1))


def added_outputs(net, x):
    """The same numbers by accumulation in place, over a buffer of zeros."""
    state = None
    outputs = torch.zeros(x.shape[0], x.shape[1], HIDDEN, dtype=x.dtype)
    for t in range(x.shape[1]):
        state = net.cell(x[:, t], state)
        outputs[:, t, :].add_(hidden_of(state))
    return net.head(outputs)


LOOPS = [stacked_outputs, unbound_inputs, preallocated_outputs, copied_outputs, added_outputs]


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
@pytest.mark.parametrize("kind", CELLS)
def test_loop_over_steps(kind, loop, dtype):
    net = Net(loop, cell=cell_of(kind), head=nn.Linear(HIDDEN, 1))

    def mirror(x):
        weights = weights_of(net)
        cell = {name.removeprefix("cell."): w for name, w in weights.items() if name.startswith("cell.")}
        states, rows, steps = zeros(kind), [], []
        for t in range(STEPS):
            states, step = mirrored_step(kind, cell, x[t], states)
            rows.append(states[0].reshape(1, -1))
            steps.append(step)
        return linear(weights, concat(rows), "head."), {"cell": Layer(kind.split("-")[0], steps)}

    assert_exact(net, [draw(0, SAMPLES, STEPS, FEATURES)], mirror, dtype=dtype)


def test_two_cells_and_a_residual_between_them():
    def forward(net, x):
        first = second = None
        for t in range(x.shape[1]):
            first = net.first(x[:, t], first)
            second = net.second(first[0] + net.skip(x[:, t]), second)
        return net.head(torch.cat([second, first[1]], 1))

    net = Net(
        forward,
        first=cell_of("LSTM"),
        second=cell_of("GRU", HIDDEN),
        skip=nn.Linear(FEATURES, HIDDEN),
        head=nn.Linear(2 * HIDDEN, 2),
    )

    def mirror(x):
        weights = weights_of(net)
        first = {n.removeprefix("first."): w for n, w in weights.items() if n.startswith("first.")}
        second = {n.removeprefix("second."): w for n, w in weights.items() if n.startswith("second.")}
        h, c, g = as_pair([0.0] * HIDDEN), as_pair([0.0] * HIDDEN), as_pair([0.0] * HIDDEN)
        for t in range(STEPS):
            h, c, _ = lstm_step(first, "", x[t], h, c)
            skipped = linear(weights, x[t].reshape(1, -1), "skip.")[0]
            g, _ = gru_step(second, "", h + skipped, g)
        return linear(weights, concat([g, c]).reshape(1, -1), "head.")

    assert_exact(net, [draw(0, SAMPLES, STEPS, FEATURES)], mirror)


def test_autoregressive_decoder_feeds_its_output_back():
    def forward(net, x):
        state = net.encoder(x[:, 0])
        for t in range(1, x.shape[1]):
            state = net.encoder(x[:, t], state)
        step, outputs = x[:, -1], []
        for _ in range(4):
            state = net.decoder(step, state)
            step = net.head(state)
            outputs.append(step)
        return torch.stack(outputs, 1)

    net = Net(forward, encoder=cell_of("GRU"), decoder=cell_of("GRU"), head=nn.Linear(HIDDEN, FEATURES))

    def mirror(x):
        weights = weights_of(net)
        encoder, decoder = (
            {n.removeprefix(p): w for n, w in weights.items() if n.startswith(p)} for p in ("encoder.", "decoder.")
        )
        h = as_pair([0.0] * HIDDEN)
        for t in range(STEPS):
            h, _ = gru_step(encoder, "", x[t], h)
        step, rows = x[STEPS - 1], []
        for _ in range(4):
            h, _ = gru_step(decoder, "", step, h)
            step = linear(weights, h.reshape(1, -1), "head.")[0]
            rows.append(step)
        return concat(rows)

    assert_exact(net, [draw(0, SAMPLES, STEPS, FEATURES)], mirror)


# --- Cells written by hand ---------------------------------------------------------------------------------


def lstm_by_hand(net, x):
    h = c = torch.zeros(x.shape[0], HIDDEN, dtype=x.dtype)
    for t in range(x.shape[1]):
        i, f, g, o = (net.from_x(x[:, t]) + net.from_h(h)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return net.head(h)


def lstm_by_hand_in_place(net, x):
    h = torch.zeros(x.shape[0], HIDDEN, dtype=x.dtype)
    c = torch.zeros(x.shape[0], HIDDEN, dtype=x.dtype)
    for t in range(x.shape[1]):
        i, f, g, o = torch.split(net.from_x(x[:, t]).add_(net.from_h(h)), HIDDEN, dim=1)
        c = c.mul(f.sigmoid()).addcmul_(i.sigmoid_(), g.tanh_())
        h = o.sigmoid_() * c.tanh()
    return net.head(h)


def lstm_by_hand_mirror(weights, x):
    h = c = as_pair([0.0] * HIDDEN)
    for t in range(STEPS):
        pre = linear(weights, x[t].reshape(1, -1), "from_x.")[0] + linear(weights, h.reshape(1, -1), "from_h.")[0]
        i, f, g, o = (pre[k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        c = elementwise(f, sigmoid) * c + elementwise(i, sigmoid) * elementwise(g, tanh)
        h = elementwise(o, sigmoid) * elementwise(c, tanh)
    return linear(weights, h.reshape(1, -1), "head.")


def minimal_gated_unit(net, x):
    """One gate; candidate with relu, convex combination by lerp."""
    h = torch.zeros(x.shape[0], HIDDEN, dtype=x.dtype)
    for t in range(x.shape[1]):
        both = torch.cat([x[:, t], h], dim=-1)
        f = net.forget(both).sigmoid()
        h = torch.lerp(h, net.candidate(torch.cat([x[:, t], f * h], dim=-1)).relu(), f)
    return net.head(h)


def minimal_gated_unit_mirror(weights, x):
    h = as_pair([0.0] * HIDDEN)
    for t in range(STEPS):
        f = elementwise(linear(weights, concat([x[t], h]).reshape(1, -1), "forget.")[0], sigmoid)
        candidate = linear(weights, concat([x[t], f * h]).reshape(1, -1), "candidate.")[0]
        h = h + f * (elementwise(candidate, relu) - h)
    return linear(weights, h.reshape(1, -1), "head.")


BY_HAND = {
    "lstm": (lstm_by_hand, lstm_by_hand_mirror, {"from_x": FEATURES, "from_h": HIDDEN}, 4 * HIDDEN),
    "lstm-in-place": (
        lstm_by_hand_in_place,
        lstm_by_hand_mirror,
        {"from_x": FEATURES, "from_h": HIDDEN},
        4 * HIDDEN,
    ),
    "minimal-gated-unit": (
        minimal_gated_unit,
        minimal_gated_unit_mirror,
        {"forget": FEATURES + HIDDEN, "candidate": FEATURES + HIDDEN},
        HIDDEN,
    ),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("name", BY_HAND)
def test_cell_by_hand(name, dtype):
    forward, mirror, sizes, width = BY_HAND[name]
    torch.manual_seed(5)
    linears = {part: nn.Linear(size, width) for part, size in sizes.items()}
    net = Net(forward, **linears, head=nn.Linear(HIDDEN, 2))
    assert_exact(net, [draw(0, SAMPLES, STEPS, FEATURES)], lambda x: mirror(weights_of(net), x), dtype=dtype)
