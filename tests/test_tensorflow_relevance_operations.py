"""Relevance propagation through TensorFlow's operations: sums, products, gates, token ids, and what is absorbed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from relevance_agreement import absorbed, assert_adds_up, relevances

from explain_core import Explanation, contrast
from explain_core.errors import UnsupportedOperation
from explain_core.methods import explain_with

pytest.importorskip("tensorflow")
import keras
import tensorflow as tf

L = keras.layers
SAMPLES, STEPS, FEATURES, UNITS, OUTPUTS = 3, 5, 3, 4, 2
EPSILON = 1e-2


@pytest.fixture(autouse=True)
def _fresh_names():
    keras.backend.clear_session()


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = draw(0, SAMPLES, STEPS, FEATURES)
IDS = np.random.default_rng(0).integers(1, 10, (SAMPLES, STEPS)).astype(np.int32)


def drawn(model: keras.Model) -> keras.Model:
    for place, weight in enumerate(model.weights):
        values = 0.7 * draw(place, *weight.shape)
        weight.assign(abs(values) + 0.5 if weight.path.endswith("variance") else values)
    return model


def stacked(*layers: keras.Layer, shape: tuple = (STEPS, FEATURES), dtype: str = "float32") -> keras.Sequential:
    return drawn(keras.Sequential([keras.Input(shape, dtype=dtype), *layers]))


def computed(function: Callable, *, shape: tuple = (STEPS, FEATURES)) -> keras.Model:
    """A model of one function, with one output."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, L.Lambda(lambda x: tf.reshape(function(x), [-1, 1]), output_shape=(1,))(inputs))


def relevance(model: keras.Model, x, eps: float = EPSILON, **options) -> Explanation:
    found = explain_with("lrp", model, x, epsilon=eps, **{"precision": "float64", "device": "cpu"} | options)
    if len(found.diagnostics["absorbed"]):
        assert_adds_up(found, options.get("precision", "float64"))
    return found


def assert_same(one: Explanation, other: Explanation) -> None:
    """The same relevances. What is absorbed may be by a constant in one where it is by ε in the other."""
    for found, wanted in zip(relevances(one), relevances(other), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11 * np.abs(wanted).max())


# --- Layers written out ----------------------------------------------------------------------------------------------


def clipped(x):
    """The hard sigmoid of Keras 2."""
    return tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)


CELLS = {
    "LSTM": (L.LSTMCell, {}),
    "GRU, reset after": (L.GRUCell, {}),
    "GRU, reset before": (L.GRUCell, {"reset_after": False}),
    "RNN": (L.SimpleRNNCell, {}),
    "LSTM, hard sigmoid": (L.LSTMCell, {"recurrent_activation": "hard_sigmoid"}),
}


def read_by(name: str, *, fused: bool, **options) -> keras.layers.RNN:
    """A layer that is run as one, or operation by operation, as the cells of other classes are."""
    known, own = CELLS[name]
    return L.RNN((known if fused else type("Own", (known,), {}))(UNITS, **own), **options)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_layer_of_single_operations_has_what_it_has_as_one(name, masked):
    x = X * (np.arange(STEPS) != 1)[:, None] if masked else X
    before = [L.Masking()] if masked else []
    fused, single = (stacked(*before, read_by(name, fused=fused), L.Dense(OUTPUTS)) for fused in (True, False))
    assert_same(relevance(single, x), relevance(fused, x))


@pytest.mark.parametrize("name", ["LSTM", "GRU, reset after", "GRU, reset before"])
def test_a_gate_before_a_constant_first_state_has_nothing(name):
    def model(fused: bool) -> keras.Model:
        x, layer = keras.Input((STEPS, FEATURES)), read_by(name, fused=fused)
        first = L.Lambda(lambda x: tf.fill([tf.shape(x)[0], UNITS], 0.3), output_shape=(UNITS,))(x)
        states = [first, first] if name == "LSTM" else [first]
        return drawn(keras.Model(x, L.Dense(OUTPUTS)(layer(x, initial_state=states))))

    assert_same(relevance(model(False), X), relevance(model(True), X))


