"""Infinities and NaNs on the way to a finite prediction, and the cause of one that is not finite."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from explain_core import errors, explain

X = np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)
BASE = 0.7 * X[::-1]
LATER = np.triu(np.ones((4, 4), bool), 1)
MIX = tf.constant(np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32))


class Model(tf.Module):
    def __init__(self, run, **parts):
        super().__init__()
        self.run, self.parts = run, parts

    def __call__(self, x):
        return self.run(x, **self.parts)


def scores(x):
    return tf.matmul(tf.matmul(x, tf.cast(MIX, x.dtype)), x, transpose_b=True)


def written_out(s):
    e = tf.exp(s - tf.reduce_max(s, -1, keepdims=True))
    return e / tf.reduce_sum(e, -1, keepdims=True)


def attend(s, x, softmax=tf.nn.softmax):
    return tf.reduce_sum(tf.matmul(softmax(s), tf.tanh(x)), 1)


def few(x):
    return x[:, None, :, 0] > -0.9


MASKED = {
    "added": lambda x, low: attend(scores(x) + np.where(LATER, low, 0).astype("f4"), x),
    "chosen": lambda x, low: attend(tf.where(LATER, low, scores(x)), x),
    "chosen, softmax written out": lambda x, low: attend(tf.where(LATER, low, scores(x)), x, written_out),
    "padding of the input": lambda x, low: attend(tf.where(few(x), scores(x), low), x),
    "padding of the input, added": lambda x, low: attend(scores(x) + tf.where(few(x), 0.0, low), x),
    "log of the sum": lambda x, low: tf.reduce_logsumexp(tf.where(LATER, low, scores(x)), -1),
    "log of a softmax": lambda x, low: tf.nn.log_softmax(tf.where(LATER, low, scores(x)))[:, 3],
    "largest": lambda x, low: tf.reduce_max(tf.where(LATER, low, scores(x)), -1),
    "smallest": lambda x, low: tf.reduce_min(tf.where(LATER, -low, scores(x)), -1),
    "largest of the input's": lambda x, low: tf.reduce_max(tf.concat([tf.where(x > 0.3, x, low), 0 * x - 1], 1), 1),
}


@pytest.mark.parametrize("name", MASKED)
def test_what_an_infinite_mask_hides_is_as_under_a_mask_of_large_numbers(name):
    infinite, large = (
        explain(Model(MASKED[name], low=low), X, baselines=BASE, target=0, precision="float64")
        for low in (-np.inf, -1e20)
    )
    assert infinite.relative_residual.max() < 1e-12
    np.testing.assert_allclose(infinite.attributions, large.attributions, atol=1e-9)
    assert np.abs(infinite.attributions).max() > 1e-3


def total(x):
    return tf.reduce_sum(x, -1, keepdims=True)


NOT_TAKEN = {
    "log": lambda x: tf.where(x > 0, tf.math.log(x), 0.0),
    "log of a product": lambda x: tf.where(x > 0, tf.math.log(x) * x[:, :1], x),
    "a chain": lambda x: tf.where(x > 0, tf.tanh(2 * tf.math.log(x) + 1), x),
    "root": lambda x: tf.where(x > 0, tf.sqrt(x), 0.0),
    "quotient": lambda x: tf.where(x > 0, 1 / tf.nn.relu(x), 0.0),
    "softmax": lambda x: tf.where(total(x) > 0, tf.nn.softmax(tf.math.log(total(x)) + x), x),
}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", NOT_TAKEN)
def test_a_branch_that_is_not_taken_may_hold_anything(name, precision):
    ex = explain(
        Model(lambda x: tf.reduce_sum(NOT_TAKEN[name](x), 2)), X, baselines=BASE, target=0, precision=precision
    )
    assert ex.relative_residual.max() < {"float32": 1e-5, "float64": 1e-12}[precision]
    assert np.isfinite(ex.attributions).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(value):
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(3), keras.layers.Dense(2, name="head")])
    kernel = model.get_layer("head").kernel
    kernel.assign(np.where(np.eye(3, 2), value, kernel))
    with pytest.raises(errors.NonFiniteError, match=r"the weight .*kernel.* is not finite"):
        explain(model, X, target=0)


CAUSES = {
    "operation 'Log'": lambda x: tf.reduce_sum(tf.math.log(x - 9), 2),
    "a constant of the model": lambda x: tf.reduce_sum(x * tf.constant([1, np.nan, 1.0]), 2),
    "prediction for the baseline .*'Log'": lambda x: tf.reduce_sum(tf.math.log(tf.abs(x)), 2),
}


@pytest.mark.parametrize("said", CAUSES)
def test_where_no_weight_is_to_blame_none_is_blamed(said):
    with pytest.raises(errors.NonFiniteError, match=said) as raised:
        explain(Model(CAUSES[said]), X, target=0)
    assert "A weight" not in str(raised.value)
