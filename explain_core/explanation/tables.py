"""An `Explanation` as a table, and as shap's own result type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.errors import InputError
from explain_core.explanation.arrays import by_name
from explain_core.explanation.labels import label_texts

if TYPE_CHECKING:
    import shap

    from explain_core.explanation.result import Explanation

_TOTALS = {"timestep_feature": None, "feature": "feature", "time": "time"}


def to_dataframe(explanation: Explanation) -> pd.DataFrame:
    """See `Explanation.to_dataframe`."""
    table, shown = whole_table(explanation)
    return table[shown].reset_index(drop=True)


def whole_table(explanation: Explanation) -> tuple[pd.DataFrame, np.ndarray]:
    """`Explanation.to_dataframe` with the padding, and (rows,) which rows are none of it."""
    values, baselines = by_name(explanation.inputs), by_name(explanation.baselines)
    size = explanation.attribution_size.values[..., None]
    tables, shown = [], []
    for name, part in by_name(explanation.attributions).items():
        axes = [str(axis) for axis in values[name].dims[1:]]
        dims = ("sample", "output", *axes)
        whole = _with_output(part, explanation).transpose(*dims)

        def column(array: xr.DataArray, whole: xr.DataArray = whole) -> np.ndarray:
            return array.broadcast_like(whole).transpose(*whole.dims).values.ravel()

        flat = whole.values.astype(np.float64).reshape(*whole.shape[:2], -1)
        columns: dict[str, Any] = {dim: column(whole[dim]) for dim in ("sample", "output")}
        columns["input"] = name
        columns |= {axis: column(whole[axis]) for axis in axes}
        columns |= {extra: column(whole[extra]) for extra in ("time_label", "token") if extra in whole.coords}
        columns["value"], columns["baseline"] = column(values[name]), column(baselines[name])
        columns["attribution"] = whole.values.ravel()
        columns["share"] = np.divide(flat, size, out=np.zeros_like(flat), where=size > 0).ravel()
        tables.append(pd.DataFrame(columns))
        shown.append(column(_is_shown(whole, values[name])))
    last = ["value", "baseline", "attribution", "share"]
    table = pd.concat(tables, ignore_index=True)
    return table[[*(name for name in table.columns if name not in last), *last]], np.concatenate(shown)


def _is_shown(whole: xr.DataArray, values: xr.DataArray) -> xr.DataArray:
    """Which values of a sample are none of its padding: (sample, time), or (sample) without a time axis.

    A timestep that has attributions of any output, or comes before one that has, is not padding.
    """
    if "length" not in values.coords or "time" not in values.dims:
        return xr.ones_like(whole["sample"], dtype=bool)
    moved = (whole != 0).any([dim for dim in whole.dims if dim not in ("sample", "time")])
    steps = xr.DataArray(np.arange(1, values.sizes["time"] + 1), dims="time")
    last = (moved * steps).max("time")
    return (steps <= np.maximum(last, values["length"])).transpose("sample", "time")


def to_shap(explanation: Explanation, by: str) -> shap.Explanation:
    """See `Explanation.to_shap`."""
    if by not in _TOTALS:
        raise InputError(f"to_shap cannot group by {by!r}.", hint=f"Choose one of {', '.join(_TOTALS)}.")
    total = _TOTALS[by]
    if total is not None:
        explanation.require_axis(total)
    import shap

    several = len(explanation.input_names) > 1
    columns, data, shown, names = [], [], [], []
    for name, part in by_name(explanation.attributions).items():
        value = by_name(explanation.inputs)[name]
        axes, tokens = [str(axis) for axis in value.dims[1:]], value.coords.get("token")
        kept = axes if total is None else [axis for axis in axes if axis == total]
        summed = [axis for axis in axes if axis not in kept]
        whole = _with_output(part, explanation).sum(summed, skipna=False)
        whole = whole.transpose("sample", *kept, "output")
        columns.append(whole.values.reshape(len(whole), -1, whole.sizes["output"]))
        mean = value.mean(summed) if summed else value
        data.append(mean.values.reshape(len(mean), -1))
        readable = tokens if tokens is not None and not summed else mean
        shown.append(readable.values.astype(object).reshape(len(mean), -1))
        names += [f"{name}: {label}" if several else label for label in _names(whole, kept, name)]

    one = len(explanation.outputs) == 1
    values, base = np.concatenate(columns, axis=1), explanation.baseline_prediction.values
    has_tokens = any("token" in value.coords for value in by_name(explanation.inputs).values())
    return shap.Explanation(
        values=values[..., 0] if one else values,
        base_values=base[:, 0] if one else base,
        data=np.concatenate(data, axis=1),
        display_data=np.concatenate(shown, axis=1) if has_tokens else None,
        feature_names=names,
        output_names=explanation.outputs[0] if one else explanation.outputs,
    )


def _names(array: xr.DataArray, axes: list[str], name: str) -> list[str]:
    """``feature@time`` for every position of ``axes``, in the order of the flattened array."""
    labels = {axis: label_texts(array[axis].values) for axis in axes}
    rest = [axis for axis in axes if axis != "time"]
    names = []
    for position in np.ndindex(*(array.sizes[axis] for axis in axes)):
        at = {axis: labels[axis][i] for axis, i in zip(axes, position, strict=True)}
        feature = ", ".join(at[axis] for axis in rest) or ("" if axes == ["time"] else name)
        names.append(f"{feature}@{at['time']}" if "time" in at else feature)
    return names


def _with_output(part: xr.DataArray, explanation: Explanation) -> xr.DataArray:
    return part if "output" in part.dims else part.expand_dims(output=explanation.prediction["output"])
