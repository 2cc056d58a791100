"""What is explained is what the model itself answers now: changed, random, seeded and stateful models."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from tensorflow_tools import double_precision

from explain_core import errors, explain
from explain_core.backends.tensorflow import capture

N, T, F = 3, 6, 3
X = np.random.default_rng(0).normal(size=(N, T, F)).astype(np.float32)


class Net(keras.Model):
    """A recurrent net behind a function of its own hidden values and of the model."""

    def __init__(self, tail, **parts):
        super().__init__()
        self.rnn, self.head, self.tail, self.scale = L.GRU(4), L.Dense(2), tail, 1.0
        for name, part in parts.items():
            setattr(self, name, part)

    def call(self, x):
        return self.tail(self, self.head(self.rnn(x)))


def built(model):
    model(X)
    return model


def assert_own(model, **options):
    """The explained prediction is the model's, in both precisions, and the attributions add up to it."""
    own, none = (np.asarray(model(x))[:, :1] for x in (X, np.zeros_like(X)))
    for precision in ("float32", "float64"):
        ex = explain(model, X, target=0, precision=precision, **options)
        np.testing.assert_allclose(ex.prediction, own, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ex.baseline_prediction, none, rtol=1e-5, atol=1e-6)
        assert ex.relative_residual.max() < {"float32": 1e-5, "float64": 1e-12}[precision]


def sequential():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((T, F)), L.LSTM(4), L.Dense(2)])


def functional():
    given = keras.Input((T, F))
    return keras.Model(given, L.Dense(2)(L.Dense(3, activation="relu", name="middle")(L.LSTM(4)(given))))


def set_scale(model):
    model.scale = 3.0


def set_function(model):
    model.tail = lambda model, y: tf.tanh(y)


def change_list(model):
    model.factors.append(2.0)


def set_activation(model):
    model.get_layer("middle").activation = keras.activations.tanh


