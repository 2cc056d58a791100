"""One array as a person gave it: its numbers, and what they say about its axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.errors import InputError
from explain_core.explanation.labels import exact_texts, is_count, label_array, listed
from explain_core.preparation.axis_words import SAMPLE, role_of
from explain_core.preparation.no_arrays import require_array

Labels = dict[int, np.ndarray | pd.RangeIndex]
"""By the number of the axis; a ``RangeIndex`` is what pandas counted, and nobody's name for anything."""

Along = dict[str, tuple[tuple[int, ...], np.ndarray]]
"""Coordinates by name: the axes that one lies along, and its values."""


@dataclass(frozen=True)
class Given:
    """An array, with names and labels as far as it had them.

    Attributes:
        array: the numbers, in the order of axes in which they came.
        dims: the name of each axis; None where nobody named it.
        labels: of its axes, by axis number.
        along: every coordinate that is not the label of an axis: the axes that it lies along, and its values. Some have
            a meaning: "times" (sample, time), the time labels where they differ between samples; "length" (sample,),
            or along no axis for one sample alone; "token" (sample, time), the words of token ids; "add_offset" and
            "scale_factor" (feature,), which lead back to the person's own units.
        form: "array"; "table" for a frame, whose rows may be timesteps or samples; "series" for one column of it.
    """

    array: np.ndarray
    dims: tuple[str | None, ...]
    labels: Labels = field(default_factory=dict)
    along: Along = field(default_factory=dict)
    form: str = "array"

    @property
    def sample_axis(self) -> int | None:
        """The axis that is called after samples.

        Raises:
            InputError: two are.
        """
        found = [axis for axis, dim in enumerate(self.dims) if dim in SAMPLE]
        if len(found) > 1:
            raise InputError(f"two of its axes are called after samples: {self.dims}", hint="Rename one of them.")
        return found[0] if found else None

    @property
    def may_be_one(self) -> bool:
        """Whether this may be one sample without an axis of samples: a frame, or names among which there is none."""
        if self.array.ndim == 0 or self.sample_axis is not None:
            return False
        return self.form != "array" or None not in self.dims

    def as_one(self, axis: int) -> Given:
        """With an axis of one sample put in."""
        later = {a: a + (a >= axis) for a in range(self.array.ndim)}
        dims = _table_dims(self.dims) if self.form == "table" else self.dims
        return replace(
            self,
            array=np.expand_dims(self.array, axis),
            dims=(*dims[:axis], "sample", *dims[axis:]),
            labels={later[a]: value for a, value in self.labels.items()},
            along={name: (tuple(later[a] for a in axes), value) for name, (axes, value) in self.along.items()},
            form="array",
        )

    @property
    def is_by_time(self) -> bool:
        """Whether the first axis is said to be time: by its name, or by dates as the labels of rows."""
        return self.dims[:1] == ("time",) or (0 in self.labels and is_dates(self.labels[0]))

    def as_whole(self) -> Given:
        """One sample for a model that takes no axis of samples."""
        if self.form == "table":
            return replace(self, dims=_table_dims(self.dims), form="array")
        return replace(self, form="array")

    def as_rows(self, axis: int) -> Given:
        """With ``axis`` the samples, whatever it was called."""
        return replace(self, dims=(*self.dims[:axis], "sample", *self.dims[axis + 1 :]), form="array")

    def in_order(self, axis: int, order: Sequence[int]) -> Given:
        """With the positions along an axis in another order, and all labels with them."""
        return replace(
            self,
            array=np.take(self.array, order, axis),
            labels=self.labels | {axis: self.labels[axis][list(order)]},
            along={
                name: (axes, np.take(values, order, axes.index(axis)) if axis in axes else values)
                for name, (axes, values) in self.along.items()
            },
        )

    def as_column(self) -> Given:
        """A series as a frame of one column."""
        return replace(self, array=self.array[:, None], dims=(*self.dims, None), form="table")


def _table_dims(dims: Sequence[str | None]) -> tuple[str, str]:
    """Names of the axes of a frame that is one sequence; its columns may be the timesteps."""
    return ("feature", "time") if dims[1] == "time" or dims[0] == "feature" else ("time", "feature")


def _axis_name(index: pd.Index) -> str | None:
    """What a frame calls its rows or its columns, where that is the name of an axis."""
    return index.name if index.name in ("time", "feature", *SAMPLE) else None


