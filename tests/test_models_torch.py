"""PyTorch models that need a state, keep one, answer differently each time, or need code of their own."""

import pickle
import sys
import warnings

import numpy as np
import pytest
import torch
from corpus.torch_files import Canary, Remembering, WithState
from corpus.torch_stacks import plain
from torch import nn

import explain_core as xc
from explain_core.errors import CaptureError, InputError, ModelFileError, TargetError, UnsupportedOperation
from explain_core.jobs.tasks.opening import ModelSource, open_kept
from explain_core.jobs.tasks.preview import preview
from explain_core.models import load_model
from explain_core.models.pickles import imported_names

pytestmark = [  # TorchScript files will be around for long; the exporter's own, on nn.LSTM's flattened weights
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning"),
]

CODE = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.score = nn.Linear(size, 1)

    def forward(self, y):
        return (y * self.score(y).softmax(1)).sum(1)


class Model(nn.Module):
    def __init__(self, input_size, hidden_size, activation=torch.tanh):
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.attention = Attention(hidden_size)
        self.activation = activation

    def forward(self, x):
        return self.activation(self.attention(self.lstm(x)[0]))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a person's own, as their training script imports it."""
    (tmp_path / "own_model.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_model", raising=False)
    import own_model

    torch.manual_seed(0)
    return own_model.Model(3, 4).eval()


X = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(1))


class TestTrustedCode:
    def test_a_pickled_model_and_a_state_dict_of_its_class(self, own, tmp_path):
        torch.save(own, tmp_path / "whole.pt")
        torch.save(own, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
        torch.save({"state_dict": own.state_dict(), "config": {"input_size": 3}}, tmp_path / "weights.pt")
        code, given = tmp_path / "own_model.py", {"class": "Model", "hidden_size": "4"}
        for name, architecture in (("whole.pt", {}), ("old.pt", {}), ("weights.pt", given)):
            loaded = load_model(tmp_path / name, code=code, architecture=architecture)
            torch.testing.assert_close(loaded.module(X), own(X))
            assert "The code in own_model.py was run to make the model." in loaded.notes
            assert xc.explain(loaded, X.numpy(), target=0).relative_residual.max() <= 1e-5

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({}, "several models: Attention, Model"),
            ({"class": "Other"}, "no class 'Other'"),
            ({"class": "Model"}, "needs input_size, hidden_size"),
            ({"class": "Model", "input_size": 3, "hidden_size": 5}, "do not fit: 'lstm.weight_ih_l0'"),
            ({"class": "Model", "input_size": 3, "hidden_size": "x"}, "fails: TypeError"),
            ({"class": "Model", "units": 3}, "takes no argument 'units'"),
            ({"class": "Attention", "size": 4}, "do not fit: 'score.weight'"),
        ],
    )
    def test_what_does_not_fit_is_said(self, own, tmp_path, given, said):
        torch.save(own.state_dict(), tmp_path / "weights.pt")
        with pytest.raises(ModelFileError, match=said):
            load_model(tmp_path / "weights.pt", code=tmp_path / "own_model.py", architecture=given)

    @pytest.mark.parametrize("code", ["raise SystemExit", "x = (", "import nothing_like_this", "x = 1"])
    def test_code_that_does_not_run_is_a_typed_error(self, tmp_path, code):
        torch.save(plain().state_dict(), tmp_path / "weights.pt")
        (tmp_path / "bad.py").write_text(code)
        with pytest.raises(ModelFileError):
            load_model(tmp_path / "weights.pt", code=tmp_path / "bad.py")

    def test_other_code_in_the_weights_is_still_refused(self, own, tmp_path):
        own.extra = Canary(tmp_path / "canary")
        torch.save(own, tmp_path / "whole.pt")
        with pytest.raises(ModelFileError, match="mkdir"):
            load_model(tmp_path / "whole.pt", code=tmp_path / "own_model.py")
        assert not (tmp_path / "canary").exists()

    def test_the_job_itself_refuses_code_unless_the_server_trusts_it(self, own, tmp_path, monkeypatch):
        torch.save(own, tmp_path / "whole.pt")
        canary = tmp_path / "canary"
        code = tmp_path / "code.py"
        code.write_text(f"import os; os.mkdir({str(canary)!r})\n{CODE}")
        source = ModelSource(tmp_path / "whole.pt", code=code)
        with pytest.raises(ModelFileError, match="does not run any"):
            open_kept(lambda *said: None, source)
        assert not canary.exists()
        monkeypatch.setattr(sys, "argv", ["app.py", "--trust-code"])
        assert open_kept(lambda *said: None, source).summary.recurrent_layers
        assert canary.exists()

    def test_code_with_a_file_that_needs_none(self, tmp_path):
        (tmp_path / "model.keras").write_bytes(b"\x89HDF\r\n\x1a\n")
        with pytest.raises(ModelFileError, match="needs none"):
            load_model(tmp_path / "model.keras", code=tmp_path / "code.py")


