"""Whole models: what stands around recurrent layers, ids and masks, ways to call, tracing, and errors."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
from tensorflow_tools import assert_exact, distance, double_precision, explain, first_targets, leak, residual, runner_of

pytest.importorskip("tensorflow")
import keras
import tensorflow as tf

import explain_core as xc
from explain_core.backends.protocol import Target
from explain_core.backends.tensorflow import accepts, own_answers
from explain_core.backends.tensorflow.devices import full_precision
from explain_core.errors import (
    BackendError,
    CaptureError,
    CompletenessError,
    InputError,
    NonFiniteError,
    UnsupportedOperation,
)

L = keras.layers
ops = keras.ops
STEPS, FEATURES, SAMPLES = 6, 4, 3


@pytest.fixture(autouse=True)
def _fresh_names_and_weights():
    keras.backend.clear_session()
    keras.utils.set_random_seed(2)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pair() -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [draw(SAMPLES, STEPS, FEATURES, seed=1)], [draw(SAMPLES, STEPS, FEATURES, seed=2)]


def shake(model) -> None:
    """Weights that start at zero or one would hide what they are multiplied with."""
    for number, variable in enumerate(model.weights):
        if "seed" not in variable.path:
            noise = 0.3 * np.abs(draw(*variable.shape, seed=number))
            variable.assign(variable.numpy() + noise.astype(variable.dtype))


def attention_of(x):
    return L.Attention()([x, x])


AROUND = {
    "dense and dropout": lambda x: L.Dropout(0.5)(L.Dense(3, activation="gelu")(x)),
    "convolution": lambda x: L.Conv1D(3, 2, padding="causal", dilation_rate=2, activation="relu")(x),
    "convolution in groups": lambda x: L.Conv1D(6, 2, groups=2, activation="relu")(x),
    "separable convolution": lambda x: L.SeparableConv1D(3, 2, activation="silu")(x),
    "depthwise convolution": lambda x: L.DepthwiseConv1D(2, activation="softplus")(x),
    "transposed convolution": lambda x: L.Conv1DTranspose(3, 2, strides=2)(x),
    "batch normalisation": lambda x: L.BatchNormalization()(x),
    "layer normalisation": lambda x: L.LayerNormalization()(x),
    "layer normalisation, both axes": lambda x: L.LayerNormalization(axis=[1, 2], center=False)(x),
    "group normalisation": lambda x: L.GroupNormalization(2)(x),
    "rms normalisation": lambda x: L.RMSNormalization()(x),
    "unit normalisation": lambda x: L.UnitNormalization()(x),
    "average pooling": lambda x: L.AveragePooling1D(2)(x),
    "max pooling": lambda x: L.MaxPooling1D(3, strides=2, padding="same")(x),
    "global pooling": lambda x: L.Concatenate()([L.GlobalMaxPooling1D()(x), L.GlobalAveragePooling1D()(x)]),
    "attention": attention_of,
    "attention with scores": lambda x: L.Attention(use_scale=True, score_mode="concat")([x, x, L.Dense(4)(x)]),
    "additive attention": lambda x: L.AdditiveAttention()([x, x]),
    "multi-head attention": lambda x: L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True),
    "grouped attention": lambda x: L.GroupQueryAttention(2, 4, 2)(x, x),
    "permute and reshape": lambda x: L.Reshape((3, -1))(L.Permute((2, 1))(x)),
    "merging": lambda x: L.Subtract()([L.Multiply()([x, L.Dense(4)(x)]), L.Maximum()([x, L.Average()([x, 2 * x])])]),
    "dot product": lambda x: L.Dot((2, 2), normalize=True)([x, L.Dense(4)(x)]),
    "padding and cropping": lambda x: L.Cropping1D(2)(L.ZeroPadding1D(3)(x)),
    "repeat": lambda x: L.RepeatVector(3)(L.Flatten()(x)),
    "upsampling": lambda x: L.UpSampling1D(2)(x),
    "activations": lambda x: L.LeakyReLU()(x) + L.ELU()(x) + L.PReLU()(x) + L.Softmax(1)(x) + L.ReLU(1, 0.1, 0.2)(x),
    "keras activations": lambda x: sum(
        L.Activation(name)(x)
        for name in ("mish", "hard_swish", "celu", "hard_tanh", "soft_shrink", "squareplus", "log_softmax")
    ),
    "lambda": lambda x: L.Lambda(lambda t: tf.sin(t) / (1 + tf.square(t)), output_shape=(STEPS, FEATURES))(x),
    "noise": lambda x: L.GaussianNoise(0.3)(L.SpatialDropout1D(0.3)(x)),
    "rescaling": lambda x: L.Rescaling(0.5, 1.0)(L.Normalization(mean=0.5, variance=2.0)(x)),
    "einsum": lambda x: L.EinsumDense("btf,fg->btg", output_shape=(None, 3))(x),
    "operations": lambda x: ops.logsumexp(x, 1) + ops.std(x, 1) + ops.max(x, 1) + ops.norm(x, axis=1),
    "stop gradient": lambda x: ops.stop_gradient(ops.tanh(x)) * x,
}


@pytest.mark.parametrize("name", AROUND)
def test_layer_in_front_of_a_recurrent_one(name):
    inputs = keras.Input((STEPS, FEATURES))
    out = AROUND[name](inputs)
    if len(out.shape) == 3:
        out = L.GRU(3, name="gru")(out)
    model = keras.Model(inputs, L.Dense(2)(out))
    shake(model)
    test, base = pair()
    found = assert_exact(model, test, base, layers=["gru"] if "gru" in [layer.name for layer in model.layers] else [])
    np.testing.assert_allclose(found.prediction[0], model(test[0]).numpy()[:, 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.baseline_prediction[0], model(base[0]).numpy()[:, 0], rtol=1e-5, atol=1e-5)


# --- Ids and masks
# ---------------------------------------------------------------------------------------------

IDS = np.array([[5, 3, 2, 7, 0, 0], [1, 2, 3, 4, 5, 6], [7, 0, 0, 0, 0, 0]])
BASE_IDS = np.array([[0, 0, 0, 0, 0, 0], [1, 7, 3, 3, 0, 0], [2, 3, 0, 0, 0, 0]])


def id_model(*layers, kind="int32"):
    model = keras.Sequential(
        [
            keras.Input((STEPS,), dtype=kind),
            L.Embedding(8, 4, mask_zero=True, name="words"),
            *layers,
            L.Dense(1),
        ]
    )
    shake(model)
    return model


@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_ids_share_what_their_vectors_and_their_mask_do(kind):
    """Where a position is padding in one member only, its id's presence is part of its contribution."""
    model = id_model(L.LSTM(4), kind=kind)
    found = assert_exact(model, [IDS], [BASE_IDS], layers=["lstm"])
    assert found.attributions[0].shape == (1, *IDS.shape)
    same = BASE_IDS == IDS
    np.testing.assert_array_equal(found.attributions[0][0][same], 0)
    assert np.all(found.attributions[0][0][~same] != 0)


