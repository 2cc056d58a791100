"""From a table to labelled sequences: what its columns are, told by their names and their cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.errors import Fix, SequenceFileError
from explain_core.preparation.axis_words import ID_NAMES, TIME_NAMES
from explain_core.sequences.labelled import label, label_ragged
from explain_core.sequences.numbers import check_finite, filled, numbers_of, stand_ins
from explain_core.sequences.options import MAX_CELLS, Options
from explain_core.sequences.reading import Reading
from explain_core.sequences.table import Table
from explain_core.sequences.times import Times, holds_dates, of_calendar, with_clock_times

_UNNAMED = ("", "unnamed: 0", "index", "no", "row", "row_number")

_CALENDAR = ("year", "month", "day", "hour")


def sequences_of(table: Table, format: str, stem: str, options: Options) -> Reading:
    """The sequences in a table, once it is known which columns are of names, of times, and of values.

    Args:
        format: of the file, in words.
        stem: the name of a sequence that has none of its own.

    Raises:
        SequenceFileError: says the row and the column.
    """
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
    reading = Reading(xr.DataArray(), format, tuple(named), id_column, time_column, fixes=tuple(fixes))
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
