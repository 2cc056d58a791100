"""Every recurrent Keras layer and option: sums, steps, and the fused operation against the traced loop."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow_tools import assert_exact, distance, explain, first_targets, runner_of

pytest.importorskip("tensorflow")
import keras
import tensorflow as tf

L = keras.layers
STEPS, FEATURES, SAMPLES = 5, 3, 3


@pytest.fixture(autouse=True)
def _fresh_names_and_weights():
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pair(steps: int = STEPS, samples: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    return draw(samples, steps, FEATURES, seed=1), draw(samples, steps, FEATURES, seed=2)


def rows() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """`pair` as a model's only input."""
    test, base = pair()
    return [test], [base]


def sequential(*layers, steps: int | None = STEPS, samples: int | None = None):
    model = keras.Sequential([keras.Input((steps, FEATURES), batch_size=samples), *layers])
    # Biases start at zero, which would hide a bias in the wrong place.
    for variable in model.weights:
        if "bias" in variable.path:
            variable.assign(0.3 * draw(*variable.shape, seed=3))
    return model


LAYERS = {
    "lstm": (lambda: [L.LSTM(4)], ["lstm"]),
    "lstm sequences": (lambda: [L.LSTM(4, return_sequences=True)], ["lstm"]),
    "lstm backwards": (lambda: [L.LSTM(4, go_backwards=True, return_sequences=True)], ["lstm"]),
    "lstm unrolled": (lambda: [L.LSTM(4, unroll=True)], ["lstm"]),
    "lstm hard sigmoid": (lambda: [L.LSTM(4, recurrent_activation="hard_sigmoid")], ["lstm"]),
    "lstm relu": (lambda: [L.LSTM(4, activation="relu", recurrent_activation="softsign")], ["lstm"]),
    "lstm without bias": (lambda: [L.LSTM(4, use_bias=False)], ["lstm"]),
    "lstm split kernels": (lambda: [L.LSTM(4, implementation=1)], ["lstm"]),
    "lstm dropout": (lambda: [L.LSTM(4, dropout=0.4, recurrent_dropout=0.3)], ["lstm"]),
    "gru": (lambda: [L.GRU(4)], ["gru"]),
    "gru sequences": (lambda: [L.GRU(4, return_sequences=True, go_backwards=True)], ["gru"]),
    "gru reset before": (lambda: [L.GRU(4, reset_after=False)], ["gru"]),
    "gru without bias": (lambda: [L.GRU(4, use_bias=False)], ["gru"]),
    "gru reset before, relu": (
        lambda: [L.GRU(4, reset_after=False, activation="elu", recurrent_activation="hard_sigmoid")],
        ["gru"],
    ),
    "rnn": (lambda: [L.SimpleRNN(4)], ["simple_rnn"]),
    "rnn relu": (lambda: [L.SimpleRNN(4, activation="relu", return_sequences=True)], ["simple_rnn"]),
    "cell in a loop": (lambda: [L.RNN(L.LSTMCell(4))], ["rnn"]),
    "two layers": (lambda: [L.LSTM(4, return_sequences=True), L.GRU(3)], ["lstm", "gru"]),
    "stacked cells": (lambda: [L.RNN([L.LSTMCell(4), L.GRUCell(3)])], []),
    "unknown activation": (lambda: [L.LSTM(4, activation="gelu")], []),
    "masking": (lambda: [L.Masking(), L.LSTM(4)], ["lstm"]),
    "masking sequences": (lambda: [L.Masking(), L.GRU(4, return_sequences=True)], ["gru"]),
    "masking stacked cells": (lambda: [L.Masking(), L.RNN([L.SimpleRNNCell(4), L.LSTMCell(3)])], []),
    "masking zero output": (
        lambda: [L.Masking(), L.LSTM(4, return_sequences=True, zero_output_for_mask=True)],
        ["lstm"],
    ),
    "masking backwards": (
        lambda: [L.Masking(), L.LSTM(4, go_backwards=True, return_sequences=True), L.GRU(3)],
        ["lstm", "gru"],
    ),
    "masking both ways": (
        lambda: [L.Masking(), L.Bidirectional(L.LSTM(4, return_sequences=True)), L.SimpleRNN(3)],
        ["bidirectional/forward_lstm", "bidirectional/backward_lstm", "simple_rnn"],
    ),
    "convolutional": (
        lambda: [L.Reshape((STEPS, FEATURES, 1)), L.ConvLSTM1D(2, 2), L.Flatten()],
        [],
    ),
    "time distributed": (lambda: [L.TimeDistributed(L.Dense(3, "tanh")), L.LSTM(4)], ["lstm"]),
}
LAYERS |= {
    f"both ways, {mode}": (
        lambda mode=mode: [
            L.Bidirectional(L.LSTM(4, return_sequences=True), merge_mode=mode),
            L.Bidirectional(L.GRU(3), merge_mode=mode),
        ],
        [
            "bidirectional/forward_lstm",
            "bidirectional/backward_lstm",
            "bidirectional_1/forward_gru",
            "bidirectional_1/backward_gru",
        ],
    )
    for mode in ("concat", "sum", "mul", "ave")
}


