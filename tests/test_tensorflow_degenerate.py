"""Keras' normalisations at baselines without variance: bounded, complete, and said to be what they are."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import explain_core as xc

N = 6
X = np.random.default_rng(0).normal(size=(8, N))


def mean(v):
    return tf.reduce_mean(v, 1, keepdims=True)


def filled_in(v):
    size = tf.TensorArray(v.dtype, size=N)
    for i in range(N):
        size = size.write(i, tf.norm(v, axis=1))
    return v / (tf.transpose(size.stack()) + 1e-6)


NORMS = {
    "layer": lambda: L.LayerNormalization(epsilon=1e-5, dtype="float64"),
    "root mean square": lambda: L.RMSNormalization(dtype="float64"),
    "unit": lambda: L.UnitNormalization(dtype="float64"),
    "l2": lambda v: tf.math.l2_normalize(v, 1),
    "moments": lambda v: tf.nn.batch_normalization(v, *tf.nn.moments(v, [1], keepdims=True), None, None, 1e-5),
    "by hand": lambda v: (v - mean(v)) / tf.sqrt(tf.math.reduce_variance(v, 1, keepdims=True) + 1e-5),
    "times a power": lambda v: v * tf.pow(mean(v * v) + 1e-6, -0.5),
    "a function of it": lambda v: v / tf.tanh(mean(tf.abs(v)) + 1e-6),
    "taken by a list": lambda v: v / tf.gather(mean(tf.abs(v)) + 1e-6, [0] * N, axis=1),
    "filled in": filled_in,
    "largest of windows": lambda v: v / (tf.nn.max_pool1d(tf.abs(v)[..., None], N, N, "VALID")[..., 0] + 1e-6),
    "sum": lambda v: tf.math.divide_no_nan(tf.abs(v), tf.reduce_sum(tf.abs(v), 1, keepdims=True) + 1e-6),
}


def model(name: str) -> keras.Model:
    make = NORMS[name]
    layer = make() if make.__code__.co_argcount == 0 else L.Lambda(make, output_shape=(N,), dtype="float64")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((N,), dtype="float64")
    return keras.Model(inputs, L.Dense(1, use_bias=False, dtype="float64")(layer(inputs)))


@pytest.mark.parametrize("name", NORMS)
def test_a_baseline_of_zeros_is_bounded_and_said(name):
    ex = xc.explain(model(name), X, target=0)
    assert ex.relative_residual.max() <= 1e-9
    weights = model(name).get_weights()[-1]
    assert (ex.attribution_size.values <= 6 * np.sqrt(N) * np.linalg.norm(weights)).all()
    assert any("divides by" in note and "for the baseline 'zeros'" in note for note in ex.notes)


@pytest.mark.parametrize("name", NORMS)
def test_an_ordinary_baseline_needs_no_word(name):
    ex = xc.explain(model(name), X, X + 0.1 * np.random.default_rng(1).normal(size=X.shape), target=0)
    assert ex.relative_residual.max() <= 1e-12
    assert ex.notes == []


def test_a_mask_that_differs_in_another_sample_changes_nothing():
    """Its truths are a constant where both members of the whole batch agree, and a pair where they do not."""
    x, base = np.abs(X[:2]) + 0.5, np.abs(X[2:4]) + 0.5
    base[1, 0] *= -1
    under = L.Lambda(lambda v: v / (tf.cast(v[:, :1] > 0, v.dtype) * mean(v * v) + 1), dtype="float64")
    inputs = keras.Input((N,), dtype="float64")
    net = keras.Model(inputs, under(inputs))
    alone, beside = (xc.explain(net, x[:n], base[:n], target=0).attributions.values[0] for n in (1, 2))
    np.testing.assert_allclose(beside, alone, rtol=1e-12)


def test_ways_to_write_one_normalisation_come_to_the_same():
    """A product with the inverse, centred afterwards, and a quotient."""
    for base in (0 * X, 1e-3 * X[::-1], X[::-1]):
        found = [
            xc.explain(model(name), X, base, target=0).attributions.values for name in ("moments", "by hand", "layer")
        ]
        for other in found[1:]:
            np.testing.assert_allclose(other, found[0], rtol=1e-7, atol=1e-7 * np.abs(found[0]).max())