def read_given(value: Any, name: str) -> Given:
    """Read one array.

    Args:
        value: numpy, a tensor, a list of numbers, a frame or series of pandas, a table of polars or Arrow, or an
            xarray ``DataArray`` or ``Variable``.
        name: of the input, for errors.

    Raises:
        InputError: it is not numbers, or two columns have the same name.
    """
    require_array(value, name)
    if hasattr(value, "data_vars"):
        raise InputError(
            f"this is an xarray Dataset with the variables {list(value.data_vars)}",
            where=name,
            hint='Give one DataArray: dataset.to_dataarray("feature").transpose("sample", "time", "feature").',
        )
    value = with_coordinates(value)
    if hasattr(value, "column_names") and hasattr(value, "to_pandas"):  # an Arrow table
        value = value.to_pandas()
    if hasattr(value, "dims") and hasattr(value, "coords"):
        given = _of_xarray(value, name)
    elif hasattr(value, "columns"):
        given = _of_table(value if isinstance(value, pd.DataFrame) else _of_polars(value), name)
    elif isinstance(value, pd.Series):
        given = _of_series(value, name)
    else:
        if hasattr(value, "detach"):  # a torch tensor
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        array = _numbers(value, name)
        given = Given(array, (None,) * array.ndim)
    if given.array.size == 0:
        raise InputError(f"it is empty: its shape is {given.array.shape}", where=name)
    if given.array.dtype.kind == "f" and given.array.dtype.itemsize > 8:
        raise InputError(
            f"its numbers are {given.array.dtype}, with more digits than any model computes in",
            where=name,
            hint="Round them yourself: .astype(np.float64).",
        )
    if not given.array.dtype.isnative:
        given = replace(given, array=given.array.astype(given.array.dtype.newbyteorder("=")))
    if given.array.dtype.kind == "u":
        given = replace(given, array=given.array.astype(np.int64))
    return given


def with_coordinates(value: Any) -> Any:
    """An xarray ``Variable`` as the ``DataArray`` without coordinates that it is; anything else as it came."""
    return xr.DataArray(value) if isinstance(value, xr.Variable) else value


def _numbers(value: Any, name: str) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        value = _unmasked(value, name)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"this is not an array of numbers: {error}", where=name) from None
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"this is not an array of numbers, but of {array.dtype}",
            where=name,
            hint="Give numpy arrays, tensors, DataFrames or xarray DataArrays of numbers.",
        )
    return array


def _unmasked(value: np.ma.MaskedArray, name: str) -> np.ndarray:
    """Masked numbers as missing ones (NaN)."""
    masked = np.ma.getmaskarray(value)
    if masked.any() and value.dtype.kind != "f":
        at = tuple(int(i) for i in np.argwhere(masked)[0])
        raise InputError(
            f"it is masked at position {at}, and its type {value.dtype} has no missing numbers",
            where=name,
            hint="Fill it with .filled(...), and give a mask as an input of its own where the model takes one.",
        )
    return value.filled(np.nan) if masked.any() else value.data


def _of_xarray(value: Any, name: str) -> Given:
    dims = tuple(None if re.fullmatch(r"dim_\d+", str(dim)) else str(dim) for dim in value.dims)
    labels: Labels = {i: value[dim].values for i, dim in enumerate(value.dims) if dim in value.coords}
    along = {
        str(key): (tuple(value.dims.index(dim) for dim in coord.dims), coord.values)
        for key, coord in value.coords.items()
        if key not in value.dims and (coord.ndim or key == "length")
    }
    return Given(_numbers(value.values, name), dims, labels, along)


def _of_polars(value: Any) -> pd.DataFrame:
    return pd.DataFrame({column: value[column].to_numpy() for column in value.columns})


def _of_table(value: pd.DataFrame, name: str) -> Given:
    twice = value.columns[value.columns.duplicated()]
    if len(twice):
        raise InputError(
            f"the column {twice[0]!r} is there {int((value.columns == twice[0]).sum())} times",
            where=name,
            hint="Give every column a name of its own.",
        )
    words = [column for column, kind in value.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    if words:
        raise InputError(
            f"the column {words[0]!r} is not numbers, but {value.dtypes[words[0]]}",
            where=name,
            hint="Leave it out, or make it the index if it names the rows: frame.set_index(...).",
        )
    array = value.to_numpy()
    if array.dtype.kind not in "fiub":
        array = value.to_numpy(dtype=float, na_value=np.nan)
    if value.index.nlevels > 1:
        return _of_panel(value, array, name)
    labels: Labels = {1: np.asarray(value.columns), 0: row_labels(value.index)}
    rows, columns = _axis_name(value.index), _axis_name(value.columns) or ("time" if _is_time(value.columns) else None)
    if rows is not None and rows == columns:
        raise InputError(
            f"its rows and its columns both are of the axis {rows!r}, by their names or as dates",
            where=name,
            hint="Rename one of them: frame.rename_axis(index=None).",
        )
    return Given(array, (rows, columns), labels, form="table")


def _of_panel(value: pd.DataFrame, array: np.ndarray, name: str) -> Given:
    """Rows with two labels each, a sample and a time: (sample, time, feature)."""
    if value.index.nlevels > 2:
        raise InputError(
            f"its rows have {value.index.nlevels} labels: {list(value.index.names)}",
            where=name,
            hint="A frame of several sequences has two, the sample and the time.",
        )
    time = _time_level(value.index, name)
    samples, times = value.index.get_level_values(1 - time), np.asarray(value.index.get_level_values(time))
    names = list(dict.fromkeys(samples))
    rows = [np.flatnonzero(np.asarray(samples == sample)) for sample in names]
    counts = {str(sample): len(part) for sample, part in zip(names, rows, strict=True)}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"its sequences differ in length: {counts}",
            where=name,
            hint="Pad them to one length, with the lengths as an input of their own; load_sequences does it for files.",
        )
    at = np.array(rows)
    labels: Labels = {0: np.asarray(names), 2: np.asarray(value.columns)}
    own = times[at]
    same = all(np.array_equal(own[0], other) for other in own)
    labels |= {1: own[0]} if same else {}
    along: Along = {} if same else {"times": ((0, 1), own)}
    return Given(array[at], ("sample", "time", "feature"), labels, along)


