"""Layer-wise relevance propagation of Keras models, against the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from relevance_agreement import absorbed, assert_relevance, expected_of, relevances
from relevance_reference import Cell, FinalStates, LastStep, Layer, Linear, Recurrent, SumOverTime

from explain_core import Explanation
from explain_core.methods import explain_with

pytest.importorskip("tensorflow")
import keras

L = keras.layers
SAMPLES, STEPS, FEATURES, UNITS, OUTPUTS = 3, 5, 3, 4, 2
EPSILONS = (0.0, 1e-3, 0.1)


@pytest.fixture(autouse=True)
def _fresh_names():
    keras.backend.clear_session()


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def drawn(*layers: keras.Layer, seed: int = 4) -> keras.Sequential:
    """A model with weights, biases too, that are large enough for activations to bend.

    Of this seed no layer of relus is dead, and to turn every weight by a rounding of float32 moves no relevance by more
    than 3e-6 of the largest, where ε is 0.1.
    """
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *layers])
    for place, weight in enumerate(model.weights):
        weight.assign(0.7 * draw(100 * seed + place, *weight.shape))
    return model


# --- The reference's layers, of Keras's ---------------------------------------------------------------------


def cell_of(layer: keras.Layer) -> Cell:
    """Keras keeps weights turned, and the gates of a GRU in the order z, r, n."""
    kind = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}[type(layer).__name__]
    kernel, recurrent, *bias = (weight.astype(np.float64) for weight in layer.get_weights())
    biases = np.atleast_2d(bias[0]) if bias else []
    own = {"reset_after": layer.reset_after} if kind == "GRU" else {}
    own |= {"activation": layer.activation.__name__} if kind == "RNN" else {}

    def rows(weight: np.ndarray) -> np.ndarray:
        if kind != "GRU":
            return weight
        z, r, n = np.split(weight, 3)
        return np.concatenate([r, z, n])

    both = [*map(rows, biases), None, None]
    return Cell(kind, {"w_ih": rows(kernel.T), "w_hh": rows(recurrent.T), "b_ih": both[0], "b_hh": both[1]}, own)


def reference_of(layer: keras.Layer) -> list[Layer]:
    """What one layer is in the reference; a layer that only marks timesteps is nothing there."""
    if isinstance(layer, L.Masking):
        return []
    if isinstance(layer, L.Dense):
        kernel, *bias = (weight.astype(np.float64) for weight in layer.get_weights())
        return [Linear(kernel.T, *bias, activation=layer.activation.__name__)]
    if isinstance(layer, L.GlobalAveragePooling1D):
        return [SumOverTime(mean=True)]
    if isinstance(layer, L.Bidirectional):
        both = Recurrent((cell_of(layer.forward_layer), cell_of(layer.backward_layer)))
        return [both] if layer.return_sequences else [both, FinalStates()]
    one = Recurrent((cell_of(layer),))
    return [one] if layer.return_sequences else [one, LastStep()]


def layers_of(model: keras.Sequential) -> list[Layer]:
    return [found for layer in model.layers for found in reference_of(layer)]


def units(count: int = OUTPUTS) -> list[tuple[int]]:
    return [(unit,) for unit in range(count)]


def relevance(model: keras.Model, x: np.ndarray, eps: float, precision: str = "float64", **options) -> Explanation:
    return explain_with("lrp", model, x, epsilon=eps, precision=precision, device="cpu", **options)


def check(model: keras.Sequential, x: np.ndarray, eps: float, precision: str = "float64", kept=None) -> None:
    """Every output of a model of one input (N, T, I) and K outputs has the reference's relevances."""
    found = relevance(model, x, eps, precision)
    assert_relevance(found, expected_of(layers_of(model), x, units(), eps, kept), precision)


# --- Recurrent layers ---------------------------------------------------------------------------------------

LAYERS: dict[str, Callable[..., keras.Layer]] = {
    "LSTM": L.LSTM,
    "GRU, reset after": L.GRU,
    "GRU, reset before": lambda units, **options: L.GRU(units, reset_after=False, **options),
    "RNN tanh": L.SimpleRNN,
    "RNN relu": lambda units, **options: L.SimpleRNN(units, activation="relu", **options),
}
FORMS: dict[str, Callable[[Callable], list[keras.Layer]]] = {
    "plain": lambda layer: [layer(UNITS)],
    "no biases": lambda layer: [layer(UNITS, use_bias=False)],
    "bidirectional": lambda layer: [L.Bidirectional(layer(UNITS))],
    "two layers": lambda layer: [layer(UNITS, return_sequences=True), layer(3)],
    "two bidirectional layers": lambda layer: [
        L.Bidirectional(layer(UNITS, return_sequences=True)),
        L.Bidirectional(layer(3)),
    ],
    "mean over time": lambda layer: [layer(UNITS, return_sequences=True), L.GlobalAveragePooling1D()],
}


