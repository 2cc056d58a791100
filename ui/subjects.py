"""What is to be explained, from a demo or from uploaded files: labelled inputs, baselines, names of outputs.

Plain Python, no Streamlit: the sidebar chooses, this module prepares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.demos import Demo
from explain_core.errors import InputError
from explain_core.jobs import ModelSource, Request
from explain_core.models import ModelSummary
from explain_core.sequences import single


@dataclass(frozen=True)
class Baseline:
    """What the sequence is compared with: name in the menu, words for it in a sentence, values.

    ``values`` is "zeros" or (1 or n, time, feature); with ``background`` results are averaged over the n.
    """

    label: str
    words: str
    values: str | np.ndarray
    background: bool = False


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
    what = [str(model.path), model.architecture, request.inputs, request.baselines, request.background]
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
        model=ModelSource(demo.model_path),
        inputs=inputs,
        units={feature.label: feature.unit for feature in demo.features},
        output_label=demo.output_label,
        output_names=demo.output_names if len(demo.output_names) > 1 else (demo.output_label,),
        output_unit=demo.output_unit,
        observed=held_out.observed,
        time_label=demo.time_label,
        note=held_out.note,
    )


def demo_baselines(demo: Demo) -> list[Baseline]:
    """The demo's baselines, its own choice first."""
    n = len(demo.background)
    mean = Baseline("Average of the training data", "an average sequence", demo.mean_baseline)
    background = Baseline(
        f"{n} training sequences, averaged", f"{n} training sequences on average", demo.background, True
    )
    first, second = (background, mean) if demo.default_baseline == "background" else (mean, background)
    return [first, second, Baseline("Zeros", "a sequence of zeros", "zeros")]


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


def upload_subject(source: ModelSource, summary: ModelSummary, sequences: xr.DataArray, index: int) -> Subject:
    """One uploaded sequence in the form that the opened model takes.

    Raises:
        InputError: the sequence does not fit; says what the model takes and what was found.
    """
    one = single(sequences, index)
    return Subject(
        title=source.path.name,
        sequence=str(one["sample"].values[0]),
        model=source,
        inputs=_fitted(one, summary, source.path.name),
    )


def upload_baselines(sequences: xr.DataArray, own: xr.DataArray | None, fitted: xr.DataArray) -> list[Baseline]:
    """Zeros, the average of what was uploaded, and the person's own file, which comes first when given."""
    found = [Baseline("Zeros", "a sequence of zeros", "zeros")]
    if "feature" in fitted.dims:
        mean = _valid_steps(sequences).mean(axis=0)
        values = np.broadcast_to(mean, fitted.shape).astype(fitted.dtype)
        found.append(Baseline("Average of my sequences", "an average step of your sequences", values))
    if own is not None:
        found.insert(0, _own_baseline(own, fitted))
    return found


def _own_baseline(own: xr.DataArray, fitted: xr.DataArray) -> Baseline:
    values = own.values
    if "feature" not in fitted.dims:
        values = values[..., 0]
    steps = fitted.sizes["time"]
    if values.shape[1] == 1:
        values = np.repeat(values, steps, axis=1)
    if values.shape[1:] != fitted.shape[1:]:
        raise InputError(
            f"The baseline has {own.sizes['time']} timesteps and {own.sizes['feature']} features; the "
            f"sequence has {steps} and {fitted.sizes.get('feature', 1)}.",
            where="your baseline",
            hint="Give as many of each, or one timestep that is used for all.",
        )
    several = len(values) > 1
    words = f"your {len(values)} baselines on average" if several else "your baseline"
    return Baseline("My baseline file", words, values.astype(fitted.dtype), background=several)


def _fitted(one: xr.DataArray, summary: ModelSummary, where: str) -> xr.DataArray | dict[str, Any]:
    first, *others = summary.inputs
    if len(others) > 1 or (others and others[0].dtype not in ("int64", "int32")):
        names = ", ".join(spec.name for spec in summary.inputs)
        raise InputError(
            f"The model takes {len(summary.inputs)} inputs ({names}); the app explains models of one "
            "sequence, or of a sequence and its length.",
            where=where,
            hint="In Python, explain_core.explain takes a dict with any number of inputs.",
        )
    steps, features = one.sizes["time"], one.sizes["feature"]
    if first.takes_token_ids:
        return _as_tokens(one)
    if first.features is not None and first.features != features:
        listed = ", ".join(str(name) for name in one["feature"].values[:8])
        raise InputError(
            f"The model takes {first.features} features; the sequence has {features}: {listed}"
            f"{', ...' if features > 8 else ''}.",
            where=where,
            hint=_transpose_hint(first.features, steps),
        )
    one = one.astype(first.dtype if first.dtype.startswith("float") else "float32")
    if others:
        length = np.array([steps], dtype=others[0].dtype)
        padded = _padded(one, max(first.timesteps or steps, steps)).assign_coords(length=("sample", length))
        _check_steps(padded.sizes["time"], first.timesteps, where)
        return {first.name: padded, others[0].name: length}
    _check_steps(steps, first.timesteps, where)
    return one


def _transpose_hint(features: int, steps: int) -> str:
    if steps == features:
        return "It looks transposed: rows must be timesteps and columns features."
    return "Drop or add columns so that there is one per feature, in the order of the training data."


def _check_steps(found: int, expected: int | None, where: str) -> None:
    if expected is not None and found != expected:
        raise InputError(
            f"The model takes exactly {expected} timesteps; the sequence has {found}.",
            where=where,
            hint="Cut the sequence to that length, or export the model for this one.",
        )


def _as_tokens(one: xr.DataArray) -> xr.DataArray:
    if one.sizes["feature"] != 1 or (one.values != one.values.round()).any():
        raise InputError(
            "The model takes token ids: one whole number per timestep.",
            where="the sequence",
            hint="Give a file with one column of whole numbers.",
        )
    return one.isel(feature=0, drop=True).astype(np.int64)


def _padded(one: xr.DataArray, steps: int) -> xr.DataArray:
    missing = steps - one.sizes["time"]
    if not missing:
        return one
    times = _padded_times(tuple(str(time) for time in one["time"].values), steps)
    padded = np.pad(one.values, ((0, 0), (0, missing), (0, 0)))
    return xr.DataArray(padded, dims=one.dims, coords={**one.coords, "time": times}, name=one.name)


def _valid_steps(sequences: xr.DataArray) -> np.ndarray:
    """Every real timestep of every sequence, (steps, feature)."""
    lengths = sequences["length"].values if "length" in sequences.coords else None
    if lengths is None:
        return sequences.values.reshape(-1, sequences.sizes["feature"])
    return np.concatenate([row[:length] for row, length in zip(sequences.values, lengths, strict=True)])
