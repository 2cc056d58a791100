"""The ledger of Keras models: the sum identity, conservation at every step, and the same entries as PyTorch's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import explain_core as xc

STEPS, FEATURES, UNITS = 10, 3, 4
METHODS = ("paired", "gradient", "rescale-only")
BOUND = {None: 1e-6, "float64": 1e-12}  # of error or attributions; measured: 4e-7 and 2e-15, over 500 steps too


def sequential(*stack) -> keras.Model:
    keras.utils.set_random_seed(0)
    head = [layers.Dense(5, activation="relu"), layers.Dense(2, activation="softmax")]
    return keras.Sequential([keras.Input((None, FEATURES)), *stack, *head])


NETS = {
    "LSTM": lambda: sequential(layers.LSTM(UNITS)),
    "GRU": lambda: sequential(layers.GRU(UNITS)),
    "GRU, reset before": lambda: sequential(layers.GRU(UNITS, reset_after=False)),
    "SimpleRNN": lambda: sequential(layers.SimpleRNN(UNITS)),
    "stacked bidirectional": lambda: sequential(
        layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True)), layers.GRU(UNITS)
    ),
    "masked": lambda: sequential(layers.Masking(), layers.LSTM(UNITS)),
}


def runs(masked: bool = False, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    test, base = np.random.default_rng(0).normal(size=(2, 1, steps, FEATURES)).astype(np.float32)
    if masked:  # the members have different lengths, so that the mask is a player too
        test[:, 7:] = 0
    return test, base


def off(explanation: xc.Explanation) -> float:
    totals = explanation.diagnostics["totals"]
    whole = np.maximum(totals["error"].abs(), explanation.attribution_size.values.ravel())
    return float(((totals["booked"] - totals["error"]).abs() / whole).max())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", [None, "float64"])
def test_defects_add_up_to_the_error(name, method, precision):
    ex = xc.diagnostics.audit(NETS[name](), *runs(name == "masked"), None, method, precision=precision)
    assert off(ex) <= BOUND[precision]
    ledger = ex.diagnostics["ledger"]
    linear = ledger.loc[ledger["part"] == "linear", "defect"].abs().max()
    assert linear <= 10 * BOUND[precision] * float(ex.attribution_size.max())
    if method == "paired":
        assert ledger["defect"].abs().max() <= 10 * BOUND[precision] * float(ex.attribution_size.max())
    if name != "masked":
        cuts, steps = xc.diagnostics.conservation(ex), xc.diagnostics.compounding(ex)
        one = cuts[cuts["output"] == "0"]["residual"], steps[steps["output"] == "0"]["defect"]
        np.testing.assert_allclose(*one, atol=BOUND[precision] * float(ex.attribution_size.max()) * 10)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("precision", [None, "float64"])
def test_defects_add_up_over_500_timesteps(name, precision):
    for method in METHODS:
        ex = xc.diagnostics.audit(NETS[name](), *runs(name == "masked", 500), None, method, precision=precision)
        assert off(ex) <= BOUND[precision]
        ledger, size = ex.diagnostics["ledger"], float(ex.attribution_size.max())
        assert ledger.loc[ledger["part"] == "linear", "defect"].abs().max() <= 10 * BOUND[precision] * size


def test_a_masked_step_that_differs_is_booked_as_the_mask():
    ex = xc.diagnostics.audit(NETS["masked"](), *runs(masked=True), 0, "gradient", precision="float64")
    entries = ex.diagnostics["ledger"].query("part == 'mask'")
    assert (entries["defect"].abs() > 1e-9).any()
    assert set(entries.loc[entries["defect"].abs() > 1e-12, "time"]) <= {7, 8, 9}


def test_steps_that_end_masked_in_both_runs_have_no_rows():
    test, base = runs()
    test[:, 6:], base[:, 7:], test[:, 2] = 0, 0, 0  # one step in between is masked too
    ex = xc.diagnostics.audit(NETS["masked"](), test, base, 0, "gradient", precision="float64")
    assert off(ex) <= BOUND["float64"]
    for table in (ex.diagnostics["ledger"], ex.diagnostics["steps"], xc.diagnostics.conservation(ex)):
        assert sorted(table["time"].dropna().unique()) == list(range(7))


class WrittenOut(layers.Layer):
    """An LSTM cell of plain operations."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units, self.state_size, self.output_size = units, [units, units], units

    def build(self, shape):
        sizes = ((shape[-1], 4 * self.units), (self.units, 4 * self.units), (4 * self.units,))
        self.kernel, self.recurrent, self.bias = (self.add_weight(shape=size, initializer="zeros") for size in sizes)

    def call(self, x, states):
        h, c = states
        gates = keras.ops.matmul(x, self.kernel) + keras.ops.matmul(h, self.recurrent) + self.bias
        i, f, g, o = keras.ops.split(gates, 4, -1)
        c = keras.ops.sigmoid(f) * c + keras.ops.sigmoid(i) * keras.ops.tanh(g)
        h = keras.ops.sigmoid(o) * keras.ops.tanh(c)
        return h, [h, c]


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_cell_written_out_errs_at_every_step_as_the_built_in_one(method, sequences):
    after = [layers.GlobalAveragePooling1D()] if sequences else []
    built_in = sequential(layers.LSTM(UNITS, return_sequences=sequences), *after)
    own = sequential(layers.RNN(WrittenOut(UNITS), return_sequences=sequences, name="own"), *after)
    own.set_weights(built_in.get_weights())
    ex, theirs = (xc.diagnostics.audit(m, *runs(), 0, method, precision="float64") for m in (own, built_in))
    assert off(ex) <= BOUND["float64"]
    assert set(ex.diagnostics["steps"]["layer"]) == {"own"}
    mine, expected = xc.diagnostics.compounding(ex), xc.diagnostics.compounding(theirs)
    for column in ("time", "defect", "local", "relative", "amplification", "running"):
        np.testing.assert_allclose(mine[column], expected[column], rtol=1e-9, atol=1e-12)
    ledger = ex.diagnostics["ledger"]
    assert ledger.loc[ledger["layer"].str.startswith("own"), "time"].notna().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: [layers.RNN(WrittenOut(UNITS), go_backwards=True)],
        lambda: [layers.Lambda(lambda x: x[:, ::-1], output_shape=(None, FEATURES)), layers.RNN(WrittenOut(UNITS))],
    ],
    ids=["go_backwards", "turned round"],
)
def test_a_loop_whose_order_is_not_certain_has_no_time(make):
    model = sequential(*make())
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in model.get_weights()])
    ex = xc.diagnostics.audit(model, *runs(), 0, "gradient", precision="float64")
    assert off(ex) <= BOUND["float64"]
    assert ex.diagnostics["ledger"]["time"].isna().all()
    assert ex.diagnostics["ledger"]["defect"].abs().max() > 1e-6


