"""Deciding whether the description of a model is safe to give to Keras.

Keras builds a model by importing classes by name and calling them with arguments, all from ``config.json``. So every
class that is named there must be one of Keras's own building blocks, and none that runs given code or opens a file.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.untrusted.json_reader import JsonError, read_json

_CUSTOM_HINT = """PairLift runs no code from files. Load the model in Python, where its code is, and explain it there:
    model = keras.saving.load_model("model.keras", custom_objects={...})
    explanation = explain_core.explain(model, x)"""
_REBUILD_HINT = "Build the model from other Keras layers, or load it in Python and give explain_core.explain the model."

#: Layers that run code from the file, or open files that it names.
REFUSED_LAYERS = {
    "Lambda": "runs Python code from the file",
    "TextVectorization": "reads a vocabulary from a file",
    "StringLookup": "reads a vocabulary from a file",
    "IntegerLookup": "reads a vocabulary from a file",
    "IndexLookup": "reads a vocabulary from a file",
    "TFSMLayer": "opens another model from a path",
    "TorchModuleWrapper": "runs pickled PyTorch code",
    "JaxLayer": "runs Python code from the file",
    "FlaxLayer": "runs Python code from the file",
}
_MODELS = {"Functional", "Sequential", "Model"}
_NAMED = {  # module by module, the classes that may be named; None for every class of the module
    "keras": {"DTypePolicy", "Variable", *_MODELS},
    "keras.models": _MODELS,
    "keras.src.models.functional": {"Functional"},
    "keras.src.models.sequential": {"Sequential"},
    "keras.layers": None,
    "keras.initializers": None,
    "keras.regularizers": None,
    "keras.constraints": None,
    "keras.dtype_policies": None,
    "keras.src.ops.core": {"Cast", "Slice", "StopGradient", "Unstack"},  # the others take functions
    "keras.src.ops.linalg": None,
    "keras.src.ops.math": None,
    "keras.src.ops.nn": None,
    "keras.src.ops.numpy": None,
}
#: Layers with a meaning of Keras 2 (`keras2_revived`), under a module that stands for PairLift.
REVIVED = "explain_core"
MERGING_LAYERS = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
REVIVED_LAYERS = ("Keras2Function", "ThresholdedReLU", *(f"Keras2{name}" for name in MERGING_LAYERS))
_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"}
_ACTIVATIONS = re.compile(r"keras(\.src)?\.activations(\.\w+)?", re.ASCII)
_CLASS = re.compile(r"[A-Z]\w*", re.ASCII)  # functions, which could do anything, begin with a small letter
_DEEPEST = 200
_MAX_JSON_BYTES = 16 * 2**20
_MOST_VALUES = 2_000_000  # of JSON; a layer has some 50


def read_description(text: str | bytes, what: str, where: str) -> Any:
    """What JSON in a Keras file says, if it is not larger or deeper than a model's description is.

    Args:
        text: the JSON.
        what: what it is, at the beginning of the error.
        where: the file's name.

    Raises:
        ModelFileError: it is not readable; says why.
    """
    try:
        if len(text) > _MAX_JSON_BYTES:
            raise JsonError(f"has {len(text):,} bytes; the limit is {_MAX_JSON_BYTES:,}")
        return read_json(text, most_values=_MOST_VALUES, deepest=_DEEPEST)
    except JsonError as error:
        raise ModelFileError(
            f"{what} is not readable: it {error}.",
            where=where,
            hint="The file may be damaged; copy it again, or save the model again.",
        ) from None


def check_config(config: Any, where: str) -> None:
    """Refuse a configuration that names anything but Keras's own building blocks.

    Raises:
        ModelFileError: names the class and the layer it is in.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise ModelFileError(
            "The description of the model in the file is not one of Keras.", where=where, hint="Save the model again."
        )
    for part, layer in _objects(config, "", where):
        _check_object(part, f"{where}: {layer}" if layer else where)


def _objects(value: Any, layer: str, where: str, depth: int = 0) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Every dict that names a class, with the name of the layer that it stands in."""
    if depth > _DEEPEST:
        raise ModelFileError(
            f"The description of the model is nested more than {_DEEPEST} deep.", where=where, hint=_REBUILD_HINT
        )
    if isinstance(value, dict):
        if "class_name" in value or "registered_name" in value:
            config = value.get("config")
            own = config.get("name") if isinstance(config, dict) else None
            layer = own if isinstance(own, str) else layer
            yield value, layer
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _objects(item, layer, where, depth + 1)


def _check_object(part: Mapping[str, Any], where: str) -> None:
    name, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
    if not isinstance(name, str):
        raise ModelFileError("The model has a part without a class.", where=where, hint=_CUSTOM_HINT)
    if name in REFUSED_LAYERS:
        hint = _CUSTOM_HINT if "code" in REFUSED_LAYERS[name] else _REBUILD_HINT
        raise ModelFileError(
            f"The model has a {name} layer, which {REFUSED_LAYERS[name]}; it is not opened.", where=where, hint=hint
        )
    if name == "__lambda__":
        raise ModelFileError("The model holds a Python lambda; it is not opened.", where=where, hint=_CUSTOM_HINT)
    if name in _VALUES and not registered and not module:
        return
    if name == "function":
        from explain_core.backends.tensorflow.keras2 import HARD_SIGMOID

        if part == HARD_SIGMOID:
            return
        function = part.get("config")
        is_builtin = isinstance(function, str) and registered in (None, "function", function)
        if is_builtin and isinstance(module, str) and _ACTIVATIONS.fullmatch(module) and function.isidentifier():
            return
        raise ModelFileError(
            f"The model calls the function {_shown(module, function)}, which is not one of Keras's activations.",
            where=where,
            hint=_CUSTOM_HINT,
        )
    if module == REVIVED and name in REVIVED_LAYERS and registered == name:
        return
    if not isinstance(module, str) or module not in _NAMED or not _is_class_of(name, module):
        raise ModelFileError(
            f"The model needs the class {_shown(module, name)}, which is not one of Keras's own.",
            where=where,
            hint=_CUSTOM_HINT,
        )
    if registered not in (None, "", name):
        raise ModelFileError(
            f"The model needs the class {str(registered)[:80]!r}, which is not one of Keras's own.",
            where=where,
            hint=_CUSTOM_HINT,
        )


def module_of_operation(name: str) -> str | None:
    """The module of one of Keras 3's operations by the name of its class; None for other names and refused ones."""
    from keras import Operation

    for module in _NAMED:
        if module.startswith("keras.src.ops.") and _is_class_of(name, module):
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and issubclass(found, Operation) and found.__module__ == module:
                return module
    return None


def _is_class_of(name: str, module: str) -> bool:
    allowed = _NAMED[module]
    return _CLASS.fullmatch(name) is not None and (allowed is None or name in allowed)


def _shown(module: Any, name: Any) -> str:
    return repr(f"{module}.{name}"[:120]) if module and module != "builtins" else repr(str(name)[:120])
