"""Contrasts and targets of each sample on TensorFlow: the same differences as of two explanations."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from contrasts import CONTRASTS, explained_as_difference
from tensorflow_tools import double_precision

import explain_core as xc


@pytest.fixture(scope="module")
def heads():
    keras.utils.set_random_seed(0)
    with double_precision():
        x = keras.Input((4, 2))
        states = keras.layers.GRU(5, return_sequences=True)(x)
        each = keras.layers.Dense(3, activation="tanh", name="each")(states)
        price = keras.layers.Dense(1, name="price")(states[:, -1])
        yield keras.Model(x, {"each": each, "price": price})


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@CONTRASTS
def test_a_contrast_is_the_difference_of_two_explanations(heads, target, first, second):
    explained_as_difference(heads, draw(2, 3, 4, 2), draw(3, 3, 4, 2), target, first, second)


def test_every_printed_label_is_a_target(heads):
    x = draw(2, 2, 4, 2)
    every = xc.explain(heads, x)
    for label in every.outputs[::4]:
        one = xc.explain(heads, x, target=label)
        np.testing.assert_array_equal(one.attributions, every.attributions.sel(output=label))


def test_own_targets_are_of_the_right_sample_in_every_batch(heads, monkeypatch):
    monkeypatch.setattr("explain_core.preparation.rows.MOST_ROWS", 2)
    x, base = draw(2, 5, 4, 2), draw(3, 1, 4, 2)
    own = np.array([[3, 0], [0, 1], [2, 2], [3, 0], [1, 1]])
    found = xc.explain(heads, x, base, target=xc.contrast(own, "price"))
    for n, index in enumerate(own.tolist()):
        one = xc.explain(heads, x[n : n + 1], base, target=xc.contrast(("each", *index), "price"))
        np.testing.assert_allclose(found.attributions[n], one.attributions[0], atol=1e-14)


def test_other_methods_and_the_ledger_take_the_same_targets(heads):
    x, base = draw(2, 2, 4, 2), draw(3, 1, 4, 2)
    target = xc.contrast(np.array([[3, 0], [0, 1]]), "price")
    own = xc.explain(heads, x, base, target=target)
    other = xc.methods.explain_with("integrated_gradients", heads, x, base, target=target, steps=100)
    np.testing.assert_allclose(other.prediction, own.prediction, atol=1e-14)
    total = other.attributions.sum(("time", "feature"))
    np.testing.assert_allclose(total, own.attributions.sum(("time", "feature")), atol=1e-3)
    ledger = xc.diagnostics.ledger(heads, x, base, target=target, method="paired")
    assert np.abs(ledger["defect"]).max() < 1e-13
