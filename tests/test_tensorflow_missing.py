"""Missing values (NaN) in the input of a model that itself replaces them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import explain_core as xc
from explain_core.methods import explain_with

SAMPLES, STEPS, FEATURES = 3, 5, 2
DRAWN = np.random.default_rng(0)
FILLED, BASE, CHANCE = (DRAWN.normal(size=(SAMPLES, STEPS, FEATURES)) for _ in range(3))
MISSING = CHANCE > 0.3
FILL = 0.25
X = np.where(MISSING, np.nan, FILLED)


class Replacing(keras.layers.Layer):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def call(self, x):
        return self.how(x)


def where(x):
    return tf.where(tf.math.is_nan(x), tf.constant(FILL, x.dtype), x)


REPLACED = {
    "where": where,
    "unequal to itself": lambda x: tf.where(x != x, tf.fill(tf.shape(x), tf.constant(FILL, x.dtype)), x),
    "equal to itself": lambda x: tf.where(x == x, x, tf.constant(FILL, x.dtype)),
    "nan_to_num": lambda x: keras.ops.nan_to_num(x, nan=FILL),
    "multiply_no_nan": lambda x: (
        tf.math.multiply_no_nan(x, tf.cast(~tf.math.is_nan(x), x.dtype)) + FILL * tf.cast(tf.math.is_nan(x), x.dtype)
    ),
}


def model(how=lambda x: x):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.LSTM(4), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((STEPS, FEATURES)), Replacing(how), *layers])


def explain(how, x, baselines, **options):
    return xc.explain(model(how), x, baselines, precision="float64", **options)


@pytest.mark.parametrize("how", REPLACED)
@pytest.mark.parametrize("baselines", ["given", "first"])  # the first step held is missing in places
def test_a_missing_value_that_is_replaced_counts_as_what_replaces_it(how, baselines):
    filled = np.where(MISSING, FILL, FILLED)
    baselines = BASE if baselines == "given" else baselines
    found, expected = explain(REPLACED[how], X, baselines), explain(lambda x: x, filled, baselines)
    assert MISSING[:, 0].any()
    assert found.relative_residual.max() < 1e-12
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-12)


def test_a_step_that_is_replaced_for_one_missing_value_adds_up():
    def steps(x):
        return tf.where(tf.reduce_any(tf.math.is_nan(x), -1, keepdims=True), tf.constant(FILL, x.dtype), x)

    assert (MISSING.any(-1) & ~MISSING.all(-1)).any()
    found = explain(steps, X, BASE)
    assert found.relative_residual.max() < 1e-12
    filled = np.where(MISSING.any(-1, keepdims=True), FILL, FILLED)
    np.testing.assert_allclose(
        found.attributions.sum("feature"), explain(lambda x: x, filled, BASE).attributions.sum("feature"), atol=1e-12
    )


def test_in_single_precision():
    found = xc.explain(model(where), X.astype("f4"), BASE.astype("f4"))
    expected = xc.explain(model(), np.where(MISSING, FILL, FILLED).astype("f4"), BASE.astype("f4"))
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-6)


def test_the_mean_leaves_missing_values_out():
    np.testing.assert_allclose(explain(where, X, "mean").baselines[0, 0], np.nanmean(X, axis=(0, 1)))


def test_that_a_value_is_missing_may_be_told_to_the_model():
    """What it then does is due to the element: of a linear model all that it moves."""
    weights, told = DRAWN.normal(size=(2, STEPS, FEATURES))

    class Told(tf.Module):
        def __call__(self, x):
            missing = tf.cast(tf.math.is_nan(x), x.dtype)
            return tf.reduce_sum(where(x) * weights + missing * told, [1, 2])[:, None]

    found = xc.explain(Told(), X, BASE, target=0)
    filled = np.where(MISSING, FILL, FILLED)
    np.testing.assert_allclose(found.attributions, (filled - BASE) * weights + MISSING * told, atol=1e-12)


def one_missing():
    x = FILLED.copy()
    x[1, 2, 0] = np.nan
    return x


@pytest.mark.parametrize("method", ["explain", "ledger", "gradient"])
def test_a_missing_value_that_stays_is_named_with_its_place(method):
    run = {
        "explain": lambda: xc.explain(model(), one_missing()),
        "ledger": lambda: xc.diagnostics.ledger(model(), one_missing()),
        "gradient": lambda: explain_with("gradient_difference", model(where), one_missing()),
    }[method]
    with pytest.raises(xc.errors.NonFiniteError, match=r"nan at position \(1, 2, 0\)"):
        run()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("how", [lambda x: where(3 * x), lambda x: where(x * x), lambda x: where(tf.exp(x))])
def test_a_missing_value_that_is_changed_before_it_is_replaced_is_no_false_share(how, precision):
    with pytest.raises(xc.errors.NonFiniteError, match="nan at position"):
        xc.explain(model(how), X, BASE, precision=precision)


def test_a_sum_over_missing_values_that_is_replaced_is_no_false_share():
    with pytest.raises(xc.errors.NonFiniteError, match="nan at position"):
        explain(lambda x: where(tf.reduce_sum(x, 2, keepdims=True)), X, BASE)