class OwnCell(keras.layers.Layer):
    """An LSTM's cell, written by a person."""

    def __init__(self, gate: Callable) -> None:
        super().__init__()
        self.state_size, self.output_size, self._gate = [UNITS, UNITS], UNITS, gate

    def build(self, shape) -> None:
        self.w = self.add_weight(shape=(shape[-1], 4 * UNITS))
        self.u = self.add_weight(shape=(UNITS, 4 * UNITS))
        self.b = self.add_weight(shape=(4 * UNITS,))

    def call(self, x, states):
        h, c = states
        i, f, g, o = tf.split(x @ self.w + h @ self.u + self.b, 4, -1)
        c = self._gate(f) * c + self._gate(i) * tf.tanh(g)
        h = self._gate(o) * tf.tanh(c)
        return h, [h, c]


@pytest.mark.parametrize(
    ("gate", "known"),
    [
        (tf.sigmoid, "sigmoid"),
        (keras.activations.hard_sigmoid, "hard_sigmoid"),
        (lambda x: tf.minimum(tf.maximum(x / 6 + 0.5, 0.0), 1.0), "hard_sigmoid"),
        (lambda x: tf.nn.relu6(x + 3) * (1 / 6), "hard_sigmoid"),
        (lambda x: tf.maximum(0.0, tf.minimum(1.0, x / 6 + 0.5)), "hard_sigmoid"),
        (lambda x: 1 - tf.reshape(tf.sigmoid(-x), tf.shape(x)), "sigmoid"),
    ],
    ids=["sigmoid", "keras", "clip", "relu6", "clip, numbers first", "turned over and moved"],
)
def test_a_persons_own_cell_has_what_the_known_one_has(gate, known):
    own = stacked(L.RNN(OwnCell(gate)), L.Dense(OUTPUTS))
    lstm = stacked(L.LSTM(UNITS, recurrent_activation=known), L.Dense(OUTPUTS))
    found, wanted = relevance(own, X), relevance(lstm, X)
    for mine, known_ones in zip(relevances(found), relevances(wanted), strict=True):
        np.testing.assert_allclose(mine, known_ones, rtol=0, atol=1e-5 * np.abs(known_ones).max())
    assert set(found.diagnostics["absorbed"]["layer"]) == {"rnn", "dense"}


def test_a_clip_between_other_numbers_is_no_gate():
    """As an activation of a signal; both factors are signals then."""
    found = relevance(computed(lambda x: tf.clip_by_value(x[:, 0, 0], 0.0, 2.0) * x[:, 0, 1]), abs(X))
    (parts,) = relevances(found)
    np.testing.assert_allclose(parts[0, :, 0, 0], parts[0, :, 0, 1], rtol=1e-12)


# --- Networks of straight pieces: without ε, with gates held, relevance is the gradient times the input --------------


def weights(model: keras.Model) -> list[tf.Tensor]:
    return [tf.cast(tf.convert_to_tensor(weight), tf.float64) for weight in model.weights]