def test_attributions_of_ids_before_they_are_summed():
    model = keras.Sequential([keras.Input((STEPS,), dtype="int32"), L.Embedding(8, 4), L.GRU(3), L.Dense(1)])
    found = explain(model, [IDS], [BASE_IDS], precision="float64")
    assert found.embeddings[0].shape == (1, *IDS.shape, 4)
    np.testing.assert_allclose(found.embeddings[0].sum(-1), found.attributions[0], atol=1e-15)


@pytest.mark.parametrize("pool", [L.GlobalAveragePooling1D, lambda: L.Bidirectional(L.GRU(3))])
def test_padded_ids_are_the_ids_cut_to_their_length(pool):
    model = keras.Sequential(
        [keras.Input((None,), dtype="int32"), L.Embedding(8, 4, mask_zero=True), pool(), L.Dense(1)]
    )
    ids, base = np.array([[5, 3, 2, 0, 0, 0]]), np.array([[1, 0, 6, 0, 0, 0]])
    whole = explain(model, [ids], [base], precision="float64").attributions[0]
    cut = explain(model, [ids[:, :3]], [base[:, :3]], precision="float64").attributions[0]
    np.testing.assert_array_equal(whole[..., 3:], 0)
    assert distance(whole[..., :3], cut) <= 1e-12


