"""shap's tests of its DeepExplainer on TensorFlow. Where they train a model, here its weights are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import explain_core as xc
from benchmarks.conformance.published import Outcome, Row, attributed, complete, numbers

FILE = "tests/explainers/test_deep.py"


def keras_model(shapes: list[tuple[int, ...]], build: Callable[..., Any]) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], build(keras.layers, *inputs))


def drawn(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def explain(model: Any, inputs: Any, background: Any) -> xc.Explanation:
    return xc.explain(model, inputs, background, None, "tensorflow", "cpu", True)


def small() -> Outcome:
    model = keras_model([(1,)], lambda L, x: L.Dense(2, activation="softmax")(L.Dense(10, activation="relu")(x)))
    return complete(explain(model, drawn(20, 1), drawn(1, 1, seed=1)), 1e-4)


def mnist() -> Outcome:
    def build(L: Any, x: Any) -> Any:
        x = L.Conv2D(4, 3, activation="relu")(L.Conv2D(2, 3, activation="relu")(x))
        x = L.Flatten()(L.Dropout(0.25)(L.MaxPooling2D(2)(x)))
        x = L.Dropout(0.5)(L.Dense(16, activation="relu")(x))
        return L.Activation("softmax")(L.Dense(10)(x))

    model = keras_model([(28, 28, 1)], build)
    return complete(explain(model, drawn(1, 28, 28, 1) / 255, drawn(3, 28, 28, 1, seed=1) / 255), 1e-3)


def activation(name: str) -> Callable[[], Outcome]:
    def run() -> Outcome:
        model = keras_model([(2,)], lambda L, x: L.Dense(1, activation=name)(x))
        x = 1 + 10 * drawn(50, 2)
        # 1e-5 of outputs of size 10, which is ten roundings of float32.
        return complete(explain(model, x, x), 1e-5)

    return run


def linear() -> Outcome:
    model = keras_model([(2,)], lambda L, x: L.Dense(1)(x))
    x = 1 + 10 * drawn(50, 2)
    wanted = (x - x.mean(0)) * model.layers[1].get_weights()[0].T[0]
    return numbers(attributed(explain(model, x, x))[0], wanted, 1e-5)


def words() -> Outcome:
    def build(L: Any, x: Any) -> Any:
        return L.Dense(1, activation="sigmoid")(L.LSTM(10, dropout=0.2, recurrent_dropout=0.2)(L.Embedding(1000, 8)(x)))

    import keras

    keras.utils.set_random_seed(0)
    ids = keras.Input((100,), dtype="int32")
    model = keras.Model(ids, build(keras.layers, ids))
    rng = np.random.default_rng(0)
    return complete(explain(model, rng.integers(0, 1000, (1, 100)), rng.integers(0, 1000, (3, 100))), 1e-2)


def several() -> Outcome:
    def build(L: Any, a: Any, b: Any) -> Any:
        return L.Dense(3, activation="softmax")(L.Dense(16, activation="relu")(L.Concatenate()([a, b])))

    given = drawn(32, 3), drawn(32, 4, seed=1)
    return complete(explain(keras_model([(3,), (4,)], build), given, given), 1e-3)


def row(test: str, model: str, expected: str, run: Callable[[], Outcome]) -> Row:
    return Row("shap", f"{FILE}::{test}", model, expected, run)


ROWS = [
    row("test_tf_eager_call", "perceptron, softmax", "complete to 0.0001 (skipped there since TensorFlow 2.4)", small),
    row("test_tf_keras_mnist_cnn_call", "convolutions, max-pooling, softmax", "complete to 0.001", mnist),
    *(
        row(f"test_tf_keras_activations[{n}]", f"dense with {n}", "complete to 0.00001", activation(n))
        for n in ("relu", "elu", "selu")
    ),
    row("test_tf_keras_linear", "dense", "(x - mean x) times the weight, to 0.00001", linear),
    row(
        "test_tf_keras_imdb_lstm",
        "embedding, LSTM, sigmoid",
        "complete to 0.01 (skipped there since TensorFlow 2.5)",
        words,
    ),
    row("test_tf_deep_multi_inputs_multi_outputs", "two inputs, softmax", "complete to 0.001", several),
]
