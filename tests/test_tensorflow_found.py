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


@pytest.mark.parametrize(
    "tail",
    [
        lambda z: z * 2 if tf.reduce_mean(z) > 0.4 else z,
        lambda z: np.asarray(z) * 2,
        lambda z: tf.constant(z.numpy() * 2),
        lambda z: z * float(tf.reduce_mean(z)),
    ],
)
def test_python_that_asks_for_numbers_is_the_cause(tail):
    with pytest.raises(errors.CaptureError, match=r"asks for the numbers of a tensor[^$]*tf\.where") as caught:
        explain(built(tail), X)
    assert "Call the model once" not in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 5, 4), (2, 6, 4, 3)])
def test_a_wrong_shape_beside_the_expected_one(shape):
    model = keras.Sequential([L.Input((5, 3)), L.LSTM(4), L.Dense(1)])
    with pytest.raises(errors.CaptureError) as caught:
        explain(model, np.ones(shape, np.float32))
    assert str(list(shape))[1:-1] in str(caught.value)
    assert "made for [(None, 5, 3)]: " in str(caught.value)
    assert "Exception encountered" not in str(caught.value)


@pytest.mark.parametrize(("precision", "is_said"), [("float32", False), ("float64", True)])
def test_double_precision_is_a_cause_only_where_it_is_used(precision, is_said):
    class Rows(tf.Module):
        def __call__(self, x):
            return tf.reshape(x, (-1, 3)) @ tf.ones((3, 1), x.dtype)

    with pytest.raises(errors.CaptureError) as caught:
        explain(Rows(), X, precision=precision)
    assert ("double precision" in str(caught.value)) == is_said


def test_an_output_whose_size_the_trace_leaves_open():
    keep = [0, 2, 3]
    model = keras.Sequential(
        [L.Input((4,)), L.Lambda(lambda z: tf.boolean_mask(z, np.isin(np.arange(4), keep), axis=1))]
    )
    np.testing.assert_allclose(explain(model, X).prediction, X[:, keep])
    ex = explain(model, X, target=1)
    np.testing.assert_allclose(ex.attributions.sum("feature").to_numpy().ravel(), X[:, 2])


def test_a_baseline_of_padding_only_is_the_cause():
    ids, floats = np.array([[1, 2, 3, 0], [2, 3, 0, 0]]), np.ones((2, 4, 3), np.float32)
    embedded = [L.Input((4,)), L.Embedding(7, 4, mask_zero=True)]
    for parts, given in ((embedded, ids), ([L.Input((4, 3)), L.Masking()], floats)):
        model = keras.Sequential([*parts, L.GlobalAveragePooling1D(), L.Dense(1)])
        with pytest.raises(
            errors.NonFiniteError, match="prediction for the baseline has a NaN, as the model's own"
        ) as e:
            explain(model, given, baselines="zeros")
        assert "all are padding" in str(e.value)
        assert "padded-mean" in str(e.value)


@pytest.mark.parametrize("width", [3, 4])
def test_inputs_that_differ_in_their_number_of_samples(width):
    one, two = L.Input((width,)), L.Input((width,))
    model = keras.Model([one, two], L.Dense(1)(L.Concatenate()([one, two])))
    with pytest.raises(errors.InputError, match=r"has 3 samples[^$]*same number of samples"):
        explain(model, (np.ones((3, width), np.float32), np.ones((2, width), np.float32)))


PREPARED = {
    "a bin": (L.Discretization(bin_boundaries=[-1.0, 0.0, 1.0]), "float32"),
    "an entry of a vocabulary": (L.IntegerLookup(vocabulary=[1, 2, 3]), "int64"),
    "a hash": (L.Hashing(4), "int64"),
}


@pytest.mark.parametrize("layer", PREPARED)
def test_what_keras_makes_ids_of_is_explained(layer):
    """Each value has its own vector, so it alone makes the change of its number in what the model returns."""
    prepare, kind = PREPARED[layer]
    model = keras.Sequential(
        [L.Input((4,), dtype=kind), prepare, L.Embedding(5, 3), L.Lambda(lambda v: v[..., 0] ** 2)]
    )
    x = (3 * X).astype(kind)
    base = np.full_like(x, 2)
    found = explain(model, x, base, precision="float64").attributions
    expected = np.asarray(model(x) - model(base)).T[:, :, None] * np.eye(4)[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert np.abs(expected).max() > 1e-5


@pytest.mark.parametrize("given", [np.int64, np.float64])
def test_an_id_that_the_type_of_the_table_has_not(given):
    """A cast would make another id of it, as Keras does without a word."""
    model = keras.Sequential([L.Input((3,), dtype="int32"), L.Embedding(7, 3), L.Flatten(), L.Dense(2)])
    ids = np.array([[1, 2, 2**32 + 4]]).astype(given)
    with pytest.raises(errors.InputError, match="the input has 4294967300 where the model looks up ids of type int32"):
        explain(model, ids, target=0)
    with pytest.raises(errors.InputError, match="the baseline has 4294967300"):
        explain(model, np.minimum(ids, 3), baselines=ids, target=0)


@pytest.mark.parametrize("call", [tf.py_function, tf.numpy_function])
def test_python_without_a_shape_is_refused_by_name(call):
    class Doubled(keras.Model):
        def call(self, x):
            return call(lambda a: a * 2, [tf.reduce_sum(x, 1, keepdims=True)], tf.float32)

    model = Doubled()
    model(X)
    with pytest.raises(errors.UnsupportedOperation, match="PyFunc"):
        explain(model, X)


def test_half_numbers_that_a_model_makes_singles_of_lose_nothing():
    model = keras.Sequential([L.Input((4,)), L.Dense(2)])
    model(X)
    assert explain(model, X.astype(np.float16), target=0).notes == []


def test_a_traced_function_is_called_as_it_was_made():
    @tf.function(input_signature=[tf.TensorSpec((None, 4)), tf.TensorSpec((None, 4))])
    def weighted(x, weights):
        return tf.reduce_sum(x * weights, 1)

    ex = explain(weighted.get_concrete_function(), (X, X + 1))
    np.testing.assert_allclose(ex.prediction.to_numpy().ravel(), (X * (X + 1)).sum(1), rtol=1e-6)


def test_a_decision_by_the_number_of_rows_is_a_cause():
    class ByRows(keras.Model):
        def call(self, x):
            return tf.reduce_sum(x, 1, keepdims=True) * (1.0 if x.shape[0] == len(X) else -1.0)

    model = ByRows()
    model(X)
    with pytest.raises(errors.CaptureError, match="decided by the number of rows"):
        explain(model, X)


def test_categories_that_are_counted_are_no_floats():
    model = keras.Sequential([L.Input((4,), dtype="int32"), L.CategoryEncoding(9, output_mode="count"), L.Dense(1)])
    with pytest.raises(errors.InputError, match="no whole number is looked up in a table"):
        explain(model, np.arange(8).reshape(2, 4))
