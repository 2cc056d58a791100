"""Opening models in workers, where they stay open for the jobs that come next. Frameworks are imported inside."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from explain_core.errors import ModelFileError
from explain_core.jobs.frameworks import warm_up
from explain_core.jobs.job import Report
from explain_core.models import LoadedModel, ModelSummary, framework_of, load_model
from explain_core.models.permission import FLAG, code_is_trusted, may_open_programs

_KEPT_MODELS = 2
_models: OrderedDict[tuple, LoadedModel] = OrderedDict()  # of this process, by content and options


@dataclass(frozen=True)
class ModelSource:
    """A model file and, for a state dict, what completes it.

    Attributes:
        path: the file.
        architecture: what a state dict does not say, by the names of `explain_core.models.torch.options.Options`.
        code: a Python file with the model's class.
        framework: what opens it, "torch" or "tensorflow", as `framework_of_file` found; a process is to import one of
            them only. Empty where that is left to the process.
    """

    path: Path
    architecture: dict[str, str] = field(default_factory=dict)
    code: Path | None = None
    framework: str = ""


@dataclass(frozen=True)
class OpenedModel:
    """What the app learns of a model: its summary, and the devices that can run it (id and name)."""

    summary: ModelSummary
    devices: tuple[tuple[str, str], ...]


def framework_of_file(report: Report, path: Path) -> str:
    """The framework that opens a model file, found out in a process that has imported none."""
    report(0.1, f"Looking at {path.name}")
    return framework_of(path)


def open_model(report: Report, source: ModelSource) -> OpenedModel:
    """Open a model and keep it for later jobs."""
    model = open_kept(report, source)
    return OpenedModel(model.summary, _devices(model.framework))


def open_kept(report: Report, source: ModelSource) -> LoadedModel:
    """The model, which stays open in this process for the jobs that come next.

    Raises:
        ModelFileError: also where code came with the model and this server was not started to trust it.
    """
    if source.code is not None and not code_is_trusted():
        raise ModelFileError(
            "Python code came with the model, and this server does not run any.",
            where=source.code.name,
            hint=f"Start the app with {FLAG} to allow it: streamlit run app.py -- {FLAG}",
        )
    code = None if source.code is None else _digest(source.code)
    key = (_digest(source.path), tuple(sorted(source.architecture.items())), code)
    if key not in _models:
        warm_up(report, source.framework or framework_of(source.path))
        report(0.05, "Opening the model")
        _models[key] = load_model(
            source.path, architecture=source.architecture, code=source.code, data_only=not may_open_programs()
        )
        while len(_models) > _KEPT_MODELS:
            _models.popitem(last=False)
    _models.move_to_end(key)
    return _models[key]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _devices(framework: str) -> tuple[tuple[str, str], ...]:
    if framework == "torch":
        import torch

        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    else:
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        cards = [tf.config.experimental.get_device_details(card).get("device_name", card.name) for card in found]
    return (("cpu", "Processor (CPU)"), *((f"cuda:{i}", name) for i, name in enumerate(cards)))
