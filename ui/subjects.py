"""What is to be explained, from a demo or from uploaded files: labelled inputs, baselines, names of outputs.

Plain Python, no Streamlit: the sidebar chooses, this module prepares.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.demos import Demo
from explain_core.errors import InputError
from explain_core.explanation.own_units import OFFSET
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import ModelSource
from explain_core.models import ModelSummary
from explain_core.sequences import Scaling, single
from explain_core.sequences.fitting import fit, scaled_values
from explain_core.sequences.labelled import lengths_of, valid_steps

_MOST_BACKGROUND = 30  # sequences that a background takes from the file; each costs an explanation


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


_HELD = Baseline("First step, held", "its own first step, held to the end", "first")


def demo_baselines(demo: Demo) -> list[Baseline]:
    """The demo's baselines, its own choice first."""
    n = len(demo.background)
    mean = Baseline("Average of the training data", "an average sequence", demo.mean_baseline)
    background = Baseline(
        f"{n} training sequences, averaged", f"{n} training sequences on average", demo.background, True
    )
    first, second = (background, mean) if demo.default_baseline == "background" else (mean, background)
    return [first, second, Baseline("Zeros", "a sequence of zeros", "zeros"), _HELD]


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


def upload_baselines(
    sequences: xr.DataArray,
    own: xr.DataArray | None,
    fitted: xr.DataArray,
    others: Callable[[int], xr.DataArray] | None = None,
    padding: int = 0,
) -> list[Baseline]:
    """Zeros, the middle of what was uploaded, the first step, and the person's own file, which comes first when given.

    Args:
        sequences: all of the file, in its own units.
        own: the file of baselines, in the same units.
        fitted: the sequence that is explained, as the model takes it.
        others: the sequence at a position, as the model takes it.
        padding: the id that fills up token ids.
    """
    if "feature" not in fitted.dims:
        blank = "zeros" if padding == 0 else np.full(fitted.shape, padding, dtype=fitted.dtype)
        found = [Baseline("Padding only", "an empty text", blank)]
    else:
        steps = valid_steps(sequences)
        mean, median = (_everywhere(middle(steps, axis=0), fitted) for middle in (np.mean, np.median))
        zeros = "a sequence of zeros" if OFFSET not in fitted.coords else "zeros after scaling"
        found = [
            Baseline("Zeros" if OFFSET not in fitted.coords else "Zeros after scaling", zeros, "zeros"),
            Baseline("Average of my sequences", "an average step of your sequences", mean),
            Baseline("Median of my sequences", "a median step of your sequences", median),
            *([_HELD] if "time" in fitted.dims else []),
        ]
    background = _background(sequences, fitted, others) if others is not None else None
    if background is not None:
        found.append(background)
    if own is not None:
        found.insert(0, _own_baseline(_in_order(own, sequences), fitted))
    return found


def _everywhere(step: np.ndarray, fitted: xr.DataArray) -> np.ndarray:
    """One step in the person's own units at all steps, once for each where steps lie side by side."""
    step = np.tile(step, fitted.sizes["feature"] // len(step))
    return np.broadcast_to(scaled_values(step, fitted), fitted.shape).astype(fitted.dtype)


def _in_order(own: xr.DataArray, sequences: xr.DataArray) -> xr.DataArray:
    """The file of baselines with its columns in the order of the sequences', by their names where both have names.

    Raises:
        InputError: they have other names, or the baselines differ in length.
    """
    if (lengths_of(own) != own.sizes["time"]).any():
        raise InputError(
            f"The baselines have {', '.join(map(str, sorted(set(lengths_of(own).tolist()))))} timesteps.",
            where="your baseline",
            hint="Give baselines of one length: that of the sequence, or one timestep that is used for all.",
        )
    if "feature" not in own.dims or "feature" not in sequences.dims:
        return own
    mine, theirs = ([str(name) for name in each["feature"].values] for each in (own, sequences))
    if sorted(mine) == sorted(theirs):
        return own.isel(feature=[mine.index(name) for name in theirs])
    if any(all(_NUMBERED.fullmatch(name) for name in names) for names in (mine, theirs)):
        return own
    raise InputError(
        f"The baseline has the columns {', '.join(mine)}; the sequence has {', '.join(theirs)}.",
        where="your baseline",
        hint="Give the columns of the sequence, in any order, or none of their names.",
    )


_NUMBERED = re.compile(r"feature \d+")  # what columns are called that have no names


def _background(
    sequences: xr.DataArray, fitted: xr.DataArray, others: Callable[[int], xr.DataArray]
) -> Baseline | None:
    """Other sequences of the same length, evenly chosen, whose explanations are averaged (DeepSHAP)."""
    lengths = lengths_of(sequences)
    name = str(fitted["sample"].values[0])
    names = [str(each) for each in sequences["sample"].values]
    own = lengths[names.index(name)] if name in names else None
    same = [i for i, length in enumerate(lengths) if length == own and names[i] != name]
    if len(same) < 2:
        return None
    chosen = [same[i] for i in np.unique(np.linspace(0, len(same) - 1, min(len(same), _MOST_BACKGROUND)).astype(int))]
    values = np.concatenate([others(i).values for i in chosen])
    if values.shape[1:] != fitted.shape[1:]:
        return None
    n = len(chosen)
    return Baseline(f"{n} other sequences, averaged", f"{n} of your other sequences on average", values, True)


def _own_baseline(own: xr.DataArray, fitted: xr.DataArray) -> Baseline:
    values = own.values
    if "feature" not in fitted.dims:
        values = values if own.ndim == 2 else values[..., 0]
    elif "time" not in fitted.dims:
        values = values.reshape(len(values), -1)
    steps = fitted.sizes.get("time", 1)
    if values.ndim > 1 and values.shape[1] == 1 and "time" in fitted.dims:
        values = np.repeat(values, steps, axis=1)
    if values.shape[1:] != fitted.shape[1:]:
        raise InputError(
            f"The baseline has {own.sizes['time']} timesteps and {own.sizes.get('feature', 1)} features; the "
            f"sequence has {steps} and {fitted.sizes.get('feature', 1)}.",
            where="your baseline",
            hint="Give as many of each, or one timestep that is used for all.",
        )
    several = len(values) > 1
    words = f"your {len(values)} baselines on average" if several else "your baseline"
    return Baseline("My baseline file", words, scaled_values(values, fitted).astype(fitted.dtype), background=several)
