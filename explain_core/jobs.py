"""The jobs that a worker process runs for the app. Frameworks are imported here, inside the functions."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from explain_core.models import LoadedModel, ModelSummary, load_model
from explain_core.worker import Report

_KEPT_MODELS = 2
_models: OrderedDict[tuple, LoadedModel] = OrderedDict()  # of this process, by content and options


@dataclass(frozen=True)
class ModelSource:
    """A model file and, for a state dict, what completes it."""

    path: Path
    architecture: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenedModel:
    """What the app learns of a model: its summary, and the devices that can run it (id, name for people)."""

    summary: ModelSummary
    devices: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """One explanation, as asked for on the page. See `explain_core.explain` for the meaning of each."""

    model: ModelSource
    inputs: xr.DataArray | np.ndarray | tuple[Any, ...] | dict[str, Any]
    baselines: Any
    target: Any
    background: bool = False
    backend: str = "auto"
    device: str = "auto"
    outputs: tuple[str, ...] | None = None


def warm_up(report: Report) -> None:
    """Import the framework ahead of the first job, which is most of the waiting."""
    report(0.1, "Starting PyTorch")
    import torch

    torch.zeros(1)


def open_model(report: Report, source: ModelSource) -> OpenedModel:
    """Open a model and keep it for later jobs."""
    report(0.1, "Opening the model")
    return OpenedModel(_open(source).summary, _devices())


def explain(report: Report, request: Request, result: Path) -> None:
    """Explain, and leave the `Explanation` in the file ``result``."""
    report(0.02, "Opening the model")
    model = _open(request.model)
    from explain_core import explain as run

    explanation = run(
        model,
        request.inputs,
        request.baselines,
        target=request.target,
        backend=request.backend,
        device=request.device,
        background=request.background,
        progress=lambda fraction, message: report(0.05 + 0.9 * fraction, message),
    )
    report(0.97, "Writing the result")
    explanation.save(result)


def _open(source: ModelSource) -> LoadedModel:
    key = (_digest(source.path), tuple(sorted(source.architecture.items())))
    if key not in _models:
        _models[key] = load_model(source.path, architecture=source.architecture)
        while len(_models) > _KEPT_MODELS:
            _models.popitem(last=False)
    _models.move_to_end(key)
    return _models[key]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _devices() -> tuple[tuple[str, str], ...]:
    import torch

    cards = [(f"cuda:{i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    return (("cpu", "Processor (CPU)"), *cards)
