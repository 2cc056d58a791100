"""Models that answer differently each time are stopped by the name of the operation; others that draw go on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from explain_core.errors import UnsupportedOperation
from explain_core.explaining import explain

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


class Around(keras.Model):
    """An LSTM behind a function of the input."""

    def __init__(self, first, recurrent=None):
        super().__init__()
        self.first, self.recurrent, self.last = first, recurrent or L.LSTM(3), L.Dense(1)

    def call(self, x):
        return self.last(self.recurrent(self.first(x)))


class Trained(keras.layers.Layer):
    """A layer that stays in training."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x, training=True)


def with_generator(x, generator=tf.random.Generator.from_seed(1)):  # noqa: B008 - one for all calls
    return x + generator.normal((5, 3))


def with_seeds(x, seeds=keras.random.SeedGenerator(3)):  # noqa: B008 - one for all calls
    return x + keras.random.normal((5, 3), seed=seeds)


RANDOM = {
    "dropout": (lambda: Around(Trained(L.Dropout(0.5))), "StatelessRandomUniformV2"),
    "noise": (lambda: Around(Trained(L.GaussianNoise(0.5))), "StatelessRandomNormalV2"),
    "dropout in a recurrent layer": (lambda: Around(tf.identity, Trained(L.LSTM(3, dropout=0.5))), "StatelessRandom"),
    "dropout of states": (lambda: Around(tf.identity, Trained(L.GRU(3, recurrent_dropout=0.5))), "StatelessRandom"),
    "TensorFlow's numbers": (lambda: Around(lambda x: x + tf.random.normal(tf.shape(x))), "RandomStandardNormal"),
    "a generator": (lambda: Around(with_generator), "RngReadAndSkip"),
    "Keras's numbers": (lambda: Around(with_seeds), "StatelessRandomNormalV2"),
    "in a branch": (
        lambda: Around(lambda x: tf.cond(tf.shape(x)[0] > 0, lambda: x + tf.random.uniform(()), lambda: x)),
        "RandomUniform",
    ),
}
STEADY = {
    "noise without effect": lambda: Around(lambda x: x + 0 * tf.random.normal(tf.shape(x))),
    "a fixed seed": lambda: Around(lambda x: x + tf.random.stateless_normal((5, 3), seed=(1, 2))),
    "Keras's fixed seed": lambda: Around(lambda x: x + keras.random.normal((5, 3), seed=3)),
    "training without dropout": lambda: Around(tf.identity, Trained(L.LSTM(3))),
    "dropout as it should be": lambda: Around(L.Dropout(0.5), L.LSTM(3, dropout=0.5)),
}


def built(make):
    model = make()
    model(X)
    return model


@pytest.mark.parametrize("name", RANDOM)
def test_it_stops_and_names_the_operation(name):
    make, operation = RANDOM[name]
    model = built(make)
    before = [v.value.numpy() for v in model.variables]
    with pytest.raises(UnsupportedOperation, match=f"{operation}.* differently each time") as caught:
        explain(model, X)
    assert caught.value.where
    assert "training=True" in caught.value.hint
    for was, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(variable.value.numpy(), was)


@pytest.mark.parametrize("name", STEADY)
def test_models_that_answer_the_same_go_on(name):
    found = explain(built(STEADY[name]), X)
    assert found.relative_residual.values.max() < 1e-5
    assert found.gates
