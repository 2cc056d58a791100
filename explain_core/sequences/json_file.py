"""JSON files: tables as records or columns, arrays as nested lists, and sequences of unequal lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.errors import Fix, SequenceFileError
from explain_core.sequences.arrays import as_sequences
from explain_core.sequences.contents import Contents, Found
from explain_core.sequences.labelled import label_ragged, numbered
from explain_core.sequences.options import MAX_CELLS, MAX_TEXT_CELLS, Options
from explain_core.sequences.table import Table, check_columns, row_numbers
from explain_core.sequences.text import decode
from explain_core.sequences.times import is_date
from explain_core.sequences.word_lists import is_vocabulary, vocabulary_given
from explain_core.untrusted import json_reader

_LISTS = ("sequences", "sequence", "data", "inputs", "instances", "x", "values", "series", "rows", "records")
_NAMES = ("features", "feature_names", "columns")
_OWN_NAME = ("name", "id", "sequence", "sample", "sequence_id")
_DEEPEST = 12  # lists in lists, before their depth is said to be too large
_DEEPEST_JSON = 100  # with what stands beside the lists
_HINT = "PairLift reads a list of numbers, of rows or of records, a list for each column, or a list of sequences."


def looks_like_json(data: bytes) -> bool:
    """Whether the first character is a bracket of JSON."""
    head = data[:200].removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").removeprefix(b"\xff\xfe").lstrip()
    return head.startswith((b"{", b"["))


def read_json(file: Contents, options: Options) -> Found:
    """What a JSON file holds: a table, or sequences (sample, time, feature).

    Raises:
        SequenceFileError: no JSON, nested too deep, too large, or nothing that could be sequences.
    """
    notes: list[str] = []
    value = _parse(decode(file.data, file.where, notes), file.where)
    return Found(_values(value, file.where, file.stem, options), notes=tuple(notes))


def _values(value: Any, where: str, stem: str, options: Options) -> Table | xr.DataArray:
    extra: Mapping[str, Any] = {}
    if isinstance(value, dict):
        value, extra = _unwrap(value, where, options)
    if isinstance(value, dict):
        return _from_objects(value, where) if _are_objects(value) else _from_columns(value, where)
    if _is_split(value, extra):
        return _from_split(value, extra, where)
    if not value:
        raise SequenceFileError("The list is empty.", where=where, hint=_HINT)
    if all(isinstance(item, dict) for item in value):
        return _from_records(value, where, stem, options)
    found = _from_lists(value, where, stem, options)
    return _named(found, extra, where)


def texts_of_json(data: str, where: str) -> tuple[list[str], list[str]] | None:
    """Names and texts of a JSON file of texts: a list of them, or an object by name; None if it is something else."""
    value = _parse(data, where)
    if isinstance(value, dict) and value and all(isinstance(item, str) for item in value.values()):
        return list(value), list(value.values())
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return [f"text {i + 1}" for i in range(len(value))], value
    return None


def parse_json(data: str, where: str, most: int = 2 * MAX_CELLS) -> Any:
    """Any JSON value.

    Args:
        data: the text.
        where: the file's name.
        most: values that it may have, its lists and objects included.

    Raises:
        SequenceFileError: with the row and column of what is wrong.
    """

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
            raise SequenceFileError(
                f"The name {twice[:60]!r} stands twice in one object.",
                where=where,
                hint="Give each value its own name.",
            )
        return found

    try:
        return json_reader.read_json(data, most_values=most, deepest=_DEEPEST_JSON, made=made)
    except json_reader.JsonError as error:
        place = f", row {error.row}, column {error.column}" if error.row is not None else ""
        raise SequenceFileError(
            f"The JSON {error}.", where=f"{where}{place}", hint="Write it with a JSON library." if place else _HINT
        ) from None


def _parse(data: str, where: str) -> Any:
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith(("{", "[")) for line in lines[:2]):
        try:  # a value on each line; a file that is one value has brackets around it
            parse_json(lines[0], where)
        except SequenceFileError:
            pass
        else:
            return [parse_json(line, f"{where}, line {number}") for number, line in enumerate(lines, 1)]
    return parse_json(data, where)


def _unwrap(value: dict[str, Any], where: str, options: Options) -> tuple[Any, Mapping[str, Any]]:
    """The list inside an object that holds one beside names and notes; else the object, which then has columns."""
    if options.array is not None:
        if options.array not in value:
            there = ", ".join(list(value)[:12])
            raise SequenceFileError(f"There is no {options.array!r}.", where=where, hint=f"There are: {there}.")
        return value[options.array], value
    nested = [name for name, item in value.items() if isinstance(item, list) and item and _is_nested(item[0])]
    usual = [name for name in nested if name.lower() in _LISTS]
    if len(usual) == 1 or len(nested) == 1:
        return value[(usual if len(usual) == 1 else nested)[0]], value
    if len(nested) > 1:
        raise SequenceFileError(
            f"The file has several lists: {', '.join(nested[:8])}.",
            where=where,
            hint="Choose one by its name: array=...",
            fixes=tuple(Fix(f"Take {name!r}", {"array": name}) for name in nested[:6]),
        )
    flat = [name for name, item in value.items() if isinstance(item, list)]
    if len(flat) == 1 and flat[0].lower() in _LISTS:
        return value[flat[0]], value
    return value, {}


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | dict)


def _are_objects(value: dict[str, Any]) -> bool:
    return bool(value) and all(isinstance(item, dict) and item for item in value.values())


def _from_objects(value: dict[str, dict], where: str) -> Table:
    """Objects in an object, as pandas writes: a column each with its rows by name, or a row each with its columns."""
    outer, first = list(value), next(iter(value.values()))
    inner = list(first)
    for name, item in value.items():
        if item.keys() != first.keys():
            differs = next(iter(item.keys() ^ first.keys()))
            raise SequenceFileError(
                f"{outer[0]!r} and {name!r} have different parts: {differs!r} is in one of them only.",
                where=where,
                hint=_HINT,
            )
    if len(outer) * len(inner) > MAX_TEXT_CELLS:
        raise _too_large(len(outer) * len(inner), where)
    by_row = _are_rows(outer) and not _are_rows(inner)
    names, rows = (inner, outer) if by_row else (outer, inner)
    cell = (lambda row, name: value[row][name]) if by_row else (lambda row, name: value[name][row])
    columns = {_index_name(rows, names): rows} | {name: [cell(row, name) for row in rows] for name in names}
    return _table(columns, where, "row")


def _are_rows(names: list[str]) -> bool:
    """Whether names are numbers or dates, as those of rows are."""
    return all(re.fullmatch(r"-?\d+", name) or is_date(name) for name in names)


def _index_name(rows: Sequence[Any], names: Sequence[Any]) -> str:
    """What the column of the rows' names is called; pandas writes dates as milliseconds since 1970."""
    stamps = all(re.fullmatch(r"\d{12,13}", str(row)) for row in rows)
    return "timestamp" if stamps and "timestamp" not in names else ""


