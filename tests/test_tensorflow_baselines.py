"""Baselines as people write them, on TensorFlow: the base value is what the model says of the baseline."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import explain_core as xc
from explain_core.errors import InputError

N, T, F = 3, 5, 2
X = np.random.default_rng(0).normal(size=(N, T, F)).astype("f4")
VECTOR = [0.1, -0.2]  # doubles, for a model of singles


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((T, F)), keras.layers.GRU(4), keras.layers.Dense(2)]
    return keras.Sequential(layers)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.5, 0.5),
        (VECTOR, VECTOR),
        (np.array(VECTOR)[None, None], VECTOR),
        (np.zeros((T, F)), 0.0),
        ("mean", X.mean((0, 1))),
        ("median", np.median(X.reshape(-1, F), 0)),
        ("first", X[:, :1]),
        (lambda x: x[:, ::-1], X[:, ::-1]),
    ],
)
def test_a_baseline_is_what_was_written(model, given, expected):
    ex = xc.explain(model, X, given)
    np.testing.assert_allclose(ex.baselines, np.broadcast_to(expected, X.shape), atol=1e-7)
    np.testing.assert_allclose(ex.baseline_prediction, model(ex.baselines.values), atol=1e-6)
    assert ex.relative_residual.max() <= 1e-5


def test_averages_leave_padding_out_and_other_lengths_are_refused():
    x = keras.Input((T, F), name="x")
    mask = keras.Input((T,), dtype="bool", name="mask")
    net = keras.Model([x, mask], keras.layers.Dense(1)(keras.layers.LSTM(3)(x, mask=mask)))
    real = np.arange(T) < np.array([5, 2, 3])[:, None]
    padded = np.where(real[..., None], X, 0)
    ex = xc.explain(net, {"x": padded, "mask": real}, "mean")
    np.testing.assert_allclose(ex.baselines[0, 0], X[real].mean(0), atol=1e-6)
    base = ex.baselines.values
    np.testing.assert_allclose(ex.baseline_prediction, net([base, real]), atol=1e-6)
    with pytest.raises(InputError, match="the baseline has True here, and sample 1 has False"):
        xc.explain(net, {"x": padded, "mask": real}, {"x": 0, "mask": np.ones((1, T), bool)})
