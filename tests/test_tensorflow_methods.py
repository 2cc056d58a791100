"""Other methods on Keras models: what shap says when called directly, independent references, and its crashes."""

from __future__ import annotations

import itertools
import math
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import explain_core as xc
from explain_core.diagnostics import horizons
from explain_core.errors import MethodError
from explain_core.methods import METHODS, explain_with

with warnings.catch_warnings():  # of the packages that it imports
    warnings.simplefilter("ignore")
    import shap

rng = np.random.default_rng(0)
X = rng.normal(size=(2, 3, 2)).astype(np.float32)
BASE = 0.3 * rng.normal(size=(1, 3, 2)).astype(np.float32)
MANY = rng.normal(size=(3, 3, 2)).astype(np.float32)


def dense():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Flatten(), keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((3, 2)), *layers])


def recurrent(steps=None):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((steps, 2)), keras.layers.LSTM(4), keras.layers.Dense(2)])


def shap_values(kind, model, **options):
    """(K, N, T, F) of shap's own class, a sample at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [kind(model, BASE).shap_values(X[n : n + 1], **options)[0] for n in range(2)]
    return np.moveaxis(np.stack(found), -1, 0)


def test_deep_explainer_called_directly_says_the_same():
    found = explain_with("deep_explainer", dense(), X, BASE)
    expected = shap_values(shap.DeepExplainer, dense(), check_additivity=False)
    np.testing.assert_allclose(found.attributions.values, expected, atol=1e-6)
    assert np.abs(found.residual.values).max() < 1e-6


@pytest.mark.parametrize("model", [dense, lambda: recurrent(3)], ids=["dense", "recurrent"])
def test_gradient_explainer_called_directly_says_the_same(model):
    found = explain_with("gradient_shap", model(), X, BASE, seed=4)
    expected = shap_values(shap.GradientExplainer, model(), nsamples=200, rseed=4)
    np.testing.assert_allclose(found.attributions.values, expected, atol=1e-6)


@pytest.mark.parametrize("base", [BASE, MANY], ids=["one baseline", "background"])
def test_integrated_gradients_are_the_integral(base):
    """The trapezoid rule on 2,001 points, by TensorFlow's tape alone."""
    model, way = recurrent(), np.linspace(0, 1, 2001, dtype=np.float32)[:, None, None]
    expected = []
    for baseline in base:
        rows = tf.constant(baseline + way * (X[0] - baseline))
        with tf.GradientTape() as tape:
            tape.watch(rows)
            out = model(rows)[:, 1]
        slopes = tape.gradient(out, rows).numpy().astype(np.float64)
        mean = (slopes.sum(0) - (slopes[0] + slopes[-1]) / 2) / 2000
        expected.append(mean * (X[0] - baseline))
    found = explain_with("integrated_gradients", model, X[:1], base, target=1, background=len(base) > 1)
    np.testing.assert_allclose(found.attributions.values[0], np.mean(expected, axis=0), atol=1e-6)
    assert np.abs(found.residual.values).max() < 1e-6


def test_gradient_times_difference():
    model = recurrent()
    with tf.GradientTape() as tape:
        x = tf.constant(X)
        tape.watch(x)
        out = model(x)[:, 0]
    slope = tape.gradient(out, x).numpy()
    found = explain_with("gradient_difference", model, X, BASE, target=0)
    np.testing.assert_allclose(found.attributions.values, slope * (X - BASE), atol=1e-6)
    many = explain_with("gradient_difference", model, X, MANY, target=0, background=True)
    np.testing.assert_allclose(many.attributions.values, slope * (X - MANY.mean(0)), atol=1e-6)


