"""Keras models built again in PyTorch, in a process of its own: what can be converted agrees, what cannot says why."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras

import explain_core as xc
from explain_core.diagnostics.two_frameworks import parity

L = keras.layers
FEATURES, UNITS, STEPS = 3, 4, 6
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch to compare with")

FUNCTIONS = (
    *("relu", "tanh", "sigmoid", "gelu", "elu", "selu", "leaky_relu", "softplus", "silu", "hard_sigmoid", "relu6"),
    *("hard_silu", "mish", "log_sigmoid"),
)


def model_of(*layers, shape=(STEPS, FEATURES), dtype=None) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *layers])
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([w + np.random.default_rng(1).uniform(size=w.shape) for w in layer.get_weights()])
    return model


def pair() -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(0).normal(size=(2, 1, STEPS, FEATURES)).astype(np.float32))


@needs_torch
def test_the_engines_agree():
    model = model_of(
        *(L.Activation(name) for name in FUNCTIONS),
        *(L.LeakyReLU(0.1), L.ELU(0.5), L.ReLU()),
        L.Conv1D(UNITS, 3, padding="causal", dilation_rate=2, activation="gelu"),
        L.BatchNormalization(),
        L.Conv1D(6, 3, padding="same", strides=2, groups=2),
        L.SpatialDropout1D(0.1),
        L.MaxPooling1D(2, 1),
        L.Bidirectional(L.LSTM(UNITS, return_sequences=True)),
        L.LayerNormalization(),
        L.Flatten(),
        L.Dense(2, activation="silu"),
        L.Softmax(),
    )
    assert parity(model, *pair())["difference"].max() <= 1e-5  # measured: 4e-7


@needs_torch
def test_the_engines_agree_on_token_ids():
    model = model_of(L.Embedding(9, FEATURES), L.GRU(UNITS), L.Dense(2), shape=(STEPS,), dtype="int64")
    found = parity(model, *np.random.default_rng(0).integers(0, 9, (2, 1, STEPS)))
    assert found["difference"].max() <= 1e-5  # measured: at most 5e-7


@needs_torch
@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (lambda: [L.Masking(), L.GRU(UNITS)], "timesteps are masked"),
        (lambda: [L.GRU(UNITS), L.Dense(2, activation="softsign")], "softsign has no counterpart"),
        (lambda: [L.GRU(UNITS), L.Dense(2, activation=L.LeakyReLU())], "LeakyReLU has no counterpart"),
        (lambda: [L.GRU(UNITS), L.ReLU(max_value=3.0)], "ReLU has no counterpart"),
        (lambda: [L.LayerNormalization(axis=1), L.GRU(UNITS)], "LayerNormalization has no counterpart"),
        (lambda: [L.MaxPooling1D(4, padding="same"), L.GRU(UNITS)], "MaxPooling1D has no counterpart"),
    ],
)
def test_what_cannot_be_converted_says_why(layers, words):
    with pytest.raises(xc.errors.InputError, match=words):
        parity(model_of(*layers()), *pair())