def test_the_gradient_is_tensorflows_own():
    import tensorflow as tf

    model, (test, base) = NETS["LSTM"](), runs()
    x = tf.constant(test)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x)[:, 0]
    expected = tape.gradient(y, x).numpy() * (test - base)
    found = xc.diagnostics.audit(model, test, base, 0, "gradient").attributions.values
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_the_error_of_one_gate_at_one_step():
    """Only the output gate sees the input, which differs at step 6 only; the head reads the last state."""
    model = keras.Sequential([keras.Input((STEPS, 1)), layers.LSTM(1), layers.Dense(1, use_bias=False)])
    kernel, recurrent, bias = np.zeros((1, 4)), np.zeros((1, 4)), np.array([0.4, 0.3, 0.7, 0.2])
    kernel[0, 3] = 1.5
    model.layers[0].set_weights([kernel, recurrent, bias])
    test, base = np.zeros((2, 1, STEPS, 1), np.float32)
    test[0, -1], base[0, -1] = 1.3, -0.6
    ledger = xc.diagnostics.ledger(model, test, base, 0, "gradient", precision="float64")
    found = ledger[ledger["defect"].abs() > 1e-13]
    assert [(row.time, row.part) for row in found.itertuples()] == [(STEPS - 1, "output")]


def test_shaps_fallback_is_refused():
    with pytest.raises(xc.errors.MethodError, match="PyTorch"):
        xc.diagnostics.ledger(NETS["LSTM"](), *runs(), 0, "shap")