def _is_split(value: list, extra: Mapping[str, Any]) -> bool:
    """Whether it is a table as pandas splits it: names of columns and of rows, and the rows."""
    names = extra.get("columns")
    return (
        isinstance(names, list)
        and bool(value)
        and all(isinstance(row, list) and len(row) == len(names) and not any(map(_is_nested, row)) for row in value)
    )


def _from_split(value: list[list], extra: Mapping[str, Any], where: str) -> Table:
    names, rows = [str(name) for name in extra["columns"]], extra.get("index")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SequenceFileError(f"Two columns are called {twice!r}.", where=where, hint="Give each its own name.")
    if len(names) * len(value) > MAX_TEXT_CELLS:
        raise _too_large(len(names) * len(value), where)
    columns = {name: [row[i] for row in value] for i, name in enumerate(names)}
    if isinstance(rows, list) and len(rows) == len(value) and not any(map(_is_nested, rows)):
        columns = {_index_name(rows, names): rows} | columns
    return _table(columns, where, "row")


def _from_columns(value: dict[str, Any], where: str) -> Table:
    """One list for each column."""
    lists = {str(name): item for name, item in value.items() if isinstance(item, list)}
    if is_vocabulary([*value], [*value.values()]):
        raise vocabulary_given(where, [*value])
    if not lists:
        raise SequenceFileError("There is no list of values.", where=where, hint=_HINT)
    lengths = {name: len(item) for name, item in lists.items()}
    if len(set(lengths.values())) > 1:
        one, n = next(iter(lengths.items()))
        other, m = next((name, size) for name, size in lengths.items() if size != n)
        raise SequenceFileError(
            f"The columns differ in length: {one!r} has {n} values, {other!r} has {m}.", where=where, hint=_HINT
        )
    return _table(lists, where, "row")


def _from_records(value: list[dict], where: str, stem: str, options: Options) -> Table | xr.DataArray:
    """A record for each row; or one for each sequence, where records hold lists."""
    holding = [name for name, item in value[0].items() if isinstance(item, list) and item]
    if holding:
        usual = [name for name in holding if name.lower() in _LISTS]
        chosen = options.array if options.array in holding else usual[0] if usual else holding[0]
        parts = [record.get(chosen) for record in value]
        found = _from_lists([part if part is not None else [] for part in parts], where, stem, options, ragged=True)
        own = next((n for n in _OWN_NAME if all(n in r and not _is_nested(r[n]) for r in value)), None)
        names = [str(record[own]) for record in value] if own else []
        return found.assign_coords(sample=names) if len(set(names)) == len(value) else found
    names = list(dict.fromkeys(name for record in value for name in record))
    if len(names) * len(value) > MAX_TEXT_CELLS:
        raise _too_large(len(names) * len(value), where)
    return _table({str(name): [record.get(name) for record in value] for name in names}, where, "record")