def _time_level(index: pd.MultiIndex, name: str) -> int:
    """Which of two levels is time: by their names, else the one of dates, else the second.

    Raises:
        InputError: both names are of time, or both of samples, or one is of features.
    """
    roles = [role_of(level) for level in index.names]
    if "feature" in roles or (roles[0] is not None and roles[0] == roles[1]):
        raise InputError(
            f"the two levels of its rows are called {list(index.names)}, and one is the sample, the other the time",
            where=name,
            hint='Name them so: frame.rename_axis(index=["sample", "time"]).',
        )
    if any(roles):
        return roles.index("time") if "time" in roles else 1 - roles.index("sample")
    return next((level for level in (1, 0) if _is_time(index.levels[level])), 1)


def _of_series(value: pd.Series, name: str) -> Given:
    if not pd.api.types.is_numeric_dtype(value.dtype):
        raise InputError(f"this is not an array of numbers, but of {value.dtype}", where=name)
    array = value.to_numpy()
    if array.dtype.kind not in "fiub":
        array = value.to_numpy(dtype=float, na_value=np.nan)
    dim = _axis_name(value.index) or ("time" if _is_time(value.index) else None)
    return Given(array, (dim,), {0: row_labels(value.index)}, form="series")


def row_labels(index: pd.Index) -> np.ndarray | pd.RangeIndex:
    """Labels of rows; the numbers that pandas gives by itself, from 0 in order and without a name, as its own count."""
    labels = np.asarray(index)
    return pd.RangeIndex(len(labels)) if index.name is None and is_count(labels) else labels


def _is_time(index: pd.Index) -> bool:
    return isinstance(index, pd.DatetimeIndex | pd.PeriodIndex | pd.TimedeltaIndex)


def is_dates(labels: np.ndarray) -> bool:
    """Whether labels are dates or periods of time; those with a time zone are objects to numpy."""
    return labels.dtype.kind in "mM" or (labels.dtype == object and isinstance(labels[0], pd.Timestamp | pd.Period))


def are_frames(value: Any) -> bool:
    """Whether a list is frames, which are the samples of one array."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, pd.DataFrame) for item in value)


def stacked(values: Sequence[Any], name: str) -> Given:
    """Frames of one shape as the samples of one array.

    Raises:
        InputError: they differ in columns or in length.
    """
    parts = [read_given(value, name) for value in values]
    first = parts[0]
    for number, part in enumerate(parts):
        if part.array.shape[1:] != first.array.shape[1:] or not _same(part.labels.get(1), first.labels.get(1)):
            raise InputError(
                f"frame {number} has the columns {list(part.labels.get(1, ()))}, and frame 0 "
                f"{list(first.labels.get(1, ()))}",
                where=name,
                hint="All samples need the same columns, in the same order.",
            )
    lengths = [len(part.array) for part in parts]
    if len(set(lengths)) > 1:
        raise InputError(
            f"the frames differ in length: {lengths}",
            where=name,
            hint="Pad them to one length, with the lengths as an input of their own; load_sequences does it for files.",
        )
    labels: Labels = {2: first.labels[1]} if 1 in first.labels else {}
    times = _times_of(parts, name)
    same = all(_same(own, times[0]) for own in times)
    labels |= {1: first.labels[0]} if same else {}
    along: Along = {} if same else {"times": ((0, 1), np.stack(times))}
    return Given(np.stack([part.array for part in parts]), ("sample", "time", "feature"), labels, along)


def _times_of(parts: Sequence[Given], name: str) -> list[np.ndarray]:
    """The labels of the rows of each frame, of one kind.

    Raises:
        InputError: the rows of two frames have labels of different kinds, such as dates and numbers.
    """
    times = [label_array(part.labels[0]) for part in parts]
    kinds = ["number" if own.dtype.kind in "iuf" else own.dtype.kind for own in times]
    other = next((number for number, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise InputError(
            f"the rows of frame {other} are called {listed(exact_texts(times[other]))}, and those of frame 0 "
            f"{listed(exact_texts(times[0]))}",
            where=name,
            hint="Give the rows of all frames labels of one kind, or none: frame.reset_index(drop=True).",
        )
    return times


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))
