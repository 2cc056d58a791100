"""Values written twice, remainders, and errors that are this library's own."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_tools import runner_of

from explain_core.backends.protocol import Target
from explain_core.backends.tensorflow.rules import RULES
from explain_core.errors import ExplainError, UnsupportedOperation

RNG = np.random.default_rng(0)


class Module(tf.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def __call__(self, x):
        return tf.reduce_sum(self.function(x))


def attributions(function, test, base):
    runner = runner_of(Module(function), [test], precision="float64", sample_axes=(None,))
    found = runner.attribute([test], [base], [Target(0, (), "sum")], gates=False, embeddings=False)
    part = found.attributions[0][0, 0]
    change = float(found.prediction[0, 0] - found.baseline_prediction[0, 0])
    assert abs(part.sum() - change) <= 1e-12 * np.abs(part).sum()
    return part


@pytest.mark.parametrize("seed", range(5))
def test_a_place_that_is_written_twice_keeps_what_stays(seed):
    """Against writing one element after the other: only what is there at the end has a share."""
    rng = np.random.default_rng(seed)
    test, base = rng.normal(size=(2, 6, 2))
    slots, weights = rng.integers(0, 4, size=6), rng.normal(size=(4, 2))

    def function(x):
        memory = tf.tensor_scatter_nd_update(2 * x[:4], slots[:, None], x)
        return memory * tf.cast(weights, memory.dtype)

    expected = np.zeros((6, 2))
    last = {int(slot): i for i, slot in enumerate(slots)}
    for slot in range(4):
        source, factor = (last[slot], 1) if slot in last else (slot, 2)
        expected[source] += factor * weights[slot] * (test - base)[source]
    np.testing.assert_allclose(attributions(function, test, base), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x % 1.0,
        lambda x: tf.math.floormod(2.5, x + 4),
        lambda x: x // 0.3,
        lambda x: tf.math.floormod(x, x[::-1] + 4.0),
        lambda x: tf.atan2(x, x[::-1]),
    ],
    ids=["x % 1", "2.5 % x", "x // 0.3", "x % y", "atan2"],
)
def test_remainders_and_angles_add_up(function):
    attributions(function, *RNG.normal(size=(2, 5, 3)))


def test_a_remainder_of_one_whole_part_moves_one_to_one():
    test, base = np.array([1.75, -0.25]), np.array([1.25, -0.75])
    np.testing.assert_allclose(attributions(lambda x: x % 1.0, test, base), test - base, rtol=1e-15)


AWKWARD = {
    "bits": lambda x: tf.cast(tf.bitcast(x, tf.int64 if x.dtype == tf.float64 else tf.int32), x.dtype),
    "a sum of truths": lambda x: tf.cast(tf.reduce_sum(tf.cast(x > 0, tf.int32), 0), x.dtype),
    "a product of truths": lambda x: tf.cast(tf.reduce_prod(tf.cast(x > 0, tf.int32), 0), x.dtype),
    "the largest of whole numbers": lambda x: tf.cast(tf.reduce_max(tf.cast(4 * x, tf.int32), 0), x.dtype),
    "where it is": lambda x: tf.cast(tf.argmax(x, 0), x.dtype),
    "softmax of whole numbers": lambda x: tf.nn.softmax(tf.cast(tf.cast(4 * x, tf.int32), x.dtype)),
    "a shape from values": lambda x: tf.zeros(tf.cast(tf.abs(x[0, :1]) + 2, tf.int32)),
    "places": lambda x: tf.cast(tf.where(x > 0), x.dtype),
    "unique": lambda x: tf.unique(x[:, 0]).y,
    "complex": lambda x: tf.abs(tf.signal.fft(tf.complex(x, x))),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_arguments_are_explained_or_refused(name):
    with suppress(ExplainError):
        attributions(AWKWARD[name], *RNG.normal(size=(2, 5, 3)))


def test_a_rule_that_fails_is_refused_by_the_operation(monkeypatch):
    monkeypatch.setitem(RULES, "Tan", lambda node, values: values[0].credit)
    with pytest.raises(UnsupportedOperation, match=r"'Tan'.*AttributeError"):
        attributions(tf.tan, *RNG.normal(size=(2, 5, 3)))
