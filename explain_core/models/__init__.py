"""Opening model files: what a file is decides how it opens, never what it is called.

Nothing in a file is run while it is opened. Formats that can carry code are looked into first, and refused
by the name of the entry that carries it. No framework is imported before a file of that framework is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Format:
    """How a format opens.

    Attributes:
        title: for people, with its article.
        framework: "torch" or "tensorflow".
        opener: the module below this one that has ``open_model(path, architecture)``.
        as_data: of a format that is a program and no data, how to write the model as data; empty for data.
    """

    title: str
    framework: str
    opener: str
    as_data: str = ""


_KERAS = 'Give the model as .keras: in Python, model.save("model.keras").'
_FORMATS = {  # by the names that `detect_format` gives them
    "torch.export": _Format("a .pt2 file", "torch", "torch_programs.exported"),
    "torchscript": _Format(
        "a TorchScript model", "torch", "torch_programs.torchscript", f"Give the model as .pt2. {EXPORT_HINT}"
    ),
    "state dict": _Format("what torch.save writes", "torch", "torch.torch_file"),
    "safetensors": _Format("a .safetensors file", "torch", "torch.safetensors_file"),
    "keras": _Format("a .keras file", "tensorflow", "keras.keras_file"),
    "keras h5": _Format("a Keras .h5 file", "tensorflow", "keras.h5_file"),
    "saved model": _Format("a TensorFlow SavedModel", "tensorflow", "saved_model.opener", _KERAS),
}


def framework_of(path: str | PathLike[str]) -> str:
    """The framework that opens a model file, "torch" or "tensorflow"; "torch" for a file that none opens.

    Looks at the head of the file and an archive's table of contents only, of bounded sizes, and imports no framework.
    """
    try:
        return _FORMATS[_format_of(Path(path))].framework
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
    if as_data := _FORMATS[kind].as_data:
        raise ModelFileError(
            f"This is {_FORMATS[kind].title}: a program, and not only numbers. There is no sandbox on this system to "
            "open it in, so only files of data are opened here.",
            where=name,
            hint=f"{as_data}\nOr start PairLift with --trust-code, if everyone who can reach it may run code.",
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
        trusted = import_module(f"{__name__}.torch.trusted_code")
        return trusted.open_model(path, Path(code), architecture or {})
    with ending_typed(ModelFileError, _FORMATS[kind].title, path.name):
        opener = import_module(f"{__name__}.{_FORMATS[kind].opener}")
        return opener.open_model(path, architecture or {})


def _format_of(path: Path) -> str:
    with ending_typed(ModelFileError, "a model", path.name):
        return detect_format(path)
