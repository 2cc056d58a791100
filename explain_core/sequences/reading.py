"""From a file to labelled sequences: what kind it is, told by its content, and what its columns are."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.errors import Fix, SequenceFileError
from explain_core.preparation.axis_words import ID_NAMES, TIME_NAMES
from explain_core.sequences import arrays, json_file, parquet, text
from explain_core.sequences.labelled import label, label_ragged
from explain_core.sequences.numbers import check_finite, filled, numbers_of, stand_ins
from explain_core.sequences.options import MAX_BYTES, MAX_CELLS, Options
from explain_core.sequences.table import Table
from explain_core.sequences.times import Times, holds_dates, of_calendar, with_clock_times
from explain_core.untrusted.last_boundary import ending_typed

_UNNAMED = ("", "unnamed: 0", "index", "no", "row", "row_number")

_CALENDAR = ("year", "month", "day", "hour")

# First bytes of what people give by mistake: (bytes, offset, what it is, what to do)
_OTHERS = (
    (b"\x1f\x8b", 0, "a gzip archive", "Unpack it first."),
    (b"\x89HDF\r\n\x1a\n", 0, "an HDF5 file", "Save the array as NPY: np.save(path, file['name'][:])."),
    (b"MATLAB 5.0", 0, "a MATLAB file", "Save the array as NPY: np.save(path, scipy.io.loadmat(path)['name'])."),
    (b"\xd0\xcf\x11\xe0", 0, "an old Excel workbook", "Save the sheet as CSV UTF-8."),
    (b"ARROW1", 0, "a Feather file", "Write it as Parquet: frame.to_parquet(path)."),
    (b"%PDF", 0, "a PDF", "Give the table that it was made from, as CSV."),
    (b"\x89PNG", 0, "an image", "Give the numbers, as CSV or NPY."),
    (b"\xff\xd8\xff", 0, "an image", "Give the numbers, as CSV or NPY."),
    (b"version https://git-lfs", 0, "a git-LFS pointer, not the file itself", "Fetch the file: git lfs pull."),
)
_WEB = (b"<!doctype html", b"<html")
_MARKUP = re.compile(rb"<\?xml|<!|<(table|svg|div|body|head|root|data)\b", re.IGNORECASE)
_OF_WEKA = re.compile(rb"(\s*%[^\n]*\n)*\s*@(relation|problemname)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """What a file holds, and how it was read.

    Attributes:
        sequences: (sample, time, feature), all columns of values; token ids are (sample, time).
        format: of the file, in words.
        columns: every column that has a name, in the order of the file; empty for arrays.
        id_column, time_column: which of them are these; None for none.
        choices: names of the arrays to choose among.
        notes: what was noticed or assumed, a sentence each.
        fixes: other ways to read it.
    """

    sequences: xr.DataArray
    format: str
    columns: tuple[str, ...] = ()
    id_column: str | None = None
    time_column: str | None = None
    choices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()


def read_file(path: str | PathLike[str], options: Options | None = None) -> Reading:
    """Read a file of sequences, without cutting or changing them.

    Raises:
        SequenceFileError: says the row and the column.
    """
    path = Path(path)
    with ending_typed(SequenceFileError, "sequences", path.name):
        return _read(path, options or Options())


def _read(path: Path, options: Options) -> Reading:
    data = read_bytes(path)
    where, stem = path.name, path.stem
    refuse_others(data, where)
    if data.startswith(b"\x93NUMPY"):
        found = arrays.read_npy(data, where, stem, options)
        words = "NumPy array (NPY)"
        return _from_table(found, words, stem, options) if isinstance(found, Table) else Reading(found, words)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        sequences, choices, notes = arrays.read_npz(data, where, stem, options)
        return Reading(sequences, "NumPy arrays (NPZ)", choices=choices, notes=tuple(notes))
    if data.startswith(b"PAR1"):
        return _from_table(parquet.read_parquet(data, where), "Parquet", stem, options)
    if looks_like_json(data):
        found = json_file.read_json(text.decode(data, where, notes := []), where, stem, options)
        if isinstance(found, xr.DataArray):
            return Reading(found, "JSON", notes=tuple(notes))
        return _from_table(found.with_notes(*notes), "JSON", stem, options)
    table, words = text.read_text(data, where, options)
    return _from_table(table, words, stem, options)


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The whole file, if it is not larger than ``most`` (`MAX_BYTES` if left out).

    Raises:
        SequenceFileError: it cannot be read, is empty or too large.
    """
    try:
        size, most = path.stat().st_size, MAX_BYTES if most is None else most
        if size > most:
            raise SequenceFileError(
                f"The file has {size:,} bytes; the limit is {most:,}.",
                where=path.name,
                hint="Give what belongs to the sequences that you want to explain, not to the whole data set.",
            )
        data = path.read_bytes()
    except OSError as error:
        raise SequenceFileError(
            f"The file cannot be read: {error.strerror}.", where=path.name, hint="Check the path."
        ) from None
    if not data.strip():
        raise SequenceFileError(
            "The file is empty.", where=path.name, hint="It needs a header and one row per timestep."
        )
    return data


