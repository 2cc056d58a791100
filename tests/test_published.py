"""The published experiments on PyTorch: the packages' figures as they were printed, and this engine's."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from explain_core.diagnostics import published, published_cell
from explain_core.jobs.tasks.steps import published_half


@pytest.fixture(scope="module")
def half():
    return published.half("torch")


@pytest.fixture(scope="module")
def table(half):
    """Without the other framework, whose half has tests of its own."""
    return published.assemble({"torch": half, "tensorflow": {"rows": [], "says": "Not asked."}})


def row(table: pd.DataFrame, experiment: str, model: str, method: str) -> pd.Series:
    found = table[(table["experiment"] == experiment) & (table["model"] == model) & (table["method"] == method)]
    assert len(found) == 1
    return found.iloc[0]


def test_shap_on_the_built_in_cell_gives_the_printed_figures_to_the_last_digits(table):
    found = row(table, published_cell.ONE_STEP, "nn.LSTMCell", "shap DeepExplainer")
    assert (found["attributions"], found["outputs"]) == (7, 2)
    # Measured: they differ by 1e-8, in float32.
    assert found["attributed"] == pytest.approx(found["published_attributed"], abs=3e-7)
    assert found["expected"] == pytest.approx(found["published_expected"], abs=3e-7)
    assert found["error"] == pytest.approx(0.0185643, abs=3e-7)
    assert "no rule for LSTMCell" in found["says"]


def test_captum_is_off_on_the_same_cell(table):
    assert row(table, published_cell.ONE_STEP, "nn.LSTMCell", "captum DeepLift")["error"] > 0.04  # measured: 0.0472


def test_three_steps_are_off_by_far_more_than_one(table):
    known = row(table, published_cell.KNOWN_THREE, "nn.LSTM", "shap DeepExplainer")
    assert known["relative_error"] > 0.8  # measured: 0.887, where one step is off by 0.018
    drawn = row(table, published_cell.THREE_STEPS, "nn.LSTMCell in a loop", "shap DeepExplainer, seeds 0 to 19")
    assert 0.3 < drawn["relative_error"] < 0.45  # the median, measured: 0.372; the one that was printed: 0.3037


def test_this_engine_is_exact_on_all_of_them(table):
    ours = table[table["method"] == "PairLift"]
    assert len(ours) == 5
    assert (ours["error"] <= 1e-6).all()  # measured: at most 8e-8


def test_a_loop_and_a_layer_are_the_same_to_every_method(table):
    known = table[(table["experiment"] == published_cell.KNOWN_THREE) & (table["framework"] == "PyTorch")]
    loop, layer = (known[known["model"] == name] for name in ("nn.LSTMCell in a loop", "nn.LSTM"))
    np.testing.assert_allclose(loop["attributed"], layer["attributed"], atol=1e-6)


def test_command_line_and_page_have_the_same_numbers(half):
    """The page's job returns what the command line's half prints: both are `published.half`."""
    assert published_half(lambda fraction, message: None, "torch") == half
    command = [sys.executable, "-m", "explain_core.diagnostics.published", "--half", "torch"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    assert json.loads(printed) == half


def test_a_framework_that_is_not_there_is_a_row_that_says_so(monkeypatch, half):
    monkeypatch.setattr(published, "is_installed", lambda name: False)
    table = published.assemble({"torch": half, "tensorflow": published.half("tensorflow")})
    assert "TensorFlow is not installed." in table["says"].tolist()
    assert published.in_words(table).shape[0] == len(table)


def test_the_published_weights_are_those_of_the_cell():
    weights = published_cell.weights()
    assert {name: array.shape for name, array in weights.items()} == {
        "weight_ih": (8, 3),
        "weight_hh": (8, 2),
        "bias_ih": (8,),
        "bias_hh": (8,),
    }
