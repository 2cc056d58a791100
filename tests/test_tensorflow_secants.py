"""The formulas of secants through TensorFlow's arrays, against many digits; and what the table of operations has."""

from __future__ import annotations

import array_edges
import numpy as np
import pytest
import secant_definitions as table

pytest.importorskip("tensorflow")
import tensorflow as tf

from explain_core.backends.tensorflow import arrays
from explain_core.backends.tensorflow.formulas import secants, two_players
from explain_core.backends.tensorflow.rules import RULES
from explain_core.rules.cells.activations import ACTIVATIONS


def through(secant):
    return lambda a, b: secant(tf.constant(a), tf.constant(b)).numpy()


@pytest.mark.parametrize("dtype", table.DTYPES)
@pytest.mark.parametrize(("name", "number"), table.CASES)
def test_quotient_is_exact_to_roundings(name, number, dtype):
    table.check(name, number, secants, arrays, through, table.DTYPES[dtype], denormals=False)


@pytest.mark.parametrize("dtype", table.DTYPES)
@pytest.mark.parametrize("name", table.TWO)
def test_quotient_in_one_of_two_arguments_is_exact_to_roundings(name, dtype):
    table.check_two(name, two_players, through, table.DTYPES[dtype], denormals=False)


@pytest.mark.parametrize("dtype", table.DTYPES)
@pytest.mark.parametrize("name", array_edges.EDGES)
def test_array_function_at_its_edges(name, dtype):
    array_edges.check_edges(arrays, name, tf.constant, table.DTYPES[dtype])


@pytest.mark.parametrize("dtype", table.DTYPES)
def test_array_functions_of_types_and_places(dtype):
    array_edges.check_names(arrays)
    array_edges.check_forms(arrays, tf.constant, table.DTYPES[dtype])

    def in_a_graph(step, start, inputs, reverse):
        return tf.function(lambda start, inputs: arrays.scan(step, start, inputs, reverse))(start, inputs)

    array_edges.check_scan(in_a_graph, tf.reshape(tf.range(6, dtype=dtype), [3, 2]))


def test_a_denormal_difference_is_none():
    a = tf.constant(np.array([1.5e-38, 1.0]), tf.float32)
    b = tf.constant(np.array([1.4e-38, 1.0]), tf.float32)
    assert arrays.is_still(a, b).numpy().all()


def test_every_row_is_a_formula_that_is_checked():
    rows = {name: rule.secant.func.__name__ for name, rule in RULES.items() if hasattr(rule, "secant")}
    assert set(rows.values()) <= set(table.DEFINITIONS)
    assert all(RULES[name].secant is getattr(secants, row) for name, row in rows.items() if row != "step")


def test_secants_of_cells_go_with_their_functions():
    rng = np.random.default_rng(1)
    a, b = tf.constant(rng.normal(size=50)), tf.constant(3 * rng.normal(size=50))
    for name, (function, secant) in ACTIVATIONS.items():
        expected = (function(arrays, a) - function(arrays, b)) / (a - b)
        np.testing.assert_allclose(secant(arrays, a, b), expected, rtol=1e-9, atol=1e-12, err_msg=name)