@pytest.mark.parametrize("name", LAYERS)
def test_sums_and_steps_are_conserved_and_fused_equals_loop(name):
    layers, fused = LAYERS[name]
    model = sequential(*layers(), L.Dense(2, activation="softmax"))
    test, base = pair()
    if "masking" in name:
        # Padding of both members, of either, and a baseline that is all padding.
        test[0, 3:], base[0, 3:], test[1, 2:], base[1, 4:], base[2] = 0, 0, 0, 0, 0
    found = assert_exact(model, [test], [base], layers=fused, count=2)
    np.testing.assert_allclose(
        found.prediction.T, model(test).numpy()[:, -1] if model(test).ndim > 2 else model(test), atol=1e-6
    )
    if "masking" in name:
        np.testing.assert_array_equal(found.attributions[0][:, 0, 3:], 0)


def test_two_way_layer_without_a_merge():
    inputs = keras.Input((STEPS, FEATURES))
    ahead, back = L.Bidirectional(L.LSTM(4), merge_mode=None)(inputs)
    model = keras.Model(inputs, L.Dense(1)(L.Multiply()([ahead, back])))
    layers = ["bidirectional/forward_lstm", "bidirectional/backward_lstm"]
    assert_exact(model, *rows(), layers=layers)


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.SimpleRNN])
def test_encoder_and_decoder_pass_their_states(kind):
    source, target = keras.Input((STEPS, FEATURES)), keras.Input((4, 2))
    _, *states = kind(4, return_state=True, name="encoder")(source)
    out, *_ = kind(4, return_state=True, return_sequences=True, name="decoder")(target, initial_state=states)
    model = keras.Model([source, target], L.Dense(2)(out))
    (test, base), (given, none) = pair(), (draw(SAMPLES, 4, 2, seed=5), draw(SAMPLES, 4, 2, seed=6))
    assert_exact(model, [test, given], [base, none], layers=["encoder", "decoder"], as_list=True)


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU])
@pytest.mark.parametrize("zero", [False, True])
def test_masked_layer_with_given_initial_states(kind, zero):
    """Keras gives zeros, not the initial state, until the first step that counts."""
    inputs, state = keras.Input((STEPS, FEATURES)), keras.Input((4,))
    states = [L.Dense(4)(state) for _ in range(2 if kind is L.LSTM else 1)]
    layer = kind(4, return_sequences=True, zero_output_for_mask=zero, name="layer")
    mask = L.Masking().compute_mask(inputs, None)  # Keras hands on no mask by itself beside given states
    model = keras.Model([inputs, state], layer(inputs, initial_state=states, mask=mask))
    (test, base), start = pair(), [draw(SAMPLES, 4, seed=s) for s in (7, 8)]
    for member in (test, base):
        member[0, :2], member[1] = 0, 0
    found = assert_exact(model, [test, start[0]], [base, start[1]], layers=["layer"], as_list=True)
    np.testing.assert_allclose(found.prediction[0], model([test, start[0]]).numpy()[:, -1, 0], atol=1e-6)
    base[2, 3:] = 0  # the mask differs within the pair: only the loop has a rule for that and given states
    expected = [] if not zero else ["layer"]
    assert_exact(model, [test, start[0]], [base, start[1]], layers=expected, as_list=True)