def test_ids_into_a_model_of_doubles():
    with double_precision():
        model = id_model(L.GRU(3))
        found = explain(model, [IDS], [BASE_IDS])
    assert found.prediction.dtype == np.float64
    assert residual(found) <= 1e-12


def test_singles_into_a_model_of_doubles_are_held_to_single_precision():
    with double_precision():
        model = keras.Sequential([keras.Input((4, FEATURES), dtype="float32"), L.LSTM(3), L.Dense(1)])
    found = xc.explain(model, draw(2, 4, FEATURES).astype(np.float32))
    assert found.attrs["dtype"] == "float32"
    assert 1e-12 < float(found.relative_residual.max()) <= 1e-5
    assert float(xc.explain(model, draw(2, 4, FEATURES), precision="float64").relative_residual.max()) <= 1e-12


def positions(count):
    """A model that adds a vector for each id's place among those that are no padding, counted by ``count``."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((STEPS,), dtype="int32")
    place = L.Lambda(count, output_shape=(STEPS,))(inputs)
    return keras.Model(inputs, L.Dense(1)(L.LSTM(3)(L.Embedding(8, 4)(inputs) + L.Embedding(7, 4)(place))))


def test_a_running_count_is_due_to_every_id_before():
    """Counted in whole numbers or in floats, through which multipliers run back by other rules."""
    counts = (
        lambda i: tf.cumsum(tf.cast(i != 0, tf.int32), 1),
        lambda i: tf.cast(tf.cumsum(tf.cast(i != 0, tf.float32), 1), tf.int32),
    )
    whole, floats = (explain(positions(count), [IDS], [BASE_IDS]) for count in counts)
    assert residual(whole) <= 1e-5
    assert distance(whole.attributions[0], floats.attributions[0]) <= 1e-5


def test_a_length_in_whole_numbers_is_due_to_its_ids():
    def mean(kind):
        inputs = keras.Input((STEPS,), dtype="int32")
        keras.utils.set_random_seed(2)
        vectors = L.Embedding(8, 4)(inputs)
        length = lambda i: tf.cast(tf.reduce_sum(tf.cast(i != 0, kind), 1, keepdims=True), tf.float32)  # noqa: E731
        return keras.Model(inputs, L.Dense(1)(ops.sum(vectors, 1) / L.Lambda(length, output_shape=(1,))(inputs)))

    base = np.where(BASE_IDS.any(1, keepdims=True), BASE_IDS, [[1, 0, 0, 0, 0, 0]])
    whole, floats = (explain(mean(kind), [IDS], [base]) for kind in (tf.int32, tf.float32))
    assert residual(whole) <= 1e-5
    assert distance(whole.attributions[0], floats.attributions[0]) <= 1e-5


def test_the_largest_id_has_no_rule():
    inputs = keras.Input((STEPS,), dtype="int32")
    largest = L.Lambda(lambda i: tf.cast(tf.reduce_max(i, 1, keepdims=True), tf.float32), output_shape=(1,))(inputs)
    model = keras.Model(inputs, ops.sum(L.Embedding(8, 4)(inputs), 1) * largest)
    with pytest.raises(UnsupportedOperation, match="'Max'"):
        explain(model, [IDS], [BASE_IDS])


def test_a_mask_of_the_lowest_number_that_differs_is_explained_in_double():
    """In float32 nothing is left of the scores beside it, and half the sum of two of them would be minus infinity."""
    inputs = keras.Input((STEPS,), dtype="int32")
    x = L.Embedding(8, 4)(inputs)
    lowest = L.Lambda(lambda i: (1 - tf.cast(i != 0, tf.float32))[:, None] * tf.float32.min, output_shape=(1, STEPS))
    weights = ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))) + lowest(inputs))
    model = keras.Model(inputs, L.Dense(1)(ops.sum(ops.matmul(weights, x), 1)))
    base = np.where(BASE_IDS.any(1, keepdims=True), BASE_IDS, [[1, 0, 0, 0, 0, 0]])
    ex = xc.explain(model, IDS, base)
    assert ex.relative_residual.max() <= 1e-12
    assert any("all were computed in float64" in note for note in ex.notes)
    assert (ex.attributions.values[..., base == IDS] == 0).all()


def test_ids_as_unit_vectors():
    inputs = keras.Input((STEPS,), dtype="int32")
    model = keras.Model(inputs, L.Dense(1)(L.LSTM(3)(ops.one_hot(inputs, 8))))
    assert_exact(model, [IDS], [BASE_IDS], layers=["lstm"])


def test_attention_over_masked_ids():
    inputs = keras.Input((STEPS,), dtype="int32")
    x = L.Embedding(8, 4, mask_zero=True)(inputs)
    out = L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 3)(x, x))
    model = keras.Model(inputs, L.Dense(1)(out))
    others = np.where(IDS == 0, 0, IDS % 7 + 1)
    found = assert_exact(model, [IDS], [others])
    np.testing.assert_array_equal(found.attributions[0][0][IDS == 0], 0)


def test_attention_whose_padding_differs_within_the_pair_is_refused():
    """Keras writes -2.4e38 into masked scores. Where only one member's row is masked, nothing is left of
    the other's digits; the result does not add up and must not be returned.
    """
    inputs = keras.Input((STEPS,), dtype="int32")
    x = L.Embedding(8, 4, mask_zero=True)(inputs)
    model = keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 3)(x, x))))
    shorter = np.where(BASE_IDS.any(1, keepdims=True), BASE_IDS, [[1, 0, 0, 0, 0, 0]])
    for precision in ("float32", "float64"):
        with pytest.raises((NonFiniteError, CompletenessError)):
            xc.explain(model, IDS, shorter, precision=precision)


def test_lengths_are_the_same_for_both_members():
    inputs, lengths = keras.Input((STEPS, FEATURES)), keras.Input((), dtype="int32")
    mask = ops.less(ops.arange(STEPS)[None], ops.expand_dims(lengths, 1))
    model = keras.Model([inputs, lengths], L.Dense(1)(L.LSTM(3)(inputs, mask=mask)))
    (test,), (base,) = pair()
    given = np.array([6, 3, 1], np.int32)
    runner = runner_of(model, [test, given], as_list=True)
    assert runner.explained == (True, False)
    assert "'input1'" in runner.notes[0]
    found = runner.attribute([test, given], [base, given], first_targets(runner), gates=True, embeddings=False)
    assert found.attributions[1] is None
    assert residual(found) <= 1e-6
    assert leak(found) <= 1e-6
    np.testing.assert_array_equal(found.attributions[0][0, 1, 3:], 0)


# --- Ways to call a model
# --------------------------------------------------------------------------------------


class Written(keras.Model):
    """A subclassed model with a loop of its own and a branch."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = L.GRUCell(3), L.Dense(2)
        self.traced = 0

    def build(self, shape):
        self.cell.build((shape[0], shape[-1]))
        self.head.build((shape[0], 3))

    def call(self, x, training=False):
        self.traced += not tf.executing_eagerly()

        def step(t, h):
            return t + 1, self.cell(x[:, t], h)[0]

        start = tf.zeros([tf.shape(x)[0], 3])
        _, h = tf.while_loop(lambda t, h: t < tf.shape(x)[1], step, (0, start))
        return tf.cond(tf.shape(x)[1] > 3, lambda: self.head(h), lambda: self.head(-h))