@pytest.mark.parametrize("eps", EPSILONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, form, eps):
    model = drawn(*FORMS[form](LAYERS[name]), L.Dense(OUTPUTS))
    check(model, draw(0, SAMPLES, STEPS, FEATURES), eps)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("name", LAYERS)
def test_many_weights_and_inputs(name, seed):
    model = drawn(*FORMS["two bidirectional layers"](LAYERS[name]), L.Dense(OUTPUTS), seed=seed)
    check(model, draw(seed, SAMPLES, STEPS, FEATURES), 1e-3)


@pytest.mark.parametrize("form", ["plain", "two bidirectional layers"])
@pytest.mark.parametrize("name", LAYERS)
def test_single_precision(name, form):
    """A sum near zero turns rounding into relevance, by one over ε."""
    model = drawn(*FORMS[form](LAYERS[name]), L.Dense(OUTPUTS))
    check(model, draw(0, SAMPLES, STEPS, FEATURES), 0.1, "float32")


@pytest.mark.parametrize("eps", EPSILONS)
@pytest.mark.parametrize("name", LAYERS)
def test_dense_layers_before_and_after(name, eps):
    around = [L.Dense(6, activation="relu"), L.Dense(5, activation="tanh"), L.Dense(OUTPUTS)]
    model = drawn(L.Dense(FEATURES, activation="relu"), LAYERS[name](UNITS), *around, seed=1)
    check(model, draw(0, SAMPLES, STEPS, FEATURES), eps)


def test_an_output_at_a_timestep():
    model = drawn(L.LSTM(UNITS, return_sequences=True), L.Dense(OUTPUTS))
    x = draw(0, SAMPLES, STEPS, FEATURES)
    found = relevance(model, x, 1e-3, target=(2, 1))
    assert_relevance(found, expected_of(layers_of(model), x, [(2, 1)], 1e-3), "float64")
    assert not relevances(found)[0][:, :, 3:].any()


def test_a_layer_that_reads_backwards():
    model = drawn(L.LSTM(UNITS, go_backwards=True), L.Dense(OUTPUTS))
    x = draw(0, SAMPLES, STEPS, FEATURES)
    turned = expected_of(layers_of(model), x[:, ::-1], units(), 1e-3)
    expected = [[replace(one, relevance=one.relevance[::-1]) for one in of_output] for of_output in turned]
    assert_relevance(relevance(model, x, 1e-3), expected, "float64")


# --- Masks and tokens ---------------------------------------------------------------------------------------

KEPT = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]], dtype=bool)


@pytest.mark.parametrize("form", ["plain", "bidirectional", "two bidirectional layers"])
@pytest.mark.parametrize("name", LAYERS)
def test_masked_timesteps_are_as_if_they_were_not_there(name, form):
    model = drawn(L.Masking(), *FORMS[form](LAYERS[name]), L.Dense(OUTPUTS))
    x = draw(0, SAMPLES, STEPS, FEATURES) * KEPT[..., None]
    check(model, x, 1e-3, kept=KEPT)


@pytest.mark.parametrize("name", LAYERS)
def test_the_relevance_of_a_token_is_the_sum_over_its_vector(name):
    inputs = keras.Input((STEPS,), dtype="int32")
    embedding, layer, head = L.Embedding(10, FEATURES), LAYERS[name](UNITS), L.Dense(OUTPUTS)
    model = keras.Model(inputs, head(layer(embedding(inputs))))
    for place, weight in enumerate(model.weights):
        weight.assign(0.7 * draw(place, *weight.shape))
    ids = np.random.default_rng(0).integers(0, 10, (SAMPLES, STEPS)).astype(np.int32)
    vectors = embedding.get_weights()[0][ids]
    expected = expected_of([*reference_of(layer), *reference_of(head)], vectors, units(), 1e-3)
    summed = [[replace(one, relevance=one.relevance.sum(1)) for one in of_output] for of_output in expected]
    assert_relevance(relevance(model, ids, 1e-3), summed, "float64")


# --- What does not depend on who else is explained ----------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_samples_and_outputs_together_are_each_alone(name):
    model = drawn(*FORMS["two bidirectional layers"](LAYERS[name]), L.Dense(OUTPUTS))
    x = draw(0, SAMPLES, STEPS, FEATURES)
    together = relevance(model, x, 1e-3)
    (parts,) = relevances(together)
    for n in range(SAMPLES):
        for k in range(OUTPUTS):
            alone = relevance(model, x[n : n + 1], 1e-3, target=k)
            wanted = parts[k, n]
            np.testing.assert_allclose(relevances(alone)[0][0, 0], wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
            for by in ("biases", "stabilizer"):
                np.testing.assert_allclose(absorbed(alone, by)[0, 0], absorbed(together, by)[k, n], rtol=1e-10)
