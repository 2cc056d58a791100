"""Baselines as people write them, on TensorFlow: the base value is what the model says of the baseline."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import explain_core as xc
from explain_core.errors import InputError

N, T, F = 3, 5, 2
X = np.random.default_rng(0).normal(size=(N, T, F)).astype("f4")
VECTOR = [0.1, -0.2]  # doubles, for a model of singles


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    layers = [keras.Input((T, F)), keras.layers.GRU(4), keras.layers.Dense(2)]
    return keras.Sequential(layers)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.5, 0.5),
        (VECTOR, VECTOR),
        (np.array(VECTOR)[None, None], VECTOR),
        (np.zeros((T, F)), 0.0),
        ("mean", X.mean((0, 1))),
        ("median", np.median(X.reshape(-1, F), 0)),
        ("first", X[:, :1]),
        (lambda x: x[:, ::-1], X[:, ::-1]),
    ],
)
def test_a_baseline_is_what_was_written(model, given, expected):
    ex = xc.explain(model, X, given)
    np.testing.assert_allclose(ex.baselines, np.broadcast_to(expected, X.shape), atol=1e-7)
    np.testing.assert_allclose(ex.baseline_prediction, model(ex.baselines.values), atol=1e-6)
    assert ex.relative_residual.max() <= 1e-5


def test_averages_leave_padding_out_and_other_lengths_are_refused():
    x = keras.Input((T, F), name="x")
    mask = keras.Input((T,), dtype="bool", name="mask")
    net = keras.Model([x, mask], keras.layers.Dense(1)(keras.layers.LSTM(3)(x, mask=mask)))
    real = np.arange(T) < np.array([5, 2, 3])[:, None]
    padded = np.where(real[..., None], X, 0)
    ex = xc.explain(net, {"x": padded, "mask": real}, "mean")
    np.testing.assert_allclose(ex.baselines[0, 0], X[real].mean(0), atol=1e-6)
    base = ex.baselines.values
    np.testing.assert_allclose(ex.baseline_prediction, net([base, real]), atol=1e-6)
    with pytest.raises(InputError, match="the baseline has True here, and sample 1 has False"):
        xc.explain(net, {"x": padded, "mask": real}, {"x": 0, "mask": np.ones((1, T), bool)})


REAL = np.arange(T) < np.array([5, 2, 3])[:, None]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = [keras.layers.Masking(), keras.layers.LSTM(3), keras.layers.Dense(1)]

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def masking(value=0.0, before=()):
    layers = [keras.Input((T, F)), *before, keras.layers.Masking(value), keras.layers.GRU(3), keras.layers.Dense(1)]
    return keras.Sequential(layers)


@pytest.mark.parametrize("word", ["mean", "median", "padded-mean"])
@pytest.mark.parametrize(("net", "padding"), [(masking, 0.0), (lambda: masking(-9.0), -9.0), (Subclassed, 0.0)])
def test_averages_leave_out_the_steps_that_a_masking_layer_does(net, padding, word):
    net, padded = net(), np.where(REAL[..., None], X, padding).astype("f4")
    net(padded)
    ex = xc.explain(net, padded, word)
    middle = np.median(X[REAL], 0) if word == "median" else X[REAL].mean(0)
    expected = np.where(REAL[..., None], middle, padding) if word == "padded-mean" else middle
    np.testing.assert_allclose(ex.baselines, np.broadcast_to(expected, X.shape), atol=1e-6)
    assert any(f"that are {padding:g} throughout are padding" in note for note in ex.notes)


def test_a_mask_of_what_was_computed_counts_every_step_and_a_note_says_so():
    padded = np.where(REAL[..., None], X, 0.0).astype("f4")
    dense = keras.layers.Dense(F, "relu", use_bias=False)
    ex = xc.explain(masking(before=[dense]), padded, "mean")
    np.testing.assert_allclose(ex.baselines[0, 0], padded.mean((0, 1)), atol=1e-6)
    assert any("all steps were counted" in note for note in ex.notes)


def test_the_first_step_is_the_first_that_an_embedding_does_not_mask():
    ids = np.array([[0, 0, 2, 3], [4, 1, 2, 0]])
    for kind in ("int32", "float32"):
        embedding = keras.layers.Embedding(7, 3, mask_zero=True)
        net = keras.Sequential([keras.Input((4,), dtype=kind), embedding, keras.layers.GRU(3), keras.layers.Dense(1)])
        np.testing.assert_array_equal(xc.explain(net, ids.astype(kind), "first").baselines, [[2] * 4, [4] * 4])


# --- Ids -------------------------------------------------------------------------------------------------------

WORDS = 7
IDS = np.random.default_rng(0).integers(0, WORDS, (N, T))
BASE = np.random.default_rng(1).integers(0, WORDS, (N, T))


@pytest.fixture(scope="module")
def readers():
    """One model that takes ids as whole numbers, and the same of floats, as Keras makes it by default."""
    found = {}
    for kind in ("int32", "float32"):
        keras.utils.set_random_seed(0)
        ids = keras.Input((T,), dtype=kind, name="ids")
        states = keras.layers.GRU(3)(keras.layers.Embedding(WORDS, 4)(ids))
        found[kind] = keras.Model(ids, keras.layers.Dense(1)(states))
    found["float32"].set_weights(found["int32"].get_weights())
    return found


def test_whole_floats_are_ids(readers):
    found = xc.explain(readers["float32"], IDS.astype("f4"), BASE.astype("f4"))
    expected = xc.explain(readers["int32"], IDS, BASE)
    np.testing.assert_allclose(found.attributions.values, expected.attributions.values, atol=1e-7)
    assert np.abs(expected.attributions.values[IDS != BASE]).min() > 0


@pytest.mark.parametrize("kind", ["int32", "float32"])
@pytest.mark.parametrize("bad", [WORDS, -1])
def test_ids_of_no_row_are_refused(readers, kind, bad):
    ids, base = IDS.astype(kind), BASE.astype(kind)
    spoiled = base.copy()
    spoiled[2, 3] = bad
    for given, other, member in ((spoiled, base, "input"), (ids, spoiled, "baseline"), (spoiled, spoiled, "input")):
        with pytest.raises(InputError, match=rf"the {member} has the id {bad} at position \(2, 3\).* 7 rows"):
            xc.explain(readers[kind], given, other)


def test_ids_have_no_fraction_and_no_average(readers):
    with pytest.raises(InputError, match=r"the input has 2\.25 where the model looks up ids"):
        xc.explain(readers["float32"], np.where(IDS == 2, 2.25, IDS).astype("f4"))
    with pytest.raises(InputError, match=r"the baseline has 0\.25 where the model looks up ids"):
        xc.explain(readers["float32"], np.zeros((N, T), "f4"), 0.25)
    with pytest.raises(InputError, match=r"has 0\.25 at position \(0, 0\), and the input is of whole numbers"):
        xc.explain(readers["int32"], IDS, 0.25)
    for kind, reader in readers.items():
        with pytest.raises(InputError, match="token ids have no mean"):
            xc.explain(reader, IDS.astype(kind), "mean")


def test_codes_in_a_column_beside_numbers():
    x = keras.Input((T, 2))
    parts = [keras.layers.Embedding(WORDS, 3)(x[..., 0]), x[..., 1:]]
    net = keras.Model(x, keras.layers.Dense(1)(keras.layers.LSTM(3)(keras.layers.Concatenate()(parts))))
    values = np.stack([IDS, X[..., 0]], -1).astype("f4")
    assert xc.explain(net, values).relative_residual.max() <= 1e-5
    with pytest.raises(InputError, match=r"the baseline has 0\.5 where the model looks up ids"):
        xc.explain(net, values, 0.5)
