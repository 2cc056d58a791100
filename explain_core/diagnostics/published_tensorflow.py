"""TensorFlow's half of the published experiments; runs in a process of its own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from explain_core.convert import torch_to_keras
from explain_core.diagnostics import published_cell as given
from explain_core.diagnostics.measured import measure
from explain_core.diagnostics.written_out import Columns, Step, Unrolled, model_of

COMPARED = ("deep_explainer", "pairlift")


class BuiltIn(keras.layers.Layer):
    """`written_out.Step` by ``keras.layers.LSTMCell``."""

    def __init__(self, cell: keras.layers.LSTMCell) -> None:
        super().__init__()
        self.cell = cell

    def call(self, row):
        inputs, units = given.INPUTS, given.UNITS
        states = [row[:, inputs + i * units : inputs + (i + 1) * units] for i in range(2)]
        return keras.ops.concatenate(self.cell(row[:, :inputs], states)[1], -1)


def half() -> dict[str, Any]:
    """Every measurement on TensorFlow, and the cell states after the single step."""
    weights, units = given.weights(), given.UNITS
    own = torch_to_keras({f"{name}_l0": array for name, array in weights.items()}, "LSTM")[0]
    rows = []

    def add(experiment: str, name: str, model: keras.Model, test: np.ndarray, base: np.ndarray) -> None:
        for method in COMPARED:
            rows.append(given.row(experiment, "tensorflow", name, method, measure(method, model, test, base)))

    width = given.INPUTS + 2 * units
    written_out = model_of((width,), Step("LSTM", weights), Columns(units, units))
    cell = keras.layers.LSTMCell(units)
    built_in = model_of((width,), BuiltIn(cell), Columns(units, units))
    cell.set_weights(own)
    add(given.ONE_STEP, "written out", written_out, given.TEST, given.BASELINE)
    add(given.ONE_STEP, "keras LSTMCell", built_in, given.TEST, given.BASELINE)

    test, base = given.sequence()
    start = np.zeros(2 * units, np.float32)
    unrolled = model_of((given.STEPS, given.INPUTS), Unrolled("LSTM", weights, start), Columns(0, units))
    layer = keras.layers.LSTM(units)
    sequence = model_of((given.STEPS, given.INPUTS), layer)
    layer.set_weights(own)
    add(given.KNOWN_THREE, "written out", unrolled, test, base)
    add(given.KNOWN_THREE, "keras LSTM", sequence, test, base)
    return {"rows": rows, "states": np.asarray(written_out(given.TEST)).tolist()}
