"""Axes of Keras models: the names that are given stay, others are those that the traced graph tells."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import xarray as xr
from keras import layers
from tensorflow_tools import double_precision

import explain_core as xc
from explain_core.errors import InputError
from explain_core.explanation import by_name

N, T, F = 3, 6, 4
X = np.random.default_rng(0).normal(size=(N, T, F))
NAMES = ["open", "high", "low", "close"]
DATES = pd.date_range("2024-01-01", periods=T)
IDS = np.random.default_rng(1).integers(0, 9, (N, T))


@pytest.fixture(autouse=True)
def doubles():
    keras.utils.set_random_seed(0)
    with double_precision():
        yield


def stack(*parts, shape=(T, F), dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts, layers.Dense(1)])


def attention(layer):
    given = keras.Input((T, F))
    return keras.Model(given, layers.Dense(1)(layers.GlobalAveragePooling1D()(layer(given))))


class Cells(keras.Model):
    """Cells in a loop."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = layers.GRUCell(3), layers.Dense(1)

    def call(self, x):
        state = tf.zeros((tf.shape(x)[0], 3), x.dtype)
        for t in range(x.shape[1]):
            _, (state,) = self.cell(x[:, t], [state])
        return self.head(state)


def cells():
    model = Cells()
    model(X)
    return model


def video():
    per_frame = [layers.TimeDistributed(layers.Conv2D(2, 2)), layers.TimeDistributed(layers.Flatten())]
    return stack(*per_frame, layers.GRU(3), shape=(4, 3, 3, 1))


TIME_FEATURE = ("time", "feature")
MODELS = {
    "LSTM": (lambda: stack(layers.LSTM(3)), X, TIME_FEATURE),
    "both ways, masked": (lambda: stack(layers.Masking(), layers.Bidirectional(layers.GRU(3))), X, TIME_FEATURE),
    "a dense layer before": (lambda: stack(layers.Dense(5, "tanh"), layers.SimpleRNN(3)), X, TIME_FEATURE),
    "a loop that is no known layer": (
        lambda: stack(layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)])),
        X,
        TIME_FEATURE,
    ),
    "unrolled": (lambda: stack(layers.LSTM(3, unroll=True)), X, TIME_FEATURE),
    "cells by hand": (cells, X, TIME_FEATURE),
    "a convolution": (lambda: stack(layers.Conv1D(3, 2, activation="relu"), layers.Flatten()), X, TIME_FEATURE),
    "causal": (
        lambda: stack(layers.Conv1D(3, 2, padding="causal", dilation_rate=2), layers.Flatten()),
        X,
        TIME_FEATURE,
    ),
    "permuted": (lambda: stack(layers.Permute((2, 1)), layers.LSTM(3)), X, ("feature", "time")),
    "attention": (lambda: attention(lambda x: layers.MultiHeadAttention(2, 3)(x, x)), X, TIME_FEATURE),
    "attention without weights": (lambda: attention(lambda x: layers.Attention()([x, x])), X, TIME_FEATURE),
    "flattened": (lambda: stack(layers.Flatten(), layers.Dense(3, "tanh")), X, ("axis_1", "axis_2")),
    "rows": (lambda: stack(layers.Dense(3, "tanh"), shape=(F,)), X[:, 0], ("feature",)),
    "one series": (lambda: stack(layers.Reshape((T, 1)), layers.LSTM(3), shape=(T,)), X[:, :, 0], ("time",)),
    "images": (
        lambda: stack(layers.Conv2D(2, 2), layers.Flatten(), shape=(3, 4, 1)),
        None,
        ("axis_1", "axis_2", "axis_3"),
    ),
    "images over time": (video, None, ("time", "axis_2", "axis_3", "axis_4")),
    "token ids": (lambda: stack(layers.Embedding(9, 3), layers.GRU(3), shape=(T,), dtype="int32"), IDS, ("time",)),
}