def test_subclassed_model_with_its_own_loop():
    model = Written()
    model.build((None, STEPS, FEATURES))
    assert_exact(model, *pair(), layers=[], count=2)


def test_second_explanation_does_not_trace_again():
    model = Written()
    model.build((None, STEPS, FEATURES))
    test, base = pair()
    first = explain(model, test, base)
    traced = model.traced
    model.head.kernel.assign(2 * model.head.kernel)
    second = explain(model, test, base)
    explain(model, [test[0][:2]], [base[0][:2]])  # nor does another number of samples
    assert model.traced == traced > 0
    bias = model.head.bias.numpy()[0]
    np.testing.assert_allclose(second.prediction - bias, 2 * (first.prediction - bias), rtol=1e-5)
    explain(model, [test[0][:, :4]], [base[0][:, :4]])
    assert model.traced > traced


def test_traces_do_not_keep_a_model_alive():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), L.LSTM(3), L.Dense(1)])
    explain(model, *pair())
    gone = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None


def test_saved_model_and_its_signature(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            L.Masking(),
            L.Bidirectional(L.LSTM(3)),
            L.Dense(2, activation="softmax"),
        ]
    )
    model.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(tmp_path)
    test, base = pair()
    expected = explain(model, test, base, precision="float64", count=2)
    for saved in (loaded, loaded.signatures["serving_default"]):
        found = assert_exact(saved, test, base, layers=[], count=2)
        assert distance(found.attributions[0], expected.attributions[0]) <= 1e-12


