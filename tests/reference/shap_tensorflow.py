"""What shap's TensorFlow DeepExplainer says about a hand-written LSTM and GRU; a script with its own process.

TensorFlow and PyTorch are kept apart, so this reads weights and sequences from one .npz and writes
attributions to another. shap has a DeepLIFT rule for each primitive operation of a written-out cell, so that
it is exact there. In float64, since in float32 its quotients of small differences keep four or five digits.

    python shap_tensorflow.py problems.npz answers.npz
"""

from __future__ import annotations

import sys

import numpy as np


def affine(weights, which, gate, x):
    """One gate at a time, since shap has no rule for `Split`."""
    units = weights["weight_hh_l0"].shape[1]
    rows = slice(gate * units, (gate + 1) * units)
    return x @ weights[f"weight_{which}_l0"][rows].T + weights[f"bias_{which}_l0"][rows]


def cell_lstm(tf, weights, x, h, c):
    i, f, g, o = (affine(weights, "ih", gate, x) + affine(weights, "hh", gate, h) for gate in range(4))
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(c), c


def cell_gru(tf, weights, x, h):
    r, z = (tf.sigmoid(affine(weights, "ih", gate, x) + affine(weights, "hh", gate, h)) for gate in range(2))
    n = tf.tanh(affine(weights, "ih", 2, x) + r * affine(weights, "hh", 2, h))
    return (1.0 - z) * n + z * h


def written_out(tf, keras, kind: str, weights: dict[str, np.ndarray], steps: int, features: int):
    """A Keras model of (T, I) sequences to one number, every operation of the cell spelled out."""

    class Net(keras.layers.Layer):
        def call(self, x):
            units = weights["weight_hh_l0"].shape[1]
            # The states start as zeros that hang on the input, since shap follows only what does.
            h = c = x[:, 0, :1] * np.zeros((1, units))
            for t in range(steps):
                if kind == "LSTM":
                    h, c = cell_lstm(tf, weights, x[:, t], h, c)
                else:
                    h = cell_gru(tf, weights, x[:, t], h)
            return h @ weights["head"].T

    inputs = keras.Input((steps, features))
    return keras.Model(inputs, Net()(inputs))


def main(problems: str, answers: str) -> None:
    import keras
    import shap
    import tensorflow as tf

    keras.config.set_floatx("float64")
    given = np.load(problems)
    found = {}
    for name in sorted({key.split("/")[0] for key in given.files}):
        problem = {key.split("/")[1]: given[key] for key in given.files if key.startswith(f"{name}/")}
        test, base = problem.pop("test"), problem.pop("base")
        model = written_out(tf, keras, name.split("-")[0], problem, *test.shape[1:])
        explainer = shap.DeepExplainer(model, base)
        found[f"{name}/attributions"] = explainer.shap_values(test, check_additivity=True).squeeze(-1)
        found[f"{name}/prediction"] = model(test).numpy()[:, 0]
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
