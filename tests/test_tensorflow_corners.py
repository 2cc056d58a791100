"""Functions of two arguments where their closed forms end: zeros of either sign, the cut of an angle, negative bases,
infinities that are the same for both members.
"""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import tensorflow as tf
from mpmath import mpf
from tensorflow_tools import explain, residual

from explain_core.backends.tensorflow.formulas import two_players

CORNERS = (0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5)
FUNCTIONS = {
    "atan2": tf.atan2,
    "maximum": tf.maximum,
    "minimum": tf.minimum,
    "pow": tf.pow,
    "floormod": tf.math.floormod,
    "floordiv": tf.math.floordiv,
    "squared difference": tf.math.squared_difference,
    "divide_no_nan": tf.math.divide_no_nan,
    "xlogy": tf.math.xlogy,
    "xlog1py": tf.math.xlog1py,
    "xdivy": tf.math.xdivy,
}


class Module(tf.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def __call__(self, x):
        return self.function(x[:, 0], x[:, 1])


def shares(f, test, base):
    found = explain(Module(f), [test], [base], precision="float64")
    return found.attributions[0][0], residual(found)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shares_are_shapley_values_at_every_corner(name):
    """Wherever the four values are numbers, and no zero only changes its sign."""
    rows, f = np.array(list(itertools.product(CORNERS, repeat=4))), FUNCTIONS[name]
    a, b, a_base, b_base = rows.T
    values = np.stack([f(x, y) for x, y in ((a, b), (a, b_base), (a_base, b), (a_base, b_base))])
    test, base = rows[:, :2], rows[:, 2:]
    turned = (test == base) & (np.signbit(test) != np.signbit(base))
    known = np.isfinite(values).all(0) & ~turned.any(1)
    assert known.sum() > 400
    both, first, second, none = values[:, known]
    expected = np.stack([both - second + first - none, both - first + second - none], -1) / 2
    found, left = shares(f, test[known], base[known])
    np.testing.assert_allclose(found, expected, atol=1e-12, rtol=1e-12)
    assert left <= 1e-12


@pytest.mark.parametrize(
    ("test", "base", "expected"),
    [
        ([0.0, -1.0], [-0.0, 1.0], [0.0, math.pi]),
        ([-0.0, -2.0], [0.0, 1.0], [0.0, -math.pi]),
        ([0.0, 0.0], [1.0, -0.0], [-math.pi / 2, 0.0]),
    ],
)
def test_a_zero_that_changes_its_sign_leaves_the_change_to_the_other_argument(test, base, expected):
    found, _ = shares(tf.atan2, np.array([test]), np.array([base]))
    np.testing.assert_allclose(found, [expected], atol=1e-15)


MOVED = (0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 1e-30, -1e-30, 0.1, -0.1, 1e30)
HELD = (*MOVED, math.inf, -math.inf)


def angle(y, x):
    """In many digits; where one of both is a zero or an infinity, by their signs."""
    on_axis = 0 in (x, y) or math.isinf(x) or math.isinf(y)
    return mpf(math.atan2(y, x)) if on_axis else mpmath.atan2(mpf(y), mpf(x))


@pytest.mark.parametrize("argument", ["numerator", "denominator"])
def test_an_angle_changes_by_what_it_changes(argument):
    triples = np.array([t for t in itertools.product(HELD, MOVED, MOVED) if t[1] != t[2]])
    held, a, b = map(tf.constant, triples.T)
    secant, f = {
        "numerator": (two_players.atan2_numerator, lambda held, moved: angle(moved, held)),
        "denominator": (two_players.atan2_denominator, angle),
    }[argument]
    for (other, x, y), slope in zip(triples.tolist(), secant(held, a, b).numpy().tolist(), strict=True):
        expected = f(other, x) - f(other, y)
        assert abs(slope * (x - y) - expected) <= 1e-15 * max(1, abs(expected)), (other, x, y)
