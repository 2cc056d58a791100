"""One sample, output and input as plain (timestep, feature) arrays, and the detail of one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from explain_core.errors import InputError
from explain_core.explanation import Explanation, by_name
from explain_core.explanation.labels import label_texts, position_of, spoken_labels
from explain_core.explanation.own_units import in_own_units


@dataclass(frozen=True)
class Panel:
    """What the figures draw. T is 1 and ``time`` None for an input without a time axis.

    Values and baselines of a scaled input are in the person's own units; attributions are the same in either.
    """

    name: str
    attribution: np.ndarray  # (T, F)
    value: np.ndarray  # (T, F)
    baseline: np.ndarray  # (T, F)
    size: float  # sum|attributions| of the sample and output over all inputs; what shares are of
    time: np.ndarray | None  # T labels
    feature_labels: np.ndarray  # F labels
    features: list[str]  # F names, with units where known
    tokens: list[str] | None  # T texts
    sample: str
    output: str

    @property
    def share(self) -> np.ndarray:
        """Signed part of all |attribution|, (T, F)."""
        return self.attribution / self.size if self.size else np.zeros_like(self.attribution)


def panel_of(
    explanation: Explanation,
    sample: Any,
    output: Any,
    input: str | None = None,
    units: Mapping[str, str] | None = None,
    *,
    whole: bool = False,
) -> Panel:
    """Select and flatten. Padding after a sample's length is left out, unless it has attributions.

    Args:
        input: name of the input; None is the first.
        whole: keep the padding.

    Raises:
        InputError, TargetError: no such sample, input or output.
    """
    name = input_name(explanation, input)
    row, column = explanation.sample_position(sample), explanation.output_position(output)
    attribution = by_name(explanation.attributions)[name].isel(sample=row)
    attribution = attribution.isel(output=column) if "output" in attribution.dims else attribution
    value, baseline = (by_name(each)[name].isel(sample=row) for each in (explanation.inputs, explanation.baselines))

    one = explanation.sel(slice(row, row + 1), slice(column, column + 1))
    axes = [str(axis) for axis in value.dims if axis != "time"]
    arrays = [_flat(array, axes) for array in (attribution, in_own_units(value), in_own_units(baseline))]
    steps = arrays[0].shape[0] if whole else _steps_to_show(arrays[0], value)
    labels, names = _feature_names(value, axes, name, units or {})
    return Panel(
        name=name,
        attribution=arrays[0][:steps],
        value=arrays[1][:steps],
        baseline=arrays[2][:steps],
        size=float(one.attribution_size[0, 0]),
        time=time_labels(value)[:steps] if "time" in value.dims else None,
        feature_labels=labels,
        features=names,
        tokens=_tokens(value)[:steps] if value.dims == ("time",) and _is_token(value) else None,
        sample=str(explanation.samples[row]),
        output=explanation.outputs[column],
    )


def input_name(explanation: Explanation, name: str | None) -> str:
    """The name of an explained input; the first one for None."""
    names = explanation.input_names
    if name is not None and name not in names:
        raise InputError(f"There is no explained input {name!r}.", hint=f"There are: {', '.join(names)}.")
    return names[0] if name is None else name


def time_labels(array: xr.DataArray | xr.Dataset) -> np.ndarray:
    """Labels of the timesteps of one sample: its own where it has some, else those of the axis."""
    return array["time_label" if "time_label" in array.coords else "time"].values


def cell_detail(
    explanation: Explanation,
    sample: Any = None,
    output: Any = 0,
    time: Any = (0, 0),
    feature: Any = 0,
    input: str | None = None,
) -> dict[str, Any]:
    """Everything about one cell of `attribution_figure`.

    Args:
        time: label or position; a pair (first, last) of positions is a run of steps; None is all of them.
        feature: label or position; None is all features.

    Returns:
        ``input_name``, ``time`` and ``feature`` as text (empty where there is no such axis), ``attribution``,
        ``input`` and ``baseline`` (means over a run), ``share`` of the sum of all |attributions|, ``token``
        for token ids (else None).
    """
    panel = panel_of(explanation, sample, output, input, whole=True)
    first, last = _run_of(time, panel)
    steps = slice(first, last + 1)
    columns = slice(None)
    if feature is not None:
        column = position_of(feature, panel.feature_labels, "feature", InputError)
        columns = slice(column, column + 1)
    attribution = float(panel.attribution[steps, columns].sum())
    times = spoken_labels(panel.time) if panel.time is not None else [""] * (last + 1)
    return {
        "input_name": panel.name,
        "time": times[first] if first == last else f"{times[first]} to {times[last]}",
        "feature": "" if feature is None or panel.tokens else panel.features[columns.start],
        "attribution": attribution,
        "input": float(panel.value[steps, columns].mean()),
        "baseline": float(panel.baseline[steps, columns].mean()),
        "share": attribution / panel.size if panel.size else 0.0,
        "token": panel.tokens[first] if panel.tokens and first == last else None,
    }


def click_detail(
    explanation: Explanation,
    sample: Any,
    output: Any,
    customdata: Sequence[float] | Mapping[str, float],
    input: str | None = None,
) -> dict[str, Any]:
    """`cell_detail` of a clicked point of `attribution_figure`, from the point's ``customdata``.

    Streamlit gives ``customdata`` as a dict with the keys "0", "1", ...; plotly itself as a list.
    """
    if isinstance(customdata, Mapping):
        customdata = [customdata[str(i)] for i in range(len(customdata))]
    feature, first, last = (int(number) for number in customdata[:3])
    labels = panel_of(explanation, sample, output, input, whole=True).feature_labels
    return cell_detail(explanation, sample, output, (first, last), None if feature < 0 else labels[feature], input)


def _run_of(time: Any, panel: Panel) -> tuple[int, int]:
    last = len(panel.attribution) - 1
    if time is None or panel.time is None:
        return 0, last
    if isinstance(time, tuple):
        first, end = (int(step) for step in time)
        if not 0 <= first <= end <= last:
            raise InputError(f"There are no timesteps {first} to {end}.", hint=f"There are 0 to {last}.")
        return first, end
    step = position_of(time, panel.time, "timestep", InputError)
    return step, step


def _flat(array: xr.DataArray, axes: list[str]) -> np.ndarray:
    time = ["time"] if "time" in array.dims else []
    values = array.transpose(*time, *axes).values.astype(np.float64)
    return values.reshape(values.shape[0] if time else 1, -1)


def _steps_to_show(attribution: np.ndarray, value: xr.DataArray) -> int:
    steps = attribution.shape[0]
    if "length" not in value.coords or "time" not in value.dims:
        return steps
    moved = np.flatnonzero((attribution != 0).any(axis=1))
    return max(1, min(steps, max(int(value["length"]), moved[-1] + 1 if moved.size else 0)))


def _feature_names(
    value: xr.DataArray, axes: list[str], name: str, units: Mapping[str, str]
) -> tuple[np.ndarray, list]:
    if not axes:
        return np.array([name]), [name]
    texts = [label_texts(value[axis].values) for axis in axes]
    if len(axes) == 1:
        unit = [f" ({units[text]})" if units.get(text) else "" for text in texts[0]]
        word = "feature " if axes == ["feature"] else f"{axes[0]} "
        bare = value[axes[0]].dtype.kind in "iuf"  # a bare number says too little
        return value[axes[0]].values, [f"{word if bare else ''}{t}{u}" for t, u in zip(texts[0], unit, strict=True)]
    cells = np.ndindex(*(len(text) for text in texts))
    names = [
        ", ".join(f"{axis} {texts[k][i]}" for k, (axis, i) in enumerate(zip(axes, cell, strict=True))) for cell in cells
    ]
    return np.array(names), names


def _is_token(value: xr.DataArray) -> bool:
    return "token" in value.coords or value.dtype.kind in "iu"


def _tokens(value: xr.DataArray) -> list[str]:
    return [str(text) for text in (value["token"] if "token" in value.coords else value).values]
