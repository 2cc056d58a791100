"""A class of the author's own under the name of one of Keras's layers does not open as Keras's layer, in any file."""

from __future__ import annotations

import json

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L

from explain_core import errors, load_model
from explain_core.models.keras.keras2_layers import LAYERS

# Keras hands its variables to h5py, and NumPy 2 warns of how.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

T, F = 6, 3
X = np.random.default_rng(0).normal(size=(2, T, F)).astype(np.float32)


def own(name: str, base=L.Layer, **members):
    """A class of that name, which a file does not say more of."""
    return type(name, (base,), {"call": lambda self, v: 2 * v, **members})


def with_arguments(self, units=3, **options):
    L.Layer.__init__(self, **options)
    self.units = units


def described(self):
    return {**L.Layer.get_config(self), "units": self.units}


def bare():
    return [own(name)() for name in ("LayerNormalization", "Softmax", "Add", "Flatten", "Dropout", "Masking", "ReLU")]


def of_arguments():
    return [own(name, __init__=with_arguments)(units=2) for name in ("Dense", "LSTM", "Embedding", "GRU", "Average")]


def of_their_own_description():
    names = ("Dense", "LSTM", "Conv1D", "LayerNormalization", "BatchNormalization", "Attention", "Activation")
    return [own(name, __init__=with_arguments, get_config=described)(units=2) for name in names]


def nested():
    cell = own("LSTMCell", L.LSTMCell, call=L.LSTMCell.call)
    return [
        L.TimeDistributed(own("Dense", L.Dense)(3)),
        L.RNN(cell(3), return_sequences=True),
        L.TimeDistributed(own("Dropout", compute_output_shape=lambda self, shape: shape)()),
    ]


NAMESAKES = {
    f"{make.__name__}: {i}": (make, i)
    for make in (bare, of_arguments, of_their_own_description, nested)
    for i in range(len(make()))
}


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", NAMESAKES)
def test_a_namesake_is_not_keras_s_layer(name, suffix, tmp_path):
    make, number = NAMESAKES[name]
    layer = make()[number]
    given = keras.Input((T, F))
    hidden = L.LSTM(F, return_sequences=True)(given)
    model = keras.Model(given, L.Dense(2)(L.Dense(F)(layer(hidden))))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    with pytest.raises(errors.ModelFileError) as raised:
        load_model(path)
    inner = getattr(layer, "layer", None) or getattr(layer, "cell", None) or layer
    assert type(inner).__name__ in str(raised.value)
    assert "custom_objects" in raised.value.hint


def stock():
    """One of each layer that opens, as far as it goes behind a sequence, with arguments that are not the usual ones."""
    return [
        L.Activation("gelu"), L.ActivityRegularization(0.1), L.AlphaDropout(0.2), L.AveragePooling1D(2),
        L.BatchNormalization(epsilon=0.1), L.Bidirectional(L.GRU(2, return_sequences=True)), L.Conv1D(3, 2),
        L.Conv1DTranspose(2, 2), L.Cropping1D(1), L.Dense(4, "relu"), L.DepthwiseConv1D(2), L.Dropout(0.3), L.ELU(0.5),
        L.EinsumDense("abc,cd->abd", (None, 4)), L.Flatten(), L.GRU(3), L.GaussianDropout(0.2), L.GaussianNoise(0.1),
        L.GlobalAveragePooling1D(), L.GlobalMaxPooling1D(), L.GroupNormalization(3), L.LSTM(3),
        L.LayerNormalization(epsilon=0.2), L.LeakyReLU(negative_slope=0.1), L.Masking(0.0), L.MaxPooling1D(2),
        L.Normalization(mean=0.1, variance=2.0), L.PReLU(), L.Permute((2, 1)), L.RNN(L.LSTMCell(3)),
        L.ReLU(max_value=1.0),

        L.RNN(L.StackedRNNCells([L.GRUCell(2), L.SimpleRNNCell(3)])), L.Rescaling(0.5, 1.0), L.Reshape((3, 6)),
        L.SeparableConv1D(2, 2), L.SimpleRNN(3), L.Softmax(), L.SpatialDropout1D(0.3), L.TimeDistributed(L.Dense(2)),
        L.UnitNormalization(), L.UpSampling1D(2), L.ZeroPadding1D(1),
    ]  # fmt: skip


def merging():
    names = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Concatenate", "Attention")
    return [*(getattr(L, name)() for name in names), L.AdditiveAttention(), L.Dot(axes=2), L.MultiHeadAttention(2, 3)]


@pytest.mark.parametrize("layer", [*stock(), *merging()], ids=lambda layer: type(layer).__name__)
def test_keras_s_own_layers_open_from_h5(layer, tmp_path):
    """Those of today; those of older versions are in the corpus, without the keys that came later."""
    given = keras.Input((T, F))
    many = type(layer).__name__ in {type(each).__name__ for each in merging()}
    several = [given, L.Dense(F)(given)]
    out = layer(*several) if isinstance(layer, L.MultiHeadAttention) else layer(several if many else given)
    model = keras.Model(given, out)
    path = tmp_path / "model.h5"
    model.save(path)
    assert type(layer).__name__ in LAYERS
    np.testing.assert_allclose(load_model(path).module(X).numpy(), model(X).numpy(), atol=1e-6)


def test_an_unknown_argument_is_not_said_to_be_of_a_version(tmp_path):
    """Keras's own error would blame the file's version."""
    path = tmp_path / "model.h5"
    keras.Sequential([keras.Input((T, F)), L.LSTM(3), L.Dense(2)]).save(path)
    with h5py.File(path, "r+") as file:
        description = json.loads(file.attrs["model_config"])
        description["config"]["layers"][-1]["config"]["temperature"] = 2.0
        file.attrs["model_config"] = json.dumps(description)
    with pytest.raises(errors.ModelFileError, match=r"Dense has temperature=.2\.0.*a class of the author's own"):
        load_model(path)
