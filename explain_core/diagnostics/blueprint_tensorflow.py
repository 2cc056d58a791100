"""A `Blueprint` from a Keras model, and a Keras model from a `Blueprint`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from explain_core.convert import keras_to_torch, obstacles, torch_to_keras
from explain_core.diagnostics.blueprint import ACTIVATIONS, Blueprint, Operation, obstacle
from explain_core.diagnostics.written_out import Columns, Unrolled, model_of
from explain_core.preparation.inputs import Arguments

L = keras.layers
_CELLS = {L.LSTM: "LSTM", L.GRU: "GRU", L.SimpleRNN: "RNN"}
_LAYERS = {cell: layer for layer, cell in _CELLS.items()}
_IDENTITY = (L.Dropout, L.GaussianNoise, L.GaussianDropout, L.SpatialDropout1D, L.ActivityRegularization)
_FUNCTIONS = {
    L.ReLU: lambda of: ("relu", {}) if (of.max_value, of.negative_slope, of.threshold) == (None, 0, 0) else None,
    L.LeakyReLU: lambda of: ("leaky_relu", {"negative_slope": float(of.negative_slope)}),
    L.ELU: lambda of: ("elu", {"alpha": float(of.alpha)}),
    L.Softmax: lambda of: ("softmax", {}) if of.axis == -1 else None,
}
"""Activations that are layers of their own; None where they have options that PyTorch's have not."""

_DEFAULTS = {"elu": {"alpha": 1.0}, "leaky_relu": {"negative_slope": 0.2}, "gelu": {"approximate": False}}
"""Options of Keras' activations by name."""


def describe(model: Any, arguments: Arguments) -> Blueprint:
    """What the layers of a Sequential or functional model do, one after the other.

    Raises:
        InputError: a layer has no counterpart, or the model is no chain.
    """
    given = arguments.leaves[0]
    if len(arguments.leaves) != 1 or given.ndim != (3 if given.dtype.kind == "f" else 2):
        raise obstacle(
            f"it takes {len(arguments.leaves)} inputs, the first of shape {given.shape}; only one of (sample, time, "
            "feature) or of token ids can be converted"
        )
    found: list[Operation] = []
    for layer in _in_order(model):
        found += _operations(layer)
    _, steps, *features = given.shape
    return Blueprint(steps, features[0] if features else None, tuple(found))


def _in_order(model: Any) -> list[Any]:
    """The layers of a chain, models inside it taken apart."""
    sequential = isinstance(model, keras.Sequential)
    if not (sequential or (isinstance(model, keras.Model) and hasattr(model, "operations"))):
        raise obstacle("the model is neither Sequential nor functional, so its layers do not say how they are joined")
    layers = []
    for layer in model.layers if sequential else model.operations:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if isinstance(layer, L.Masking) or getattr(layer, "mask_zero", False):
            raise obstacle("timesteps are masked, which PyTorch's layers do not do", where=layer.name)
        if len(layer._inbound_nodes) != 1 and not sequential:
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
    if type(layer) in (L.GlobalAveragePooling1D, L.GlobalMaxPooling1D) and _is_usual(layer, keepdims=False):
        return [Operation("mean" if type(layer) is L.GlobalAveragePooling1D else "max")]
    if type(layer) in _FUNCTIONS and (function := _FUNCTIONS[type(layer)](layer)):
        return [Operation(*function)]
    if type(layer) is L.Embedding and not layer.mask_zero:
        return [Operation("embedding", weights={"table": np.asarray(layer.embeddings)})]
    if type(layer) is L.Conv1D and _is_usual(layer):
        return [_convolution(layer), *_activation(layer)]
    if type(layer) in (L.MaxPooling1D, L.AveragePooling1D) and _is_usual(layer, padding="valid"):
        how = "max" if type(layer) is L.MaxPooling1D else "mean"
        return [Operation("pool", {"size": layer.pool_size[0], "stride": layer.strides[0], "how": how})]
    if type(layer) is L.LayerNormalization and _is_over_features(layer) and not layer.rms_scaling:
        return [_normalisation(layer)]
    if type(layer) is L.BatchNormalization and _is_over_features(layer):
        scale = _or(layer.gamma, 1.0) / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
        return [_affine(scale, _or(layer.beta, 0.0) - np.asarray(layer.moving_mean) * scale)]
    if type(layer) is L.Flatten and _is_usual(layer) and len(layer.input.shape) == 3:
        return [Operation("flatten")]
    raise obstacle(f"the layer {type(layer).__name__} has no counterpart in the other framework", where=layer.name)


def _is_usual(layer: Any, **options: Any) -> bool:
    """Whether features come last, and these options have these values."""
    return layer.data_format == "channels_last" and all(getattr(layer, k) == v for k, v in options.items())


