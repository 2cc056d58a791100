"""Every refusal says what is wrong and what to do, and survives the way to another process."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import explain_core as xc
from explain_core import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ExplainError)]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_pickle(kind):
    error = kind("what is wrong", where="row 3", hint="Do this.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.what, copy.where, copy.hint) == ("what is wrong", "row 3", "Do this.")
    assert str(copy) == "what is wrong (in row 3)\nDo this."


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 2, batch_first=True)

    def forward(self, series):
        return self.lstm(series)[0][:, -1]


class TwoInputs(Model):
    def forward(self, series, static):
        return super().forward(series) + static


def explain(inputs=None, model=None, **options):
    inputs = np.ones((2, 4, 3), np.float32) if inputs is None else inputs
    return xc.explain(model or Model(), inputs, **options)


# What is refused: (how, kind of error, words that it must say, words of its hint)
REFUSED = {
    "features": (lambda: explain(np.ones((2, 4, 5))), errors.CaptureError, ("5", "3"), ()),
    "axes": (lambda: explain(np.ones((2, 4, 3, 3))), errors.CaptureError, ("4",), ()),
    "not numbers": (lambda: explain(np.array([["a"]])), errors.InputError, ("numbers", "series"), ("numpy",)),
    "ragged": (lambda: explain([[1.0, 2.0], [3.0]]), errors.InputError, ("numbers",), ()),
    "empty": (lambda: explain(np.ones((0, 4, 3))), errors.InputError, ("empty", "(0, 4, 3)"), ()),
    "samples of two inputs": (
        lambda: explain((np.ones((2, 4, 3)), np.ones((3, 4))), TwoInputs()),
        errors.InputError,
        ("(3, 4)", "2 samples", "static"),
        ("sample_axis",),
    ),
    "baseline word": (lambda: explain(baselines="average"), errors.InputError, ("average",), ("zeros", "mean")),
    "baseline shape": (
        lambda: explain(baselines=np.ones((1, 4, 2))),
        errors.InputError,
        ("(1, 4, 2)", "series"),
        ("(4, 3)",),
    ),
    "baseline count": (
        lambda: explain(baselines=np.ones((5, 4, 3))),
        errors.InputError,
        ("(5, 4, 3)",),
        ("background=True",),
    ),
    "baseline name": (lambda: explain(baselines={"serie": "zeros"}), errors.InputError, ("serie",), ("series",)),
    "one baseline for two inputs": (
        lambda: explain((np.ones((2, 4, 3)), np.ones((2, 2))), TwoInputs(), baselines=np.ones((2, 4, 3))),
        errors.InputError,
        ("2 explained",),
        ("series", "static"),
    ),
    "target": (lambda: explain(target=7), errors.TargetError, ("7", "(2,)"), ("from 0",)),
    "target label": (lambda: explain(target="no"), errors.TargetError, ("no",), ("output",)),
    "target of two numbers": (lambda: explain(target=(0, 1)), errors.TargetError, ("(0, 1)",), ("time",)),
    "target of another type": (lambda: explain(target=1.5), errors.TargetError, ("1.5",), ("int",)),
    "no target": (lambda: explain(target=[]), errors.TargetError, ("empty",), ()),
    "backend": (lambda: explain(backend="jax"), errors.BackendError, ("jax",), ("torch", "tensorflow")),
    "other backend": (
        lambda: explain(backend="tensorflow"),
        errors.BackendError,
        ("TensorFlow", "PyTorch"),
        ("torch",),
    ),
    "no model": (lambda: explain(model=lambda x: x), errors.BackendError, ("function",), ("nn.Module",)),
    "device": (lambda: explain(device="abacus"), errors.BackendError, ("abacus",), ("cpu",)),
    "too many devices": (lambda: explain(device="cuda:99"), errors.BackendError, ("cuda:99",), ("cpu",)),
    "precision": (lambda: explain(precision="half"), errors.InputError, ("half",), ("float64",)),
    "sample axis": (lambda: explain(sample_axis=4), errors.InputError, ("4", "3 axes", "series"), ()),
    "NaN": (
        lambda: explain(np.full((2, 4, 3), np.nan)),
        errors.NonFiniteError,
        ("nan", "(0, 0, 0)", "series"),
        ("missing",),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_says_what_and_where_and_what_next(name):
    call, kind, words, hints = REFUSED[name]
    torch.manual_seed(0)
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert all(word in f"{error.what} {error.where}" for word in words), str(error)
    assert all(word in error.hint for word in hints), str(error)
    assert "Traceback" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_missing_rule_names_operation_module_and_remedy():
    class Part(nn.Module):
        def forward(self, x):
            return torch.special.i0(x)

    with pytest.raises(errors.UnsupportedOperation) as caught:
        xc.explain(nn.Sequential(nn.Linear(3, 3), Part()), np.ones((1, 3)))
    assert "i0" in caught.value.what
    assert caught.value.where == "1"
    assert "register_rule" in caught.value.hint
