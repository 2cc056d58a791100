"""Building a Keras model from a screened description, and saying what is in it.

Keras and TensorFlow are imported here, and PyTorch never.
"""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

from explain_core.errors import BackendError, ModelFileError
from explain_core.models.hints import READER_ERRORS, first_line
from explain_core.models.loaded import ExpectedInput, LayerSummary, LoadedModel, ModelSummary

SAVE_AGAIN = 'Save the model again with model.save("model.keras") of Keras 3.'


def import_keras() -> Any:
    """Keras on TensorFlow; with another backend it would import another framework.

    Raises:
        BackendError: TensorFlow or Keras is not installed, or Keras was told to use another backend.
    """
    if "keras" not in sys.modules:
        chosen = os.environ.get("KERAS_BACKEND") or "tensorflow"
        if chosen != "tensorflow":
            raise _other_backend(chosen)
        os.environ["KERAS_BACKEND"] = "tensorflow"  # stronger than Keras's own settings file
    try:
        import keras
        import tensorflow  # noqa: F401 - so that what is missing is said here
    except ImportError as error:
        raise BackendError(
            f"Keras models need TensorFlow and Keras, and {error.name or error} is not installed.",
            hint="python -m pip install tensorflow keras",
        ) from None
    if keras.backend.backend() != "tensorflow":
        raise _other_backend(keras.backend.backend())
    return keras


def _other_backend(name: str) -> BackendError:
    return BackendError(
        f"Keras is set to run on {name!r}; PairLift explains Keras models on TensorFlow.",
        where="KERAS_BACKEND",
        hint="Start again with the environment variable KERAS_BACKEND=tensorflow, or without it.",
    )


@contextmanager
def building(where: str, version: str) -> Generator[list[str]]:
    """Keras's errors as ours, and its warnings in the list that this gives. It knows its own classes and ours."""
    import keras
    import tensorflow as tf

    from explain_core.models.keras.keras2_revived import CUSTOM_OBJECTS

    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught, keras.saving.custom_object_scope(CUSTOM_OBJECTS):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            yield said
        except (*READER_ERRORS, tf.errors.OpError) as error:
            raise ModelFileError(
                f"Keras {keras.__version__} cannot read the model, which Keras {version} wrote: "
                f"{first_line(_cause(error))[:300]}",
                where=where,
                hint=SAVE_AGAIN,
            ) from error
        finally:
            said += dict.fromkeys(f"Keras said while opening: {first_line(w.message)[:300]}" for w in caught)


def _cause(error: BaseException) -> BaseException:
    """The error that the others are about: Keras says first that a model could not be read, and last why."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def without_values(description: dict[str, Any]) -> Any:
    """The model of a description, built without memory for its weights: their shapes are known, and no more.

    So sizes that a description declares are compared with the file before anything is allocated.
    """
    import keras
    from keras.src.backend.common import global_state

    waiting = list(global_state.get_global_attribute("uninitialized_variables", []))  # Keras appends to its own
    try:
        with keras.StatelessScope(initialize_variables=False):
            return deserialize(_stateless(description))
    finally:  # Keras would give them values at the next occasion
        global_state.set_global_attribute("uninitialized_variables", waiting)


def _stateless(value: Any) -> Any:
    """The description without layers that keep their state, which is no weight and is made with its values."""
    if isinstance(value, dict):
        return {key: False if key == "stateful" else _stateless(item) for key, item in value.items()}
    return [_stateless(item) for item in value] if isinstance(value, list) else value


def deserialize(description: dict[str, Any]) -> Any:
    """The Keras model of a screened description, which stays as it is."""
    import keras

    return keras.saving.deserialize_keras_object(copy.deepcopy(description), safe_mode=True)


def require_built(model: Any, where: str) -> None:
    """Refuse what is no model, or one whose inputs are not known."""
    import keras

    if not isinstance(model, keras.Model) or not model.built:
        raise ModelFileError(
            "The file does not say what inputs the model takes.",
            where=where,
            hint="Call the model once on data before saving it.",
        )


def describe(model: Any, file_format: str, title: str, notes: tuple[str, ...]) -> LoadedModel:
    """The opened model with its summary."""
    summary = ModelSummary(
        framework="tensorflow",
        format=title,
        layers=tuple(_layers(model)),
        inputs=tuple(_inputs(model)),
        notes=notes,
    )
    return LoadedModel("tensorflow", model, file_format, summary, notes)


def _layers(model: Any, prefix: str = "") -> Iterator[LayerSummary]:
    """One line per layer with parameters; of a model within the model, its layers."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer, f"{prefix}{layer.name}/")
            continue
        parameters = sum(prod(variable.shape) for variable in layer.weights)
        if not parameters:
            continue
        inner = getattr(layer, "layer", None) or getattr(layer, "forward_layer", None)
        kind = type(layer).__name__
        yield LayerSummary(
            name=prefix + layer.name,
            kind=f"{kind} of {type(inner).__name__}" if inner is not None else kind,
            detail=_sizes(layer, inner),
            parameters=parameters,
            recurrent=isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)
            or isinstance(inner, keras.layers.RNN),
        )


def _sizes(layer: Any, inner: Any) -> str:
    import keras

    one = layer if inner is None else inner
    if isinstance(one, keras.layers.Embedding):
        return f"{one.input_dim} tokens, {one.output_dim} numbers each"
    units = getattr(one, "units", None) or getattr(one, "filters", None)
    kernel = next((w for w in one.weights if w.name.endswith("kernel")), None)
    parts = [f"{kernel.shape[-2]} inputs"] if kernel is not None and len(kernel.shape) > 1 else []
    if units:
        word = "units" if isinstance(one, keras.layers.RNN) else "outputs"
        parts.append(f"{units} {word.removesuffix('s') if units == 1 else word}")
    if isinstance(layer, keras.layers.Bidirectional):
        parts.append("both directions")
    if parts:
        return ", ".join(parts)
    return ", ".join(f"{w.name} {' × '.join(map(str, w.shape)) or 'scalar'}" for w in layer.weights)


def _inputs(model: Any) -> Iterator[ExpectedInput]:
    """What the model takes. Ids for an embedding are whole numbers, whatever type the model declares for them."""
    import keras

    embedded = {
        id(tensor)
        for layer in model.layers
        if isinstance(layer, keras.layers.Embedding)
        for node in layer._inbound_nodes
        for tensor in node.input_tensors
    }
    for tensor in model.inputs or ():
        dtype = "int32" if id(tensor) in embedded else str(tensor.dtype)
        yield ExpectedInput(tensor.name, tuple(tensor.shape), dtype)