def times_gradient(function: Callable, x: np.ndarray) -> np.ndarray:
    """(K, N, ...) of a function (N, ...) -> (N, K)."""
    given = tf.constant(x, tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        outputs = tf.unstack(function(given), axis=1)
    return np.stack([(given * tape.gradient(output, given)).numpy() for output in outputs])


def attention() -> tuple[keras.Model, Callable]:
    inputs = keras.Input((STEPS, FEATURES))
    both = L.MultiHeadAttention(2, 3)(inputs, inputs)
    model = drawn(keras.Model(inputs, L.Dense(OUTPUTS)(L.GlobalAveragePooling1D()(both))))

    def held(x):
        wq, bq, wk, bk, wv, bv, wo, bo, w, b = weights(model)
        q, k, v = (tf.einsum("ntf,fhd->nthd", x, m) + c for m, c in ((wq, bq), (wk, bk), (wv, bv)))
        shares = tf.nn.softmax(tf.einsum("nthd,nshd->nhts", q, k) * np.float32(3**-0.5))
        made = tf.einsum("nhts,nshd->nthd", tf.stop_gradient(shares), v)
        return tf.reduce_mean(tf.einsum("nthd,hdf->ntf", made, wo) + bo, 1) @ w + b

    return model, held


def normalised() -> tuple[keras.Model, Callable]:
    model = stacked(L.LayerNormalization(), L.GlobalAveragePooling1D(), L.Dense(OUTPUTS))

    def held(x):
        gamma, beta, w, b = weights(model)
        mean, variance = tf.nn.moments(x, -1, keepdims=True)
        deviation = tf.stop_gradient(tf.sqrt(variance + np.float32(1e-3)))
        return tf.reduce_mean((x - mean) / deviation * gamma + beta, 1) @ w + b

    return model, held


def gated() -> tuple[keras.Model, Callable]:
    inputs = keras.Input((STEPS, FEATURES))
    let_through, signal = L.Dense(UNITS, activation="sigmoid")(inputs), L.Dense(UNITS, activation="relu")(inputs)
    model = drawn(keras.Model(inputs, L.Dense(OUTPUTS)(L.Flatten()(L.Multiply()([let_through, signal])))))

    def held(x):
        wg, bg, ws, bs, w, b = weights(model)
        made = tf.stop_gradient(tf.sigmoid(x @ wg + bg)) * tf.nn.relu(x @ ws + bs)
        return tf.reshape(made, [-1, STEPS * UNITS]) @ w + b

    return model, held


def convolved() -> tuple[keras.Model, Callable]:
    layers = [
        *(L.Reshape((STEPS, FEATURES, 1)), L.Conv2D(UNITS, 2, padding="same"), L.BatchNormalization(), L.ReLU()),
        *(L.MaxPooling2D(2), L.Flatten(), L.BatchNormalization(), L.Dense(OUTPUTS)),
    ]
    model = stacked(*layers)

    def itself(x):
        kernel, bias, *rest, w, b = weights(model)
        x = tf.nn.conv2d(x[..., None], kernel, 1, "SAME") + bias

        def normal(x, gamma, beta, mean, variance):
            return (x - mean) / tf.sqrt(variance + 1e-3) * gamma + beta

        x = tf.nn.max_pool2d(tf.nn.relu(normal(x, *rest[:4])), 2, 2, "VALID")
        return normal(tf.reshape(x, [x.shape[0], -1]), *rest[4:]) @ w + b

    return model, itself


NETWORKS = {"attention": attention, "layer normalisation": normalised, "gated": gated, "convolutions": convolved}


@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_is_the_gradient_with_gates_held_times_the_input(name):
    model, held = NETWORKS[name]()
    found = relevance(model, X, 0.0)
    np.testing.assert_allclose(found.prediction.values, held(tf.constant(X, tf.float64)), rtol=1e-5)
    wanted = times_gradient(held, X)
    np.testing.assert_allclose(relevances(found)[0], wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())
    relevance(model, X)
    relevance(model, X, 1e-3, precision="float32")


# --- Single rules -----------------------------------------------------------------------------------------------------


def of_one(function: Callable, values: list[float], eps: float = EPSILON) -> tuple[np.ndarray, Explanation]:
    """Relevances of the few values that a function takes, for one sample."""
    found = relevance(computed(lambda x: function(*tf.unstack(x, axis=1)), shape=(len(values),)), [values], eps)
    return relevances(found)[0][0, 0], found


def test_sums_that_are_added_are_one_sum():
    """A product and its bias: ε is there once. Where something else reads the product, it is a sum of its own."""
    w, y = 2.0, 2 * 3.0 + 1
    product = lambda x: tf.squeeze(tf.stack([x], 1) @ [[w]], 1)  # noqa: E731
    parts, found = of_one(lambda x: product(x) + 1, [3.0])
    np.testing.assert_allclose(parts, [6 * y / (y + EPSILON)], rtol=1e-12)
    np.testing.assert_allclose(absorbed(found, "stabilizer"), y - y * y / (y + EPSILON), rtol=1e-9)

    def twice(x):
        made = product(x)
        return (made + 1) + 0 * tf.tanh(made)

    parts, _ = of_one(twice, [3.0])
    np.testing.assert_allclose(parts, [6 * y / (y + EPSILON) * 6 / (6 + EPSILON)], rtol=1e-12)


def test_two_signals_have_half_each_and_a_gate_nothing():
    np.testing.assert_allclose(of_one(lambda a, b: a * b, [3.0, -2.0])[0], [-3, -3], rtol=1e-12)
    np.testing.assert_allclose(of_one(lambda a: a * a, [3.0])[0], [9], rtol=1e-12)
    parts, _ = of_one(lambda a, b: tf.sigmoid(a) * b, [3.0, -2.0])
    np.testing.assert_allclose(parts, [0, -2 / (1 + np.exp(-3))], rtol=1e-6)
    parts, _ = of_one(lambda a, b, c: tf.einsum("n,n,n->n", a, tf.sigmoid(b), c), [3.0, 1.0, 2.0], 0.0)
    np.testing.assert_allclose(parts[0], parts[2], rtol=1e-12)
    assert parts[1] == 0


def test_a_numerator_has_all_and_a_divisor_what_it_makes_of_a_constant():
    np.testing.assert_allclose(of_one(lambda a, b: a / b, [3.0, 2.0])[0], [1.5, 0], rtol=1e-12)
    np.testing.assert_allclose(of_one(lambda a, b: tf.math.divide_no_nan(a, b), [3.0, 0.0])[0], [0, 0])
    np.testing.assert_allclose(of_one(lambda a: 3 / a, [2.0])[0], [1.5 * 2 / (2 + EPSILON)], rtol=1e-12)


FUNCTIONS = {
    "tanh": tf.tanh,
    "square root": lambda a: tf.sqrt(abs(a)),
    "power": lambda a: tf.pow(a, 3.0),
    "maximum": lambda a: tf.maximum(a, 0.0),
    "clip": lambda a: tf.clip_by_value(a, -1.0, 1.0),
    "inverse root": tf.math.rsqrt,
    "logarithm": tf.math.log,
    "swish": tf.nn.silu,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_one_value_hand_relevance_on(name):
    parts, found = of_one(FUNCTIONS[name], [1.7], 0.0)
    np.testing.assert_allclose(parts, found.prediction.values[0], rtol=1e-12)
    assert not absorbed(found).any()


def test_what_a_function_is_at_zero_is_held():
    """Of ``e^a`` it is 1, which is shared by its argument with ε."""
    parts, found = of_one(tf.exp, [-0.5])
    np.testing.assert_allclose(parts, [np.expm1(-0.5) + 0.5 / (0.5 + EPSILON)], rtol=1e-12)
    np.testing.assert_allclose(absorbed(found, "stabilizer"), [[1 - 0.5 / (0.5 + EPSILON)]], rtol=1e-9)


def test_what_has_only_a_slope_says_so():
    x, softmax = np.array([0.3, -0.2, 1.0]), lambda *parts: tf.nn.softmax(tf.stack(parts, 1))[:, 0]
    parts, found = of_one(softmax, list(x))
    p = np.exp(x) / np.exp(x).sum()
    wanted = p[0] * (np.eye(3)[0] - p) * x
    np.testing.assert_allclose(parts, wanted, rtol=1e-6)
    np.testing.assert_allclose(absorbed(found, "slopes"), [[p[0] - wanted.sum()]], rtol=1e-6)
    chosen, found = of_one(lambda *parts: tf.reduce_max(tf.stack(parts, 1), 1), list(x))
    np.testing.assert_allclose(chosen, [0, 0, 1], rtol=1e-12)
    assert not absorbed(found).any()
    rounded, found = of_one(lambda a, b: tf.round(a) + b, [1.7, 2.0], 0.0)
    np.testing.assert_array_equal(rounded, [0, 2])
    assert absorbed(found, "slopes") == 2


def test_constants_that_values_are_joined_with_are_in_the_book():
    padded = lambda x: tf.reduce_sum(tf.pad(x, [[0, 0], [1, 0], [0, 0]], constant_values=2.0), [1, 2])  # noqa: E731
    found = relevance(computed(padded), X, 0.0)
    np.testing.assert_allclose(relevances(found)[0][0], X, rtol=1e-6)
    np.testing.assert_allclose(absorbed(found, "biases"), 2 * FEATURES, rtol=1e-12)

    def looped(x):
        steps = tf.TensorArray(x.dtype, STEPS + 1).write(0, tf.ones_like(x[:, 0]) * tf.constant(3.0, x.dtype))
        for t in range(STEPS):
            steps = steps.write(t + 1, x[:, t])
        return tf.reduce_sum(steps.stack(), [0, 2])

    found = relevance(computed(looped), X, 0.0)
    np.testing.assert_allclose(absorbed(found, "biases"), 3 * FEATURES, rtol=1e-12)


# --- Token ids --------------------------------------------------------------------------------------------------------


def reading(*before: keras.Layer, dtype: str = "int32") -> keras.Model:
    return stacked(*before, L.Embedding(10, FEATURES), L.LSTM(UNITS), L.Dense(OUTPUTS), shape=(STEPS,), dtype=dtype)


@pytest.fixture(scope="module")
def of_ids() -> Explanation:
    return relevance(reading(), IDS)


def test_ids_keep_their_relevance_through_what_moves_and_turns_them(of_ids):
    moved = L.Lambda(lambda ids: tf.reverse(tf.where(ids < 0, ids + 10, tf.reshape(ids - 1, tf.shape(ids)) + 1), [1]))
    turned = relevance(reading(moved), IDS[:, ::-1])
    np.testing.assert_allclose(relevances(turned)[0][..., ::-1], relevances(of_ids)[0], rtol=1e-10)


def test_ids_that_are_floats_are_ids(of_ids):
    found = relevance(reading(dtype="float32"), IDS.astype(np.float32))
    np.testing.assert_allclose(relevances(found)[0], relevances(of_ids)[0], rtol=1e-10)


def test_ids_as_unit_vectors_and_rows_of_a_table_are_the_same(of_ids):
    one_hot = stacked(
        *(L.CategoryEncoding(10, output_mode="one_hot"), L.Dense(FEATURES, use_bias=False), L.LSTM(UNITS)),
        *(L.Dense(OUTPUTS),),
        shape=(STEPS,),
        dtype="int32",
    )
    found = relevance(one_hot, IDS, 0.0)
    np.testing.assert_allclose(relevances(found)[0], relevances(relevance(reading(), IDS, 0.0))[0], rtol=1e-8)


def test_a_table_of_ids_of_other_ids(of_ids):
    order = np.random.default_rng(1).permutation(10).astype(np.int32)
    found = relevance(
        reading(L.Lambda(lambda ids: tf.gather(order, tf.cast(ids, tf.int32)))), np.argsort(order)[IDS].astype(np.int32)
    )
    np.testing.assert_allclose(relevances(found)[0], relevances(of_ids)[0], rtol=1e-10)


@pytest.mark.parametrize("layer", [L.LSTM, lambda units: L.Bidirectional(L.GRU(units))], ids=["LSTM", "bidirectional"])
def test_ids_of_padding_are_as_if_they_were_not_there(layer):
    embedding = L.Embedding(10, FEATURES, mask_zero=True)
    model = stacked(embedding, layer(UNITS), L.Dense(OUTPUTS), shape=(None,), dtype="int32")
    padded, short = IDS.copy(), IDS[:, :3]
    padded[:, 3:] = 0
    found, alone = (relevances(relevance(model, ids))[0] for ids in (padded, short))
    np.testing.assert_allclose(found[..., :3], alone, rtol=0, atol=1e-12 * np.abs(alone).max())
    assert not found[..., 3:].any()


def test_ids_that_are_also_numbers_are_refused():
    inputs = keras.Input((STEPS,), dtype="int32")
    numbers = L.Lambda(lambda ids: tf.cast(ids, tf.float32)[..., None], output_shape=(STEPS, 1))(inputs)
    both = L.Concatenate()([L.Embedding(10, FEATURES)(inputs), numbers])
    with pytest.raises(UnsupportedOperation, match="used as numbers"):
        relevance(keras.Model(inputs, L.Dense(1)(L.LSTM(2)(both))), IDS)
    read = L.Add()([L.LSTM(2)(L.Embedding(10, FEATURES)(inputs)), L.LSTM(2)(numbers)])
    with pytest.raises(UnsupportedOperation, match="used as numbers"):
        relevance(keras.Model(inputs, L.Dense(1)(read)), IDS)


# --- Whole models -----------------------------------------------------------------------------------------------------


def test_initial_states_that_are_given_have_relevance_behind_masks_too():
    x, h, c = keras.Input((None, FEATURES)), keras.Input((UNITS,)), keras.Input((UNITS,))
    kept = L.Lambda(lambda x: tf.reduce_any(x != 0, -1), output_shape=(None,))(x)
    outputs = L.LSTM(UNITS, return_sequences=True)(x, mask=kept, initial_state=[h, c])
    model = drawn(keras.Model([x, h, c], L.Dense(OUTPUTS)(keras.ops.sum(outputs, 1))))
    masked, states = X * (np.arange(STEPS) >= 2)[:, None], (draw(1, SAMPLES, UNITS), draw(2, SAMPLES, UNITS))
    steps, *firsts = relevances(relevance(model, [masked, *states]))
    assert not steps[:, :, :2].any()
    for found, alone in zip((steps[:, :, 2:], *firsts), relevances(relevance(model, [X[:, 2:], *states])), strict=True):
        np.testing.assert_allclose(found, alone, rtol=0, atol=1e-11 * np.abs(alone).max())


def test_several_inputs_and_outputs_and_what_two_of_them_differ_by():
    one, other = keras.Input((STEPS, FEATURES)), keras.Input((UNITS,))
    made = L.Concatenate()([L.GRU(UNITS)(one), L.Dense(3, activation="relu")(other)])
    model = drawn(keras.Model([one, other], [L.Dense(OUTPUTS, name="a")(made), L.Dense(3, name="b")(made)]))
    given = [X, draw(1, SAMPLES, UNITS)]
    found = relevance(model, given, target=contrast(("a", 0), ("b", 2)))
    first, second = (relevances(relevance(model, given, target=target)) for target in (("a", 0), ("b", 2)))
    for both, a, b in zip(relevances(found), first, second, strict=True):
        np.testing.assert_allclose(both, a - b, rtol=0, atol=1e-11 * np.abs(a).max())
    assert {"a", "b", "gru", "dense"} & set(found.diagnostics["absorbed"]["layer"])


@pytest.mark.parametrize("eps", [1e-6, 1e-9])
def test_without_epsilon_is_the_limit_of_small_ones(eps):
    model = stacked(L.Conv1D(UNITS, 2), L.LSTM(UNITS), L.Dense(OUTPUTS))
    exact, near = (relevances(relevance(model, X, epsilon))[0] for epsilon in (0.0, eps))
    np.testing.assert_allclose(near, exact, rtol=0, atol=1e3 * eps * np.abs(exact).max())


def test_an_operation_without_a_rule_is_named():
    with pytest.raises(UnsupportedOperation, match="BesselI0"):
        relevance(computed(lambda x: tf.reduce_sum(tf.math.bessel_i0(x), [1, 2])), X)


def test_layers_are_told_apart():
    model = stacked(L.LSTM(UNITS, return_sequences=True), L.LSTM(3), L.Dense(5, activation="tanh"), L.Dense(OUTPUTS))
    names = [layer.name for layer in model.layers]
    table = relevance(model, X).diagnostics["absorbed"]
    assert set(table["layer"]) == set(names)
    for name, following in pairwise(names):
        assert len(table[table["layer"] == name]) == len(table[table["layer"] == following])
