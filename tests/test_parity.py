"""The same weights in both frameworks, each in its own process: what can be converted agrees, what cannot says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import explain_core as xc
from explain_core.diagnostics.plan import Operation, Plan
from explain_core.diagnostics.plan_torch import build, describe
from explain_core.diagnostics.two_frameworks import REFEREE, parity, summary
from explain_core.figures.parity import parity_figure
from explain_core.inputs import read_arguments

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
    plan = describe(module, read_arguments(module, pair()[0]))
    assert [operation.kind for operation in plan.operations] == ["recurrent", "pick", "dense"]


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
    table = parity(net, *pair(), target=1)
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
def test_a_plan_does_what_its_model_does(make, tmp_path):
    net, (x, _) = made(make), pair(3)
    plan = describe(net, read_arguments(net, x))
    plan.save(tmp_path / "plan.npz", beside=x)
    again, beside = Plan.load(tmp_path / "plan.npz")
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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Branching, "the model branches"),
        (TimeFirst, "transpose has no counterpart"),
        (lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True), nn.GELU()), "gelu has no counterpart"),
        (lambda: Net(nn.LSTM(FEATURES, UNITS, batch_first=True, proj_size=2), heads=2), "proj_size"),
    ],
)
def test_what_cannot_be_converted_says_why(make, words):
    with pytest.raises(xc.errors.InputError, match=words) as caught:
        parity(made(make), *pair())
    assert "one chain" in caught.value.hint


def test_a_difference_is_found(monkeypatch):
    """A weight that gets lost on the way shows: the comparison can fail."""
    saved = Plan.save

    def spoiled(plan, path, **arrays):
        first, *rest = plan.operations
        weights = {name: array * 1.01 for name, array in first.weights.items()}
        saved(Plan(plan.steps, plan.features, (Operation(first.kind, first.options, weights), *rest)), path, **arrays)

    monkeypatch.setattr(Plan, "save", spoiled)
    table = parity(made(lambda: Net(nn.GRU(FEATURES, UNITS, batch_first=True))), *pair(), target=0)
    found = summary(table).set_index(["quantity", "compared_with"])["difference"]
    assert found[("attribution", "TensorFlow")] > 1e-3
    assert found[("state", "TensorFlow")] > 1e-4


def test_without_the_other_framework(monkeypatch):
    monkeypatch.setattr("explain_core.diagnostics.two_frameworks.is_installed", lambda name: False)
    with pytest.raises(xc.errors.BackendError, match="TensorFlow is not installed"):
        parity(made(lambda: Net(nn.GRU(FEATURES, UNITS, batch_first=True))), *pair())
