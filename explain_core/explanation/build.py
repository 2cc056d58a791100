"""From a backend's plain arrays to an `Explanation`: the labels go on here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from explain_core.errors import InputError
from explain_core.explanation.labels import label_array, unique_labels
from explain_core.explanation.result import Explanation

if TYPE_CHECKING:
    from explain_core.backends.protocol import GateTrace


@dataclass(frozen=True)
class LabelledInput:
    """One explained input with its labels. N is samples, K explained outputs.

    ``dims`` names the axes after the sample axis, e.g. ``("time", "feature")``. ``coords`` has the labels of
    an axis by its name: one label per position, or for labels that differ between samples (such as the
    dates of sliding windows) an array (N, positions), which becomes the coordinate ``time_label``.
    Axes without labels are numbered from 0. ``along`` has further coordinates by name, each with its axes, sample
    first; among them ``token`` and ``length``, and ``add_offset`` and ``scale_factor`` (F,): own units are
    value * scale + offset.
    """

    name: str
    values: np.ndarray  # (N, ...)
    baseline: np.ndarray  # (N, ...); the mean over a background
    attributions: np.ndarray  # (K, N, ...)
    dims: tuple[str, ...]
    coords: Mapping[str, Sequence | np.ndarray] = field(default_factory=dict)
    tokens: np.ndarray | None = None  # (N, ...): the text of each token id
    lengths: np.ndarray | None = None  # (N,): real timesteps of padded sequences
    along: Mapping[str, tuple[tuple[str, ...], np.ndarray]] = field(default_factory=dict)


def build_explanation(
    inputs: Sequence[LabelledInput],
    prediction: np.ndarray,
    baseline_prediction: np.ndarray,
    *,
    output_labels: Sequence[str],
    keep_output: bool,
    sample_labels: Sequence | np.ndarray | None = None,
    gates: Mapping[str, GateTrace] | None = None,
    embedding_attributions: Mapping[str, np.ndarray] | None = None,
    notes: Sequence[str] = (),
    attrs: Mapping[str, Any] | None = None,
) -> Explanation:
    """Put labels on plain arrays.

    Args:
        inputs: the explained inputs, at least one.
        prediction, baseline_prediction: (N, K).
        output_labels: K labels, all different.
        keep_output: whether attributions and gates keep the ``output`` dimension; if not, K must be 1.
        sample_labels: N labels, all different; numbers from 0 if None.
        gates: by layer name.
        embedding_attributions: (K, N, ..., E) by input name.
        notes: sentences that the person should read.
        attrs: plain values (numbers, text, None, lists and dicts of them); ``dtype`` sets the tolerance.

    Raises:
        InputError: labels that do not fit, or the same label twice.
    """
    n, k = prediction.shape
    coords = {
        "sample": unique_labels(np.arange(n) if sample_labels is None else sample_labels, n, "sample"),
        "output": unique_labels(output_labels, k, "output"),
    }
    unique_labels([item.name for item in inputs], len(inputs), "input")

    def by_output(array: np.ndarray, dims: Sequence[str], extra: Mapping[str, Any], name: str = "") -> xr.DataArray:
        labels = {"sample": coords["sample"], **extra}
        if not keep_output:
            (array,) = array
            return xr.DataArray(array, labels, ("sample", *dims), name)
        return xr.DataArray(array, {"output": coords["output"], **labels}, ("output", "sample", *dims), name)

    attributions, values, baselines, embeddings = {}, {}, {}, {}
    for item in inputs:
        axes = _axis_coords(item, n)
        one = xr.DataArray(item.values, {"sample": coords["sample"], **axes}, ("sample", *item.dims), item.name)
        values[item.name] = one
        baselines[item.name] = one.copy(deep=False, data=item.baseline)  # labels are looked into once
        if keep_output:
            attributions[item.name] = by_output(item.attributions, item.dims, axes, item.name)
        else:
            attributions[item.name] = one.copy(deep=False, data=item.attributions[0])
        if embedding_attributions and item.name in embedding_attributions:
            array = embedding_attributions[item.name]
            labels = {**axes, "embedding": np.arange(array.shape[-1])}
            embeddings[item.name] = by_output(array, (*item.dims, "embedding"), labels, item.name)

    several = len(inputs) > 1
    explained = xr.DataArray(prediction, coords, ("sample", "output"), "prediction")
    of_baseline = explained.copy(deep=False, data=baseline_prediction).rename("baseline_prediction")
    return Explanation(
        attributions=attributions if several else attributions[inputs[0].name],
        inputs=values if several else values[inputs[0].name],
        baselines=baselines if several else baselines[inputs[0].name],
        prediction=explained,
        baseline_prediction=of_baseline,
        gates={
            name: _gate_dataset(trace, coords, keep_output, time_labels(attributions, trace.mass.shape[-1]))
            for name, trace in (gates or {}).items()
        },
        embedding_attributions=embeddings,
        notes=list(notes),
        attrs=_plain(dict(attrs or {})),
    )


def _axis_coords(item: LabelledInput, n: int) -> dict[str, Any]:
    """Coordinates of one input's axes, and those that go with the values."""
    coords: dict[str, Any] = {}
    for dim, size in zip(item.dims, item.values.shape[1:], strict=True):
        labels = label_array(item.coords.get(dim, np.arange(size)))
        if labels.shape not in ((size,), (n, size)):
            raise InputError(
                f"{dim!r} has {size} positions but {labels.shape[-1]} labels.", where=f"input {item.name!r}"
            )
        if labels.ndim == 2:
            coords[f"{dim}_label"] = (("sample", dim), labels)
            labels = np.arange(size)
        coords[dim] = labels
    if item.tokens is not None:
        coords["token"] = (("sample", *item.dims), label_array(item.tokens))
    if item.lengths is not None:
        coords["length"] = ("sample", np.asarray(item.lengths, dtype=np.int64))
    for name, (dims, values) in item.along.items():
        fits = _PLACES.get(name, lambda dims, axes: True)(dims, item.dims)
        if fits and name not in coords and name not in _NO_COORDINATES:
            coords[name] = (dims, values.astype(_TYPES[name]) if name in _TYPES else label_array(values))
    return coords


