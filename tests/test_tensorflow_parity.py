"""The same weights in both engines: states, outputs, attributions and gates are the same."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorflow_tools import distance, explain
from torch_engine_answers import CASES, FEATURES, UNITS, name_of

from explain_core.convert import keras_to_torch, torch_to_keras

pytest.importorskip("tensorflow")
import keras

L = keras.layers
KINDS = {"LSTM": L.LSTM, "GRU": L.GRU, "RNN": L.SimpleRNN}
HERE = Path(__file__).parent

# Difference to the torch engine per element, over the largest element. Measured: at most 7e-6, on
# attributions over 200 steps; both engines compute in float32.
AGREEMENT = 1e-5


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The torch engine runs in a process of its own: the two frameworks are never in one."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    path = tmp_path_factory.mktemp("parity") / "answers.npz"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "torch_engine_answers.py"), str(path)]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
    return dict(np.load(path))


def keras_model(kind: str, layers: int, bidirectional: bool, weights: dict[str, np.ndarray]) -> keras.Model:
    recurrent, steps = kind.partition(" ")[0], []
    for _ in range(layers):
        options = {"reset_after": "before" not in kind} if recurrent == "GRU" else {}
        layer = KINDS[recurrent](UNITS, return_sequences=True, **options)
        steps.append(L.Bidirectional(layer) if bidirectional else layer)
    pick = L.Lambda(lambda t: t[:, -1], output_shape=(UNITS * (2 if bidirectional else 1),))
    head = L.Dense(2, activation="softmax")
    model = keras.Sequential([keras.Input((None, FEATURES)), *steps, pick, head])
    for layer, given in zip(steps, torch_to_keras(weights, recurrent, prefix="rnn."), strict=True):
        if "before" in kind:
            given = [*given[:2], given[2][0]]  # its one bias; the script uses no other
        layer.set_weights(given)
    head.set_weights([weights["head.weight"].T, weights["head.bias"]])
    return model


@pytest.mark.parametrize("case", CASES, ids=lambda case: name_of(*case))
def test_both_engines_say_the_same(answers, case):
    name = name_of(*case)
    theirs = {key.removeprefix(f"{name}/"): a for key, a in answers.items() if key.startswith(f"{name}/")}
    weights = {key.removeprefix("weights/"): a for key, a in theirs.items() if key.startswith("weights/")}
    model = keras_model(*case[:3], weights)
    ours = explain(model, [theirs["test"]], [theirs["base"]], count=2)
    assert distance(ours.prediction, theirs["prediction"]) <= AGREEMENT
    assert distance(ours.baseline_prediction, theirs["baseline"]) <= AGREEMENT
    assert distance(ours.attributions[0], theirs["attributions"]) <= AGREEMENT
    if "before" in case[0]:  # written out by hand there, so that it has no gates
        return
    assert len(ours.gates) == len(theirs["layers"])
    for place, trace in enumerate(ours.gates.values()):
        for part in ("contribution", "carry", "mass", "activation", "state", "cell"):
            expected = theirs.get(f"gates/{place}/{part}")
            assert (getattr(trace, part) is None) == (expected is None)
            if expected is not None and np.abs(expected).max() > 0:
                assert distance(getattr(trace, part), expected) <= AGREEMENT, part
    layers = [layer.get_weights() for layer in model.layers[: case[1]]]
    back = keras_to_torch(layers, case[0], bidirectional=case[2], prefix="rnn.")
    assert set(back) == {key for key in weights if key.startswith("rnn.")}
