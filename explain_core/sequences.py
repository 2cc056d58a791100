"""Reading sequences from files, with their names and time labels.

The result is one labelled array that `explain_core.explain` takes as it is: dims (sample, time, feature), and
where sequences differ in length a coordinate ``length`` along ``sample``, with zeros after each one's end.
"""

from __future__ import annotations

import csv
import io
import re
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.errors import SequenceFileError

MAX_CELLS = 20_000_000

_ID_NAMES = (
    "sequence",
    "sequence_id",
    "sample",
    "sample_id",
    "series",
    "series_id",
    "id",
    "case",
    "subject",
    "unit",
)
_TIME_NAMES = (
    "time",
    "t",
    "timestep",
    "time_step",
    "step",
    "date",
    "datetime",
    "timestamp",
    "day",
    "month",
    "frame",
)


def load_sequences(
    path: str | PathLike[str], *, id_column: str | None = None, time_column: str | None = None
) -> xr.DataArray:
    """Read the sequences of a CSV or NPY file.

    Args:
        path: CSV with a header: one sequence (rows are timesteps), or many in long form, where a column says
            which sequence a row belongs to. NPY: (time,), (time, feature) or (sample, time, feature).
        id_column: the column of sequence names; found by its name (``sequence``, ``id``, ...) when left out.
        time_column: the column of time labels; found by its name (``time``, ``date``, ...) when left out.

    Returns:
        DataArray (sample, time, feature) in float64 from CSV and in the file's own precision from NPY. Time
        has one label per step; where sequences have times of their own, those are in a coordinate ``times``
        of dims (sample, time). Unequal lengths have a coordinate ``length`` (sample).

    Raises:
        SequenceFileError: says the row and the column.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SequenceFileError(
            f"The file cannot be read: {error.strerror}.", where=path.name, hint="Check the path."
        ) from None
    if not data.strip():
        raise SequenceFileError(
            "The file is empty.", where=path.name, hint="It needs a header and one row per timestep."
        )
    if data.startswith(b"\x93NUMPY"):
        return _from_npy(data, path)
    return _from_csv(data, path, id_column, time_column)


def single(sequences: xr.DataArray, sample: int) -> xr.DataArray:
    """One sequence, cut to its own length and with its own time labels; dims (sample, time, feature)."""
    one = sequences.isel(sample=[sample])
    if "length" in one.coords:
        one = one.isel(time=slice(0, int(one["length"][0]))).drop_vars("length")
    if "times" in one.coords:
        one = one.assign_coords(time=one["times"].values[0]).drop_vars("times")
    return one


def _from_npy(data: bytes, path: Path) -> xr.DataArray:
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        holds_objects = "allow_pickle" in str(error)
        raise SequenceFileError(
            "The array holds Python objects, which can run code when read."
            if holds_objects
            else f"The NPY file is damaged or cut off: {error}",
            where=path.name,
            hint="Save plain numbers: np.save(path, np.asarray(values, dtype=float)).",
        ) from None
    if values.dtype.kind not in "fiub":
        raise SequenceFileError(
            f"The array holds {values.dtype}, not numbers.",
            where=path.name,
            hint="Save floats or whole numbers.",
        )
    if not 1 <= values.ndim <= 3 or not values.size:
        raise SequenceFileError(
            f"The array has shape {values.shape}.",
            where=path.name,
            hint="It must be (time,), (time, feature) or (sample, time, feature), and not empty.",
        )
    if not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise SequenceFileError(
            f"The array holds {values[place]} at index {place}.",
            where=path.name,
            hint="Fill or drop missing values first.",
        )
    if values.ndim < 3:
        values = values.reshape(1, len(values), -1)
    names = [path.stem] if len(values) == 1 else [f"{path.stem} {i + 1}" for i in range(len(values))]
    features = [f"feature {i + 1}" for i in range(values.shape[2])]
    return _label(values, names, np.arange(1, values.shape[1] + 1), features)


def _from_csv(data: bytes, path: Path, id_column: str | None, time_column: str | None) -> xr.DataArray:
    table = _read_table(data, path)
    id_column = _find_column(table, id_column, _ID_NAMES, path)
    time_column = _find_column(table, time_column, _TIME_NAMES, path)
    features = [name for name in table.columns if name not in (id_column, time_column)]
    if not features:
        raise SequenceFileError(
            "There is no column of values.", where=path.name, hint="Each feature needs a column of numbers."
        )
    values = _numbers(table[features], path)
    times = table[time_column] if time_column else None
    if id_column is None:
        labels = np.arange(1, len(table) + 1) if times is None else _time_labels(times, path)
        return _label(values[None], [path.stem], labels, features)
    return _from_long(table[id_column], times, values, features, path)


def _read_table(data: bytes, path: Path) -> pd.DataFrame:
    """The file as columns of text, with the numbers of its lines as index: a bad cell is named by both."""
    if b"\0" in data[:4096]:
        raise SequenceFileError(
            "The file is not text.", where=path.name, hint="PairLift reads sequences from CSV and NPY files."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise SequenceFileError(
            "The file is not UTF-8 text.", where=f"{path.name}, row {row}", hint="Save it as CSV UTF-8."
        ) from None
    first_line = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    separator = max(",;\t", key=first_line.count)
    rows = _rows(text, separator, path)
    first = next(iter(rows))
    header = rows.pop(first)
    _check_header(header, path)
    if not rows:
        raise SequenceFileError("There is a header but no row of values.", where=path.name)
    if len(rows) * len(header) > MAX_CELLS:
        raise SequenceFileError(
            f"The file has {len(rows) * len(header):,} cells; the limit is {MAX_CELLS:,}.",
            where=path.name,
            hint="Give the sequences that you want to explain, not the whole data set.",
        )
    for number, row in rows.items():
        if len(row) != len(header):
            raise SequenceFileError(
                f"The row has {len(row)} cells where the header has {len(header)}.",
                where=f"{path.name}, row {number}",
                hint="Every row needs one cell per column.",
            )
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=header, dtype=object)


def _rows(text: str, separator: str, path: Path) -> dict[int, list[str]]:
    """The rows that are not blank, by the number of their line."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    rows = {}
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows[reader.line_num] = cells
    except csv.Error as error:
        raise SequenceFileError(f"The file is not CSV: {error}.", where=f"{path.name}, row {reader.line_num}") from None
    return rows