CHANGES = {
    "a layer is added": (sequential, lambda m: m.add(L.Dense(2))),
    "a layer with other outputs is added": (sequential, lambda m: m.add(L.Dense(5))),
    "a layer is taken away and another added": (sequential, lambda m: (m.pop(), m.add(L.Dense(2)))),
    "an activation": (functional, set_activation),
    "an activation in a recurrent layer": (
        sequential,
        lambda m: setattr(m.layers[0].cell, "recurrent_activation", keras.activations.hard_sigmoid),
    ),
    "an attribute": (lambda: built(Net(lambda m, y: y * m.scale)), set_scale),
    "a list": (lambda: built(Net(lambda m, y: y * sum(m.factors), factors=[1.0])), change_list),
    "a function": (lambda: built(Net(lambda m, y: y)), set_function),
    "weights": (sequential, lambda m: m.layers[-1].kernel.assign(3 * m.layers[-1].kernel)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_explained_as_it_is_now(change):
    make, apply = CHANGES[change]
    model = make()
    assert_own(model)
    apply(model)
    assert_own(model)
    assert_own(model)


@pytest.mark.parametrize("cell", [L.LSTM, L.GRU, L.SimpleRNN])
def test_what_a_recurrent_layer_answers_is_not_asked_step_by_step(cell, monkeypatch):
    layer = cell(3)
    model = keras.Sequential([keras.Input((50, F)), L.Masking(), layer, L.Dense(2)])
    x = np.random.default_rng(1).normal(size=(4, 50, F)).astype(np.float32)
    explain(model, x, target=0)
    kind, steps = type(layer.cell), []
    original = kind.call
    monkeypatch.setattr(kind, "call", lambda self, *args, **kw: steps.append(1) or original(self, *args, **kw))
    ex = explain(model, x, target=0)
    assert 1 <= len(steps) <= 10  # one trace, of two steps; eagerly 50 steps for each of four calls
    np.testing.assert_allclose(ex.prediction, np.asarray(model(x))[:, :1], rtol=1e-5)


def test_a_model_that_changes_between_batches_is_traced_anew(monkeypatch):
    from explain_core.backends.tensorflow import runner

    model, attribute = built(Net(lambda m, y: y * m.scale)), runner.TensorFlowRunner._attribute

    def changed(self, *args, **options):
        model.scale = 5.0
        return attribute(self, *args, **options)

    monkeypatch.setattr(runner.TensorFlowRunner, "_attribute", changed)
    ex = explain(model, X, target=0)
    np.testing.assert_allclose(ex.prediction, np.asarray(model(X))[:, :1], rtol=1e-5)


def count(model, y):
    model.scale += 1
    return y * model.scale


class Kept:
    """Numbers that a module keeps outside TensorFlow."""

    last = 0.0

    def __call__(self, model, y):
        if tf.executing_eagerly():
            self.last = self.last + float(np.mean(y))
        return y + self.last


@pytest.mark.parametrize(
    "tail",
    [
        lambda m, y: y * np.random.default_rng().random(),
        lambda m, y: y + np.random.default_rng().normal(size=2).astype("f4"),
        count,
        Kept(),
    ],
    ids=["numpy's numbers", "added noise", "a counter", "a mean that is kept"],
)
def test_a_model_that_answers_otherwise_each_time_is_refused_for_it(tail):
    model = built(Net(tail))
    with pytest.raises(errors.CaptureError, match=r"the model gives .*, and followed step by step") as raised:
        explain(model, X, target=0)
    assert "random, kept between calls" in raised.value.hint


SEEDED = {
    "normal": lambda m, y: y * (1 + tf.random.stateless_normal((2,), (1, 2))),
    "uniform": lambda m, y: y * tf.random.stateless_uniform((2,), (1, 2), 1.0, 2.0),
    "truncated": lambda m, y: y * (2 + tf.random.stateless_truncated_normal((2,), (1, 2))),
    "gamma": lambda m, y: y * tf.random.stateless_gamma((2,), (1, 2), [1.5, 2.5]),
    "Keras": lambda m, y: y * keras.random.normal((2,), seed=7, dtype="float32"),
}


@pytest.mark.parametrize("name", SEEDED)
def test_seeded_numbers_are_those_of_the_model_in_every_precision(name):
    assert_own(built(Net(SEEDED[name])))


def test_a_prediction_that_rounding_moves_is_said_to_be():
    """The model itself, in single precision, has few digits of what is explained in double precision."""
    keras.utils.set_random_seed(0)
    model = built(Net(lambda net, y: (y + 1e6) - 1e6))
    ex = explain(model, X, target=0, precision="float64")
    assert any("Rounding in float32 moves the model's own prediction for the input" in note for note in ex.notes)
    ex = explain(built(Net(lambda net, y: y)), X, target=0, precision="float64")
    assert not any("Rounding" in note for note in ex.notes)


@pytest.mark.parametrize("name", SEEDED)
def test_seeded_numbers_of_a_model_in_doubles(name):
    with double_precision():
        model = Net(lambda m, y: tf.cast(SEEDED[name](m, tf.cast(y, tf.float32)), tf.float64))
        model(X)
        own = np.asarray(model(X))[:, :1]
        for precision in (None, "float32", "float64"):
            ex = explain(model, X, target=0, precision=precision)
            np.testing.assert_allclose(ex.prediction, own, rtol=1e-5, atol=1e-6)


def stateful(cell, batch=N):
    return keras.Sequential(
        [keras.Input(batch_shape=(batch, T, F)), cell(4, stateful=True), L.RepeatVector(2), L.GRU(3), L.Dense(2)]
    )


@pytest.mark.parametrize("cell", [L.LSTM, L.GRU, L.SimpleRNN])
def test_states_that_a_layer_keeps_stay_as_they_are(cell):
    model = stateful(cell)
    model(X)
    kept = [*model.variables, *model.layers[0].states]
    before = [variable.numpy().copy() for variable in kept]
    own = np.asarray(model(X))[:, :1]
    for variable, value in zip(kept, before, strict=True):
        variable.assign(value)
    for _ in range(2):
        ex = explain(model, X, target=0)
        np.testing.assert_allclose(ex.prediction, own, rtol=1e-5)
        assert ex.relative_residual.max() < 1e-5
    for variable, value in zip(kept, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("given", [1, 2, 6])
def test_a_model_with_states_says_how_many_samples_it_takes(given):
    x = np.concatenate([X, X])[:given]
    subclass = built(Net(lambda m, y: y, rnn=L.LSTM(4, stateful=True)))
    for model in (stateful(L.LSTM), subclass):
        with pytest.raises(
            errors.InputError, match=rf"{given} sample.* states of 3 sequences .*stateful=True"
        ) as raised:
            explain(model, x, target=0)
        assert len(str(raised.value).splitlines()) <= 3
        assert "Give 3 samples" in raised.value.hint


def test_what_cannot_be_traced_is_said_in_a_line():
    class Fails(tf.Module):
        def __call__(self, x):
            return tf.reshape(x, [tf.shape(x)[0], 5])

    with pytest.raises(errors.CaptureError) as raised:
        explain(Fails(), X)
    assert len(str(raised.value).splitlines()) <= 3


class Mixing(tf.Module):
    def __init__(self, mix):
        super().__init__()
        self.mix = mix

    def __call__(self, x):
        return tf.reduce_sum(tf.tanh(self.mix(x)), [1])


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x - 0.1 * tf.reduce_mean(x, 0),
        lambda x: x + 1e-6 * tf.roll(x, 1, 0),
        lambda x: x * tf.nn.softmax(x, 0),
        lambda x: x + tf.cumsum(x, 0),
    ],
    ids=["mean", "little of the sample before", "softmax", "sum"],
)
def test_a_model_that_mixes_samples_is_refused_for_it(mix):
    with pytest.raises(errors.CompletenessError, match="depends on the others in its batch"):
        explain(Mixing(mix), X, target=0)


class Weighted(keras.Model):
    """A weight for each of two features."""

    def __init__(self):
        super().__init__()
        self.of_each = [3.0, 5.0]

    def call(self, x):
        return x[:, :1] * self.of_each[0] + x[:, 1:] * self.of_each[1]


def test_a_change_that_moves_no_prediction_is_followed_too():
    model, x = Weighted(), np.ones((2, 2))
    model(x)
    np.testing.assert_allclose(explain(model, x, target=0).attributions, [[3, 5]] * 2)
    model.of_each = [5.0, 3.0]
    np.testing.assert_allclose(explain(model, x, target=0).attributions, [[5, 3]] * 2)


def test_a_layer_turned_round_is_followed_on_a_constant_sequence():
    model, x = keras.Sequential([keras.Input((4, 1)), keras.layers.LSTM(2), keras.layers.Dense(1)]), np.ones((1, 4, 1))
    forwards = explain(model, x, target=0).attributions.values
    model.layers[0].go_backwards = True
    np.testing.assert_allclose(explain(model, x, target=0).attributions, forwards[:, ::-1], rtol=1e-5)


def test_few_traces_are_kept(monkeypatch):
    monkeypatch.setattr(capture, "MOST", 2)
    model = keras.Sequential([keras.Input((F,)), L.Dense(1)])
    for precision in (None, "float64", "float32", None):
        explain(model, X[:, 0], precision=precision)
    assert len(capture._kept[model]) == 2


def test_mixing_that_weights_bring_about_is_seen():
    """The same rows and the same trace; only a weight was set that had been zero."""
    share = tf.Variable(0.0)
    model = built(Net(lambda m, y: y + m.share * tf.reduce_mean(y, 0), share=share))
    explain(model, X, target=0)
    explain(model, X, target=0)
    share.assign(0.1)
    with pytest.raises(errors.CompletenessError, match="depends on the others"):
        explain(model, X, target=0)
