"""What does not fit into memory is explained in halves, and comes out the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import explain_core as xc
from explain_core.backends.tensorflow import runner as runners
from explain_core.backends.tensorflow.interpreter import Interpreter
from explain_core.errors import NoRoomError

X = np.random.default_rng(0).normal(size=(10, 6, 3)).astype(np.float32)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])


@pytest.fixture
def full(monkeypatch):
    """Have explanations run out of memory with more rows than it is called with; returns the rows of each run."""
    rows = []

    def with_more_than(most):
        class Full(Interpreter):
            def run(self, arguments):
                rows.append(arguments[0].test.shape[0])
                if rows[-1] > most:
                    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
                return super().run(arguments)

        monkeypatch.setattr(runners, "Interpreter", Full)
        return rows

    return with_more_than


def test_an_explanation_that_runs_out_of_memory_goes_on_in_halves(model, full):
    expected = xc.explain(model, X, device="cpu")
    assert full(4) == []
    found = xc.explain(model, X, device="cpu")
    assert full(4) == [10, 5, 2, 2, 2, 2, 2]
    np.testing.assert_allclose(found.attributions, expected.attributions, rtol=0, atol=1e-6)


def test_where_one_row_does_not_fit_that_is_said(model, full):
    full(0)
    with pytest.raises(NoRoomError, match="out of memory with one row: OOM when allocating"):
        xc.explain(model, X, device="cpu")
