"""Weights of recurrent layers between PyTorch and Keras: nothing is lost, and what cannot go is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from explain_core.convert import GATES, keras_to_torch, obstacles, torch_to_keras
from explain_core.errors import InputError

FEATURES, UNITS = 3, 4


def state_of(kind: str, layers: int = 1, bidirectional: bool = False, bias: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rows, state = GATES[kind] * UNITS, {}
    for number in range(layers):
        width = FEATURES if number == 0 else UNITS * (2 if bidirectional else 1)
        for suffix in ("", "_reverse")[: 2 if bidirectional else 1]:
            state[f"weight_ih_l{number}{suffix}"] = rng.normal(size=(rows, width))
            state[f"weight_hh_l{number}{suffix}"] = rng.normal(size=(rows, UNITS))
            if bias:
                state[f"bias_ih_l{number}{suffix}"] = rng.normal(size=rows)
                state[f"bias_hh_l{number}{suffix}"] = rng.normal(size=rows)
    return state


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_there_and_back(kind, layers, bidirectional, bias):
    state = state_of(kind, layers, bidirectional, bias)
    given = torch_to_keras({f"net.{name}": a for name, a in state.items()}, kind, prefix="net.")
    assert len(given) == layers
    assert all(len(weights) == (3 if bias else 2) * (2 if bidirectional else 1) for weights in given)
    back = keras_to_torch(given, kind, bidirectional=bidirectional, prefix="net.")
    assert set(back) == {f"net.{name}" for name in state}
    for name, array in state.items():
        if "bias" in name and kind != "GRU":  # Keras has the sum of the two
            twin = name.replace("_ih_", "_hh_") if "_ih_" in name else name.replace("_hh_", "_ih_")
            total = back[f"net.{name}"] + back[f"net.{twin}"]
            np.testing.assert_allclose(total, array + state[twin], rtol=1e-15)
        else:
            np.testing.assert_array_equal(back[f"net.{name}"], array)


def test_gates_of_a_gru_change_places():
    """PyTorch: reset, update, new. Keras: update, reset, new."""
    state = {
        "weight_ih_l0": np.repeat([[1.0], [2.0], [3.0]], UNITS, 0),
        "weight_hh_l0": np.ones((3 * UNITS, UNITS)),
    }
    kernel, _ = torch_to_keras(state, "GRU")[0]
    np.testing.assert_array_equal(kernel[0, ::UNITS], [2, 1, 3])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: torch_to_keras(state_of("LSTM"), "Transformer"), "no recurrent layer"),
        (lambda: torch_to_keras(state_of("LSTM"), "GRU"), "are not those of GRU"),
        (lambda: torch_to_keras(state_of("GRU"), "GRU", reset_after=False), "after the matrix product"),
        (lambda: torch_to_keras(state_of("LSTM") | {"weight_hr_l0": np.ones((2, 4))}, "LSTM"), "proj_size"),
        (lambda: torch_to_keras({"head.weight": np.ones((1, 4))}, "LSTM"), "no 'weight_ih_l0'"),
        (lambda: keras_to_torch(torch_to_keras(state_of("LSTM"), "LSTM"), "GRU"), "is not that of GRU"),
        (lambda: keras_to_torch([[np.ones((3, 12))]], "GRU"), "1 arrays were given"),
        (
            lambda: keras_to_torch([[np.ones((3, 12)), np.ones((4, 12)), np.ones(12)]], "GRU"),
            "before the matrix product",
        ),
        (
            lambda: keras_to_torch(torch_to_keras(state_of("LSTM", 1, True), "LSTM"), "LSTM"),
            "6 arrays were given",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert caught.value.hint


def test_obstacles_in_a_keras_layer():
    plain = {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True}
    assert obstacles(plain) == []
    assert obstacles({"activation": "relu"}) == []
    assert len(obstacles({**plain, "activation": "relu", "reset_after": False, "go_backwards": True})) == 3
    assert len(obstacles({**plain, "recurrent_activation": "hard_sigmoid", "stateful": True})) == 2
    both = {"layer": {"config": plain}, "merge_mode": "concat"}
    assert obstacles(both) == []
    assert "merge_mode" in obstacles({**both, "merge_mode": "sum"})[0]


def test_converting_imports_no_framework():
    code = "import sys, explain_core.convert; print({'keras', 'tensorflow', 'torch'} & {*sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
