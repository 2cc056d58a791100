"""What a user of Keras met: replaced variables, shapes known late, and messages that name the true cause."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from explain_core import errors, explain, load_sequences

X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)


class Net(keras.Model):
    """A function behind a layer."""

    def __init__(self, tail):
        super().__init__()
        self.dense, self.tail = L.Dense(4), tail

    def call(self, x):
        return self.tail(self.dense(x))


def built(tail):
    model = Net(tail)
    model(X)
    return model


@pytest.mark.parametrize("shape", [(6, 4, 5, 1), (6, 4, 5, 2), (2, 1, 3, 4), (120, 1, 1, 1)])
def test_an_array_of_four_axes_is_refused_by_its_shape(tmp_path, shape):
    np.save(tmp_path / "t.npy", np.ones(shape, np.float32))
    with pytest.raises(errors.SequenceFileError) as caught:
        load_sequences(tmp_path / "t.npy")
    assert f"has shape {shape}" in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 6, 4, 1), (1, 1, 6, 4), (1, 6, 1, 4)])
def test_axes_of_one_before_those_of_sequences_are_dropped(tmp_path, shape):
    np.save(tmp_path / "t.npy", np.arange(24.0).reshape(shape))
    assert load_sequences(tmp_path / "t.npy").shape == shape[1:]


def test_a_replaced_variable_is_traced_anew():
    class Scaled(tf.Module):
        def __init__(self):
            self.by = tf.Variable(2.0)

        def __call__(self, x):
            return x * self.by

    model = Scaled()
    for by in (2.0, 5.0):
        model.by = tf.Variable(by)
        gc.collect()
        ex = explain(model, X, target=1)
        np.testing.assert_allclose(ex.prediction.to_numpy().ravel(), by * X[:, 1])
        np.testing.assert_allclose(ex.attributions.sum("feature").to_numpy().ravel(), by * X[:, 1])


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`", "ignore:__array__ implementation")
@pytest.mark.parametrize("explained_before", [False, True])
def test_a_quantized_layer_is_named(explained_before):
    model = keras.Sequential([L.Input((4,)), L.Dense(3, name="wide"), L.Dense(1)])
    if explained_before:
        explain(model, X)
    model.quantize("int8")
    gc.collect()
    with pytest.raises(errors.UnsupportedOperation, match=r"the layer 'wide' is quantized \(int8\)"):
        explain(model, X)


def test_a_model_that_returns_nothing():
    with pytest.raises(errors.CaptureError, match="the model returns no tensor"):
        explain(built(lambda z: None), X)


def test_a_model_without_weights_that_was_never_called():
    class Twice(keras.Model):
        def call(self, x):
            return x * 2

    model = Twice()
    with pytest.raises(errors.CaptureError, match=r"not built yet[^$]*Call it once"):
        explain(model, X)
    model(X)
    np.testing.assert_allclose(explain(model, X).prediction, 2 * X)


def test_ragged_and_sparse_inputs_are_named():
    model = keras.Sequential([L.Input((None,)), L.Embedding(7, 2), L.LSTM(2)])
    for given, kind, way in (
        (tf.ragged.constant([[1, 2], [3]]), "RaggedTensor", r"\.to_tensor\(\), and the lengths or a mask"),
        (tf.sparse.from_dense([[1, 2], [3, 0]]), "SparseTensor", r"tf\.sparse\.to_dense"),
    ):
        with pytest.raises(errors.InputError, match=rf"this is a {kind}[^$]*{way}"):
            explain(model, given)


def test_a_unit_of_a_sequence_by_its_name():
    model = keras.Sequential([L.Input((5, 3)), L.LSTM(4, return_sequences=True), L.Dense(2)])
    x, names = np.ones((2, 5, 3), np.float32), ["a", "b"]
    by_name, by_number = (explain(model, x, target=(1, unit), output_names=names) for unit in ("b", 1))
    np.testing.assert_array_equal(by_name.attributions, by_number.attributions)
    for target, options in (((1, "c"), {"output_names": names}), ((1, "b"), {})):
        with pytest.raises(errors.TargetError, match="no unit has the name"):
            explain(model, x, target=target, **options)