def test_the_canary_is_real(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_names_are_found_in_pickles_of_every_protocol(protocol, tmp_path):
    assert imported_names(pickle.dumps([Canary(tmp_path), np.float64(1)], protocol=protocol))[:1] == ("posix.mkdir",)


# --- States --------------------------------------------------------------------------------------------------


def series(samples=3):
    return np.random.default_rng(5).normal(size=(samples, 6, 4)).astype(np.float32)


def test_a_state_that_is_given_counts(tmp_path):
    model = WithState().eval()
    torch.jit.script(model).save(tmp_path / "m.pt")
    loaded, x = load_model(tmp_path / "m.pt"), torch.from_numpy(series())
    state = (torch.ones(1, 3, 5), torch.zeros(1, 3, 5))
    torch.testing.assert_close(loaded.module(x, state), model(x, state))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(loaded.module(x)[0], model(x, state)[0])


def test_a_model_that_remembers_starts_anew_for_each_run():
    x = series()
    live, script = Remembering().eval(), torch.jit.script(Remembering().eval())
    for model in (live, script):
        first = xc.explain(model, x, baselines=series()[::-1].copy(), target=0)
        again = xc.explain(model, x, baselines=series()[::-1].copy(), target=0)
        assert (first.attributions == again.attributions).all()
        assert any("keeps values between calls" in note for note in first.notes)
        assert first.relative_residual.max() <= 1e-5
        with torch.no_grad():
            np.testing.assert_allclose(first.prediction[:, 0], model(torch.from_numpy(x))[:, 0], rtol=1e-5)
            model.h, model.count = torch.zeros_like(model.h), torch.zeros(1)


class Squeezing(nn.Module):
    def __init__(self, units, inside=False):
        super().__init__()
        self.lstm, self.fc, self.inside = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, units), inside

    def forward(self, x):
        y = self.lstm(x)[0][:, -1:]
        return self.fc(y.squeeze())[:, 0] if self.inside else self.fc(y).squeeze()


@pytest.mark.parametrize(("units", "inside"), [(1, False), (3, False), (2, True)])
def test_squeezed_sample_axes_do_not_change_results(units, inside):
    torch.manual_seed(0)
    model, x = Squeezing(units, inside).eval(), series()
    together = xc.explain(model, x).attributions.transpose("sample", ...)
    alone = [xc.explain(model, x[n : n + 1]).attributions.transpose("sample", ...) for n in range(3)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-7)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_programs_for_one_number_of_samples_and_one_length(batch, tmp_path):
    model, x = plain().eval(), series()
    torch.export.save(torch.export.export(model, (torch.zeros(batch, 6, 4),)), tmp_path / "m.pt2")
    loaded = load_model(tmp_path / "m.pt2")
    for samples in (1, 3):
        ex = xc.explain(loaded, x[:samples], target=0)
        with torch.no_grad():
            np.testing.assert_allclose(ex.prediction[:, 0], model(torch.from_numpy(x[:samples]))[:, 0], atol=1e-6)
    with pytest.raises(CaptureError, match=r"exported for inputs of one size.*must be equal to 6"):
        xc.explain(loaded, x[:, :5])


# --- Answers that differ -------------------------------------------------------------------------------------