def test_module_and_function_of_tensorflow():
    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(draw(FEATURES, 3, seed=3))

        @tf.function
        def __call__(self, x):
            h = tf.zeros([tf.shape(x)[0], 3])
            for t in tf.range(tf.shape(x)[1]):
                h = tf.tanh(tf.matmul(x[:, t], self.w) + 0.5 * h)
            return h

    net = Net()
    first = assert_exact(net, *pair(), layers=[])
    second = assert_exact(tf.function(lambda x: net(x)), *pair(), layers=[])
    np.testing.assert_array_equal(first.attributions[0], second.attributions[0])


def test_inputs_by_name_and_outputs_by_name():
    a, b = keras.Input((STEPS, FEATURES), name="series"), keras.Input((2,), name="person")
    h = L.Concatenate()([L.LSTM(3)(a), L.Dense(2)(b)])
    model = keras.Model(
        {"series": a, "person": b}, {"risk": L.Dense(1)(h), "steps": L.LSTM(2, return_sequences=True)(a)}
    )
    test = [pair()[0][0], draw(SAMPLES, 2, seed=4)]
    base = [pair()[1][0], draw(SAMPLES, 2, seed=5)]
    found = assert_exact(model, test, base, layers=["lstm", "lstm_1"], keys=("series", "person"), count=2)
    assert [a.shape for a in found.attributions] == [(3, SAMPLES, STEPS, FEATURES), (3, SAMPLES, 2)]
    np.testing.assert_array_equal(found.attributions[1][1:], 0)  # the second output never sees that input
    runner = runner_of(model, test, keys=("series", "person"))
    assert [(o.name, o.shape) for o in runner.outputs] == [("risk", (1,)), ("steps", (STEPS, 2))]


def test_time_first_model():
    class TimeFirst(tf.Module):
        def __init__(self):
            super().__init__()
            self.inner = keras.Sequential([keras.Input((STEPS, FEATURES)), L.GRU(3, return_sequences=True)])

        def __call__(self, x):
            return tf.transpose(self.inner(tf.transpose(x, [1, 0, 2])), [1, 0, 2])

    model = TimeFirst()
    (test,), (base,) = pair()
    turned = [np.ascontiguousarray(x.transpose(1, 0, 2)) for x in (test, base)]
    runner = runner_of(model, turned[:1], sample_axes=(1,))
    assert runner.outputs[0].shape == (STEPS, 3)
    target = [Target(0, (STEPS - 1, 1), "")]
    found = runner.attribute(turned[:1], turned[1:], target, gates=False, embeddings=False)
    plain = explain(model.inner, [test], [base], targets=target)
    np.testing.assert_allclose(found.attributions[0].transpose(0, 1, 2, 3), plain.attributions[0], atol=1e-7)


def test_numpy_doubles_into_a_model_of_singles():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), L.LSTM(3), L.Dense(1)])
    test, base = ([x[0].astype(np.float64)] for x in pair())
    single = explain(model, *pair())
    double = explain(model, test, base)
    np.testing.assert_allclose(double.attributions[0], single.attributions[0], atol=1e-6)


