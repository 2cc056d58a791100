"""Branches and loops that lengths, masks, constants or the explained values decide on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import explain_core as xc

SAMPLES, STEPS, FEATURES = 3, 5, 2
DRAWN = np.random.default_rng(0)
X = DRAWN.normal(size=(SAMPLES, STEPS, FEATURES))
BASE = 0.6 * X[::-1]
LENGTHS = np.array([5, 3, 4])
MASK = np.arange(STEPS) < LENGTHS[:, None]
INWARD, ONWARD = (tf.constant(DRAWN.normal(size=size)) for size in ((FEATURES, 1), (1, 1)))
FLAG = tf.Variable(True)


class Model(tf.Module):
    def __init__(self, run):
        super().__init__()
        self.run = run

    def __call__(self, *given):
        return self.run(*given)


def bent(x):
    return tf.reduce_sum(tf.tanh(x), 1)


def squared(x):
    return tf.reduce_sum(x**2, 1)


@tf.function
def branched(x, n):
    if tf.reduce_any(n < STEPS):
        return bent(x)
    return squared(x)


def called(model, x, base, *rest):
    return xc.explain(model, (x, *rest), (base, *rest), target=0) if rest else xc.explain(model, x, base, target=0)


DECIDED = {
    "variable": lambda x, n, m: tf.cond(FLAG, lambda: bent(x), lambda: squared(x)),
    "constant": lambda x, n, m: tf.cond(tf.constant(False), lambda: squared(x), lambda: bent(x)),
    "lengths": lambda x, n, m: tf.cond(tf.reduce_max(n) > 4, lambda: bent(x), lambda: squared(x)),
    "lengths, in Keras": lambda x, n, m: keras.ops.cond(keras.ops.max(n) > 4, lambda: bent(x), lambda: squared(x)),
    "lengths, as a Python if": lambda x, n, m: branched(x, n),
    "lengths, one of several": lambda x, n, m: tf.switch_case(
        tf.cast(tf.reduce_min(n) - 2, tf.int32), [lambda: squared(x), lambda: bent(x)]
    ),
    "any of a mask": lambda x, n, m: tf.cond(tf.reduce_any(m), lambda: bent(x), lambda: squared(x)),
    "any of a row's mask": lambda x, n, m: tf.reduce_sum(
        tf.where(tf.reduce_any(m, 1)[:, None, None], tf.tanh(x), x**2), 1
    ),
    "shape": lambda x, n, m: bent(x) * (int(x.shape[1]) / STEPS),
    "slice of the longest": lambda x, n, m: bent(x[:, : tf.reduce_max(n)]),
    "the value, the same for both": lambda x, n, m: tf.cond(
        tf.reduce_max(tf.abs(x)) < 99.0, lambda: bent(x), lambda: squared(x)
    ),
    "a floating number, zero for none": lambda x, n, m: tf.cond(
        tf.reduce_max(tf.abs(x)), lambda: bent(x), lambda: squared(x)
    ),
    "a fraction of a mask": lambda x, n, m: tf.cond(
        tf.reduce_mean(tf.cast(m, x.dtype)), lambda: bent(x), lambda: squared(x)
    ),
    "each row by itself": lambda x, n, m: tf.map_fn(
        lambda row: tf.cond(
            tf.reduce_sum(row) > -99.0,
            lambda: tf.reduce_sum(tf.tanh(row), 0),
            lambda: tf.reduce_sum(row, 0),
        ),
        x,
    ),
}


@pytest.mark.parametrize("name", DECIDED)
def test_the_branch_that_is_taken_is_explained(name):
    found = called(Model(DECIDED[name]), X, BASE, LENGTHS, MASK)
    expected = np.tanh(X) - np.tanh(BASE)
    expected[..., 1] = 0
    np.testing.assert_allclose(found.attributions, expected, atol=1e-12)


def step(x, h, t):
    return tf.tanh(x[:, t] @ INWARD + h @ ONWARD)


def start(x):
    return tf.zeros((tf.shape(x)[0], 1), x.dtype)


def unrolled(x, n):
    h = start(x)
    for t in range(STEPS):
        h = tf.where((t < n)[:, None], step(x, h, t), h)
    return h


def while_loop(x, n):
    def body(t, h):
        return t + 1, tf.where((t < n)[:, None], step(x, h, t), h)

    return tf.while_loop(lambda t, h: t < tf.reduce_max(n), body, [tf.constant(0, n.dtype), start(x)])[1]


@tf.function
def python_loop(x, n):
    h = start(x)
    for t in tf.range(tf.reduce_max(n)):
        h = tf.where((t < n)[:, None], step(x, h, t), h)
    return h


@pytest.mark.parametrize("kind", [np.int64, np.int32])
@pytest.mark.parametrize("loop", [while_loop, python_loop])
def test_a_loop_that_ends_with_the_longest_is_the_one_written_out(loop, kind):
    lengths = np.minimum(LENGTHS, 4).astype(kind)
    found, expected = (called(Model(run), X, BASE, lengths) for run in (loop, unrolled))
    assert found.relative_residual.max() < 1e-12
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-12)
    assert np.abs(found.attributions.values[:, 3]).max() > 1e-3
    assert not found.attributions.values[:, 4].any()


LARGEST = float(np.abs(X).max())

DIFFER = {
    "cond": lambda x: tf.cond(tf.reduce_max(tf.abs(x)) > 0.9 * LARGEST, lambda: bent(x), lambda: squared(x)),
    "cond of a number": lambda x: tf.cond(
        tf.nn.relu(tf.reduce_max(tf.abs(x)) - 0.9 * LARGEST), lambda: bent(x), lambda: squared(x)
    ),
    "switch_case": lambda x: tf.switch_case(
        tf.cast(tf.reduce_max(tf.abs(x)) > 0.9 * LARGEST, tf.int32), [lambda: bent(x), lambda: squared(x)]
    ),
    "while": lambda x: tf.while_loop(
        lambda y: tf.reduce_max(tf.abs(y)) > 0.9 * LARGEST, lambda y: [y / 2], [tf.reduce_sum(x, 1)]
    )[0],
}


@pytest.mark.parametrize("name", DIFFER)
def test_where_the_members_go_different_ways_that_is_said_and_where(name):
    with pytest.raises(xc.errors.CaptureError, match="the input and its baseline take different ways") as raised:
        called(Model(DIFFER[name]), X, 0 * X)
    assert raised.value.where.split("/")[-1].startswith(name.split()[0])
    assert "register_rule" not in str(raised.value)


IN_PYTHON = {
    "if on lengths": lambda x, n: bent(x) if tf.reduce_max(n) > 4 else squared(x),
    "whole number of lengths": lambda x, n: bent(x[:, : int(tf.reduce_max(n))]),
    "whole number of a shape": lambda x, n: bent(x) * float(int(tf.shape(x)[1])),
    "len": lambda x, n: bent(x) * len(x),
}


@pytest.mark.parametrize("name", IN_PYTHON)
def test_what_python_cannot_be_asked_in_a_trace_is_said_with_what_can(name):
    with pytest.raises(xc.errors.CaptureError, match="asks for the numbers of a tensor") as raised:
        called(Model(IN_PYTHON[name]), X, BASE, LENGTHS)
    assert "@tf.function" in raised.value.hint
    assert "x.shape" in raised.value.hint
