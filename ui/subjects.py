"""What is to be explained, from a demo or from uploaded files: labelled inputs, names of outputs.

Plain Python, no Streamlit: the sidebar chooses, this module prepares.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.demos import Demo
from explain_core.jobs.frameworks import FRAMEWORKS
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import ModelSource
from explain_core.models import ModelSummary
from explain_core.report import Asked
from explain_core.runs.engine import engine_digest
from explain_core.sequences import Scaling, single
from explain_core.sequences.fitting import fit
from explain_core.sequences.roles import samples_first
from ui.baselines import Baseline


@dataclass(frozen=True)
class Subject:
    """One sequence and the model that is to be explained on it.

    ``inputs`` is what `explain_core.explain` takes for one sample, samples first; several inputs are a dict whose first
    is the sequence, and ``baselines_beside`` has what those are compared with for which nobody chooses it, such as
    lengths. ``time_first`` names the inputs that the model takes as (time, sample, ...). ``output_labels`` are names
    for the targets of a list, which are steps of an output in time where ``output_steps`` says so.
    """

    title: str
    sequence: str
    model: ModelSource
    inputs: xr.DataArray | dict[str, Any]
    units: Mapping[str, str] = field(default_factory=dict)
    output_label: str = "Output"
    output_names: tuple[str, ...] | None = None
    output_unit: str = ""
    observed: str | float | None = None
    note: str = ""
    time_label: str = "Timestep"
    time_first: frozenset[str] = frozenset()
    baselines_beside: Mapping[str, Any] = field(default_factory=dict)
    output_labels: tuple[str, ...] | None = None
    output_steps: bool = False

    @property
    def series(self) -> xr.DataArray:
        """The sequence itself."""
        return next(iter(self.inputs.values())) if isinstance(self.inputs, dict) else self.inputs

    @property
    def main(self) -> str:
        """Of several inputs, the name of the sequence; else empty."""
        return next(iter(self.inputs)) if isinstance(self.inputs, dict) else ""

    def request(self, baseline: Baseline, target: Any, backend: str, device: str) -> Request:
        """The job that explains this subject."""
        values: Any = baseline.values
        first = self.main
        if isinstance(values, Mapping):
            values = {**self.baselines_beside, **values}
        elif first:
            values = {first: values, **self.baselines_beside}
        return Request(
            model=self.model,
            inputs=self.as_taken,
            baselines=self._turned_baselines(values),
            target=target,
            background=baseline.background,
            backend=backend,
            device=device,
            output_names=self.output_names,
            labels=self.output_labels,
            main=first,
            fold=self.series.ndim > 3,
        )

    @property
    def beside(self) -> dict[str, Any]:
        """The inputs beside the sequence by name."""
        return dict(list(self.inputs.items())[1:]) if isinstance(self.inputs, dict) else {}

    @property
    def as_taken(self) -> xr.DataArray | dict[str, Any]:
        """The inputs in the layout of the model."""
        if not self.time_first:
            return self.inputs
        if not isinstance(self.inputs, dict):
            return _turned(self.inputs)
        return {name: _turned(value) if name in self.time_first else value for name, value in self.inputs.items()}

    def _turned_baselines(self, values: Any) -> Any:
        """Arrays of baselines in the layout of the model, one by name or alone."""

        def turned(value: Any) -> Any:
            return value if isinstance(value, str) else np.swapaxes(value, 0, 1)

        if not self.time_first:
            return values
        if not isinstance(values, dict):
            return turned(values)
        return {name: turned(value) if name in self.time_first else value for name, value in values.items()}


def asked_of(request: Request) -> Asked:
    """What was asked for, without the model's file: to be asked for again from Python."""
    return Asked(request.inputs, request.baselines, request.target, request.background, request.output_names)


def _turned(value: xr.DataArray) -> xr.DataArray:
    """Time before the samples; the library goes by the names."""
    return value.transpose("time", "sample", ...)