def test_elements_of_a_list_in_another_order():
    class Chosen(tf.Module):
        def __call__(self, x):
            steps = tf.TensorArray(x.dtype, STEPS).unstack(tf.transpose(x, [1, 0, 2]))
            chosen = tf.tanh(steps.gather([4, 0, 2]))
            return tf.reduce_sum(chosen * tf.constant([1, 2, 4], x.dtype)[:, None, None], [0, 2])

    (test,), (base,) = pair()
    found = explain(Chosen(), [test], [base], precision="float64")
    expected = np.zeros((SAMPLES, STEPS, FEATURES))
    for weight, step in ((1, 4), (2, 0), (4, 2)):
        expected[:, step] = weight * (np.tanh(test[:, step].astype(float)) - np.tanh(base[:, step].astype(float)))
    np.testing.assert_allclose(found.attributions[0][0], expected, atol=1e-12)


@pytest.mark.parametrize("before", [True, False])
def test_the_precision_of_matrix_products_is_put_back(before):
    setting = tf.config.experimental
    kept = setting.tensor_float_32_execution_enabled()

    class Unknown(tf.Module):
        def __call__(self, x):
            return tf.math.bessel_i0e(x[:, 0])

    try:
        setting.enable_tensor_float_32_execution(before)
        model = keras.Sequential([keras.Input((STEPS, FEATURES)), L.GRU(3), L.Dense(1)])
        explain(model, *pair())
        assert setting.tensor_float_32_execution_enabled() == before
        with pytest.raises(UnsupportedOperation):
            explain(Unknown(), *pair())
        assert setting.tensor_float_32_execution_enabled() == before
    finally:
        setting.enable_tensor_float_32_execution(kept)


def test_half_precision_is_explained_in_single():
    model = keras.Sequential(
        [keras.Input((STEPS, FEATURES)), L.LSTM(3, dtype="mixed_float16"), L.Dense(1, dtype="float16")]
    )
    runner = runner_of(model, pair()[0])
    assert "float16" in runner.notes[0]
    found = explain(model, *pair())
    assert found.prediction.dtype == np.float32
    assert residual(found) <= 1e-6
    np.testing.assert_allclose(found.prediction[0], model(pair()[0][0]).numpy()[:, 0], atol=1e-2)


class CastInside(L.Layer):
    def call(self, x):
        return tf.cast(tf.tanh(tf.cast(x, tf.float32)), x.dtype)


SINGLE_IN_PART = {
    "float32": {
        "dense": lambda: [L.LSTM(4), L.Dense(3, activation="tanh", dtype="float32"), L.Dense(2)],
        "recurrent": lambda: [L.Dense(3), L.GRU(4, dtype="float32"), L.Dense(2)],
        "cast": lambda: [L.LSTM(4, return_sequences=True), CastInside(), L.LSTM(3), L.Dense(2)],
    },
    "float16": {"dense": lambda: [L.LSTM(4), L.Dense(3, dtype="mixed_float16"), L.Dense(2)]},
    None: {
        "constants": lambda: [L.Rescaling(0.3), L.Masking(), L.LSTM(3), L.Dense(2, activation="gelu")],
        "noise": lambda: [L.GaussianNoise(1.0), L.LayerNormalization(), L.LSTM(3), L.Dropout(0.5), L.Dense(2)],
    },
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in SINGLE_IN_PART for name in SINGLE_IN_PART[kind]])
def test_a_part_of_a_double_model_in_fewer_digits_is_explained_in_double_and_said(kind, name):
    x, base = (member[0].astype(float) for member in pair())
    with double_precision():
        model = keras.Sequential([keras.Input((STEPS, FEATURES), dtype="float64"), *SINGLE_IN_PART[kind][name]()])
        found = xc.explain(model, x, base, target=0)
        own = model(x).numpy()[:, 0]
    assert found.attributions.dtype == np.float64
    assert found.relative_residual.max() < 1e-12
    assert np.abs(found.prediction.values[:, 0] - own).max() < {"float32": 1e-5, "float16": 1e-2, None: 1e-12}[kind]
    said = f"A part of the model computes in {kind}; it is explained in float64."
    assert found.notes == ([said] if kind else [])


