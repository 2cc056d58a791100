"""A second explanation of the same model is as quick as memory allows, and of the model as it is then."""

from __future__ import annotations

import copy
import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exactness import draw
from torch import nn

import explain_core as xc
from explain_core.backends.protocol import Target
from explain_core.backends.torch import open_runner, recordings, watching
from explain_core.backends.torch.kept import MOST, Kept
from explain_core.errors import CaptureError, CompletenessError, NonFiniteError, UnsupportedOperation
from explain_core.preparation.inputs import read_arguments

N, T, F = 3, 5, 4
SETTING = {"power": 1.0, "column": 0}


class Model(nn.Module):
    """A recurrent net that reads what can be read: weights, buffers, attributes, a list, an object, a global."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(F, 6, batch_first=True), nn.Linear(6, 2)
        self.register_buffer("mask", torch.ones(T, 1))
        self.scale, self.column, self.places = 1.0, 0, [0, 1]
        self.settings = SimpleNamespace(factor=1.0)
        self.loose = torch.ones(2)

    def forward(self, x):
        y = self.head(self.rnn(x * self.mask)[0]).tanh().mean(1) * self.loose
        y = y * self.scale * self.settings.factor * SETTING["power"]
        return y[:, self.places] + x[:, 0, self.column, None] + x[:, 0, SETTING["column"], None]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model().eval()


@pytest.fixture
def recorded(monkeypatch):
    """How often a model is recorded."""
    calls = []
    record = recordings.capture
    monkeypatch.setattr(recordings, "capture", lambda *a, **k: calls.append(1) or record(*a, **k))
    return calls


X = draw(0, N, T, F).astype(np.float32)


def explained(model, x=X, **options):
    return xc.explain(model, x, target=0, device="cpu", **options)


def assert_as_anew(model, **options):
    """Bit for bit what a copy gives, which was never explained before."""
    ex, anew = explained(model, **options), explained(copy.deepcopy(model), **options)
    np.testing.assert_array_equal(ex.prediction, anew.prediction)
    np.testing.assert_array_equal(ex.attributions, anew.attributions)
    with torch.no_grad():
        np.testing.assert_allclose(ex.prediction, model.eval()(torch.from_numpy(X))[:, :1], rtol=1e-5, atol=1e-6)


def test_a_model_is_recorded_once(model, recorded):
    first = explained(model)
    second = explained(model)
    explained(model, draw(1, N, T, F).astype(np.float32), baselines="mean", background=True)
    assert len(recorded) == 1
    np.testing.assert_array_equal(first.attributions, second.attributions)
    explained(model, precision="float64")
    explained(model, X[:2])
    assert len(recorded) == 3


def optimizer_step(model):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    model(torch.from_numpy(X)).sum().backward()
    optimizer.step()


def in_memory(model):
    model.head.weight.detach().numpy()[:] *= 2


def replaced_module(model):
    model.head = nn.Linear(6, 2)


def wider_module(model):
    model.head = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2))


def swapped(name, value):
    return lambda model: setattr(model, name, value)


def forward_of_the_instance(model):
    before = model.forward
    model.forward = lambda x: 2 * before(x)


def forward_of_a_layer(model):
    before = model.rnn.forward
    model.rnn.forward = lambda *a: (before(*a)[0] * 3, None)


CHANGES = {
    "a weight in place": lambda m: m.head.weight.data.mul_(2),
    "a weight in memory": in_memory,
    "a weight under no_grad": lambda m: torch.nn.init.ones_(m.head.weight),
    "p.data": lambda m: setattr(m.head.weight, "data", torch.ones(2, 6)),
    "a new parameter": lambda m: setattr(m.rnn, "weight_hh_l0", nn.Parameter(torch.ones(24, 6))),
    "load_state_dict": lambda m: m.load_state_dict(Model().state_dict()),
    "load_state_dict, assigned": lambda m: m.load_state_dict(Model().state_dict(), assign=True),
    "an optimizer's step": optimizer_step,
    "a layer replaced": replaced_module,
    "a layer replaced by several": wider_module,
    "an option of a layer": lambda m: setattr(m.rnn, "batch_first", False) or setattr(m, "mask", torch.ones(1, 1)),
    "forward replaced": forward_of_the_instance,
    "forward of a layer replaced": forward_of_a_layer,
    "a hook": lambda m: m.head.register_forward_hook(lambda module, args, out: out * 2),
    "a hook before": lambda m: m.rnn.register_forward_pre_hook(lambda module, args: (args[0] * 2,)),
    "a number": swapped("scale", 3.0),
    "a position": swapped("column", 1),
    "a list": lambda m: m.places.reverse(),
    "an object": lambda m: setattr(m.settings, "factor", 2.0),
    "a global": lambda m: SETTING.update(power=2.0),
    "a global position": lambda m: SETTING.update(column=2),
    "a buffer in place": lambda m: m.mask[2:].zero_(),
    "a buffer": swapped("mask", torch.linspace(0, 1, T)[:, None]),
    "a tensor": swapped("loose", torch.tensor([0.5, 2.0])),
    "a tensor in place": lambda m: m.loose.mul_(2),
    "training": lambda m: m.train(),
    "doubles": lambda m: m.double(),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("precision", [None, "float64"])
def test_a_model_that_was_changed_is_explained_as_it_is_now(name, precision, model, monkeypatch):
    for key, value in SETTING.items():
        monkeypatch.setitem(SETTING, key, value)
    options = {"precision": precision}
    before = explained(model, **options)
    explained(model, **options)
    if name == "an option of a layer":
        options["sample_axis"] = 0
        with pytest.raises((CompletenessError, CaptureError)):
            CHANGES[name](model) or explained(model, **options)
        return
    CHANGES[name](model)
    assert_as_anew(model, **options)
    if name not in ("training", "doubles"):
        assert not np.allclose(explained(model, **options).prediction, before.prediction)


def test_a_change_that_moves_no_prediction_is_followed_too(model):
    """Columns with the same numbers: what is predicted is the same, and what it comes from is not."""
    x = X.copy()
    x[:, 0] = x[:, 0, :1]
    explained(model, x)
    model.column = 3
    ex = explained(model, x)
    model.scale = 0.0
    alone = explained(model, x)
    np.testing.assert_allclose(alone.attributions[:, 0, 3], x[:, 0, 3], rtol=1e-6)
    assert not np.array_equal(ex.attributions, alone.attributions)


class Chooses(nn.Module):
    """Equal answers for steps, and for values on the way, that are equal."""

    step, value = -1, 0

    def forward(self, x):
        return x.unbind(1)[self.value] + x[:, self.step]


@pytest.mark.parametrize(("name", "value"), [("step", -2), ("value", 1)])
def test_numbers_of_one_hash_are_told_apart(name, value):
    """Python's hash of -1 is that of -2."""
    model, same = Chooses().eval(), np.ones((N, T, F), np.float32)
    explained(model, same)
    setattr(model, name, value)
    anew = explained(copy.deepcopy(model), same)
    np.testing.assert_array_equal(explained(model, same).attributions, anew.attributions)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: m.register_forward_hook(lambda module, args, y: y + torch.rand(1)), UnsupportedOperation),
        (lambda m: m.register_forward_hook(lambda module, args, y: y + np.random.default_rng().random()), CaptureError),
        (lambda m: m.register_forward_hook(lambda module, args, y: y - y.mean(0)), CompletenessError),
        (lambda m: m.register_forward_hook(lambda module, args, y: y if args[0].sum() > 0 else 2 * y), CaptureError),
        (
            lambda m: m.register_forward_hook(lambda module, args, y: torch.special.zeta(y + 9, y)),
            UnsupportedOperation,
        ),
        (lambda m: m.head.weight.data.fill_(float("nan")), NonFiniteError),
    ],
    ids=["random", "random in NumPy", "mixes rows", "decides", "no rule", "not finite"],
)
def test_a_model_that_was_made_unfit_is_refused(change, error, model):
    x = np.abs(X)
    explained(model, x)
    change(model)
    with pytest.raises(error):
        explained(model, x)


