"""The emulated gradient fallback against the installed shap package, element by element."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from exactness import Net
from test_ledger_identity import FEATURES, UNITS, off, pair_of_runs, recurrent_net
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
    """Largest difference of any attribution over the largest attribution, with all of ``base`` as background.

    The ledger has to add up to what is missing, too; in float32 not over several baselines, whose attributions cancel
    while the rounding of the predictions stays.
    """
    theirs = by_shap(net, test, base)
    explanation = xc.diagnostics.audit(net, test, base, None, "shap", background=True)
    if len(base) == 1 or test.dtype == np.float64:
        assert off(explanation) <= BOUND[str(test.dtype)]
    ours = explanation.attributions
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


def time_first() -> nn.Module:
    """What the activation gets has time on its first axis: shap compares the first half of it with the second."""
    forward = lambda net, x: net.head(net.act(net.rnn(x)[0].transpose(0, 1)).mean(0))  # noqa: E731
    return Net(forward, rnn=nn.GRU(FEATURES, UNITS, batch_first=True), act=nn.Tanh(), head=nn.Linear(UNITS, 2))


def pooled(*pools: nn.Module, spread=lambda states: states.transpose(1, 2)) -> nn.Module:
    """Pools one after the other on the states of a layer, with an activation module between."""

    def forward(net, x):
        h = spread(net.rnn(x)[0])
        for pool, act in zip(net.pools, net.acts, strict=True):
            h = act(pool(2 * h))
        return net.head(h.flatten(1))

    layer, acts = nn.LSTM(FEATURES, UNITS, batch_first=True), nn.ModuleList(nn.ELU() for _ in pools)
    return Net(forward, rnn=layer, pools=nn.ModuleList(pools), acts=acts, head=nn.LazyLinear(2))


NETS = {
    "LSTM": lambda: recurrent_net("LSTM", 0),
    "GRU": lambda: recurrent_net("GRU", 0),
    "RNN": lambda: recurrent_net("RNN", 0, nonlinearity="relu"),
    "stacked bidirectional LSTM": lambda: recurrent_net("LSTM", 0, num_layers=2, bidirectional=True),
    "LSTMCell in a loop": lambda: CellLoop(head(nn.ReLU(), nn.Tanh())),
    "every module that shap hooks": side_by_side,
    "a module called twice": reused,
    "time first": time_first,
    "pooling": lambda: pooled(nn.MaxPool1d(3)),
    "pooling twice": lambda: pooled(nn.MaxPool1d(2), nn.MaxPool1d(2)),
    "pooling that overlaps": lambda: pooled(nn.MaxPool1d(3, stride=1, padding=1), nn.MaxPool1d(3, stride=2)),
    "pooling in two dimensions": lambda: pooled(nn.MaxPool2d(2), spread=lambda states: states.unsqueeze(1)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("baselines", [1, 3])
def test_shap_returns_the_same(name, precision, baselines):
    torch.manual_seed(1)
    net = NETS[name]().to(getattr(torch, precision)).eval()
    test, _ = pair_of_runs(10, samples=2, dtype=precision)
    net(torch.from_numpy(test))  # makes the weights of a head that waits for its input's size
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


def test_what_shap_itself_fails_on_is_refused():
    """shap would compare the first half of an odd number of timesteps with the second."""
    net, (test, base) = time_first().eval(), pair_of_runs(7, dtype=np.float32)
    with pytest.raises(RuntimeError):
        by_shap(net, test, base)
    with pytest.raises(xc.errors.UnsupportedOperation, match="shap's rule for Tanh fails") as error:
        xc.diagnostics.ledger(net, test, base, 0, "shap")
    assert error.value.where == "act"


def test_hooks_need_a_batch_with_the_samples_on_the_first_axis():
    forward = lambda net, x: net.head(net.act(net.rnn(x)[0][-1]))  # noqa: E731
    net = Net(forward, rnn=nn.GRU(FEATURES, UNITS), act=nn.Tanh(), head=nn.Linear(UNITS, 1)).eval()
    test, base = (run.transpose(1, 0, 2) for run in pair_of_runs(6, dtype=np.float32))
    with pytest.raises(xc.errors.UnsupportedOperation, match="first axis"):
        xc.diagnostics.ledger(net, test, base, 0, "shap", sample_axis=1)
    one = Net(lambda net, x: net.head(net.act(x.view(1, -1))), act=nn.Tanh(), head=nn.Linear(6 * FEATURES, 1)).eval()
    with pytest.raises(xc.errors.UnsupportedOperation, match="as one batch, which this model does not take"):
        xc.diagnostics.ledger(one, *pair_of_runs(6, dtype=np.float32), 0, "shap")
    net.act = nn.Identity()  # without a hook there is nothing to mix
    xc.diagnostics.ledger(net, test, base, 0, "shap", sample_axis=1)


def test_agreement_measures_it():
    net = recurrent_net("LSTM", 0)
    test, base = pair_of_runs(6, dtype=np.float32)
    found = xc.diagnostics.shap_agreement(None, net, test, base, 0)
    assert found["library"].startswith("shap ")
    assert found["scale"] > 0
    assert found["relative"] <= BOUND["float32"]