def test_variables_that_a_model_writes_stay_as_they_are():
    class Counting(tf.Module):
        def __init__(self):
            super().__init__()
            self.seen = tf.Variable(2.0)

        def __call__(self, x):
            self.seen.assign_add(1.0)
            return tf.reduce_sum(tf.tanh(x), 1) * self.seen

    model = Counting()
    test, base = pair()
    found = explain(model, test, base)
    assert float(model.seen) == 2.0
    np.testing.assert_allclose(found.prediction[0], 3 * np.tanh(test[0]).sum(1)[:, 0], rtol=1e-5)
    assert residual(found) <= 1e-6


def test_the_public_function_explains_a_keras_model():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), L.LSTM(3), L.Dense(2, activation="softmax")])
    (test,), _ = pair()
    found = xc.explain(model, test)
    assert found.attributions.dims == ("output", "sample", "time", "feature")
    assert float(found.relative_residual.max()) <= 1e-5
    assert list(found.gates) == ["lstm"]


def test_the_public_function_takes_several_inputs():
    a, b = keras.Input((STEPS, FEATURES), name="series"), keras.Input((2,), name="person")
    model = keras.Model([a, b], L.Dense(1)(L.Concatenate()([L.LSTM(3)(a), b])))
    test = pair()[0][0], draw(SAMPLES, 2, seed=4)
    by_place = xc.explain(model, test)
    by_name = xc.explain(model, {"series": test[0], "person": test[1]})
    for one, other in zip(by_place.attributions.values(), by_name.attributions.values(), strict=True):
        np.testing.assert_array_equal(one.values, other.values)


# --- What cannot be explained
# ----------------------------------------------------------------------------------


def test_unknown_operation_names_the_layer():
    inputs = keras.Input((STEPS, FEATURES))
    places = lambda t: tf.cast(tf.argsort(t, 1), t.dtype)  # noqa: E731
    out = L.Lambda(places, output_shape=(STEPS, FEATURES), name="sorted")(inputs)
    model = keras.Model(inputs, L.Dense(1)(L.Flatten()(out)))
    with pytest.raises(UnsupportedOperation, match="TopKV2") as caught:
        explain(model, *pair())
    assert "sorted" in caught.value.where


def test_branch_that_the_members_disagree_about():
    class Branching(tf.Module):
        def __call__(self, x):
            return tf.cond(tf.reduce_sum(x) > 0, lambda: x[:, 0], lambda: -x[:, 1])

    (test,), _ = pair()
    with pytest.raises(CaptureError, match="different ways"):
        explain(Branching(), [np.abs(test)], [-np.abs(test)])
    assert residual(explain(Branching(), [np.abs(test)], [np.abs(test) / 2])) <= 1e-6


def test_model_that_cannot_be_traced():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), L.LSTM(3)])
    with pytest.raises(CaptureError, match="cannot be traced"):
        runner_of(model, [draw(2, STEPS, FEATURES + 1)])


def test_model_without_weights():
    with pytest.raises(CaptureError, match="not built yet"):
        runner_of(keras.Sequential([L.LSTM(3), L.Dense(1)]), pair()[0])


def test_number_of_samples_that_a_stateful_model_does_not_take():
    model = keras.Sequential([keras.Input((STEPS, FEATURES), batch_size=3), L.LSTM(3, stateful=True)])
    runner = runner_of(model, pair()[0])
    two = [pair()[0][0][:2]]
    with pytest.raises(InputError, match="2 samples given to a model that keeps the states of 3"):
        runner.attribute(two, two, first_targets(runner), gates=False, embeddings=False)


def test_prediction_that_is_not_a_number():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), L.LSTM(3), L.Dense(1)])
    model.layers[-1].bias.assign([np.nan])
    with pytest.raises(NonFiniteError, match="prediction"):
        explain(model, *pair())


def test_devices():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), L.LSTM(3)])
    from tensorflow_tools import Arguments

    from explain_core.backends.tensorflow import open_runner

    arguments = Arguments(pair()[0])
    assert open_runner(model, arguments, sample_axes=(0,), device="cpu").device == "cpu"
    with pytest.raises(BackendError, match="unknown device"):
        open_runner(model, arguments, sample_axes=(0,), device="tpu")
    with pytest.raises(BackendError, match="not there"):
        open_runner(model, arguments, sample_axes=(0,), device="cuda:7")