_TYPES = {"length": np.int64, "add_offset": np.float64, "scale_factor": np.float64}
_PLACES: dict[str, Callable[[tuple, tuple], bool]] = {
    "length": lambda dims, axes: dims == ("sample",),
    "token": lambda dims, axes: dims == ("sample", *axes),
    "time_label": lambda dims, axes: dims == ("sample", "time"),
    "add_offset": lambda dims, axes: dims == ("feature",),
    "scale_factor": lambda dims, axes: dims == ("feature",),
}
"""Coordinates with a meaning here, and along which axes they have it."""

_NO_COORDINATES = ("sample", "output", "embedding", "attribution", "value", "baseline", "embedding_attribution")
"""Names of axes and arrays of a result."""


def time_labels(attributions: Mapping[str, xr.DataArray], steps: int) -> dict[str, Any]:
    """The time labels of the inputs with that many timesteps; numbers where they have none or disagree."""
    found = [a for a in attributions.values() if a.sizes.get("time") == steps]
    if not found or not all(found[0]["time"].equals(other["time"]) for other in found):
        return {"time": np.arange(steps)}
    return {name: found[0][name].variable for name in ("time", "time_label", "length") if name in found[0].coords}


def _gate_dataset(
    trace: GateTrace, coords: Mapping[str, Any], keep_output: bool, time: Mapping[str, Any]
) -> xr.Dataset:
    """What one recurrent layer did; ``coords`` are those of samples and outputs, and labels are looked into once."""
    unit = np.arange(trace.carry.shape[-1])
    if trace.lengths is not None and "length" not in time:
        time = {**time, "length": ("sample", trace.lengths.max(0))}
    steps, pair = ("sample", "time"), ("member", "sample", "time")
    variables: dict[str, tuple] = {
        name: (("output", *dims), array) if keep_output else (dims, array[0])
        for name, dims, array in (
            ("contribution", (*steps, "gate", "unit"), trace.contribution),
            ("carry", (*steps, "unit"), trace.carry),
            ("mass", steps, trace.mass),
        )
    }
    variables["activation"] = (*pair, "gate", "unit"), trace.activation
    # A projected LSTM has fewer hidden states than cells.
    variables["state"] = (*pair, "unit" if trace.state.shape[-1] == len(unit) else "projection"), trace.state
    if trace.cell is not None:
        variables["cell"] = (*pair, "unit"), trace.cell
    if trace.input is not None:
        variables["input"] = (*pair, "channel"), trace.input
    for name, array in (("initial_state", trace.initial_state), ("initial_cell", trace.initial_cell)):
        if array is not None:
            last = "unit" if array.shape[-1] == len(unit) else "projection"
            variables[name] = ("member", "sample", last), array
    labels = {"sample": coords["sample"], **time, "gate": label_array(trace.gates), "unit": unit}
    labels |= {"output": coords["output"]} if keep_output else {}
    labels |= {"member": label_array(["test", "baseline"])}
    return xr.Dataset(variables, labels, {"kind": trace.kind} | ({"backwards": 1} if trace.backwards else {}))


def _plain(value: Any) -> Any:
    """Numbers, text, None, and lists and dicts of them: what a file gives back unchanged."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
