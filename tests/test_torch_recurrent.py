"""`nn.LSTM`, `nn.GRU` and `nn.RNN` in every form they come in, against the reference."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from exactness import DTYPES, Net, assert_exact, draw, weights_of
from reference.layers import linear
from reference.paired import PairedArray, concat
from reference.recurrent import run
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import explain_core as xc
from explain_core.backends.protocol import Target
from explain_core.backends.torch import open_runner
from explain_core.kernels import lstm_of_rows
from explain_core.preparation.inputs import read_arguments

# Said by PyTorch itself about its own speed whenever a model with proj_size runs.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

SAMPLES, STEPS, FEATURES, HIDDEN = 3, 7, 3, 4
KINDS = {
    "LSTM": (nn.LSTM, {}),
    "GRU": (nn.GRU, {}),
    "RNN-tanh": (nn.RNN, {}),
    "RNN-relu": (nn.RNN, {"nonlinearity": "relu"}),
}
FORMS = {
    "plain": {},
    "stacked": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "stacked-bidirectional": {"num_layers": 2, "bidirectional": True},
    "no-bias": {"bias": False},
    "dropout-between-layers": {"num_layers": 2, "dropout": 0.5},
    "proj": {"proj_size": 2},
    "proj-stacked-bidirectional": {"proj_size": 2, "num_layers": 2, "bidirectional": True},
}


def recurrent(kind: str, **options):
    torch.manual_seed(3)
    module, own = KINDS[kind]
    return module(FEATURES, HIDDEN, **own, **options)


def rows_of(module) -> int:
    return module.num_layers * (1 + module.bidirectional)


def summary_size(module, outputs_used: int) -> int:
    out = module.proj_size or HIDDEN
    states = rows_of(module) * (out + (HIDDEN if isinstance(module, nn.LSTM) else 0))
    return outputs_used * out * (1 + module.bidirectional) + states


def mirrored_run(net, kind: str, x: PairedArray, **options):
    """The reference's run of ``net.rnn``, and its layers under the names that the engine gives them."""
    weights = {name.removeprefix("rnn."): value for name, value in weights_of(net).items() if name.startswith("rnn.")}
    result = run(kind.split("-")[0], weights, x, nonlinearity=KINDS[kind][1].get("nonlinearity", "tanh"), **options)
    several = len(result.layers) > 1
    return result, {f"rnn.{name}" if several else "rnn": layer for name, layer in result.layers.items()}


def summary(result) -> PairedArray:
    """The last and the mean output, and all final states, in one vector."""
    parts = [result.outputs[-1], result.outputs.average(0), result.h_n.reshape(-1)]
    return concat(parts if result.c_n is None else [*parts, result.c_n.reshape(-1)])


def all_of_it(net, outputs, final):
    """What `summary` is for one sample: outputs (T, N, H) and states (L·D, N, H) to (N, ...)."""
    states = final if isinstance(final, tuple) else (final,)
    flat = [state.transpose(0, 1).flatten(1) for state in states]
    return net.head(torch.cat([outputs[-1], outputs.mean(0), *flat], 1))


