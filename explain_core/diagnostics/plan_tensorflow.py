"""A `Plan` from a Keras model, and a Keras model from a `Plan`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from explain_core.convert import keras_to_torch, obstacles, torch_to_keras
from explain_core.diagnostics.plan import ACTIVATIONS, Operation, Plan, obstacle
from explain_core.diagnostics.written_out import Columns, Unrolled, model_of
from explain_core.inputs import Arguments

L = keras.layers
_CELLS = {L.LSTM: "LSTM", L.GRU: "GRU", L.SimpleRNN: "RNN"}
_LAYERS = {cell: layer for layer, cell in _CELLS.items()}
_IDENTITY = (L.Dropout, L.GaussianNoise, L.GaussianDropout, L.SpatialDropout1D, L.ActivityRegularization)


def describe(model: Any, arguments: Arguments) -> Plan:
    """What the layers of a Sequential or functional model do, one after the other.

    Raises:
        InputError: a layer has no counterpart, or the model is no chain.
    """
    if len(arguments.leaves) != 1 or arguments.leaves[0].ndim != 3:
        raise obstacle(f"it takes {len(arguments.leaves)} inputs; only one of (sample, time, feature) can be converted")
    found: list[Operation] = []
    for layer in _in_order(model):
        found += _operations(layer)
    _, steps, features = arguments.leaves[0].shape
    return Plan(steps, features, tuple(found))


def _in_order(model: Any) -> list[Any]:
    """The layers of a chain, models inside it taken apart."""
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise obstacle("the model is neither Sequential nor functional, so its layers do not say how they are joined")
    layers = []
    for layer in model.operations:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if len(layer._inbound_nodes) != 1 and not isinstance(model, keras.Sequential):
            uses = [node for node in layer._inbound_nodes if node in model._nodes] if hasattr(model, "_nodes") else []
            if len(uses) > 1:
                raise obstacle("a layer is used more than once", where=layer.name)
        if not isinstance(layer, keras.Layer):
            raise obstacle(f"the operation {type(layer).__name__} has no counterpart", where=layer.name)
        if isinstance(getattr(layer, "input", None), list):
            raise obstacle("a layer takes several inputs: the model branches", where=layer.name)
        layers += _in_order(layer) if isinstance(layer, keras.Model) else [layer]
    return layers


def _operations(layer: Any) -> list[Operation]:
    if isinstance(layer, _IDENTITY):
        return []
    if type(layer) in _CELLS or isinstance(layer, L.Bidirectional):
        return [_recurrent(layer)]
    if isinstance(layer, L.Dense):
        weight = np.asarray(layer.kernel).T
        bias = np.zeros(len(weight), weight.dtype) if layer.bias is None else np.asarray(layer.bias)
        return [Operation("dense", weights={"weight": weight, "bias": bias}), *_activation(layer)]
    if isinstance(layer, L.Activation):
        return _activation(layer)
    if type(layer) is L.Normalization:
        scale = 1 / np.maximum(np.sqrt(np.asarray(layer.variance)), keras.config.epsilon())
        return [_affine(scale.reshape(-1), (-np.asarray(layer.mean) * scale).reshape(-1))]
    if type(layer) is L.Rescaling:
        return [_affine(np.ravel(layer.scale), np.ravel(layer.offset))]
    if type(layer) is L.GlobalAveragePooling1D:
        return [Operation("mean")]
    raise obstacle(f"the layer {type(layer).__name__} has no counterpart in the other framework", where=layer.name)


def _affine(scale: Any, shift: Any) -> Operation:
    scale, shift = np.broadcast_arrays(np.asarray(scale, np.float32), np.asarray(shift, np.float32))
    return Operation("affine", weights={"scale": scale.copy(), "shift": shift.copy()})


def _activation(layer: Any) -> list[Operation]:
    name = keras.activations.serialize(layer.activation)
    if name == "linear":
        return []
    if name not in ACTIVATIONS:
        raise obstacle(f"the activation {name} has no counterpart in the other framework", where=layer.name)
    return [Operation(name)]


def _recurrent(layer: Any) -> Operation:
    two_way = isinstance(layer, L.Bidirectional)
    inner = layer.forward_layer if two_way else layer
    if type(inner) not in _CELLS:
        raise obstacle(f"the layer {type(inner).__name__} has no counterpart in PyTorch", where=layer.name)
    found = obstacles(layer.get_config())
    if found or layer.return_state:
        raise obstacle("; ".join(found) or "it returns its states", where=layer.name)
    kind = _CELLS[type(inner)]
    returns = "sequence" if inner.return_sequences else "final"
    options = {"cell": kind, "activation": inner.get_config()["activation"], "returns": returns}
    return Operation("recurrent", options, keras_to_torch([layer.get_weights()], kind, bidirectional=two_way))


class Affine(L.Layer):
    """``x·scale + shift`` for each feature."""

    def __init__(self, scale: np.ndarray, shift: np.ndarray) -> None:
        super().__init__()
        self._scale, self._shift = scale, shift

    def call(self, x):
        return x * self._scale + self._shift


class Pick(L.Layer):
    """One timestep."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def call(self, x):
        return x[:, self._step]


