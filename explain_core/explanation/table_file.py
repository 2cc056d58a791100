"""A pandas table as arrays that NetCDF has, and back: see `file.py`.

Numbers and dates stay as they are. Any other column (text, mixed labels, truth values, gaps) is a list of the different
values as JSON and, for each row, which of them it has. The index is not kept.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr


def from_table(table: pd.DataFrame) -> xr.Dataset:
    """One variable (row,) for each column, in order; ``attrs`` of the table as JSON.

    Raises:
        TypeError: a column holds something that is no number, text, truth value, date or gap.
    """
    variables = {}
    for i, name in enumerate(table.columns):
        values = table[name].to_numpy()
        if values.dtype.kind in "iufMm":
            variables[f"column_{i}"] = ("row", values)
        else:
            codes, different = pd.factorize(table[name].astype(object))
            variables[f"column_{i}"] = ("row", codes.astype(np.int32))
            labels = [json.dumps(value, default=_dated) for value in different]
            variables[f"values_{i}"] = (f"value_{i}", np.array(labels, dtype=np.str_))
    names = json.dumps([str(name) for name in table.columns])
    attrs = {"columns": names, "rows": len(table), "attrs": json.dumps(table.attrs, default=_dated)}
    return xr.Dataset(variables, attrs=attrs)


_DATES = {"Timestamp": pd.Timestamp, "Timedelta": pd.Timedelta}


def _dated(value: Any) -> Any:
    """A date as JSON has it, with which kind it is."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        value = pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pd.Timestamp | pd.Timedelta):
        return {type(value).__name__: value.isoformat()}
    raise TypeError(f"{value!r} is no number, text or date")


def _undated(found: dict[str, Any]) -> Any:
    kind = next(iter(found), None)
    return _DATES[kind](found[kind]) if len(found) == 1 and kind in _DATES else found


def to_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Undo `from_table`."""
    columns = {}
    for i, name in enumerate(json.loads(dataset.attrs["columns"])):
        values = dataset[f"column_{i}"].values
        if f"values_{i}" in dataset:
            different = [json.loads(str(text), object_hook=_undated) for text in dataset[f"values_{i}"].values]
            values = [different[code] if code >= 0 else None for code in values]
        columns[name] = values
    table = pd.DataFrame(columns, index=pd.RangeIndex(int(dataset.attrs["rows"])))
    table.attrs = json.loads(dataset.attrs["attrs"], object_hook=_undated)
    return table