class Noisy(nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.lstm, self.noise = nn.LSTM(4, 5, batch_first=True), noise

    def forward(self, x):
        return self.lstm(x)[0][:, -1] * self.noise()


def test_random_operations_are_named_with_their_module():
    model = nn.Sequential(Noisy(lambda: torch.rand(5)))
    with pytest.raises(UnsupportedOperation, match="rand draws random numbers") as caught:
        xc.explain(model, series())
    assert caught.value.where == "0"


def test_randomness_outside_pytorch_is_refused():
    generator = np.random.default_rng(0)
    with pytest.raises(CaptureError, match="run twice"):
        xc.explain(Noisy(lambda: generator.random()), series())


def test_an_lstm_with_dropout_is_not_called_random():
    model = nn.LSTM(4, 5, 2, batch_first=True, dropout=0.5).eval()
    assert xc.explain(model, series(), target=("0", 5, 0)).relative_residual.max() <= 1e-5


# --- Outputs and scripts that cannot be followed --------------------------------------------------------------


class Joined(nn.Module):
    """Puts samples and timesteps into one axis, as tutorials on language models do for the loss."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 5, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0].reshape(-1, 5)


@pytest.mark.parametrize("samples", [1, 3])
def test_samples_and_timesteps_in_one_axis_are_named(samples):
    with pytest.raises(CaptureError, match="samples and timesteps in one axis"):
        xc.explain(Joined().eval(), series(samples))


class Beside(Joined):
    """An output that is explained, and beside it what a mixture of experts returns for its loss."""

    def forward(self, x):
        y = self.gru(x)[0]
        return y[:, -1], super().forward(x), y.mean()


@pytest.mark.parametrize("target", [0, "0: 1", ("0", 2), xc.contrast(0, 1)])
def test_an_output_without_samples_does_not_stop_another_one(target):
    model = Beside().eval()
    found = xc.explain(model, series(), target=target)
    assert found.relative_residual.max() <= 1e-5


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (None, "samples and timesteps in one axis"),
        (("1", 0, 0), "samples and timesteps in one axis"),
        (xc.contrast(0, ("1", 0, 0)), "samples and timesteps in one axis"),
        ("2", "no axis has the 3 samples"),
    ],
)
def test_an_output_without_samples_that_is_chosen_says_so(target, why):
    with pytest.raises(TargetError, match=why) as caught:
        xc.explain(Beside().eval(), series(), target=target)
    assert "the outputs that can be explained are '0'" in caught.value.hint


class ByValue(nn.Module):
    def forward(self, x):
        return x * int(x.sum())


def test_a_script_that_reads_a_number_is_guarded(tmp_path):
    torch.jit.script(ByValue()).save(tmp_path / "m.pt")
    with pytest.raises(CaptureError, match=r"decides by sum\(the input\) what to compute: .* and 0 for the baseline"):
        xc.explain(load_model(tmp_path / "m.pt"), series())
    model, x = load_model(tmp_path / "m.pt"), series(1)  # a sum over several samples mixes them
    assert xc.explain(model, x, baselines=x[:, ::-1].copy(), target=(0, 0)).relative_residual.max() <= 1e-5


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


def by_tracing(model):
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.trace(model, torch.randn(3, 6, 4))


@pytest.mark.parametrize("make", [torch.jit.script, by_tracing])
@pytest.mark.parametrize("layer", [nn.Linear(4, 1), Last()], ids=["linear", "lstm"])
def test_a_script_that_is_given_too_many_features_says_so(layer, make):
    """A traced recurrent layer has lost its own check, and PyTorch's kernel then reads what is not there."""
    with pytest.raises(CaptureError) as caught:
        xc.explain(make(layer.eval()), series()[..., [0, 1, 2, 3, 0]])
    assert caught.value.what.startswith("the model failed on these inputs: ")
    assert "number" not in caught.value.what
    assert "shapes cannot be multiplied" in caught.value.what or "xpected 4, got 5" in caught.value.what


# --- A first prediction --------------------------------------------------------------------------------------


def test_preview(tmp_path):
    model = plain().eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    found = preview(lambda *said: None, ModelSource(tmp_path / "w.pt"))
    assert (found.given, found.shape, found.others) == ((1, 10, 4), (2,), 0)
    with torch.no_grad():
        np.testing.assert_allclose([v for _, v in found.values], model(torch.zeros(1, 10, 4))[0], atol=1e-6)
    torch.save(nn.Sequential(nn.Linear(4, 2)), tmp_path / "m.pt")
    assert preview(lambda *said: None, ModelSource(tmp_path / "m.pt")) is None


def test_input_errors_stay_input_errors():
    with pytest.raises(InputError):
        xc.explain(plain(), "nothing")