def build(plan: Plan) -> Any:
    """The plan as a functional Keras model."""
    return _assembled(plan, [_layer(operation) for operation in plan.operations])


def no_referee(plan: Plan) -> str:
    """Why shap is no referee of the plan with its recurrent layer written out; empty if it is one."""
    if len(plan.recurrent) != 1 or plan.recurrent[0].two_way:
        return "only a single recurrent layer that reads one way is written out."
    after = plan.operations[plan.operations.index(plan.recurrent[0]) + 1 :]
    final = plan.recurrent[0].options["returns"] == "final"
    if not final and not (after and after[0].kind == "pick"):
        return "only a layer that is read at one step is written out."
    if any(operation.kind == "softmax" for operation in after):
        return "shap has another rule for softmax, which adds up as well but shares otherwise."
    return ""


def referee(plan: Plan) -> Any:
    """The plan with its recurrent layer written out by hand, on which shap's explainer is exact."""
    (recurrent,) = plan.recurrent
    place = plan.operations.index(recurrent)
    after = plan.operations[place + 1 :]
    steps = plan.steps
    if recurrent.options["returns"] == "sequence":
        steps, after = after[0].options["step"] + 1, after[1:]
    units = recurrent.weights["weight_hh_l0"].shape[1]
    rows = len(recurrent.weights["weight_ih_l0"])
    zeros = np.zeros(rows, np.float32)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {name: recurrent.weights.get(f"{name}_l0", zeros) for name in names}
    cell = recurrent.options["cell"]
    start = np.zeros(units * (2 if cell == "LSTM" else 1), np.float32)
    run = [Steps(steps), Unrolled(cell, weights, start, recurrent.options["activation"]), Columns(0, units)]
    before = [_layer(operation) for operation in plan.operations[:place]]
    return _assembled(plan, [*before, *run, *(_layer(operation) for operation in after)])


class Steps(L.Layer):
    """The first timesteps of a sequence."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def call(self, x):
        return x[:, : self._count]


def _layer(operation: Operation) -> Any:
    kind, options, weights = operation.kind, operation.options, operation.weights
    if kind == "recurrent":
        return _built_recurrent(operation)
    if kind == "affine":
        return Affine(weights["scale"], weights["shift"])
    if kind == "dense":
        layer = L.Dense(len(weights["weight"]))
        layer.build((None, weights["weight"].shape[1]))
        layer.set_weights([weights["weight"].T, weights["bias"]])
        return layer
    if kind == "pick":
        return Pick(options["step"])
    if kind == "mean":
        return L.GlobalAveragePooling1D()
    return L.Activation(kind)


def _built_recurrent(operation: Operation) -> Any:
    weights, options = operation.weights, operation.options
    units, features = weights["weight_hh_l0"].shape[1], weights["weight_ih_l0"].shape[1]
    layer = _LAYERS[options["cell"]](
        units,
        activation=options["activation"],
        use_bias="bias_ih_l0" in weights,
        return_sequences=options["returns"] == "sequence",
    )
    layer = L.Bidirectional(layer) if operation.two_way else layer
    layer.build((None, None, features))
    layer.set_weights(torch_to_keras(weights, options["cell"])[0])
    return layer


def _assembled(plan: Plan, layers: list[Any]) -> Any:
    return model_of((plan.steps, plan.features), *layers)