def _check_header(header: list[str], path: Path) -> None:
    if all(_is_number(cell) for cell in header):
        raise SequenceFileError(
            "The first row has numbers where the names of the columns should be.",
            where=f"{path.name}, row 1",
            hint="Add a header row with a name for each feature.",
        )
    for position, name in enumerate(header):
        if not name:
            raise SequenceFileError(
                "A column has no name.",
                where=f"{path.name}, row 1, column {position + 1}",
                hint="Name it, or drop it.",
            )
        if name in header[:position]:
            raise SequenceFileError(
                f"Two columns are called {name!r}.",
                where=f"{path.name}, row 1",
                hint="Give each its own name.",
            )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _find_column(table: pd.DataFrame, asked: str | None, usual: tuple[str, ...], path: Path) -> str | None:
    if asked is not None and asked not in table.columns:
        raise SequenceFileError(
            f"There is no column {asked!r}.", where=path.name, hint=f"There are: {', '.join(table.columns)}."
        )
    if asked is not None:
        return asked
    by_lower = {name.lower().replace(" ", "_"): name for name in reversed(table.columns)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _numbers(table: pd.DataFrame, path: Path) -> np.ndarray:
    values = np.empty(table.shape)
    for column, name in enumerate(table.columns):
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
        bad = np.flatnonzero(~np.isfinite(numbers))
        if bad.size:
            cell = table[name].iloc[bad[0]]
            what = "The cell is empty." if cell == "" else f"{cell!r} is not a finite number."
            raise SequenceFileError(
                what,
                where=f"{path.name}, row {table.index[bad[0]]}, column {name!r}",
                hint="Every value must be a number, with a point for decimals. Fill or drop gaps first.",
            )
        values[:, column] = numbers
    return values


def _time_labels(cells: pd.Series, path: Path) -> np.ndarray:
    """Numbers, dates or, failing both, the text as it stands; one label may not stand twice."""
    labels = pd.to_numeric(cells, errors="coerce")
    if labels.isna().any():
        labels = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
    if labels.isna().any():
        labels = cells.astype(str)
    twice = labels.duplicated()
    if twice.any():
        raise SequenceFileError(
            f"The time {cells[twice].iloc[0]!r} is there twice.",
            where=f"{path.name}, row {cells.index[twice][0]}, column {cells.name!r}",
            hint="One sequence has each time once; several sequences need a column called 'sequence'.",
        )
    array = labels.to_numpy()
    if array.dtype.kind == "f" and (array == array.round()).all():
        return array.astype(np.int64)
    return array.astype(str) if array.dtype.kind == "O" else array


def _from_long(
    ids: pd.Series, times: pd.Series | None, values: np.ndarray, features: list[str], path: Path
) -> xr.DataArray:
    names = list(dict.fromkeys(ids))
    groups = [np.flatnonzero(ids == name) for name in names]
    lengths = np.array([len(rows) for rows in groups])
    steps = int(lengths.max())
    array = np.zeros((len(names), steps, len(features)))
    labels = []
    for sample, rows in enumerate(groups):
        array[sample, : len(rows)] = values[rows]
        if times is not None:
            labels.append(_time_labels(times.iloc[rows], path))
    result = _label(array, names, np.arange(1, steps + 1), features)
    if (lengths != steps).any():
        result = result.assign_coords(length=("sample", lengths))
    if labels:
        result = _with_times(result, labels, lengths)
    return result


def _with_times(result: xr.DataArray, labels: list[np.ndarray], lengths: np.ndarray) -> xr.DataArray:
    longest = labels[int(lengths.argmax())]
    if all(np.array_equal(own, longest[: len(own)]) for own in labels):
        return result.assign_coords(time=longest)
    kinds = {own.dtype.kind for own in labels}
    own_times = np.full(result.shape[:2], np.datetime64("NaT") if kinds == {"M"} else "", dtype=object)
    for sample, own in enumerate(labels):
        own_times[sample, : len(own)] = own if kinds == {"M"} else own.astype(str)
    own_times = own_times.astype("datetime64[us]" if kinds == {"M"} else str)
    return result.assign_coords(times=(("sample", "time"), own_times))


def _label(values: np.ndarray, names: list[str], times: np.ndarray, features: list[str]) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("sample", "time", "feature"),
        coords={"sample": names, "time": times, "feature": features},
        name="x",
    )
