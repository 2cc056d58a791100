"""Single steps of Keras layers: exact for this engine, and for shap where the cell is written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras

import explain_core as xc
from explain_core.diagnostics.one_step import ONE_STEP, SEQUENCE, steps

L = keras.layers
FEATURES, UNITS, STEPS = 3, 4, 4
EXACT = 1e-5  # measured: at most 5e-7


def model_of(layer) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((None, FEATURES)), layer, L.Dense(1)])


def pair(steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(0).normal(size=(2, 1, steps, FEATURES)).astype(np.float32))


def part(table, method, model, scope):
    return table[(table["method"] == method) & (table["model"] == model) & (table["scope"] == scope)]


@pytest.mark.parametrize(
    "make",
    [lambda: L.LSTM(UNITS), lambda: L.Bidirectional(L.GRU(UNITS)), lambda: L.SimpleRNN(UNITS)],
    ids=["LSTM", "GRU both ways", "SimpleRNN"],
)
def test_built_in_and_written_out_are_the_same_to_this_engine_and_shap_referees(make):
    table = steps(model_of(make()), *pair(), methods=("pairlift", "deep_explainer"))
    for scope in (ONE_STEP, SEQUENCE):
        ours = part(table, "PairLift", "built-in", scope)
        assert len(ours) == STEPS
        assert ours["relative_error"].max() <= EXACT
        theirs = part(table, "shap DeepExplainer", "written out", scope)
        assert theirs["relative_error"].max() <= EXACT
        written_out = part(table, "PairLift", "written out", scope)
        np.testing.assert_allclose(written_out["attributed"], ours["attributed"], rtol=1e-4)
    crashed = part(table, "shap DeepExplainer", "built-in", SEQUENCE)
    assert crashed["error"].isna().all()
    assert all("no gradient rule" in text for text in crashed["says"])


def test_the_reversed_direction_and_its_own_cell():
    model = model_of(L.Bidirectional(L.LSTM(UNITS)))
    x, base = pair()
    backward = next(name for name in xc.explain(model, x, base).gates if "backward" in name)
    table = steps(model, x, base, layer=backward, methods=("pairlift",))
    one = part(table, "PairLift", "built-in", ONE_STEP)
    assert one["time"].tolist() == [3, 2, 1, 0]
    cell = model.layers[0].backward_layer
    last = [np.asarray(cell(v)) for v in (x, base)]
    hidden = steps(model, x, base, layer=backward, state="hidden", methods=("pairlift",))
    np.testing.assert_allclose(
        hidden[hidden["step"] == STEPS - 1]["expected"], np.abs(last[0] - last[1]).sum(), rtol=1e-5
    )


def test_masked_timesteps_are_left_out():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, FEATURES)), L.Masking(0.0), L.LSTM(UNITS), L.Dense(1)])
    x, base = pair()
    x[:, 1] = base[:, 1] = 0
    table = steps(model, x, base, methods=("pairlift",))
    assert part(table, "PairLift", "built-in", ONE_STEP)["time"].tolist() == [0, 2, 3]
    assert table["relative_error"].max() <= EXACT
    assert "left out: 1" in table.attrs["notes"][0]


def test_a_gru_that_pytorch_does_not_have_is_not_written_out():
    table = steps(model_of(L.GRU(UNITS, reset_after=False)), *pair(), methods=("pairlift",))
    assert set(table["model"]) == {"built-in"}
    assert table["relative_error"].max() <= EXACT