@pytest.mark.parametrize("base", [BASE, MANY], ids=["one baseline", "background"])
def test_occlusion_replaces_one_value_at_a_time(base):
    model = recurrent()
    found = explain_with("occlusion", model, X[:1], base, target=1, background=len(base) > 1).attributions.values[0]
    for t, feature in itertools.product(range(3), range(2)):
        rows = np.repeat(X[:1], len(base), 0)
        rows[:, t, feature] = base[:, t, feature]
        change = model(X[:1]).numpy()[0, 1] - model(rows).numpy()[:, 1].mean()
        assert found[t, feature] == pytest.approx(change, abs=1e-6)


def test_exact_shapley_values_over_all_orders():
    model = recurrent()
    players = 6
    rows, index = [], {}
    for kept in itertools.product((False, True), repeat=players):
        index[kept] = len(rows)
        rows.append(np.where(np.reshape(kept, (3, 2)), X[0], BASE[0]))
    worth = model(np.stack(rows)).numpy()[:, 0].astype(np.float64)
    expected = np.zeros(players)
    for order in itertools.permutations(range(players)):
        kept = [False] * players
        for player in order:
            before = worth[index[tuple(kept)]]
            kept[player] = True
            expected[player] += (worth[index[tuple(kept)]] - before) / math.factorial(players)
    found = explain_with("exact_shapley", model, X[:1], BASE, target=0)
    np.testing.assert_allclose(found.attributions.values[0].ravel(), expected, atol=1e-6)


def test_shap_crashing_on_a_recurrent_layer_is_said_and_leaves_nothing_behind():
    model = recurrent()
    with pytest.raises(
        MethodError, match="has no gradient rule for TensorListStack, in which TensorFlow keeps the steps"
    ):
        explain_with("deep_explainer", model, X, BASE)
    found = explain_with("integrated_gradients", model, X, BASE)
    assert np.abs(found.residual.values).max() < 1e-6
    assert float(xc.explain(model, X, BASE).relative_residual.max()) < 1e-5


def test_methods_for_pytorch_only_say_so():
    with pytest.raises(MethodError, match="captum DeepLift is for PyTorch models") as caught:
        explain_with("deep_lift", dense(), X, BASE)
    assert "integrated_gradients" in caught.value.hint


def test_token_ids():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Embedding(9, 3), keras.layers.GRU(3), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,), dtype="int32"), *layers])
    ids = np.array([[1, 2, 3, 4]], dtype=np.int32)
    for name in ("occlusion", "exact_shapley"):
        assert explain_with(name, model, ids).attributions.dims == ("sample", "time")
    for name in ("deep_explainer", "gradient_shap", "gradient_difference", "integrated_gradients"):
        with pytest.raises(MethodError, match="Token ids are whole numbers"):
            explain_with(name, model, ids)


def test_a_comparison_has_a_row_for_what_failed():
    compared = xc.diagnostics.compare(
        recurrent(), X[:1], BASE, 0, ["pairlift", "deep_explainer", "integrated_gradients"]
    )
    table = compared.table.set_index("method")
    assert "TensorListStack" in table.loc["deep_explainer", "message"]
    assert np.isnan(table.loc["deep_explainer", "error"])
    assert table.loc["pairlift", "adds_up"]
    assert table.loc["integrated_gradients", "agreement"] > 0.5


def test_a_horizon_stops_where_a_method_fails():
    table = horizons.horizon(recurrent(), X[:1], BASE, 0, ["pairlift", "deep_explainer"])
    assert set(table["how"]) == {"cut"}
    assert table[table["method"] == "pairlift"]["steps"].tolist() == [1, 2, 3]
    assert (table[table["method"] == "pairlift"]["relative_error"] < 1e-4).all()
    (failed,) = table[table["method"] == "deep_explainer"].to_dict("records")
    assert "TensorListStack" in failed["message"]


def test_every_method_runs_or_says_why():
    for name, method in METHODS.items():
        try:
            found = explain_with(name, dense(), X, BASE, target=0)
        except MethodError as error:
            assert "tensorflow" not in method.frameworks, error  # noqa: PT017 - others must not fail at all
        else:
            assert found.attributions.dims == ("sample", "axis_1", "axis_2")  # the model flattens both