def _table(columns: dict[str, list], where: str, row_word: str) -> Table:
    count = len(next(iter(columns.values()), []))
    if not count:
        raise SequenceFileError("The lists are empty.", where=where, hint=_HINT)
    for name, cells in columns.items():
        nested = next((i for i, cell in enumerate(cells) if _is_nested(cell)), None)
        if nested is not None:
            raise SequenceFileError(
                "A cell holds a list or an object, and must be a single value.",
                where=f"{where}, {row_word} {nested + 1}, column {name!r}",
                hint=_HINT,
            )
    check_columns(len(columns), where)
    made = {name: pd.Series([_cell(cell) for cell in cells], dtype=object) for name, cells in columns.items()}
    frame = pd.DataFrame(made)
    frame.index = row_numbers(count)
    return Table(frame, where, row_word=row_word)


def _cell(cell: Any) -> Any:
    """Numbers as they are, and the rest as the text that it would be in CSV."""
    return "" if cell is None else str(cell) if isinstance(cell, bool) else cell


def _from_lists(value: list, where: str, stem: str, options: Options, *, ragged: bool = False) -> xr.DataArray:
    """Nested lists: numbers, rows of numbers, or sequences of rows.

    Args:
        ragged: the outer list is of sequences, even where two levels of even lengths could be rows.
    """
    depth = _depth(value, where)
    single = next((i for i, item in enumerate(value) if not isinstance(item, list)), None)
    if depth > 1 and single is not None:
        raise SequenceFileError(
            "A single value stands where the others are lists.", where=f"{where}, item {single + 1}", hint=_HINT
        )
    if depth == 2 and (ragged or len({len(item) for item in value}) > 1):  # sequences of one feature
        value, depth = [[[number] for number in item] for item in value], 3
    arrays = [_array(item, f"{where}, item {i + 1}", depth - 1) for i, item in enumerate(value)] if depth > 1 else []
    if depth == 1:
        return as_sequences(_array(value, where, 1), where, stem, options)
    if sum(array.size for array in arrays) > MAX_CELLS:
        raise _too_large(sum(array.size for array in arrays), where)
    if depth == 2 or len({array.shape for array in arrays}) == 1:
        return as_sequences(np.stack(arrays), where, stem, options)
    widths = {array.shape[1] for array in arrays}
    if len(widths) > 1:
        first = arrays[0].shape[1]
        at = next(i for i, array in enumerate(arrays) if array.shape[1] != first)
        raise SequenceFileError(
            f"The sequence has {arrays[at].shape[1]} features, the first one has {first}.",
            where=f"{where}, item {at + 1}",
        )
    checked = [as_sequences(array, f"{where}, item {i + 1}", stem, options) for i, array in enumerate(arrays)]
    features = list(checked[0]["feature"].values)
    return label_ragged([one.values[0] for one in checked], numbered(stem, len(checked)), features)


def _depth(value: list, where: str) -> int:
    depth: int = 0
    item: Any = value
    while isinstance(item, list):
        depth += 1
        if depth > _DEEPEST:
            break
        if not item:
            raise SequenceFileError("A list is empty.", where=where, hint=_HINT)
        item = item[0]
    if depth > 3:
        raise SequenceFileError(f"Lists are nested {depth} deep or more; sequences are 3.", where=where, hint=_HINT)
    return depth


def _array(value: Any, where: str, depth: int) -> np.ndarray:
    if depth == 0:
        value = [value]
    if depth == 1 and is_vocabulary(value):
        raise vocabulary_given(where, value)
    try:
        flat = np.array(value, dtype=object)
        if flat.ndim != max(depth, 1) or not flat.size:
            raise ValueError
        for i, number in enumerate(flat.ravel()):
            if number is not None and (isinstance(number, str | dict | list)):
                raise SequenceFileError(
                    f"{str(number)[:60]!r} is not a number.", where=f"{where}, value {i + 1}", hint=_HINT
                )
        return flat.astype(float)
    except (ValueError, TypeError, OverflowError):
        raise SequenceFileError("The rows differ in length, or are empty.", where=where, hint=_HINT) from None


def _named(found: xr.DataArray, extra: Mapping[str, Any], where: str) -> xr.DataArray:
    """With the names of features and timesteps that stand beside the list."""
    for name in _NAMES:
        names = extra.get(name)
        if isinstance(names, list) and len(names) == found.sizes["feature"] and len(set(map(str, names))) == len(names):
            found = found.assign_coords(feature=[str(each) for each in names])
            break
    times = extra.get("time", extra.get("times", extra.get("index")))
    if isinstance(times, list) and len(times) == found.sizes["time"] and len(set(map(str, times))) == len(times):
        found = found.assign_coords(time=times if all(map(_is_plain, times)) else [str(time) for time in times])
    return found


def _is_plain(time: Any) -> bool:
    """Whether a label is a number that arrays hold as it is."""
    return isinstance(time, float) or (isinstance(time, int) and not isinstance(time, bool) and abs(time) < 2**63)


def _too_large(cells: int, where: str) -> SequenceFileError:
    return SequenceFileError(
        f"The file has {cells:,} values; the limit is {MAX_CELLS:,}.",
        where=where,
        hint="Give the sequences that you want to explain, not the whole data set.",
    )
