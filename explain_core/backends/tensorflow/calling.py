"""How a model is called for a prediction, and the names of what it returns."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from ...errors import BackendError, CaptureError, UnsupportedOperation

SIGNATURE = "serving_default"


def entry(model: Any) -> Callable[..., Any]:
    """What to call, with the arguments in the order or by the names that a person would give them."""
    if _is_keras(model):
        return _keras_entry(model)
    if not callable(model):  # a SavedModel that has signatures only
        model = _signature(model)
    if isinstance(model, tf.types.experimental.ConcreteFunction):
        return _by_name(model)
    takes_training = "training" in inspect.signature(type(model).__call__).parameters
    return partial(model, training=False) if takes_training else model


def _is_keras(model: Any) -> bool:
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Layer):
        return False
    if keras.config.backend() != "tensorflow":
        raise BackendError(
            f"Keras runs on {keras.config.backend()!r} here, and this engine explains it on TensorFlow",
            hint="Set KERAS_BACKEND=tensorflow before Keras is imported.",
        )
    return True


def _keras_entry(model: Any) -> Callable[..., Any]:
    if not model.built:
        raise CaptureError(
            "the model is not built yet",
            where=model.name,
            hint="Call it once on data, or load its weights, before it is explained.",
        )
    _refuse_quantized(model)
    takes_training = "training" in inspect.signature(model.call).parameters
    call = partial(model, training=False) if takes_training else model
    if len(getattr(model, "inputs", None) or ()) < 2:
        return call

    def of_several(*args, **kwargs):
        """A functional model takes its inputs as one argument."""
        return call(list(args) if len(args) > 1 else args[0] if args else kwargs)

    return of_several


def _refuse_quantized(model: Any) -> None:
    """Layers that round what they are given step by step have no rule; rounded weights are weights."""
    for layer in model._flatten_layers():
        mode = getattr(layer, "quantization_mode", None)
        if mode == "float8" or (mode and getattr(layer, "inputs_quantizer", None)):
            raise UnsupportedOperation(
                f"the layer {layer.name!r} is quantized ({mode}): it rounds its inputs to 8 bits",
                where=layer.path or layer.name,
                hint="Explain the model as it was before quantize().",
            )


def _signature(model: Any) -> Any:
    signatures = getattr(model, "signatures", {})
    if SIGNATURE not in signatures:
        raise CaptureError(
            f"the model cannot be called and has no signature {SIGNATURE!r}, only {sorted(signatures)}",
            where=type(model).__name__,
            hint="Give one of its signatures: model.signatures[name].",
        )
    return signatures[SIGNATURE]


def _by_name(signature: Any) -> Callable[..., Any]:
    """A signature takes tensors of its own types: by name, or as the function that it was made of takes them."""
    in_order, specs = signature.structured_input_signature

    def call(*args, **kwargs):
        if in_order:
            return signature(*args, **kwargs)
        if len(args) == 1 and isinstance(args[0], Mapping):
            args, kwargs = (), {**args[0], **kwargs}
        free = [name for name in specs if name not in kwargs]
        given = {**kwargs, **dict(zip(free, args, strict=False))}
        return signature(**{name: tf.cast(value, specs[name].dtype) for name, value in given.items()})

    return call


def named_outputs(model: Any, results: Any) -> list[tuple[str, tf.Tensor]]:
    """The tensors in nested results: by the model's own names if it has any, else by the way to each."""
    named = _flatten(results, "")
    names = getattr(model, "output_names", None) or []
    if isinstance(results, (list, tuple)) and len(set(names)) == len(named):
        return [(name, tensor) for name, (_, tensor) in zip(names, named, strict=True)]
    return named


def _flatten(results: Any, path: str) -> list[tuple[str, tf.Tensor]]:
    if isinstance(results, Mapping):
        parts = [(str(key), results[key]) for key in sorted(results)]
    elif isinstance(results, (list, tuple)):
        parts = [(str(number), part) for number, part in enumerate(results)]
    else:
        return [(path or "output", tf.convert_to_tensor(results))] if results is not None else []
    return [item for key, part in parts for item in _flatten(part, f"{path}.{key}" if path else key)]


def rows_of_states(model: Any) -> int | None:
    """How many sequences the stateful layers of a Keras model keep the states of; None for a model without."""
    if not _is_keras(model):
        return None
    for layer in model._flatten_layers():
        states = getattr(layer, "states", None) if getattr(layer, "stateful", False) else None
        sizes = [state.shape[0] for state in tf.nest.flatten(states) if state is not None]
        if sizes:
            return int(sizes[0])
    return None


_AROUND = (
    "Exception encountered when calling",
    "File ",
    "Detected at",
    "Graph execution error",
    "[[",
    "Stack trace",
    "Arguments received",
    "tf2xla",
)


def cause(error: Exception) -> str:
    """What an error of TensorFlow or Keras says, without the places in code around it, on one line."""
    text = re.sub(r"\x1b\[\d*m", "", str(getattr(error, "message", error)))  # Keras prints what it says in bold
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(_AROUND)]
    of_graph = "Graph execution error" in str(error)
    said = lines[-1 if of_graph else 0] if lines else ""
    return f"{said[:300]}" if said else type(error).__name__
