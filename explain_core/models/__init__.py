"""Opening model files: what a file is decides how it opens, never what it is called.

Nothing in a file is run while it is opened. Formats that can carry code are looked into first, and refused
by the name of the entry that carries it. No framework is imported before a file of that framework is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.detect import detect_format
from explain_core.models.loaded import ExpectedInput, LayerSummary, LoadedModel, ModelSummary

__all__ = ["ExpectedInput", "LayerSummary", "LoadedModel", "ModelSummary", "framework_of", "load_model"]

_OPENERS = {
    "torch.export": "explain_core.models.exported",
    "torchscript": "explain_core.models.torchscript",
    "state dict": "explain_core.models.torch_file",
    "safetensors": "explain_core.models.safetensors_file",
    "keras": "explain_core.models.keras_file",
    "keras h5": "explain_core.models.keras_h5",
    "saved model": "explain_core.models.saved_model",
}
_OF_TENSORFLOW = ("keras", "keras h5", "saved model")


def framework_of(path: str | PathLike[str]) -> str:
    """The framework that opens a model file, "torch" or "tensorflow"; "torch" for a file that none opens.

    Looks at the head of the file and an archive's table of contents only, and imports no framework.
    """
    try:
        return "tensorflow" if detect_format(Path(path)) in _OF_TENSORFLOW else "torch"
    except ModelFileError:  # opening it says why
        return "torch"


def load_model(
    path: str | PathLike[str],
    *,
    architecture: Mapping[str, Any] | None = None,
    code: str | PathLike[str] | None = None,
) -> LoadedModel:
    """Open a model file.

    Args:
        path: PyTorch: a `.pt2` file from ``torch.export.save``, a TorchScript archive, what ``torch.save`` wrote (a
            state dict, a checkpoint around one, a pickled model of stock layers), or a `.safetensors` file. Keras:
            `.keras`, `.h5`, or a SavedModel as a folder or a zip archive.
        architecture: what a state dict cannot say about its model; see `explain_core.models.options.Options` for the
            names. With ``code``, the arguments of the model's class by name.
        code: a Python file with the model's class, for what ``torch.save`` wrote of it. It is run: give it only where
            you trust it.

    Raises:
        ModelFileError: the file cannot be opened, or must not be; says why and what to do.
        BackendError: the framework of the file is not there.
    """
    path = Path(path)
    kind = detect_format(path)
    if code is not None:
        if kind != "state dict":
            raise ModelFileError(
                "Code goes with what torch.save wrote: a pickled model or a state dict. This file needs none.",
                where=path.name,
                hint="Open it without code.",
            )
        trusted = import_module("explain_core.models.trusted_code")
        return trusted.open_model(path, Path(code), architecture or {})
    opener = import_module(_OPENERS[kind])
    return opener.open_model(path, architecture or {})
