"""Quantized Keras models, and the tables of integers that come with them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from explain_core import errors, explain

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`", "ignore:__array__ implementation")

X = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
IDS = np.random.default_rng(0).integers(1, 9, size=(3, 6)).astype(np.int32)


def sequences():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6, 4)), L.Dense(5, "tanh", name="wide"), L.Flatten(), L.Dense(2)])


def attention():
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 4))
    return keras.Model(x, L.Dense(2)(L.Flatten()(L.MultiHeadAttention(2, 4)(x, x))))


def of_ids():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,), dtype="int32"), L.Embedding(10, 8), L.LSTM(3), L.Dense(2)])


def quantize(model, mode):
    """The weights alone, where Keras offers that."""
    config = {
        "int8": lambda: keras.quantizers.Int8QuantizationConfig(activation_quantizer=None),
        "int4": lambda: keras.quantizers.Int4QuantizationConfig(activation_quantizer=None),
    }[mode]
    model.quantize(config=config())


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_layer_that_rounds_its_inputs_is_named(mode):
    model = sequences()
    explain(model, X)
    model.quantize(mode)
    with pytest.raises(
        errors.UnsupportedOperation, match=rf"'wide' is quantized \({mode}\): it rounds its inputs to 8"
    ):
        explain(model, X)


@pytest.mark.skipif(not hasattr(keras.quantizers, "Int8QuantizationConfig"), reason="Keras rounds inputs always here")
@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.parametrize(("make", "x"), [(sequences, X), (attention, X), (of_ids, IDS)])
def test_rounded_weights_are_weights(make, x, mode):
    model = make()
    quantize(model, mode)
    found = explain(model, x, target=0, precision="float64")
    np.testing.assert_allclose(found.prediction[:, 0], np.asarray(model(x))[:, 0], atol=1e-5)
    assert found.relative_residual.max() <= 1e-12
    assert not found.notes


@pytest.mark.skipif(not hasattr(keras.quantizers, "Int8QuantizationConfig"), reason="Keras rounds inputs always here")
def test_a_rounded_table_is_explained_as_the_table_that_it_stands_for():
    rounded, plain = of_ids(), of_ids()
    quantize(rounded, "int8")
    for layer, other in zip(rounded.layers, plain.layers, strict=True):
        if not isinstance(layer, L.LSTM):
            kernel = layer._kernel if isinstance(layer, L.Dense) else layer._embeddings
            scale = layer.kernel_scale if isinstance(layer, L.Dense) else layer.embeddings_scale[:, None]
            other.set_weights([np.asarray(kernel) / np.asarray(scale), *other.get_weights()[1:]])
    options = {"baselines": 1, "precision": "float64", "keep_embeddings": True}
    found, expected = (explain(model, IDS, **options) for model in (rounded, plain))
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-7)
    for ex in (found, expected):
        (vectors,) = ex.embedding_attributions.values()
        np.testing.assert_allclose(vectors.sum("embedding"), ex.attributions, atol=1e-12)


EIGHT_BITS = [tf.dtypes.experimental.float8_e4m3fn, tf.dtypes.experimental.float8_e5m2]


class Weighted(tf.Module):
    def __init__(self, kind, of):
        self.kernel = tf.Variable(np.random.default_rng(2).normal(size=(4, 2)).astype(np.float32))
        self.rounded = lambda x: tf.cast(tf.cast(x, kind), tf.float32)
        self.of = of

    def __call__(self, x):
        kernel, x = (self.rounded(v) if name == self.of else v for name, v in (("weight", self.kernel), ("input", x)))
        return tf.tanh(x[:, 0] @ kernel)


@pytest.mark.parametrize("precision", [None, "float64"])
@pytest.mark.parametrize("kind", EIGHT_BITS)
def test_a_cast_to_8_bits_rounds_weights_and_is_refused_for_inputs(kind, precision):
    model = Weighted(kind, "weight")
    found = explain(model, X, target=0, precision=precision)
    np.testing.assert_allclose(found.prediction[:, 0], model(X)[:, 0], rtol=1e-6)
    with pytest.raises(errors.UnsupportedOperation, match=f"'Cast': no rule for rounding to the 8 bits of {kind.name}"):
        explain(Weighted(kind, "input"), X, target=0, precision=precision)


class Tables(tf.Module):
    """Ids by way of a table of other ids, to vectors, to numbers and to matrices."""

    def __init__(self):
        draw = np.random.default_rng(1)
        self.other = tf.constant(draw.permutation(10).astype(np.int64))
        self.vectors, self.numbers, self.matrices = (
            tf.Variable(draw.normal(size=shape)) for shape in ((10, 4), (10,), (10, 2, 2))
        )

    def __call__(self, ids):
        ids = tf.gather(self.other, ids)
        vectors, matrices = tf.gather(self.vectors, ids), tf.reshape(tf.gather(self.matrices, ids), (-1, 6, 4))
        return tf.reduce_sum(tf.tanh(vectors + matrices), -1) + tf.gather(self.numbers, ids)


def test_ids_by_way_of_other_ids():
    model = Tables()
    base = np.full_like(IDS, 1)
    found = explain(model, IDS, base, target=2, keep_embeddings=True)
    expected = np.zeros(IDS.shape)
    expected[:, 2] = (model(IDS) - model(base))[:, 2]
    np.testing.assert_allclose(found.attributions.squeeze(), expected, atol=1e-12)
    (vectors,) = found.embedding_attributions.values()
    assert vectors.sizes["embedding"] == 4 + 4 + 1
    np.testing.assert_allclose(vectors.sum("embedding").squeeze(), expected, atol=1e-12)
