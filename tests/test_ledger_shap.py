"""The emulated gradient fallback against the installed shap package, element by element."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from exactness import Net
from test_ledger_identity import FEATURES, UNITS, pair_of_runs, recurrent_net
from torch import nn

import explain_core as xc
from explain_core.backends.torch.shap_hooks import POOLED, RESCALED

BOUND = {"float32": 1e-6, "float64": 1e-12}  # of the largest attribution; measured: 7e-7 and 9e-16


def by_shap(net: nn.Module, test: np.ndarray, base: np.ndarray) -> np.ndarray:
    """(N, ..., K) straight from the package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

        explainer = shap.DeepExplainer(net, torch.from_numpy(base))
        return explainer.shap_values(torch.from_numpy(test), check_additivity=False)


def difference(net: nn.Module, test: np.ndarray, base: np.ndarray) -> float:
    """Largest difference of any attribution over the largest attribution, with all of ``base`` as background."""
    theirs = by_shap(net, test, base)
    ours = xc.diagnostics.audit(net, test, base, None, "shap", background=True).attributions
    ours = ours if "output" in ours.dims else ours.expand_dims(output=1)
    return float(np.abs(np.moveaxis(ours.values, 0, -1) - theirs).max() / np.abs(theirs).max())


class CellLoop(nn.Module):
    def __init__(self, head: nn.Module):
        super().__init__()
        self.cell, self.head = nn.LSTMCell(FEATURES, UNITS), head

    def forward(self, x):
        h = c = x.new_zeros(len(x), UNITS)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.head(h)


def head(*activations: nn.Module) -> nn.Sequential:
    parts = [part for activation in activations for part in (nn.Linear(UNITS, UNITS), activation)]
    return nn.Sequential(*parts, nn.Linear(UNITS, 2))


def reused() -> nn.Module:
    """One activation module called twice: shap uses the values of its last call for both."""
    forward = lambda net, x: net.b(net.act(net.c(net.act(net.a(net.rnn(x)[0][:, -1])))))  # noqa: E731
    parts = {"a": nn.Linear(UNITS, UNITS), "c": nn.Linear(UNITS, UNITS), "b": nn.Linear(UNITS, 2)}
    return Net(forward, rnn=nn.GRU(FEATURES, UNITS, batch_first=True), act=nn.Tanh(), **parts)


def side_by_side() -> nn.Module:
    """A branch for every class that shap hooks; one after the other their differences would drown in rounding."""
    acts = [getattr(nn, name)(1) if name == "Softmax" else getattr(nn, name)() for name in RESCALED]
    linears = nn.ModuleList(nn.Linear(UNITS, UNITS) for _ in acts)

    def forward(net, x):
        h = net.rnn(x)[0][:, -1]
        return net.b(sum(act(linear(8 * h)) for act, linear in zip(net.acts, net.linears, strict=True)))

    layer = nn.GRU(FEATURES, UNITS, batch_first=True)
    return Net(forward, rnn=layer, acts=nn.ModuleList(acts), linears=linears, b=nn.Linear(UNITS, 2))


NETS = {
    "LSTM": lambda: recurrent_net("LSTM", 0),
    "GRU": lambda: recurrent_net("GRU", 0),
    "RNN": lambda: recurrent_net("RNN", 0, nonlinearity="relu"),
    "stacked bidirectional LSTM": lambda: recurrent_net("LSTM", 0, num_layers=2, bidirectional=True),
    "LSTMCell in a loop": lambda: CellLoop(head(nn.ReLU(), nn.Tanh())),
    "every module that shap hooks": side_by_side,
    "a module called twice": reused,
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("baselines", [1, 3])
def test_shap_returns_the_same(name, precision, baselines):
    torch.manual_seed(1)
    net = NETS[name]().to(getattr(torch, precision)).eval()
    test, _ = pair_of_runs(10, samples=2, dtype=precision)
    base = np.random.default_rng(4).normal(size=(baselines, 10, FEATURES)).astype(precision)
    assert difference(net, test, base) <= BOUND[precision]


def test_equal_values_take_the_derivative():
    """Where sample and baseline agree, shap leaves the derivative, whatever the threshold."""
    torch.manual_seed(1)
    net = NETS["LSTMCell in a loop"]().double()
    test, base = pair_of_runs(5)
    test[:, 3:] = base[:, 3:]
    assert difference(net, test, base) <= BOUND["float64"]


def test_the_hooked_classes_are_those_of_the_installed_package():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from shap.explainers._deep.deep_pytorch import op_handler

    by_rule = {"nonlinear_1d": set(RESCALED), "maxpool": set(POOLED)}
    found = {rule: {name for name, handler in op_handler.items() if handler.__name__ == rule} for rule in by_rule}
    assert found == by_rule


def test_modules_that_get_time_first_are_refused():
    """shap would compare the first half of the timesteps with the second."""
    forward = lambda net, x: net.head(net.act(net.rnn(x)[0].transpose(0, 1))[-1])  # noqa: E731
    net = Net(forward, rnn=nn.GRU(FEATURES, UNITS, batch_first=True), act=nn.Tanh(), head=nn.Linear(UNITS, 1))
    test, base = pair_of_runs(6, dtype=np.float32)
    with pytest.raises(xc.errors.UnsupportedOperation, match="first axis") as error:
        xc.diagnostics.ledger(net, test, base, 0, "shap")
    assert error.value.where == "act"


def test_pooling_is_refused_by_name():
    forward = lambda net, x: net.head(net.pool(net.rnn(x)[0].transpose(1, 2))[..., 0])  # noqa: E731
    net = Net(
        forward, rnn=nn.GRU(FEATURES, UNITS, batch_first=True), pool=nn.MaxPool1d(6), head=nn.Linear(UNITS, 1)
    ).eval()
    test, base = pair_of_runs(6, dtype=np.float32)
    with pytest.raises(xc.errors.UnsupportedOperation, match="MaxPool1d"):
        xc.diagnostics.ledger(net, test, base, 0, "shap")
    assert len(xc.diagnostics.ledger(net, test, base, 0, "gradient"))


def test_agreement_measures_it():
    net = recurrent_net("LSTM", 0)
    test, base = pair_of_runs(6, dtype=np.float32)
    found = xc.diagnostics.shap_agreement(None, net, test, base, 0)
    assert found["library"].startswith("shap ")
    assert found["scale"] > 0
    assert found["relative"] <= BOUND["float32"]
