"""Recurrent cells with every operation spelled out in TensorFlow, from PyTorch's weights.

shap's TensorFlow explainer has a DeepLIFT rule for each primitive operation of such a cell, so that it is exact
there and can referee; it has none for what Keras' own layers trace to (``Split``, ``TensorListStack``). Gates are
therefore computed one at a time. Equations as in PyTorch's documentation of ``LSTM``, ``GRU`` and ``RNN``.

Weights are arrays by the names of a PyTorch cell: ``weight_ih`` (G·H, I), ``weight_hh`` (G·H, H), and ``bias_ih`` and
``bias_hh`` (G·H,).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Weights = Mapping[str, np.ndarray]


def step(kind: str, weights: Weights, x: Any, states: list[Any], activation: str = "tanh") -> list[Any]:
    """One step: x (N, I) and states, each (N, H), to the new states; the hidden state comes first.

    Args:
        kind: "LSTM", "GRU" or "RNN".
        activation: of the RNN, "tanh" or "relu".
    """
    units = weights["weight_hh"].shape[1]
    h = states[0]

    def part(which: str, gate: int, value: Any) -> Any:
        rows = slice(gate * units, (gate + 1) * units)
        return value @ weights[f"weight_{which}"][rows].T + weights[f"bias_{which}"][rows]

    def both(gate: int) -> Any:
        return part("ih", gate, x) + part("hh", gate, h)

    if kind == "LSTM":
        c = tf.sigmoid(both(1)) * states[1] + tf.sigmoid(both(0)) * tf.tanh(both(2))
        return [tf.sigmoid(both(3)) * tf.tanh(c), c]
    if kind == "GRU":
        reset, update = tf.sigmoid(both(0)), tf.sigmoid(both(1))
        new = tf.tanh(part("ih", 2, x) + reset * part("hh", 2, h))
        return [(1.0 - update) * new + update * h]
    return [(tf.tanh if activation == "tanh" else tf.nn.relu)(both(0))]


class Step(keras.layers.Layer):
    """A cell alone: (N, I + states·H), the input and the states side by side, to the states after it (N, states·H)."""

    def __init__(self, kind: str, weights: Weights, activation: str = "tanh") -> None:
        super().__init__()
        self._arguments = kind, weights, activation
        self._units, self._inputs = weights["weight_hh"].shape[1], weights["weight_ih"].shape[1]

    def call(self, row):
        kind, weights, activation = self._arguments
        units, first = self._units, self._inputs
        count = 2 if kind == "LSTM" else 1
        states = [row[:, first + i * units : first + (i + 1) * units] for i in range(count)]
        return tf.concat(step(kind, weights, row[:, :first], states, activation), -1)


class Unrolled(keras.layers.Layer):
    """The cell over a sequence (N, T, I), written out step by step, to its states after the last (N, states·H).

    Args:
        initial: states before the first step, (states·H,).
    """

    def __init__(self, kind: str, weights: Weights, initial: np.ndarray, activation: str = "tanh") -> None:
        super().__init__()
        self._arguments, self._initial = (kind, weights, activation), np.asarray(initial)

    def call(self, x):
        kind, weights, activation = self._arguments
        count = 2 if kind == "LSTM" else 1
        # shap follows only what depends on the input, so the states start as a zero that does.
        start = x[:, 0, :1] * np.zeros((1, len(self._initial)), self._initial.dtype) + self._initial
        units = len(self._initial) // count
        states = [start[:, i * units : (i + 1) * units] for i in range(count)]
        for t in range(x.shape[1]):
            states = step(kind, weights, x[:, t], states, activation)
        return tf.concat(states, -1)


class Columns(keras.layers.Layer):
    """Some of the columns of (N, F)."""

    def __init__(self, first: int, count: int) -> None:
        super().__init__()
        self._columns = slice(first, first + count)

    def call(self, rows):
        return rows[:, self._columns]


def model_of(shape: tuple[int, ...], *layers: Any, dtype: str | None = None) -> Any:
    """A Keras model that applies the layers to one input of the given shape, without the sample axis."""
    inputs = keras.Input(shape, name="input", dtype=dtype)
    value = inputs
    for layer in layers:
        value = layer(value)
    return keras.Model(inputs, value)
