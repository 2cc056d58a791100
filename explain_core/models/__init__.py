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
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.loaded import ExpectedInput, LayerSummary, LoadedModel, ModelSummary
from explain_core.untrusted.last_boundary import ending_typed

__all__ = [
    "ExpectedInput",
    "LayerSummary",
    "LoadedModel",
    "ModelSummary",
    "framework_of",
    "load_model",
    "require_data_only",
]

_OPENERS = {
    "torch.export": "explain_core.models.torch_programs.exported",
    "torchscript": "explain_core.models.torch_programs.torchscript",
    "state dict": "explain_core.models.torch.torch_file",
    "safetensors": "explain_core.models.torch.safetensors_file",
    "keras": "explain_core.models.keras.keras_file",
    "keras h5": "explain_core.models.keras.h5_file",
    "saved model": "explain_core.models.saved_model.opener",
}
_OF_TENSORFLOW = ("keras", "keras h5", "saved model")
_TITLES = {  # for people, with their articles
    "torch.export": "a .pt2 file",
    "torchscript": "a TorchScript model",
    "state dict": "what torch.save writes",
    "safetensors": "a .safetensors file",
    "keras": "a .keras file",
    "keras h5": "a Keras .h5 file",
    "saved model": "a TensorFlow SavedModel",
}
_PROGRAMS = {  # formats that are programs and no data, and how to write the model as data
    "torchscript": "Give the model as .pt2. " + EXPORT_HINT,
    "saved model": 'Give the model as .keras: in Python, model.save("model.keras").',
}


def framework_of(path: str | PathLike[str]) -> str:
    """The framework that opens a model file, "torch" or "tensorflow"; "torch" for a file that none opens.

    Looks at the head of the file and an archive's table of contents only, of bounded sizes, and imports no framework.
    """
    try:
        return "tensorflow" if _format_of(Path(path)) in _OF_TENSORFLOW else "torch"
    except ModelFileError:  # opening it says why
        return "torch"


def require_data_only(kind: str, name: str) -> None:
    """Refuse a format that is a program, where nothing keeps a program from this computer's files and network.

    Args:
        kind: the format, as `explain_core.models.detect.detect_format` has it.
        name: the file's.

    Raises:
        ModelFileError: says why, and the ways to open the model all the same.
    """
    if kind in _PROGRAMS:
        raise ModelFileError(
            f"This is {_TITLES[kind]}: a program, and not only numbers. There is no sandbox on this system to open it "
            "in, so only files of data are opened here.",
            where=name,
            hint=f"{_PROGRAMS[kind]}\nOr start PairLift with --trust-code, if everyone who can reach it may run code.",
        )


def load_model(
    path: str | PathLike[str],
    *,
    architecture: Mapping[str, Any] | None = None,
    code: str | PathLike[str] | None = None,
    data_only: bool = False,
) -> LoadedModel:
    """Open a model file.

    Args:
        path: PyTorch: a `.pt2` file from ``torch.export.save``, a TorchScript archive, what ``torch.save`` wrote (a
            state dict, a checkpoint around one, a pickled model of stock layers), or a `.safetensors` file. Keras:
            `.keras`, `.h5`, or a SavedModel as a folder or a zip archive.
        architecture: what a state dict cannot say about its model; see `explain_core.models.torch.options.Options` for
            the names. With ``code``, the arguments of the model's class by name.
        code: a Python file with the model's class, for what ``torch.save`` wrote of it. It is run: give it only where
            you trust it.
        data_only: refuse formats that are programs, which are screened but not data: TorchScript and SavedModel.

    Raises:
        ModelFileError: the file cannot be opened, or must not be; says why and what to do.
        BackendError: the framework of the file is not there.
    """
    path = Path(path)
    kind = _format_of(path)
    if data_only:
        require_data_only(kind, path.name)
    if code is not None:
        if kind != "state dict":
            raise ModelFileError(
                "Code goes with what torch.save wrote: a pickled model or a state dict. This file needs none.",
                where=path.name,
                hint="Open it without code.",
            )
        trusted = import_module("explain_core.models.torch.trusted_code")
        return trusted.open_model(path, Path(code), architecture or {})
    with ending_typed(ModelFileError, _TITLES[kind], path.name):
        opener = import_module(_OPENERS[kind])
        return opener.open_model(path, architecture or {})


def _format_of(path: Path) -> str:
    with ending_typed(ModelFileError, "a model", path.name):
        return detect_format(path)