def request_key(request: Request) -> str:
    """A digest of everything in a request, and of what answers it: equal requests have equal results."""
    model = request.model
    files = [model.path.name, file_digest(model.path), model.code and file_digest(model.code)]
    what = [*files, model.architecture, request.inputs, request.baselines, request.background]
    how = [request.backend, request.device, request.labels, request.main, request.fold, engine_digest()]
    return digest([*what, request.target, request.output_names, *how])


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, which are read once while the file stays as it is."""
    try:
        found = path.stat()
    except OSError:  # it is gone; whoever opens it says so
        return ""
    return _file_digest(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _file_digest(path: Path, _changed: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """A digest of arrays, and of lists and dicts of them, labels included."""
    found = hashlib.sha256()
    _feed(found.update, value)
    return found.hexdigest()[:24]


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    if isinstance(value, xr.DataArray):
        _feed(update, [value.values, {str(name): coord.values for name, coord in value.coords.items()}])
    elif isinstance(value, np.ndarray):
        update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        _feed(update, [list(pair) for pair in value.items()])
    elif is_dataclass(value):
        _feed(update, [type(value).__name__, *vars(value).values()])
    elif isinstance(value, list | tuple):
        update(f"[{len(value)}".encode())
        for item in value:
            _feed(update, item)
    else:
        update(f"{type(value).__name__}:{value};".encode())


# Demos.


def demo_subject(demo: Demo, index: int) -> Subject:
    """One held-out sequence of a demo, with the labels that people read."""
    steps = len(demo.times[index])
    features = [feature.label for feature in demo.features]
    series = xr.DataArray(
        demo.x[index : index + 1],
        dims=("sample", "time", "feature"),
        coords={
            "sample": [demo.names[index]],
            "time": _padded_times(demo.times[index], demo.x.shape[1]),
            "feature": features,
        },
        name=demo.input_name,
    )
    inputs: xr.DataArray | dict[str, Any] = series
    if demo.lengths_name is not None:
        series = series.assign_coords(length=("sample", [steps]))
        inputs = {demo.input_name: series, demo.lengths_name: demo.lengths[index : index + 1]}
    held_out = demo.held_out[index]
    return Subject(
        title=demo.title,
        sequence=demo.names[index],
        model=ModelSource(demo.model_path, framework=demo.framework),
        inputs=inputs,
        units={feature.label: feature.unit for feature in demo.features},
        output_label=demo.output_label,
        output_names=demo.output_names if len(demo.output_names) > 1 else (demo.output_label,),
        output_unit=demo.output_unit,
        observed=held_out.observed,
        time_label=demo.time_label,
        note=held_out.note,
    )


def _padded_times(times: tuple[str, ...], size: int) -> np.ndarray:
    """Labels of the steps; padded steps go on counting, and are not shown."""
    numbers = pd.to_numeric(pd.Series(times), errors="coerce")
    if numbers.notna().all():
        start = numbers.astype(int).tolist()
        return np.array(start + [start[-1] + i + 1 for i in range(size - len(start))])
    if len(times) == size:
        return pd.to_datetime(pd.Series(times)).to_numpy().astype("datetime64[s]")
    return np.array([*times, *(f"padding {i + 1}" for i in range(size - len(times)))])


# Uploads.


def upload_subject(
    source: ModelSource,
    summary: ModelSummary,
    sequences: xr.DataArray,
    index: int,
    scaling: Scaling | None = None,
    pad_tokens: tuple[int, str] = (0, "end"),
    *,
    where: str,
    time_first: frozenset[str] = frozenset(),
    beside: Mapping[str, xr.DataArray | np.ndarray] | None = None,
) -> Subject:
    """One uploaded sequence in the form that the opened model takes.

    Args:
        where: the name of the sequences' file, for errors.
        time_first: names of the inputs that the model takes as (time, sample, ...).
        beside: the other inputs of this sequence by name, see `fit`.

    Raises:
        InputError: the sequence does not fit; says what the model takes and what was found, with the likely fixes.
    """
    one = single(sequences, index)
    inputs = fit(one, samples_first(summary.inputs, time_first), where, scaling, pad_tokens, beside)
    series = next(iter(inputs.values())) if isinstance(inputs, dict) else inputs
    return Subject(
        title=title_of(source, summary),
        sequence=str(one["sample"].values[0]),
        model=source,
        inputs=inputs,
        time_label="Word" if one.ndim == 2 else _time_label(one),
        time_first=time_first if "time" in series.dims else frozenset(),
    )


def _time_label(one: xr.DataArray) -> str:
    """What a label on the axis of time is."""
    labels = one["time_label" if "time_label" in one.coords else "time"].values
    return "Date" if np.issubdtype(labels.dtype, np.datetime64) else "Timestep"


def title_of(source: ModelSource, summary: ModelSummary) -> str:
    """A model in words, of its file's name and its layers, e.g. "Gru forecaster: GRU in PyTorch"."""
    words = re.sub(r"[\s_-]+", " ", source.path.stem).strip() or "Model"
    kinds = list(dict.fromkeys(layer.kind for layer in summary.recurrent_layers))[:3]
    made = " and ".join(kinds) or "model"
    framework = FRAMEWORKS.get(source.framework, "")
    about = f"{made} in {framework}" if framework else made
    return f"{words[0].upper()}{words[1:]}: {about}"
