"""The lines of Python that errors and pages offer: they run, and do what is said of them."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import explain_core as xc
from explain_core.models import load_model
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.in_python import python_lines
from explain_core.models.loaded import ExpectedInput


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.inner = kind(3, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.inner(x)[0][:, -1])


class Pooled(nn.Module):
    def __init__(self, _):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(3, 1)

    def forward(self, x):
        return torch.tanh(self.inner(x)).mean(1)


@pytest.mark.parametrize(("model", "kind"), [(Recurrent, nn.LSTM), (Recurrent, nn.GRU), (Pooled, None)])
def test_the_lines_that_write_a_model_leave_samples_and_timesteps_open(model, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = model(kind)
    lines = "\n".join(line.strip() for line in EXPORT_HINT.splitlines() if line.startswith("    "))
    with warnings.catch_warnings():  # the tracer's and the exporter's own
        warnings.simplefilter("ignore")
        exec(lines, {"torch": torch, "model": made, "timesteps": 6, "features": 3})
    x = np.random.default_rng(0).normal(size=(3, 9, 3)).astype("float32")
    for file in ("model.pt", "model.pt2"):
        fixed = file == "model.pt2" and kind is not None  # by torch.export, whatever it is told
        given = x[:, :6] if fixed else x
        found = xc.explain(load_model(tmp_path / file), given)
        np.testing.assert_allclose(found.attributions.values, xc.explain(made, given).attributions.values, atol=1e-6)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(3, 4)
        self.head = nn.Linear(6, 1)

    def forward(self, x, beside):
        return self.head(torch.cat([self.gru(x)[0][-1], beside], -1))


def export(model, path, *example):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model.eval(), example), path)


def test_the_lines_that_explain_a_model_run_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export(Two(), tmp_path / "it's two.pt2", torch.randn(10, 1, 3), torch.randn(1, 2))
    inputs = load_model(tmp_path / "it's two.pt2").summary.inputs
    exec(python_lines("it's two.pt2", inputs, ("x",)), {})
    assert "adds up" in capsys.readouterr().out
    torch.save(nn.Sequential(nn.Linear(3, 1)).state_dict(), tmp_path / "weights.pt")
    exec(python_lines("weights.pt", load_model(tmp_path / "weights.pt").summary.inputs), {})
    assert "adds up" in capsys.readouterr().out


def test_lines_for_inputs_of_any_kind_are_python():
    kinds = [ExpectedInput("wave", (None, 4), "complex64"), ExpectedInput("text", None, "string")]
    kinds += [ExpectedInput("n", (None,), "int64"), ExpectedInput("mask", (None, 5), "bool")]
    compile(python_lines("m.pt2", kinds), "lines", "exec")
    assert "np.zeros((samples, 4), 'complex64')" in python_lines("m.pt2", kinds)
