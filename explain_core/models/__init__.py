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

from explain_core.models.detect import detect_format
from explain_core.models.loaded import ExpectedInput, LayerSummary, LoadedModel, ModelSummary

__all__ = ["ExpectedInput", "LayerSummary", "LoadedModel", "ModelSummary", "load_model"]

_OPENERS = {
    "torch.export": "explain_core.models.exported",
    "torchscript": "explain_core.models.torchscript",
    "state dict": "explain_core.models.state_dict",
}


def load_model(path: str | PathLike[str], *, architecture: Mapping[str, Any] | None = None) -> LoadedModel:
    """Open a model file.

    Args:
        path: a `.pt2` file from ``torch.export.save``, a TorchScript archive, or a PyTorch state dict
            (bare, or under ``state_dict`` in a checkpoint).
        architecture: what a state dict cannot say about its model; see
            `explain_core.models.architecture.Options` for the names. Only state dicts take it.

    Raises:
        ModelFileError: the file cannot be opened, or must not be; says why and what to do.
    """
    path = Path(path)
    opener = import_module(_OPENERS[detect_format(path)])
    return opener.open_model(path, architecture or {})
