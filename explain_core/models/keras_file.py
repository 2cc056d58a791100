"""`.keras` files from ``model.save`` of Keras 3.

The archive, its JSON and its table of weights are looked into first (`keras_check`), and Keras gets a fresh archive of
only what was checked. Keras and TensorFlow are imported after that, and PyTorch never.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from explain_core.errors import BackendError, ModelFileError
from explain_core.models.archive import read_entries, write_entries
from explain_core.models.hints import READER_ERRORS, first_line
from explain_core.models.keras_check import check_config, check_weights
from explain_core.models.loaded import ExpectedInput, LayerSummary, LoadedModel, ModelSummary

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MAX_JSON_BYTES = 64 * 2**20
_TRAINING_ONLY = ("compile_config",)  # loss, metrics and optimizer: may be custom, and nothing here needs them
_SAVE_AGAIN = 'Save the model again with model.save("model.keras") of Keras 3.'


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open a `.keras` file; ``architecture`` must be empty, as the file holds the whole model."""
    if architecture:
        raise ModelFileError(
            "A .keras file holds its whole architecture; there is nothing to choose.",
            where=path.name,
            hint="Leave architecture= out.",
        )
    entries = read_entries(path, in_root=False, rewrite="model.save")
    _refuse_unknown_entries(entries, path.name)
    config = _read_json(entries, _CONFIG, path.name)
    metadata = _read_json(entries, _METADATA, path.name)
    config = {key: value for key, value in config.items() if key not in _TRAINING_ONLY}
    check_config(config, path.name)
    check_weights(entries[_WEIGHTS], f"{path.name}: {_WEIGHTS}")
    clean = {
        _METADATA: json.dumps(metadata).encode(),
        _CONFIG: json.dumps(config).encode(),
        _WEIGHTS: entries[_WEIGHTS],
    }
    model, notes = _load(_import_keras(), clean, path.name, str(metadata.get("keras_version", "unknown")))
    return _describe(model, notes)


def _refuse_unknown_entries(entries: Mapping[str, bytes], where: str) -> None:
    known = (_CONFIG, _METADATA, _WEIGHTS)
    for name in entries:
        if name not in known:
            what = "a layer reads it as a file" if name.startswith("assets/") else "no .keras file needs it"
            raise ModelFileError(
                f"The file has the entry {name[:120]!r} ({what}); it is not opened.", where=where, hint=_SAVE_AGAIN
            )
    if missing := [name for name in known if name not in entries]:
        raise ModelFileError(f"The .keras file lacks {missing[0]!r}.", where=where, hint=_SAVE_AGAIN)


def _read_json(entries: Mapping[str, bytes], name: str, where: str) -> dict[str, Any]:
    try:
        if len(entries[name]) > _MAX_JSON_BYTES:
            raise ValueError("too large")
        content = json.loads(entries[name])
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError):
        raise ModelFileError(f"The entry {name!r} is not readable.", where=where, hint=_SAVE_AGAIN) from None
    return content


def _import_keras() -> Any:
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


def _load(keras: Any, entries: Mapping[str, bytes], name: str, version: str) -> tuple[Any, tuple[str, ...]]:
    """The model, and what Keras warned of while opening it."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory(prefix="pairlift-") as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        copy = Path(folder) / "model.keras"
        write_entries(entries, copy)
        try:
            model = keras.saving.load_model(copy, compile=False, safe_mode=True)
        except (*READER_ERRORS, tf.errors.OpError) as error:
            raise ModelFileError(
                f"Keras {keras.__version__} cannot read the model, which Keras {version} wrote: "
                f"{first_line(error)[:300]}",
                where=name,
                hint=_SAVE_AGAIN,
            ) from error
    if not isinstance(model, keras.Model) or not model.built:
        raise ModelFileError(
            "The file does not say what inputs the model takes.",
            where=name,
            hint="Call the model once on data before saving it.",
        )
    notes = dict.fromkeys(f"Keras said while opening: {first_line(w.message)[:300]}" for w in said)
    return model, tuple(notes)


def _describe(model: Any, notes: tuple[str, ...]) -> LoadedModel:
    summary = ModelSummary(
        framework="tensorflow",
        format="Keras",
        layers=tuple(_layers(model)),
        inputs=tuple(_inputs(model)),
        notes=notes,
    )
    return LoadedModel("tensorflow", model, "keras", summary, notes)


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