def test_states_that_a_layer_returns():
    inputs = keras.Input((STEPS, FEATURES))
    out, hidden, cell = L.LSTM(4, return_state=True)(inputs)
    model = keras.Model(inputs, {"out": L.Dense(1)(out), "cell": L.Dense(1)(cell), "hidden": hidden})
    found = assert_exact(model, *rows(), layers=["lstm"])
    assert found.attributions[0].shape == (3, SAMPLES, STEPS, FEATURES)


def test_layer_that_is_called_twice_has_two_traces():
    first, second = keras.Input((STEPS, FEATURES)), keras.Input((STEPS, FEATURES))
    shared = L.GRU(4)
    model = keras.Model([first, second], L.Dense(1)(L.Concatenate()([shared(first), shared(second)])))
    (a, b), (c, d) = pair(), (draw(SAMPLES, STEPS, FEATURES, seed=9), draw(SAMPLES, STEPS, FEATURES, seed=10))
    found = assert_exact(model, [a, c], [b, d], layers=["gru", "gru#2"], as_list=True)
    for number, name in enumerate(("gru", "gru#2")):
        np.testing.assert_allclose(
            found.gates[name].mass[:, :, -1].shape, found.attributions[number].sum((-1, -2)).shape
        )


def test_stateful_layer_starts_from_its_states_and_keeps_them():
    model = sequential(L.LSTM(4, stateful=True), L.Dense(1), samples=SAMPLES)
    test, base = pair()
    model(draw(SAMPLES, STEPS, FEATURES, seed=4))
    before = [state.numpy() for state in model.layers[0].states]
    found = assert_exact(model, [test], [base], layers=["lstm"])
    for state, kept in zip(model.layers[0].states, before, strict=True):
        np.testing.assert_array_equal(state, kept)
    np.testing.assert_allclose(found.prediction[0], model(test).numpy()[:, 0], atol=1e-6)


@pytest.mark.parametrize("steps", [1, 200])
@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.SimpleRNN])
def test_one_step_and_many(kind, steps):
    model = sequential(kind(8), L.Dense(1), steps=steps)
    test, base = pair(steps, 2)
    for precision, bound in (("float32", 1e-5), ("float64", 1e-12)):
        found = explain(model, [test], [base], precision=precision)
        gap = found.attributions[0].sum((-1, -2)) - (found.prediction - found.baseline_prediction)
        assert np.abs(gap).max() <= bound * np.abs(found.attributions[0]).sum((-1, -2)).min()


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU])
@pytest.mark.parametrize("wrap", [lambda layer: layer, L.Bidirectional])
def test_masked_sample_is_the_sample_cut_to_its_length(kind, wrap):
    model = keras.Sequential([keras.Input((None, FEATURES)), L.Masking(), wrap(kind(4)), L.Dense(1)])
    test, base = pair(6)
    length = 4
    for padding in (base, np.zeros_like(base)):
        padded, none = test.copy(), padding.copy()
        padded[:, length:] = none[:, length:] = 0
        whole = explain(model, [padded], [none], precision="float64").attributions[0]
        cut = explain(model, [test[:, :length]], [none[:, :length]], precision="float64").attributions[0]
        np.testing.assert_array_equal(whole[:, :, length:], 0)
        assert distance(whole[:, :, :length], cut) <= 1e-12