def test_accepts_models_of_tensorflow_only():
    assert accepts(keras.Sequential())
    assert accepts(tf.Module())
    assert accepts(tf.function(lambda x: x))
    assert not accepts(np.zeros(3))
    assert not accepts(lambda x: x)


def test_importing_the_backend_imports_no_framework():
    code = "import sys, explain_core.backends.tensorflow; print({'keras', 'torch'} & {*sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


def test_explaining_imports_no_torch():
    code = """
import sys, numpy as np, keras, explain_core as xc
model = keras.Sequential([keras.Input((3, 2)), keras.layers.LSTM(2)])
xc.explain(model, np.ones((1, 3, 2), np.float32), device="cpu")
print("tensorflow" in sys.modules, "torch" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["True", "False"]


# --- shap
# ------------------------------------------------------------------------------------------------------


class HandWritten(keras.layers.Layer):
    """An LSTM spelled out, with a kernel a gate, for shap has no rule for `Split`."""

    def __init__(self, units: int):
        super().__init__()
        self.units = units

    def build(self, shape):
        self.kernels = [
            self.add_weight(shape=(shape[-1] + self.units, self.units), name=f"kernel{gate}") for gate in range(4)
        ]

    def call(self, x):
        h = c = x[:, 0, :1] * np.zeros((1, self.units))  # shap follows only what hangs on the input
        for t in range(x.shape[1]):
            i, f, g, o = (tf.matmul(tf.concat([x[:, t], h], 1), kernel) for kernel in self.kernels)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return h


@pytest.mark.filterwarnings("ignore::UserWarning:shap", "ignore:.*structure of `inputs`")  # how shap calls Keras
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_shap_says_the_same_of_a_cell_written_out_by_hand(steps):
    """Both in double precision: in single, shap's quotients of small differences keep four or five digits."""
    shap = pytest.importorskip("shap")
    with double_precision():
        inputs = keras.Input((steps, FEATURES))
        model = keras.Model(inputs, L.Dense(1, use_bias=False)(HandWritten(3)(inputs)))
        test, base = (
            draw(3, steps, FEATURES, seed=1).astype(float),
            draw(1, steps, FEATURES, seed=2).astype(float),
        )
        theirs = shap.DeepExplainer(model, base).shap_values(test, check_additivity=True)[..., 0]
        ours = explain(model, [test], [np.repeat(base, 3, 0)]).attributions[0][0]
    assert distance(ours, theirs) <= 1e-5  # measured: at most 7e-15


def test_the_last_of_several_runs_puts_the_precision_back():
    setting = tf.config.experimental
    kept = setting.tensor_float_32_execution_enabled()
    try:
        setting.enable_tensor_float_32_execution(True)
        first, second = full_precision(), full_precision()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not setting.tensor_float_32_execution_enabled()
        second.__exit__(None, None, None)
        assert setting.tensor_float_32_execution_enabled()
    finally:
        setting.enable_tensor_float_32_execution(kept)


def test_a_coarser_answer_of_the_own_call_is_said(monkeypatch):
    """As on a GPU: where TensorFloat-32 is on, the model's answers are rounded."""

    class OfTheCard(tf.Module):
        def __call__(self, x):
            is_coarse = tf.executing_eagerly() and setting.tensor_float_32_execution_enabled()
            return tf.round(x[:, 0] * 2.0**10) / 2.0**10 if is_coarse else x[:, 0]

    @contextmanager
    def as_given():
        setting.enable_tensor_float_32_execution(True)
        yield True
        setting.enable_tensor_float_32_execution(False)

    setting = tf.config.experimental
    monkeypatch.setattr(own_answers, "coarse_as_given", as_given)
    runner = runner_of(OfTheCard(), pair()[0])
    runner.attribute(*pair(), first_targets(runner), gates=False, embeddings=False)
    (note,) = runner.notes
    assert "TF32 in matrix products" in note
