"""What is to be explained, from a demo or from uploaded files: labelled inputs, names of outputs.

Plain Python, no Streamlit: the sidebar chooses, this module prepares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.demos import Demo
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import ModelSource
from explain_core.models import ModelSummary
from explain_core.sequences import Scaling, single
from explain_core.sequences.fitting import fit
from ui.baselines import Baseline


@dataclass(frozen=True)
class Subject:
    """One sequence and the model that is to be explained on it.

    ``inputs`` is what `explain_core.explain` takes for one sample; several inputs are a dict whose first is
    the sequence.
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

    @property
    def series(self) -> xr.DataArray:
        """The sequence itself."""
        return next(iter(self.inputs.values())) if isinstance(self.inputs, dict) else self.inputs

    def request(self, baseline: Baseline, target: Any, backend: str, device: str) -> Request:
        """The job that explains this subject."""
        values = baseline.values
        if isinstance(self.inputs, dict) and not isinstance(values, str):
            values = {next(iter(self.inputs)): values}
        return Request(
            model=self.model,
            inputs=self.inputs,
            baselines=values,
            target=target,
            background=baseline.background,
            backend=backend,
            device=device,
            output_names=self.output_names,
        )


def request_key(request: Request) -> str:
    """A digest of everything in a request: equal requests have equal results."""
    model = request.model
    what = [str(model.path), model.architecture, str(model.code), request.inputs, request.baselines, request.background]
    return digest([*what, request.target, request.output_names, request.backend, request.device])


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
) -> Subject:
    """One uploaded sequence in the form that the opened model takes.

    Raises:
        InputError: the sequence does not fit; says what the model takes and what was found, with the likely fixes.
    """
    one = single(sequences, index)
    return Subject(
        title=source.path.name,
        sequence=str(one["sample"].values[0]),
        model=source,
        inputs=fit(one, summary.inputs, source.path.name, scaling, pad_tokens),
        time_label="Word" if one.ndim == 2 else "Timestep",
    )