def test_mixing_that_weights_bring_about_is_seen(model):
    """The same rows, and the same recording; only a weight was set that had been zero."""
    model.share = nn.Parameter(torch.zeros(1))
    model.register_forward_hook(lambda module, args, y: y + module.share * y.mean(0))
    explained(model)
    explained(model)
    with torch.no_grad():
        model.share.fill_(0.1)
    with pytest.raises(CompletenessError, match="depends on the others"):
        explained(model)


def test_mixing_that_other_rows_bring_about_is_seen(model, recorded):
    model.register_forward_hook(lambda module, args, y: y + torch.relu(args[0] - 50).sum(0)[:1, :2])
    explained(model)
    explained(model)
    assert len(recorded) == 1
    with pytest.raises(CompletenessError, match="depends on the others"):
        explained(model, X + 60)


def test_inputs_that_are_not_explained_are_part_of_a_recording(recorded):
    class Lengths(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(F, 3, batch_first=True)

        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.rnn(packed)[1][-1]

    model = Lengths().eval()
    for count, lengths in ((1, [5, 4, 2]), (1, [5, 4, 2]), (2, [3, 5, 1])):
        ex = explained(model, {"x": X, "lengths": np.array(lengths)})
        assert len(recorded) == count
        for n, length in enumerate(lengths):
            assert not ex.attributions[n, length:].any()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["module", "exported program", "its module", "TorchScript"])
def test_memory_goes_with_the_model(kind):
    x = X[:, 0]
    model = nn.Sequential(nn.Linear(F, 3), nn.Tanh(), nn.Linear(3, 1)).eval()
    if kind == "TorchScript":
        model = torch.jit.trace(model, torch.from_numpy(x))
    elif kind != "module":
        model = torch.export.export(model, (torch.from_numpy(x),))
        model = model if kind == "exported program" else model.module()
    explained(model, x)
    explained(model, x)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert all(reference() is not None for reference, _ in Kept._all.values())


@pytest.mark.parametrize("layer", [nn.GRU, nn.RNN, nn.LSTM])
def test_recurrent_layers_are_not_watched_step_by_step(layer, monkeypatch):
    """In the model's own calls, in which no other operation may write to a weight."""
    seen = []
    watch = watching.require_in_table
    monkeypatch.setattr(watching, "require_in_table", lambda func, args: seen.append(func) or watch(func, args))
    model = nn.Sequential(layer(F, 3, num_layers=2, bidirectional=True, batch_first=True)).eval()
    runner = open_runner(model, read_arguments(model, X), sample_axes=(0,), device="cpu")
    seen.clear()
    runner.answer([X], [Target(0, (0, 0), "0")])
    assert len(seen) < T


def test_few_recordings_are_kept():
    models = [nn.Sequential(nn.Linear(F, 1)).eval() for _ in range(MOST + 3)]
    for model in models:
        explained(model, X[:, 0])
    assert len(Kept._all) == MOST
