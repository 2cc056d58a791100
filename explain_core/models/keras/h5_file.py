"""Whole models in HDF5: ``model.save("model.h5")`` of Keras 2 and 3.

The file's tables are looked through first (`hdf5`), its description is brought up to date in a copy (`keras2_config`)
and screened (`check`), and sizes are compared before anything is built. What the file has on training
(optimizer, loss, metrics) is not looked at, so custom ones do not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.keras import build as keras_build
from explain_core.models.keras.check import check_config, read_description
from explain_core.models.keras.hdf5 import Hdf5File, opened
from explain_core.models.keras.keras2_config import Converter
from explain_core.models.keras.keras2_era import Era
from explain_core.models.keras.weights import LegacyWeights, fill, match
from explain_core.models.loaded import LoadedModel

_ROOT = "model_weights"
_LISTED = 12


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open a full-model HDF5 file; ``architecture`` must be empty, as the file holds the whole model."""
    if architecture:
        raise ModelFileError(
            "A Keras .h5 file holds its whole architecture; there is nothing to choose.",
            where=path.name,
            hint="Leave architecture= out.",
        )
    with opened(path, path.name) as file:
        description = _description(file, path.name)
        if _ROOT not in file.groups:
            raise ModelFileError(
                "The file describes a model and has no weights for it.",
                where=path.name,
                hint='Save the whole model where it was trained: model.save("model.keras").',
            )
        keras = keras_build.import_keras()
        era = Era(
            file.text("", "keras_version") or file.text(_ROOT, "keras_version") or "",
            file.text("", "backend") or file.text(_ROOT, "backend") or "",
        )
        if era.version is not None and era.version < (2, 0):
            raise ModelFileError(
                f"The file was written by {era.name}; files open from Keras 2.0 on.",
                where=path.name,
                hint="Load it in Keras 2 (pip install keras==2.2.4) and save it again.",
            )
        weights = LegacyWeights(file, _ROOT, path.name)
        converter = Converter(era, weights.shapes, path.name)
        description = converter.model(description)
        check_config(description, path.name)
        layers = {"pruned": converter.pruned, "cudnn": converter.cudnn, "where": path.name}
        with keras_build.building(path.name, era.text or "of unknown version") as said:
            empty = keras_build.without_values(description)
            keras_build.require_built(empty, path.name)
            match(empty, weights, era, **layers)
            model = keras_build.deserialize(description)
            _restore_masks(model, era)
            _refuse_masks(model, converter.maskless, path.name)
            fill(match(model, weights, era, **layers), weights)
            for layer in model.layers:
                if isinstance(layer, keras.layers.Normalization):
                    layer.finalize_state()
        if _is_custom(file.text("", "training_config")):
            era.note(
                "The file names a loss, metric or optimizer of its own; it is left out, as predictions do without."
            )
        if weights.extra:
            era.note("Numbers of the model itself, which no layer of it uses, are left out.")
    return keras_build.describe(model, "keras h5", f"Keras HDF5, from {era.name}", (*era.notes, *said))


def _description(file: Hdf5File, where: str) -> Any:
    text = file.text("", "model_config")
    if text is None:
        raise _without_model(file, where)
    return read_description(text, "The description of the model in the file", where)


def _is_custom(training: str | None) -> bool:
    """Whether the training configuration names something that is not Keras's own."""
    import keras

    try:
        found = read_description(training or "{}", "The description of the training", "")
    except ModelFileError:
        return True
    parts = [found.get("loss"), found.get("metrics"), found.get("optimizer_config")] if isinstance(found, dict) else []
    known = {"acc", "accuracy", "bce", "ce", "cosine", "crossentropy", "kld", "mae", "mape", "mse", "msle"}
    for module in (keras.losses, keras.metrics, keras.optimizers):
        known |= {name.lower() for name in vars(module)}
    return any(name.lower().replace("_", "") not in known and name.lower() not in known for name in _names(parts))


def _names(value: Any) -> Iterator[str]:
    """Names of functions and classes in a training configuration, which nests them at will."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and isinstance(value.get("class_name"), str):
        yield value["class_name"]
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _names(item)


def _without_model(file: Hdf5File, where: str) -> ModelFileError:
    """Weights alone, or a file of something else."""
    names = list(dict.fromkeys([*file.texts("", "layer_names")]))
    is_keras = bool(names) or bool({"layers", "_layer_checkpoint_dependencies", _ROOT} & file.groups)
    arrays = [(path, shape) for path, shape in file.shapes.items() if not path.startswith("optimizer")]
    shown = [f"    {path}  {' × '.join(map(str, shape)) or 'scalar'}" for path, shape in arrays[:_LISTED]]
    more = [f"    and {len(arrays) - _LISTED} more"] if len(arrays) > _LISTED else []
    inside = "\n".join([*shown, *more])
    if not is_keras:
        return ModelFileError(
            f"This is an HDF5 file, and no Keras model is in it. It has:\n{inside or '    no arrays of numbers'}",
            where=where,
            hint='A Keras model opens when saved with model.save("model.keras").',
        )
    return ModelFileError(
        "The file holds the weights of a Keras model without the model: model.save_weights wrote it, or a checkpoint "
        f"with save_weights_only. It has:\n{inside}",
        where=where,
        hint="""Save the whole model where it is built:
    model.load_weights("weights.h5")
    model.save("model.keras")""",
    )


def _refuse_masks(model: Any, maskless: Collection[str], where: str) -> None:
    """cuDNN's layers went over padding as over data, where they took it at all; the layers of today would skip it."""
    from keras.src.backend import get_keras_mask

    for layer in model._flatten_layers() if maskless else ():
        inner = getattr(layer, "forward_layer", layer)
        if inner.name.removeprefix("forward_") not in maskless:
            continue
        if any(get_keras_mask(tensor) is not None for node in layer._inbound_nodes for tensor in node.input_tensors):
            raise ModelFileError(
                "The layer is one of cuDNN behind a mask of padding, and those did nothing with a mask.",
                where=f"{where}: {layer.name}",
                hint="Build the model without mask_zero=True and Masking, load the weights, and save it again.",
            )


def _restore_masks(model: Any, era: Era) -> None:
    """Keras by itself held a bidirectional layer's last output over padding; Keras in TensorFlow and 3 put zeros."""
    import keras

    if not era.is_multi_backend:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Bidirectional) and layer.return_sequences:
            layer.forward_layer.zero_output_for_mask = layer.backward_layer.zero_output_for_mask = False