def refuse_others(data: bytes, where: str) -> None:
    """Name what people give by mistake.

    Raises:
        SequenceFileError: it is a pickle, a workbook, an archive, a model, an image, a web page, ...
    """
    what = next(((name, hint) for mark, at, name, hint in _OTHERS if data[at:].startswith(mark)), None)
    if what is None and data[:200].lstrip().lower().startswith(_WEB):
        what = "a web page, perhaps an error of the site it was loaded from", "Load the file itself."
    if what is None and _MARKUP.match(data[:200].removeprefix(b"\xef\xbb\xbf").lstrip()):
        what = "a text with marks (XML, HTML), not a table", "Write the values as CSV or JSON."
    if what is None and _OF_WEKA.match(data[:10_000]):
        what = (
            "an ARFF or .ts file",
            "Load it with the library that it is for, and save the numbers: np.save(path, values).",
        )
    if what is None and data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and b"." in data[-3:]:
        what = (
            "a pickle, which can run code when read",
            "Save plain numbers: np.save(path, values) or frame.to_csv(path).",
        )
    if what is None and data.startswith(b"PK"):
        if b"xl/" in data and b"[Content_Types].xml" in data:
            what = "an Excel workbook", "In Excel: File, Save as, CSV UTF-8. In pandas: frame.to_csv(path)."
        elif b"opendocument.spreadsheet" in data[:200]:
            what = "a LibreOffice spreadsheet", "Save the sheet as CSV UTF-8."
        elif b"data.pkl" in data or b"config.json" in data or b"archive_format" in data:
            what = "a model or a pickle in an archive, not sequences", "Give it as the model."
        elif b".npy" not in data:
            what = "a ZIP archive", "Unpack it first."
    if what is not None:
        raise SequenceFileError(f"This is {what[0]}.", where=where, hint=what[1])


def looks_like_json(data: bytes) -> bool:
    """Whether the first character is a bracket of JSON."""
    head = data[:200].removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").removeprefix(b"\xff\xfe").lstrip()
    return head.startswith((b"{", b"["))


def _from_table(table: Table, words: str, stem: str, options: Options) -> Reading:
    """What the columns are: of names, of times, or of values."""
    table, options = _without_index(table, options)
    table, options = _with_joined_times(table, options)
    named = [name for name in table.frame.columns if name]
    id_column = _find(table, options.id_column, ID_NAMES)
    time_column = _find(table, options.time_column, TIME_NAMES)
    if time_column is None and options.time_column is None:
        time_column = next((name for name in named if holds_dates(table.frame[name])), None)
    if options.columns is not None:
        missing = [name for name in options.columns if name not in named]
        if missing:
            raise _no_column(table, missing[0])
        features = list(options.columns)
    else:
        features = [name for name in table.frame.columns if name not in (id_column, time_column)]
    if not features:
        raise SequenceFileError(
            "There is no column of values.", where=table.where, hint="Each feature needs a column of numbers."
        )
    if "" in features:
        position = list(table.frame.columns).index("")
        raise SequenceFileError(
            "A column has no name.",
            where=f"{table.where}, row 1, column {position + 1}",
            hint="Name it, or drop it.",
            fixes=(Fix("Leave it out", {"columns": tuple(name for name in features if name)}),),
        )
    if len(table.frame) * len(features) > MAX_CELLS:
        raise SequenceFileError(
            f"The file has {len(table.frame) * len(features):,} cells; the limit is {MAX_CELLS:,}.",
            where=table.where,
            hint="Give the sequences that you want to explain, not the whole data set.",
        )
    values, notes = numbers_of(table, features, options)
    if options.missing is None:
        more, fixes = stand_ins(values, features)
        notes += more
    else:
        values[values == options.missing], fixes = np.nan, []
    times = Times(table, time_column, options) if time_column else None
    reading = Reading(xr.DataArray(), words, tuple(named), id_column, time_column, fixes=tuple(fixes))
    return _sequences(reading, table.with_notes(*notes), values, times, features, stem, options)


