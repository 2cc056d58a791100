"""`.keras` files from ``model.save`` of Keras 3, and of Keras 2.12 to 2.15, which wrote them first.

The archive, its JSON and its table of weights are looked into first (`check`, `hdf5`), and Keras gets a fresh
archive of only what was checked. Keras and TensorFlow are imported after that, and PyTorch never.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.archive import read_entries, write_entries
from explain_core.models.keras import build as keras_build
from explain_core.models.keras.build import SAVE_AGAIN
from explain_core.models.keras.check import check_config, read_description
from explain_core.models.keras.hdf5 import opened
from explain_core.models.keras.keras2_config import Converter
from explain_core.models.keras.keras2_era import Era
from explain_core.models.loaded import LoadedModel

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_TRAINING_ONLY = ("compile_config",)  # loss, metrics and optimizer: may be custom, and nothing here needs them


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
    with opened(entries[_WEIGHTS], f"{path.name}: {_WEIGHTS}") as weights:
        shapes = dict(weights.shapes)
    keras_build.import_keras()
    era = Era(str(metadata.get("keras_version", "")))
    config = _today(config, era, path.name)
    check_config(config, path.name)
    clean = {
        _METADATA: json.dumps(metadata).encode(),
        _CONFIG: json.dumps(config).encode(),
        _WEIGHTS: entries.pop(_WEIGHTS),
    }
    model, said = _load(clean, config, shapes, path.name, era)
    return keras_build.describe(model, "keras", "Keras", (*era.notes, *said))


def _refuse_unknown_entries(entries: Mapping[str, bytes], where: str) -> None:
    known = (_CONFIG, _METADATA, _WEIGHTS)
    for name in entries:
        if name not in known:
            what = "a layer reads it as a file" if name.startswith("assets/") else "no .keras file needs it"
            raise ModelFileError(
                f"The file has the entry {name[:120]!r} ({what}); it is not opened.", where=where, hint=SAVE_AGAIN
            )
    if missing := [name for name in known if name not in entries]:
        raise ModelFileError(f"The .keras file lacks {missing[0]!r}.", where=where, hint=SAVE_AGAIN)


def _read_json(entries: Mapping[str, bytes], name: str, where: str) -> dict[str, Any]:
    content = read_description(entries[name], f"The entry {name!r}", where)
    if not isinstance(content, dict):
        raise ModelFileError(f"The entry {name!r} is not a description.", where=where, hint=SAVE_AGAIN)
    return content


def _today(config: dict[str, Any], era: Era, where: str) -> dict[str, Any]:
    """The description in the words of Keras 3, with what it meant where it was written."""
    if era.version is not None and not era.is_keras3:
        return Converter(era, {}, where).model(config)
    if era.version is None and '"hard_sigmoid"' in json.dumps(config):
        raise ModelFileError(
            "The model uses hard_sigmoid, which is another function in Keras 2 than in Keras 3, and the file does not "
            "say which Keras wrote it.",
            where=where,
            hint=SAVE_AGAIN,
        )
    return {key: value for key, value in config.items() if key not in _TRAINING_ONLY}


def _load(
    entries: dict[str, bytes], config: dict[str, Any], shapes: dict[str, tuple[int, ...]], name: str, era: Era
) -> tuple[Any, list[str]]:
    """The model, and what Keras warned of while opening it. Takes the entries out of memory: Keras reads its own."""
    import keras

    with tempfile.TemporaryDirectory(prefix="pairlift-") as folder:
        copy = Path(folder) / "model.keras"
        write_entries(entries, copy)
        entries.clear()
        with keras_build.building(name, era.text or "of unknown version") as said:
            _check_sizes(keras_build.without_values(config), shapes, name)
            model = keras.saving.load_model(copy, compile=False, safe_mode=True)
    keras_build.require_built(model, name)
    return model, said


def _check_sizes(model: Any, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse a description that declares weights which the file does not have, before there is memory for them."""
    there = Counter(shapes.values())
    for variable in getattr(model, "weights", ()):
        shape = tuple(variable.shape)
        there[shape] -= 1
        if there[shape] < 0:
            raise ModelFileError(
                f"By the description, {variable.path!r} has the shape {shape}; the file has no such weights.",
                where=where,
                hint=SAVE_AGAIN,
            )