def _is_over_features(layer: Any) -> bool:
    """Whether a normalisation is for each feature, the last axis."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    rank = len(layer.input.shape)
    return [axis % rank for axis in axes] == [rank - 1]


def _or(weight: Any, otherwise: float) -> Any:
    return otherwise if weight is None else np.asarray(weight)


def _convolution(layer: Any) -> Operation:
    (size,), (stride,), (dilation,) = layer.kernel_size, layer.strides, layer.dilation_rate
    reach, steps = (size - 1) * dilation, layer.input.shape[1]
    if layer.padding == "same" and stride > 1 and steps is None:
        raise obstacle("its padding depends on the number of timesteps, which the model leaves open", where=layer.name)
    both = max(reach if stride == 1 else (-(-steps // stride) - 1) * stride + reach + 1 - steps, 0)
    padding = {"valid": [0, 0], "same": [both // 2, both - both // 2], "causal": [reach, 0]}[layer.padding]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": layer.groups}
    weight = np.asarray(layer.kernel).transpose(2, 1, 0)
    bias = np.zeros(len(weight), weight.dtype) if layer.bias is None else np.asarray(layer.bias)
    return Operation("conv", options, {"weight": weight, "bias": bias})


def _normalisation(layer: Any) -> Operation:
    width = layer.input.shape[-1]
    scale, shift = (np.broadcast_to(w, width).astype(np.float32) for w in (_or(layer.gamma, 1), _or(layer.beta, 0)))
    return Operation("norm", {"epsilon": float(layer.epsilon)}, {"scale": scale, "shift": shift})


def _affine(scale: Any, shift: Any) -> Operation:
    scale, shift = np.broadcast_arrays(np.asarray(scale, np.float32), np.asarray(shift, np.float32))
    return Operation("affine", weights={"scale": scale.copy(), "shift": shift.copy()})


def _activation(layer: Any) -> list[Operation]:
    name = keras.activations.serialize(layer.activation)
    if name == "linear":
        return []
    if not isinstance(name, str) or name not in ACTIVATIONS:
        name = name if isinstance(name, str) else type(layer.activation).__name__
        raise obstacle(f"the activation {name} has no counterpart in the other framework", where=layer.name)
    return [Operation(name, _DEFAULTS.get(name, {}))]


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


class Function(L.Layer):
    """An activation with its options."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        self._function, self._options = getattr(keras.activations, name), options

    def call(self, x):
        return self._function(x, **self._options)


class Convolution(L.Layer):
    """A convolution over timesteps, with zeros before and after."""

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        options, weight = operation.options, operation.weights["weight"]
        self._pad = L.ZeroPadding1D(tuple(options["padding"]))
        self._convolve = L.Conv1D(
            len(weight),
            weight.shape[2],
            strides=options["stride"],
            dilation_rate=options["dilation"],
            groups=options["groups"],
        )
        self._convolve.build((None, None, weight.shape[1] * options["groups"]))
        self._convolve.set_weights([weight.transpose(2, 1, 0), operation.weights["bias"]])

    def call(self, x):
        return self._convolve(self._pad(x))


class Pick(L.Layer):
    """One timestep."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def call(self, x):
        return x[:, self._step]


def build(blueprint: Blueprint) -> Any:
    """The blueprint as a functional Keras model."""
    return _assembled(blueprint, [_layer(operation) for operation in blueprint.operations])


def no_referee(blueprint: Blueprint) -> str:
    """Why shap is no referee of the blueprint with its recurrent layer written out; empty if it is one."""
    if len(blueprint.recurrent) != 1 or blueprint.recurrent[0].two_way:
        return "only a single recurrent layer that reads one way is written out."
    after = blueprint.operations[blueprint.operations.index(blueprint.recurrent[0]) + 1 :]
    final = blueprint.recurrent[0].options["returns"] == "final"
    if not final and not (after and after[0].kind == "pick"):
        return "only a layer that is read at one step is written out."
    others = {"softmax": "softmax", "log_softmax": "softmax", "norm": "normalisation", "max": "the largest of several"}
    for operation in blueprint.operations:
        what = "max" if operation.options.get("how") == "max" else operation.kind
        if what in others:
            return f"shap has another rule for {others[what]}, which adds up as well but shares otherwise."
    if blueprint.features is None:
        return "shap's explainer takes no token ids."
    return ""


def referee(blueprint: Blueprint) -> Any:
    """The blueprint with its recurrent layer written out by hand, on which shap's explainer is exact."""
    (recurrent,) = blueprint.recurrent
    place = blueprint.operations.index(recurrent)
    after = blueprint.operations[place + 1 :]
    steps = blueprint.steps
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
    before = [_layer(operation) for operation in blueprint.operations[:place]]
    return _assembled(blueprint, [*before, *run, *(_layer(operation) for operation in after)])


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
    if kind == "embedding":
        layer = L.Embedding(*weights["table"].shape)
        layer.build()
        layer.set_weights([weights["table"]])
        return layer
    if kind == "conv":
        return Convolution(operation)
    if kind == "norm":
        layer = L.LayerNormalization(epsilon=options["epsilon"])
        layer.build((None, len(weights["scale"])))
        layer.set_weights([weights["scale"], weights["shift"]])
        return layer
    if kind == "pool":
        make = L.MaxPooling1D if options["how"] == "max" else L.AveragePooling1D
        return make(options["size"], options["stride"])
    if kind == "pick":
        return Pick(options["step"])
    if kind in ("mean", "max"):
        return L.GlobalAveragePooling1D() if kind == "mean" else L.GlobalMaxPooling1D()
    if kind == "flatten":
        return L.Flatten()
    return Function(kind, options)


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


def _assembled(blueprint: Blueprint, layers: list[Any]) -> Any:
    if blueprint.features is None:
        return model_of((blueprint.steps,), *layers, dtype="int64")
    return model_of((blueprint.steps, blueprint.features), *layers)
