"""The same weights in both frameworks, each in its own process: what can be converted agrees, what cannot says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import explain_core as xc
from explain_core.diagnostics.blueprint import Blueprint, Operation
from explain_core.diagnostics.blueprint_torch import build, describe
from explain_core.diagnostics.two_frameworks import REFEREE, parity, summary
from explain_core.figures.parity import parity_figure
from explain_core.preparation.inputs import read_arguments

FEATURES, UNITS, STEPS = 3, 4, 6


class Net(nn.Module):
    """Standardised input, a recurrent module, a head on its last step, and what follows."""

    def __init__(self, rnn: nn.RNNBase, after: nn.Module | None = None, heads: int | None = None) -> None:
        super().__init__()
        self.rnn, self.after = rnn, after or nn.Identity()
        self.head = nn.Linear(heads or rnn.hidden_size * (2 if rnn.bidirectional else 1), 2)
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]))

    def forward(self, x):
        return self.after(self.head(self.rnn((x - self.mean) / 2.0)[0][:, -1]))


def made(make) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def pair(samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(0).normal(size=(2, samples, STEPS, FEATURES)).astype(np.float32))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_model_from_a_state_dict_is_a_chain_though_its_final_state_goes_unread(kind, tmp_path):
    net = made(lambda: nn.ModuleDict({"rnn": kind(FEATURES, UNITS, batch_first=True), "fc": nn.Linear(UNITS, 1)}))
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    module = xc.load_model(tmp_path / "weights.pth").module
    blueprint = describe(module, read_arguments(module, pair()[0]))
    assert [operation.kind for operation in blueprint.operations] == ["recurrent", "pick", "dense"]


def test_the_engines_agree_and_shap_is_the_referee():
    table = parity(made(lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True), nn.Tanh())), *pair(2))
    assert set(table["quantity"]) >= {
        "prediction",
        "attribution",
        "state",
        "cell",
        "activation",
        "contribution",
        "mass",
    }
    found = summary(table).set_index(["quantity", "compared_with"])["difference"]
    assert found[("attribution", REFEREE)] <= 1e-4  # shap's float32 quotients; measured: 3e-6
    assert found.drop(("attribution", REFEREE)).max() <= 1e-5  # measured: at most 6e-7
    attributions = table[(table["quantity"] == "attribution") & (table["compared_with"] == "TensorFlow")]
    assert attributions["step"].tolist() == list(range(STEPS))
    gates = table[table["quantity"] == "activation"]
    assert list(dict.fromkeys(gates["part"])) == ["input", "forget", "candidate", "output"]
    figure = parity_figure(table)
    assert any("written out" in trace.name for trace in figure.data)


def test_stacked_and_both_ways_agree_without_a_referee():
    net = made(lambda: Net(nn.GRU(FEATURES, UNITS, 2, batch_first=True, bidirectional=True), nn.Softmax(-1)))
    table = parity(net, *pair(), target="1")  # the second output, by its label
    assert table["difference"].max() <= 1e-5  # measured: at most 8e-7
    assert [name for name in dict.fromkeys(table["layer"]) if name] == [
        f"rnn.l{layer}{suffix}" for layer in (0, 1) for suffix in ("", "_reverse")
    ]
    assert "No referee" in table.attrs["notes"][0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Net(nn.LSTM(FEATURES, UNITS, 2, batch_first=True, bias=False)),
        lambda: Net(nn.RNN(FEATURES, UNITS, batch_first=True, nonlinearity="relu"), nn.Tanh()),
        lambda: Net(nn.GRU(FEATURES, UNITS, batch_first=True, bidirectional=True), nn.Sigmoid()),
    ],
)
def test_a_blueprint_does_what_its_model_does(make, tmp_path):
    net, (x, _) = made(make), pair(3)
    blueprint = describe(net, read_arguments(net, x))
    blueprint.save(tmp_path / "blueprint.npz", beside=x)
    again, beside = Blueprint.load(tmp_path / "blueprint.npz")
    np.testing.assert_array_equal(beside["beside"], x)
    with torch.no_grad():
        np.testing.assert_allclose(build(again)(torch.from_numpy(x)), net(torch.from_numpy(x)), atol=1e-6)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, FEATURES, batch_first=True)

    def forward(self, x):
        return (self.rnn(x)[0] + x)[:, -1]


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, UNITS)

    def forward(self, x):
        return self.rnn(x.transpose(0, 1))[0][-1]


class Steps(nn.Module):
    """Named modules and what is done with them, which is the whole model."""

    def __init__(self, forward, **modules: nn.Module) -> None:
        super().__init__()
        self._run = forward
        for name, module in {"head": nn.Linear(2 * UNITS, 2), **modules}.items():
            self.add_module(name, module)

    def forward(self, x):
        return self._run(self, x)


def both_ways() -> nn.GRU:
    return nn.GRU(FEATURES, UNITS, 2, batch_first=True, bidirectional=True)


def ends(states: torch.Tensor, *which: int) -> torch.Tensor:
    return torch.cat([states[i] for i in which], 1)


def convolutional(net, x):
    """What a network of convolutions does, with timesteps last in between, and a recurrent layer after it."""
    h = nn.functional.gelu(net.norm(net.narrow(x.transpose(1, 2))))
    h = net.pool(nn.functional.leaky_relu(net.wide(h), 0.2)).transpose(1, 2)
    return net.head(net.drop(net.scale(net.rnn(h)[0]).max(1)[0]))


def of_convolutions() -> nn.Module:
    parts = {
        "narrow": nn.Conv1d(FEATURES, 6, 3, padding="same", groups=3, bias=False),
        "norm": nn.BatchNorm1d(6),
        "wide": nn.Conv1d(6, 4, 2, stride=1, padding=2, dilation=2),
        "pool": nn.AvgPool1d(2),
        "rnn": nn.LSTM(4, 2 * UNITS, batch_first=True),
        "scale": nn.LayerNorm(2 * UNITS),
        "drop": nn.Dropout(),
    }
    nn.init.uniform_(parts["norm"].running_var, 0.5, 2.0)
    nn.init.normal_(parts["norm"].running_mean)
    return Steps(convolutional, **parts)


FUNCTIONS = [
    *(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.GELU("tanh"), nn.ELU(0.7), nn.SELU(), nn.LeakyReLU(0.3)),
    *(nn.Softplus(), nn.SiLU(), nn.Hardsigmoid(), nn.ReLU6(), nn.Hardswish(), nn.Mish(), nn.LogSigmoid()),
]
CHAINS = {
    "convolutions": of_convolutions,
    "every activation": lambda: nn.Sequential(
        *FUNCTIONS, nn.Flatten(), nn.Linear(STEPS * FEATURES, 4), nn.LogSoftmax(-1)
    ),
    "both final states": lambda: Steps(lambda net, x: net.head(ends(net.rnn(x)[1], -2, -1)), rnn=both_ways()),
    "the last layer's": lambda: Steps(
        lambda net, x: net.head(net.rnn(x)[1][0][-1]), rnn=nn.LSTM(FEATURES, 2 * UNITS, 2, batch_first=True)
    ),
    "squeezed": lambda: Steps(
        lambda net, x: net.head(net.rnn(x)[1].squeeze(0)), rnn=nn.GRU(FEATURES, 2 * UNITS, batch_first=True)
    ),
    "pooled to one": lambda: Steps(
        lambda net, x: net.pool(net.conv(x.permute(0, 2, 1))).squeeze(-1),
        conv=nn.Conv1d(FEATURES, 4, 3),
        pool=nn.AdaptiveMaxPool1d(1),
    ),
    "mean, then normed": lambda: nn.Sequential(Steps(lambda net, x: x.mean(1)), nn.BatchNorm1d(FEATURES)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_other_operations_are_built_again(name):
    net, (x, _) = made(CHAINS[name]), pair(3)
    built = build(describe(net, read_arguments(net, x)))
    with torch.no_grad():
        own, again = net(torch.from_numpy(x)), built(torch.from_numpy(x))
    assert again.shape == own.shape
    np.testing.assert_allclose(again, own, atol=1e-6)


@pytest.mark.parametrize("name", ["convolutions", "every activation"])
def test_the_engines_agree_on_chains_of_other_operations(name):
    assert parity(made(CHAINS[name]), *pair())["difference"].max() <= 1e-5  # measured: at most 5e-6


def test_the_engines_agree_on_token_ids():
    rnn, table = nn.GRU(FEATURES, 2 * UNITS, batch_first=True), nn.Embedding(9, FEATURES, padding_idx=0)
    net = made(lambda: Steps(lambda net, x: net.head(net.rnn(net.table(x))[0][:, -1]), rnn=rnn, table=table))
    found = parity(net, *np.random.default_rng(0).integers(0, 9, (2, 1, STEPS)))
    assert found["difference"].max() <= 1e-5  # measured: at most 9e-7
    assert "no token ids" in found.attrs["notes"][0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Branching, "the model branches"),
        (TimeFirst, "transpose has no counterpart"),
        (lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True), nn.PReLU()), "prelu has no counterpart"),
        (lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True), nn.Softplus(2.0)), "softplus with"),
        (lambda: Steps(lambda net, x: net.rnn(x)[1][-1].tanh(), rnn=both_ways()), "final state is read alone"),
        (lambda: Steps(lambda net, x: net.head(ends(net.rnn(x)[1], -1, -2)), rnn=both_ways()), "taken apart"),
        (lambda: Steps(lambda net, x: net.norm(x).mean(1), norm=nn.BatchNorm1d(STEPS)), "batch_norm has no"),
        (lambda: Steps(lambda net, x: net.norm(x.mT)[:, :, -1], norm=nn.LayerNorm(STEPS)), "layer_norm has no"),
        (lambda: Steps(lambda net, x: net.pool(x.mT).mean(2), pool=nn.MaxPool1d(3, 1, 1)), "max_pool1d has no"),
        (lambda: Steps(lambda net, x: x.mT.flatten(1)), "flatten has no"),
        (lambda: Steps(lambda net, x: x.max(2)[0]), "max has no"),
        (lambda: Steps(lambda net, x: x.mean(1, keepdim=True)), "mean has no"),
        (lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True, proj_size=2), heads=2), "proj_size"),
    ],
)
def test_what_cannot_be_converted_says_why(make, words):
    with pytest.raises(xc.errors.InputError, match=words) as caught:
        parity(made(make), *pair())
    assert "one chain" in caught.value.hint


def test_a_difference_is_found(monkeypatch):
    """A weight that gets lost on the way shows: the comparison can fail."""
    saved = Blueprint.save

    def spoiled(blueprint, path, **arrays):
        first, *rest = blueprint.operations
        weights = {name: array * 1.01 for name, array in first.weights.items()}
        saved(
            Blueprint(blueprint.steps, blueprint.features, (Operation(first.kind, first.options, weights), *rest)),
            path,
            **arrays,
        )

    monkeypatch.setattr(Blueprint, "save", spoiled)
    table = parity(made(lambda: Net(nn.GRU(FEATURES, UNITS, batch_first=True))), *pair(), target=0)
    found = summary(table).set_index(["quantity", "compared_with"])["difference"]
    assert found[("attribution", "TensorFlow")] > 1e-3
    assert found[("state", "TensorFlow")] > 1e-4


def test_without_the_other_framework(monkeypatch):
    monkeypatch.setattr("explain_core.diagnostics.two_frameworks.is_installed", lambda name: False)
    with pytest.raises(xc.errors.BackendError, match="TensorFlow is not installed"):
        parity(made(lambda: Net(nn.GRU(FEATURES, UNITS, batch_first=True))), *pair())