def test_gates_of_a_reversed_layer_are_in_the_order_of_the_input():
    """Only the last step that a layer reads has a state before it that is zero: for this one, the first."""
    model = sequential(L.LSTM(4, go_backwards=True), L.Dense(1))
    trace = explain(model, *rows()).gates["lstm"]
    np.testing.assert_array_equal(trace.carry[:, :, -1], 0)
    assert np.abs(trace.carry[:, :, 0]).min() > 0
    assert trace.contribution.shape == (1, SAMPLES, STEPS, 4, 4)
    assert trace.activation.shape == (2, SAMPLES, STEPS, 4, 4)
    assert trace.state.shape == trace.cell.shape == (2, SAMPLES, STEPS, 4)


def test_target_that_passes_a_layer_by_gets_nothing_from_it():
    inputs = keras.Input((STEPS, FEATURES))
    outputs = [L.Dense(1)(L.Flatten()(inputs)), L.Dense(1)(L.LSTM(4)(inputs))]
    model = keras.Model(inputs, outputs)
    trace = explain(model, *rows()).gates["lstm"]
    assert np.all(trace.contribution[0] == 0)
    assert np.all(trace.mass[0] == 0)
    assert np.abs(trace.mass[1]).min() > 0


def test_rows_do_not_depend_on_each_other():
    model = sequential(L.Bidirectional(L.LSTM(4)), L.Dense(1))
    test, base = pair()
    together = explain(model, [test], [base], precision="float64").attributions[0]
    alone = explain(model, [test[1:2]], [base[1:2]], precision="float64").attributions[0]
    assert distance(together[:, 1:2], alone) <= 1e-14


class Peephole(keras.layers.Layer):
    """A cell that no engine knows: its gates look at the cell state."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units, self.state_size, self.output_size = units, [units, units], units

    def build(self, shape):
        self.inner = self.add_weight(shape=(shape[-1] + 2 * self.units, 3 * self.units), name="inner")

    def call(self, inputs, states):
        h, c = states
        f, i, g = keras.ops.split(keras.ops.concatenate([inputs, h, c], -1) @ self.inner, 3, axis=-1)
        c = keras.ops.sigmoid(f) * c + keras.ops.sigmoid(i) * keras.ops.tanh(g)
        return keras.ops.silu(c), [keras.ops.silu(c), c]


def test_unknown_cell_goes_through_the_interpreter():
    model = sequential(L.RNN(Peephole(4)), L.Dense(1))
    assert_exact(model, *rows(), layers=[])


def test_subclass_of_a_known_cell_is_not_taken_for_it():
    class Louder(L.LSTMCell):
        def call(self, inputs, states, training=False):
            return super().call(2 * inputs, states, training)

    model = sequential(L.RNN(Louder(4)), L.Dense(1))
    found = assert_exact(model, *rows(), layers=[])
    np.testing.assert_allclose(found.prediction[0], model(pair()[0]).numpy()[:, 0], atol=1e-6)


@pytest.mark.parametrize("changed", ["call", "use_bias"])
def test_known_cell_that_was_changed_is_not_taken_for_what_it_was(changed):
    model = sequential(L.LSTM(4), L.Dense(2))
    cell = model.layers[0].cell
    if changed == "call":
        original = cell.call
        cell.call = lambda *given, **options: tf.nest.map_structure(lambda t: t / 2, original(*given, **options))
    else:
        cell.bias.assign(draw(16))
        cell.use_bias = False
    assert_exact(model, *rows(), layers=[])


def test_nothing_stays_on_the_layers_of_keras():
    originals = [cls.__dict__["inner_loop"] for cls in (L.RNN, L.LSTM, L.GRU)]
    model = sequential(L.LSTM(4), L.Dense(1))
    weights = [w.numpy() for w in model.weights]
    runner = runner_of(model, [pair()[0]])
    runner.attribute(*rows(), first_targets(runner), gates=False, embeddings=False)
    assert [cls.__dict__["inner_loop"] for cls in (L.RNN, L.LSTM, L.GRU)] == originals
    for variable, before in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(variable, before)
    assert tf.config.experimental.tensor_float_32_execution_enabled()
