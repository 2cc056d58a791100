"""The published experiments on TensorFlow: shap is exact on the cell written out by hand, and fails on Keras' own."""

from __future__ import annotations

import numpy as np
import pytest

from explain_core.diagnostics import published, published_cell


@pytest.fixture(scope="module")
def half():
    return published.half("tensorflow")


def row(half, experiment, model, method):
    wanted = {"experiment": experiment, "model": model, "method": method}
    (found,) = (row for row in half["rows"] if wanted.items() <= row.items())
    return found


@pytest.mark.parametrize("experiment", [published_cell.ONE_STEP, published_cell.KNOWN_THREE])
def test_shap_is_exact_on_the_cell_written_out(half, experiment):
    found = row(half, experiment, "written out", "deep_explainer")
    assert found["error"] <= 1e-5  # measured: 1.2e-7; printed: 1.267e-7


def test_the_sum_is_the_printed_one(half):
    found = row(half, published_cell.ONE_STEP, "written out", "deep_explainer")
    printed = published_cell.PUBLISHED[published_cell.ONE_STEP, "tensorflow", "written out", "deep_explainer"]
    assert found["attributed"] == pytest.approx(printed.attributed, abs=3e-7)
    assert (found["attributions"], found["outputs"]) == (7, 2)


@pytest.mark.parametrize(
    ("experiment", "model"),
    [(published_cell.ONE_STEP, "keras LSTMCell"), (published_cell.KNOWN_THREE, "keras LSTM")],
)
def test_shap_says_why_it_cannot_explain_keras_own_layers(half, experiment, model):
    found = row(half, experiment, model, "deep_explainer")
    assert np.isnan(found["error"])
    assert "no gradient rule" in found["says"]


def test_this_engine_is_exact_on_all_of_them(half):
    ours = [row for row in half["rows"] if row["method"] == "pairlift"]
    assert len(ours) == 4
    assert all(row["error"] <= 1e-6 for row in ours)  # measured: at most 3e-7


def test_both_frameworks_have_the_same_cell_states(half):
    """PyTorch's half comes from its own process, as on the page."""
    torch_half = published._in_own_process("torch")
    table = published.assemble({"torch": torch_half, "tensorflow": half})
    states = table[table["experiment"] == published.STATES].iloc[0]
    assert states["error"] <= 2.4e-7  # measured and printed: 1.19e-7