def _sequences(
    reading: Reading,
    table: Table,
    values: np.ndarray,
    times: Times | None,
    features: list[str],
    stem: str,
    options: Options,
) -> Reading:
    rows = len(values)
    if reading.id_column is None:
        names, groups = [stem], [np.arange(rows)]
    else:
        cells = table.frame[reading.id_column]
        unnamed = (cells.isna() | (cells.astype(str).str.strip() == "")).to_numpy()
        if unnamed.any():
            raise SequenceFileError(
                "The row does not say which sequence it belongs to.",
                where=table.place(int(np.flatnonzero(unnamed)[0]), reading.id_column),
                hint="Fill it in, or delete the row.",
            )
        codes, found = pd.factorize(table.frame[reading.id_column].astype(str))
        names = [str(name) for name in found]
        order = np.argsort(codes, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(codes))[:-1])
        longest = max(len(group) for group in groups)
        if len(groups) * longest * len(features) > MAX_CELLS:
            raise SequenceFileError(
                f"Padded to the longest, the {len(groups):,} sequences have more than {MAX_CELLS:,} cells.",
                where=table.where,
                hint="Give the sequences that you want to explain, not the whole data set.",
            )
    labels = [times.of(group) for group in groups] if times else None
    notes = [*table.notes, *(times.notes if times else ())]
    fixes = [*reading.fixes, *(times.fixes if times else ())]
    if reading.id_column is not None and len(groups) == rows > 1:
        notes.append(f"Each row has its own {reading.id_column!r}, so each is a sequence of one timestep.")
        fixes.append(
            Fix("The rows are the timesteps of one sequence", {"time_column": reading.id_column, "id_column": ""})
        )
    if labels and any(own.dtype.kind != "U" and (own[1:] < own[:-1]).any() for own in labels):
        if options.sort:
            orders = [np.argsort(own, kind="stable") for own in labels]
            groups = [group[order] for group, order in zip(groups, orders, strict=True)]
            labels = [own[order] for own, order in zip(labels, orders, strict=True)]
        else:
            notes.append(f"The times of {reading.time_column!r} go back in places; the order of the rows was kept.")
            fixes.append(Fix("Put the rows in the order of time", {"sort": True}))
    gaps = np.isnan(values)
    if gaps.any() and options.fill is not None:
        for group in groups:
            values[group] = filled(values[group], options.fill)
        notes.append(f"{int(gaps.sum()):,} missing values were filled.")
    if not (options.padding == "nan" and not np.isinf(values).any()):
        check_finite(values, table, features, options.missing)
    if reading.id_column is None:
        steps = labels[0] if labels else np.arange(1, rows + 1)
        sequences = label(values[groups[0]][None], names, steps, features)
    else:
        sequences = label_ragged([values[group] for group in groups], names, features, labels)
    return replace(reading, sequences=sequences, notes=tuple(notes), fixes=tuple(fixes))


def _without_index(table: Table, options: Options) -> tuple[Table, Options]:
    """Take out the column that pandas writes for a frame's index; dates or counts in it label the time axis."""
    frame = table.frame
    first = frame.columns[0]
    asked = (options.id_column, options.time_column, *(options.columns or ()))
    if len(frame.columns) < 2 or str(first).lower() not in _UNNAMED or (first and first in asked):
        return table, options
    cells = frame[first]
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float) if cells.dtype.kind != "M" else None
    if numbers is not None and any(np.array_equal(numbers, np.arange(len(cells)) + start) for start in (0, 1)):
        return replace(table.with_notes("The column of row numbers is left out."), frame=frame.iloc[:, 1:]), options
    labels = numbers is None or np.isnan(numbers).all() or (np.diff(numbers) > 0).all()
    no_other = _find(table, options.time_column, TIME_NAMES) is None
    if options.time_column is None and no_other and labels and cells.nunique() == len(cells):
        renamed = frame.rename(columns={first: first or "index"})
        return replace(table, frame=renamed), replace(options, time_column=first or "index")
    return table, options


def _with_joined_times(table: Table, options: Options) -> tuple[Table, Options]:
    """Columns that make up the time together, of days and times of the day or of years, months and days, as one."""
    by_lower = {str(name).lower(): name for name in reversed(list(table.frame.columns))}
    for parts, joined in ((("date", "time"), with_clock_times), (_CALENDAR, of_calendar), (_CALENDAR[:3], of_calendar)):
        names = [by_lower[part] for part in parts if part in by_lower]
        together, asked = " ".join(names), (options.id_column, *(options.columns or ()))
        if len(names) < len(parts) or options.time_column not in (None, together) or set(names) & set(asked):
            continue
        times = joined([table.frame[name] for name in names])
        if times is None:
            continue
        frame = table.frame.drop(columns=names)
        frame.insert(0, together, times)
        listed = ", ".join(map(repr, names[:-1])) + f" and {names[-1]!r}"
        noted = table.with_notes(f"The columns {listed} together are the time.")
        return replace(noted, frame=frame), replace(options, time_column=together)
    return table, options


def _find(table: Table, asked: str | None, usual: tuple[str, ...]) -> str | None:
    """The column that was asked for, "" being none, else one with a usual name."""
    names = list(table.frame.columns)
    if asked == "":
        return None
    if asked is not None:
        if asked not in names:
            raise _no_column(table, asked)
        return asked
    by_lower = {str(name).lower().replace(" ", "_"): name for name in reversed(names)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _no_column(table: Table, name: str) -> SequenceFileError:
    names = [name for name in table.frame.columns if name]
    return SequenceFileError(
        f"There is no column {name!r}.",
        where=table.where,
        hint=f"There are: {', '.join(names[:50])}{', ...' if len(names) > 50 else ''}.",
    )