@pytest.mark.parametrize("name", MODELS)
def test_axes_without_names_have_those_that_the_model_tells(name):
    make, x, dims = MODELS[name]
    model = make()
    x = np.random.default_rng(2).normal(size=(N, *model.input_shape[1:])) if x is None else x
    ex = xc.explain(model, x, target=0)
    assert ex.attributions.dims == ("sample", *dims)
    assert ex.relative_residual.max() <= 1e-12
    for axis, totals in (("time", ex.by_time), ("feature", ex.by_feature)):
        if axis in dims:
            others = tuple(a for a in range(1, x.ndim) if a != 1 + dims.index(axis))
            np.testing.assert_allclose(totals().values, ex.attributions.values.sum(others), atol=1e-14)
        else:
            with pytest.raises(InputError, match=f"has an axis called '{axis}'"):
                totals()


def test_given_names_and_labels_stay():
    model = stack(layers.Permute((2, 1)), layers.LSTM(3), shape=(F, T))  # takes (sample, feature, time)
    labels = {"feature": NAMES, "time": DATES, "season": ("time", list("uuvvww"))}
    x = xr.DataArray(X, dims=("sample", "time", "feature"), coords=labels).transpose("sample", "feature", "time")
    ex = xc.explain(model, x, target=0)
    assert ex.attributions.dims == ("sample", "feature", "time")
    assert ex.by_feature().feature.values.tolist() == NAMES
    assert ex.attributions.season.values.tolist() == list("uuvvww")
    np.testing.assert_array_equal(ex.attributions, xc.explain(model, x.values, target=0).attributions)


FRAME = pd.DataFrame(X[0], columns=NAMES, index=DATES)


@pytest.mark.parametrize("name", ["LSTM", "a convolution", "attention", "cells by hand", "flattened"])
def test_a_frame_is_one_sequence_for_a_model_of_sequences(name):
    model = MODELS[name][0]()
    for x in (FRAME, xr.DataArray(X[0], dims=("time", "feature"), coords={"time": DATES, "feature": NAMES})):
        ex = xc.explain(model, x, target=0)
        assert ex.attributions.dims == ("sample", "time", "feature")
        assert ex.attributions.feature.values.tolist() == NAMES
        np.testing.assert_array_equal(ex.attributions.time, DATES)
        np.testing.assert_allclose(ex.attributions, xc.explain(model, X[:1], target=0).attributions, atol=1e-14)


def test_a_frame_is_rows_for_a_model_of_rows():
    ex = xc.explain(MODELS["rows"][0](), FRAME, target=0)
    assert ex.attributions.dims == ("sample", "feature")
    assert any("Each of the 6 rows" in note for note in ex.notes)


def two_inputs():
    past, static = keras.Input((T, F), name="past"), keras.Input((2,), name="static")
    return keras.Model([past, static], layers.Dense(1)(layers.Concatenate()([layers.GRU(3)(past), static])))


def test_several_inputs_have_their_own_axes():
    model, static = two_inputs(), X[:, 0, :2]
    named = xr.DataArray(static, dims=("asset", "trait"), coords={"trait": ["size", "age"]})
    for given in ((X, static), {"past": X, "static": static}, [X, static]):
        ex = xc.explain(model, given, target=0)
        assert ex.attributions["past"].dims == ("sample", "time", "feature")
        assert ex.attributions["static"].dims == ("sample", "feature")
    again = xc.explain(model, {"static": named, "past": X}, target=0)
    assert again.attributions["static"].dims == ("sample", "trait")
    for name, part in by_name(ex.attributions).items():
        np.testing.assert_array_equal(again.attributions[name], part)


class OneDict(keras.Model):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = layers.GRU(3), layers.Dense(1)

    def call(self, inputs, factor=1.0, flag=None, training=False):
        assert flag is None or not flag
        return factor * self.head(self.rnn(inputs["x"] if isinstance(inputs, dict) else inputs))


def test_a_dict_and_constants_are_part_of_the_call():
    model = OneDict()
    model(X)
    plain = xc.explain(model, X, target=0).attributions.values
    for given, factor in (
        ({"x": X}, 1.0),
        ({"inputs": X, "factor": 2.0, "flag": False}, 2.0),
        ({"inputs": {"x": X}, "factor": 3, "flag": None}, 3.0),
    ):
        ex = xc.explain(model, given, target=0)
        np.testing.assert_allclose(ex.attributions, factor * plain, atol=1e-14)