def whole_net(module, time_first: bool) -> Net:
    def forward(net, x):
        outputs, final = net.rnn(x)
        return all_of_it(net, outputs if time_first else outputs.transpose(0, 1), final)

    return Net(forward, rnn=module, head=nn.Linear(summary_size(module, 2), 2)).eval()


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("kind", "form"),
    [(kind, form) for kind in KINDS for form in FORMS if kind == "LSTM" or not form.startswith("proj")],
)
def test_layers(kind, form, dtype):
    net = whole_net(recurrent(kind, batch_first=True, **FORMS[form]), time_first=False)

    def mirror(x):
        result, layers = mirrored_run(net, kind, x)
        return linear(weights_of(net), summary(result).reshape(1, -1), "head."), layers

    assert_exact(net, [draw(0, SAMPLES, STEPS, FEATURES)], mirror, dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_time_first(kind):
    net = whole_net(recurrent(kind, bidirectional=True), time_first=True)

    def mirror(x):
        result, layers = mirrored_run(net, kind, x)
        return linear(weights_of(net), summary(result).reshape(1, -1), "head."), layers

    assert_exact(
        net,
        [draw(0, SAMPLES, STEPS, FEATURES)],
        mirror,
        pack=lambda x: np.swapaxes(x, 0, 1),
        sample_axis=1,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_unbatched(kind):
    def forward(net, x):
        outputs, final = net.rnn(x)
        states = final if isinstance(final, tuple) else (final,)
        return net.head(torch.cat([outputs[-1], outputs.mean(0), *(state.flatten() for state in states)]))

    module = recurrent(kind)
    net = Net(forward, rnn=module, head=nn.Linear(summary_size(module, 2), 2)).eval()

    def mirror(x):
        result, layers = mirrored_run(net, kind, x)
        return linear(weights_of(net), summary(result).reshape(1, -1), "head."), layers

    assert_exact(net, [draw(0, 1, STEPS, FEATURES)], mirror, pack=lambda x: x[0], sample_axis=None)


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_initial_states_are_explained_where_they_are_inputs(kind, dtype):
    module = recurrent(kind, batch_first=True, num_layers=2, bidirectional=True)
    is_lstm = isinstance(module, nn.LSTM)

    def forward(net, x, states):
        rows_first = tuple(state.transpose(0, 1).contiguous() for state in states)
        outputs, final = net.rnn(x, rows_first if is_lstm else rows_first[0])
        return all_of_it(net, outputs.transpose(0, 1), final)

    net = Net(forward, rnn=module, head=nn.Linear(summary_size(module, 2), 2)).eval()

    def mirror(x, *states):
        h_0, *c_0 = states
        result, layers = mirrored_run(net, kind, x, h_0=h_0, c_0=c_0[0] if c_0 else None)
        return linear(weights_of(net), summary(result).reshape(1, -1), "head."), layers

    states = [draw(5 + i, SAMPLES, rows_of(module), HIDDEN) for i in range(1 + is_lstm)]
    assert_exact(
        net,
        [draw(0, SAMPLES, STEPS, FEATURES), *states],
        mirror,
        dtype=dtype,
        pack=lambda x, *given: (x, given),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_module_alone_is_a_model_time_first_with_its_states(kind):
    """All axes as PyTorch has them by default: samples second, in the sequence and in the states."""
    module = recurrent(kind)
    is_lstm = isinstance(module, nn.LSTM)

    def mirror(x, *states):
        h_0, *c_0 = states
        result, _ = mirrored_run(Net(None, rnn=module), kind, x, h_0=h_0, c_0=c_0[0] if c_0 else None)
        parts = [result.outputs, result.h_n, *([result.c_n] if is_lstm else [])]
        return concat([part.reshape(-1) for part in parts])

    states = [draw(5 + i, SAMPLES, 1, HIDDEN) for i in range(1 + is_lstm)]

    def pack(x, *states):
        x, *states = (np.swapaxes(leaf, 0, 1) for leaf in (x, *states))
        return (x, tuple(states)) if is_lstm else (x, states[0])

    assert_exact(module, [draw(0, SAMPLES, 3, FEATURES), *states], mirror, pack=pack, sample_axis=1)


# --- Sequences of different lengths ------------------------------------------------------------------------

LENGTHS = np.array([4, 7, 1, 5])


def packed_net(module, *, by_length: bool, enforce_sorted: bool = False) -> Net:
    """Head on the last real output of each, or on the final states and the mean over padded outputs."""

    def forward(net, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=enforce_sorted)
        packed_out, final = net.rnn(packed)
        outputs, lengths = pad_packed_sequence(packed_out, batch_first=True, total_length=x.shape[1])
        if by_length:
            last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, outputs.shape[2])
            return net.head(outputs.gather(1, last).squeeze(1))
        states = final if isinstance(final, tuple) else (final,)
        flat = [state.transpose(0, 1).flatten(1) for state in states]
        return net.head(torch.cat([outputs.mean(1), *flat], 1))

    width = HIDDEN * (1 + module.bidirectional) if by_length else summary_size(module, 1)
    return Net(forward, rnn=module, head=nn.Linear(width, 2)).eval()


def packed_mirror(net, kind: str, by_length: bool):
    def mirror(x, length):
        result, layers = mirrored_run(net, kind, x, length=int(length))
        if by_length:
            vector = result.outputs[int(length) - 1]
        else:
            parts = [result.outputs.average(0), result.h_n.reshape(-1)]
            vector = concat(parts if result.c_n is None else [*parts, result.c_n.reshape(-1)])
        return linear(weights_of(net), vector.reshape(1, -1), "head."), layers

    return mirror


@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("form", ["plain", "stacked-bidirectional"])
@pytest.mark.parametrize("by_length", [True, False], ids=["gather", "states"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences(kind, by_length, form, dtype):
    net = packed_net(recurrent(kind, batch_first=True, **FORMS[form]), by_length=by_length)
    assert_exact(
        net,
        [draw(0, len(LENGTHS), LENGTHS.max(), FEATURES), LENGTHS],
        packed_mirror(net, kind, by_length),
        dtype=dtype,
    )


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_packed_sequences_in_order_of_length(kind):
    net = packed_net(recurrent(kind, batch_first=True), by_length=False, enforce_sorted=True)
    lengths = np.sort(LENGTHS)[::-1].copy()
    assert_exact(
        net,
        [draw(0, len(lengths), lengths.max(), FEATURES), lengths],
        packed_mirror(net, kind, by_length=False),
    )


def test_padding_of_packed_sequences_gets_nothing():
    net = packed_net(recurrent("LSTM", batch_first=True), by_length=True).double()
    x = draw(0, len(LENGTHS), LENGTHS.max(), FEATURES)
    ex = xc.explain(net, (x, LENGTHS), baselines="zeros")
    for row, length in enumerate(LENGTHS):
        padded = ex.attributions.isel(sample=row).isel(time=slice(length, None))
        assert not padded.values.any()


def test_length_of_other_samples_does_not_matter():
    net = packed_net(recurrent("GRU", batch_first=True, bidirectional=True), by_length=True).double()
    x = draw(0, len(LENGTHS), LENGTHS.max(), FEATURES)
    together = xc.explain(net, (x, LENGTHS), baselines="zeros").attributions
    for row in range(len(LENGTHS)):
        alone = xc.explain(net, (x[row : row + 1], LENGTHS[row : row + 1]), baselines="zeros").attributions
        np.testing.assert_allclose(alone.values[:, 0], together.values[:, row], atol=1e-12 * np.abs(alone.values).max())


def test_given_states_of_packed_sequences_are_recorded_sample_by_sample():
    """Rows of packed sequences are in order of length; what is recorded of them is in that of the samples."""

    def forward(net, x, lengths, h_0):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return net.head(net.rnn(packed, h_0.transpose(0, 1).contiguous())[1][-1])

    net = Net(forward, rnn=nn.GRU(FEATURES, HIDDEN, batch_first=True), head=nn.Linear(HIDDEN, 1)).double()
    x, h_0 = (draw(i, len(LENGTHS), *shape) for i, shape in enumerate([(LENGTHS.max(), FEATURES), (1, HIDDEN)]))
    arguments = read_arguments(net, (x, LENGTHS, h_0))
    runner = open_runner(net, arguments, sample_axes=(0, 0, 0), device="cpu")
    base = [np.zeros_like(x), LENGTHS, -h_0]
    found = runner.attribute([x, LENGTHS, h_0], base, [Target(0, (0,), "0")], gates=True, embeddings=False)
    trace = found.gates["rnn"]
    np.testing.assert_array_equal(trace.initial_state, np.stack([h_0[:, 0], -h_0[:, 0]]))
    np.testing.assert_array_equal(trace.input[0, :, 0], x[:, 0])


@pytest.mark.parametrize("form", ["plain", "stacked-bidirectional"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_background_keeps_no_factors_of_its_pairs(form, dtype, monkeypatch):
    """Of an LSTM; each pair is explained as it is by itself."""
    net = Net(lambda m, x: m.head(m.rnn(x)[0][:, -1]), rnn=recurrent("LSTM", batch_first=True, **FORMS[form]))
    net.head = nn.Linear(summary_size(net.rnn, 1) - rows_of(net.rnn) * 2 * HIDDEN, 2)
    net = net.to(dtype).eval()
    x, background = (draw(seed, 6, STEPS, FEATURES).astype(str(dtype).removeprefix("torch.")) for seed in (0, 1))
    calls = []
    kernel = lstm_of_rows.lstm_back_of_rows
    monkeypatch.setattr(lstm_of_rows, "lstm_back_of_rows", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    ex = xc.explain(net, x, background, background=True, device="cpu", keep_gates=False)
    assert len(calls) == 2 * rows_of(net.rnn)
    pairs = [xc.explain(net, x, base, device="cpu", keep_gates=False).attributions.values for base in background]
    assert len(calls) == 2 * rows_of(net.rnn)
    size = abs(ex.attributions.values).max()
    np.testing.assert_allclose(ex.attributions, np.mean(pairs, 0), rtol=0, atol=30 * np.finfo(x.dtype).eps * size)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("keep_gates", [False, True])
def test_nothing_of_a_layer_is_held_when_it_was_explained(kind, keep_gates):
    """A rule that holds what it gives is a cycle through PyTorch's tape, which Python cannot see."""
    steps, units = 11, 7
    layers = {"rnn": getattr(nn, kind)(3, units, batch_first=True), "head": nn.Linear(units, 1)}
    model = Net(lambda m, x: m.head(m.rnn(x)[0][:, -1]), **layers).eval()
    x = draw(0, 2, steps, 3).astype(np.float32)

    def held():
        gc.collect()
        shapes = [tuple(found.shape) for found in gc.get_objects() if type(found) is torch.Tensor]
        return sum(set(shape) >= {steps, units} for shape in shapes)

    for _ in range(2):
        xc.explain(model, x, keep_gates=keep_gates)
        assert held() == 0


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_of_several_batches_are_those_of_one(kind, monkeypatch):
    samples, steps, units = 5, 7, 4
    layers = {"rnn": getattr(nn, kind)(3, units, batch_first=True), "head": nn.Linear(units, 1)}
    model = Net(lambda m, x: m.head(m.rnn(x)[0][:, -1]), **layers).double().eval()
    x = draw(1, samples, steps, 3)
    whole = xc.explain(model, x).gates["rnn"]
    monkeypatch.setattr("explain_core.preparation.rows.STEPS_AT_ONCE", 2 * steps)  # 2, 2, and 1 sample
    parts = xc.explain(model, x).gates["rnn"]
    for name, values in whole.data_vars.items():
        np.testing.assert_allclose(parts[name], values, rtol=1e-12, atol=1e-14, err_msg=name)
