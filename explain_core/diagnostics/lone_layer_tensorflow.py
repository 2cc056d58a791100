"""A recurrent Keras layer's cell alone, the layer alone over a sequence, and both written out by hand."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np

from explain_core.convert import keras_to_torch, obstacles
from explain_core.diagnostics.layer_run import LayerRun
from explain_core.diagnostics.written_out import Columns, Step, Unrolled, model_of
from explain_core.errors import InputError

WRITTEN_OUT = "written out"
_KINDS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}


class BuiltInStep(keras.layers.Layer):
    """`written_out.Step` by the layer's own cell."""

    def __init__(self, cell: Any, inputs: int, states: int) -> None:
        super().__init__()
        self.cell, self._inputs, self._states = cell, inputs, states

    def call(self, row):
        first, units = self._inputs, self.cell.units
        states = [row[:, first + i * units : first + (i + 1) * units] for i in range(self._states)]
        return keras.ops.concatenate(self.cell(row[:, :first], states)[1], -1)


class AlongDirection(keras.layers.Layer):
    """A step, and the new state along the direction that stands at the end of the row: (N, F + H) to (N, 1)."""

    def __init__(self, step: Any, units: int, place: int) -> None:
        super().__init__()
        self.step, self._units, self._place = step, units, place

    def call(self, row):
        states = self.step(row[:, : -self._units])
        state = states[:, self._place * self._units : (self._place + 1) * self._units]
        return keras.ops.sum(state * row[:, -self._units :], -1, keepdims=True)


class BuiltInSequence(keras.layers.Layer):
    """`written_out.Unrolled` by the layer itself."""

    def __init__(self, layer: Any, initial: np.ndarray, states: int) -> None:
        super().__init__()
        self.layer, self._initial, self._states = layer, initial, states

    def call(self, x):
        rows = keras.ops.shape(x)[0]
        start = [
            keras.ops.tile(keras.ops.convert_to_tensor(part)[None], (rows, 1))
            for part in np.split(self._initial, self._states)
        ]
        _, *last = self.layer(x, initial_state=start)
        return keras.ops.concatenate(last, -1)


class TensorFlowLoneLayer:
    """The layer of a `LayerRun`, found in its model by path; see `one_step.LoneLayer`."""

    framework = "tensorflow"

    def __init__(self, model: Any, run: LayerRun) -> None:
        layer = _find(model, run.name)
        self.kind, self.cell = _KINDS[type(layer).__name__], layer.cell
        self._inputs, self._states = run.x.shape[-1], len(run.before)
        config = layer.get_config() | {
            "return_sequences": False,
            "return_state": True,
            "go_backwards": False,
            "stateful": False,
        }
        self.layer = type(layer).from_config(config)
        self.layer.build((None, None, self._inputs))
        self.layer.set_weights(layer.get_weights())
        self._weights: dict[str, np.ndarray] = {}
        if not obstacles(config):
            found = keras_to_torch([layer.get_weights()], self.kind)
            zeros = np.zeros(len(found["weight_ih_l0"]), found["weight_ih_l0"].dtype)
            self._weights = {
                part: found.get(f"{part}_l0", zeros) for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
        self._activation = config["activation"]
        self.variants = ("built-in", WRITTEN_OUT) if self._weights else ("built-in",)

    def _step(self, variant: str) -> Any:
        if variant == WRITTEN_OUT:
            return Step(self.kind, self._weights, self._activation)
        return BuiltInStep(self.cell, self._inputs, self._states)

    def states(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self._step("built-in")(rows))

    def one_step(self, variant: str, place: int) -> Any:
        width = self._inputs + (self._states + 1) * self.cell.units
        return model_of((width,), AlongDirection(self._step(variant), self.cell.units, place))

    def sequence(self, variant: str, place: int, direction: np.ndarray, initial: list[np.ndarray], steps: int) -> Any:
        start, units = np.concatenate(initial), self.cell.units
        if variant == WRITTEN_OUT:
            run: Any = Unrolled(self.kind, self._weights, start, self._activation)
        else:
            run = BuiltInSequence(self.layer, start, self._states)
        head = keras.layers.Dense(1, use_bias=False)
        model = model_of((steps, self._inputs), run, Columns(place * units, units), head)
        head.set_weights([np.asarray(direction)[:, None]])
        return model


def _find(model: Any, name: str) -> Any:
    path = re.sub(r"#\d+$", "", name)
    for layer in model._flatten_layers():
        if type(layer).__name__ in _KINDS and layer.path.removeprefix(f"{model.name}/") == path:
            return layer
    raise InputError(f"The model has no LSTM, GRU or SimpleRNN layer at {path!r}.")
