"""Columns of cells as columns of numbers, in the notation of the file and never in a guessed one."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from explain_core.errors import Fix, SequenceFileError
from explain_core.sequences.options import Options
from explain_core.sequences.table import Table
from explain_core.sequences.word_lists import is_vocabulary, vocabulary_given

_MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a")
_NO_NUMBER = (*_MISSING[1:], "inf", "-inf", "infinity", "-infinity")
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)?,\d*([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_EITHER = re.compile(r"[+-]?\d{1,3},\d{3}")  # 1,234: a thousand and more, or one and a bit
_BOOLEANS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
# As typesetters write: a minus sign of its own, and thin spaces or apostrophes between thousands.
_TYPESET = re.compile(
    r"[+\-\u2212]?(\d{1,3}(?:(?P<gap>[ \u00a0\u202f\u2009'\u2019])\d{3})(?:(?P=gap)\d{3})*|\d+)([.,]\d+)?"
)
_GAPS = re.compile(r"[ \u00a0\u202f\u2009'\u2019]")


def is_number(cell: str) -> bool:
    """Whether a cell is a number in one notation or the other, or stands for a missing one."""
    kinds = (_PLAIN, _COMMA, _THOUSANDS, _TYPESET)
    return any(kind.fullmatch(cell) for kind in kinds) or cell.lower() in _NO_NUMBER


def is_missing(cells: pd.Series) -> np.ndarray:
    """Which cells stand for a missing value."""
    if cells.dtype.kind in "fiubM":
        return cells.isna().to_numpy()
    text = cells.astype(str).str.strip().str.lower()
    return (cells.isna() | text.isin(_MISSING)).to_numpy()


def numbers_of(table: Table, names: list[str], options: Options) -> tuple[np.ndarray, list[str]]:
    """The columns as float64 (row, column), NaN where a value is missing; and what was noteworthy.

    Raises:
        SequenceFileError: a cell that is neither; names the first one and counts the others.
    """
    notes: list[str] = []
    values = np.empty((len(table.frame), len(names)))
    plain = {name: _without_typesetting(table.frame[name]) for name in names}
    decimal = options.decimal or _decimal(replace(table, frame=pd.DataFrame(plain)), names)
    texts = []
    for position, name in enumerate(names):
        cells = plain[name]
        numbers = _plain(cells, decimal)
        bad = np.isnan(numbers) & ~is_missing(cells)
        if bad.all() and len(bad) and not _is_numberlike(cells):
            numbers, is_flag = _flags(cells)
            bad = np.isnan(numbers) & ~is_missing(cells)
            if is_flag:
                words = (
                    "yes is 1 and no is 0"
                    if str(cells.iloc[0]).lower() in ("yes", "no")
                    else "true is 1 and false is 0"
                )
                notes.append(f"In {name!r}, {words}.")
        if bad.any() and not any(_is_numberlike(cells, i) for i in range(min(len(cells), 50))):
            texts.append((name, int(np.flatnonzero(bad)[0])))
            continue
        if bad.any():
            raise _not_numbers(table, name, np.flatnonzero(bad), decimal)
        values[:, position] = numbers
    if texts:
        raise _texts(table, names, texts)
    if decimal == "," and options.decimal is None:
        notes.append("Numbers are read with a comma for decimals.")
    return values, notes


def _without_typesetting(cells: pd.Series) -> pd.Series:
    """The cells with typeset numbers as computers write them."""
    if cells.dtype.kind in "fiubM":
        return cells
    odd = cells[pd.to_numeric(cells, errors="coerce").isna()]
    odd = odd[odd.map(lambda cell: isinstance(cell, str) and _TYPESET.fullmatch(cell) is not None)]
    if odd.empty:
        return cells
    found = cells.copy()
    found.loc[odd.index] = odd.map(lambda cell: _GAPS.sub("", cell).replace("\u2212", "-"))
    return found


def _plain(cells: pd.Series, decimal: str) -> np.ndarray:
    if cells.dtype.kind in "fiub":
        return cells.to_numpy(dtype=float)
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float, copy=True)
    odd = cells[np.isnan(numbers)] if decimal == "." else cells
    odd = odd[odd.map(lambda cell: isinstance(cell, str))]
    if odd.empty:
        return numbers
    if decimal == ".":
        spelt = odd.where(odd.str.fullmatch(_THOUSANDS), "").str.replace(",", "")
    else:
        comma = odd.str.fullmatch(_COMMA) | odd.str.fullmatch(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)([eE][+-]?\d+)?")
        spelt = odd.where(comma, "").str.replace(".", "").str.replace(",", ".")
    at = cells.index.get_indexer(odd.index)
    numbers[at] = pd.to_numeric(spelt, errors="coerce").to_numpy(dtype=float)
    infinite = odd.str.lower().str.lstrip("+-").isin(("inf", "infinity")).to_numpy()
    numbers[at[infinite]] = np.inf
    return numbers


def _decimal(table: Table, names: list[str]) -> str:
    """ "," where cells can be read that way only, and none can be read the other way only."""
    comma_only = point_only = either = None
    for name in names:
        cells = table.frame[name]
        if cells.dtype.kind in "fiub":
            continue
        odd = cells[pd.to_numeric(cells, errors="coerce").isna()]
        odd = odd[odd.map(lambda cell: isinstance(cell, str) and "," in cell)]
        for position, cell in zip(odd.index, odd, strict=True):
            if _EITHER.fullmatch(cell):
                either = either or (name, position, cell)
            elif _COMMA.fullmatch(cell):
                comma_only = comma_only or (name, position, cell)
            elif _THOUSANDS.fullmatch(cell):
                point_only = point_only or (name, position, cell)
    if comma_only and not point_only:
        return ","
    if either and not point_only and not _has_points(table, names):
        name, row, cell = either
        read = [float(cell.replace(",", by)) for by in ("", ".")]
        raise SequenceFileError(
            f"{cell!r} can be read as {read[0]:g} or as {read[1]:g}.",
            where=f"{table.where}, {table.row_word} {row}, column {name!r}",
            hint='Say which: decimal="." or decimal=",".',
            fixes=(
                Fix(f"It is {read[0]:g}: the comma separates thousands", {"decimal": "."}),
                Fix(f"It is {read[1]:g}: the comma is for decimals", {"decimal": ","}),
            ),
        )
    return "."


def _has_points(table: Table, names: list[str]) -> bool:
    """Whether some number has a point for decimals, so that commas cannot be."""
    for name in names:
        cells = table.frame[name]
        if cells.dtype.kind not in "fiub" and cells.map(lambda cell: isinstance(cell, str) and "." in cell).any():
            return True
    return False


def _flags(cells: pd.Series) -> tuple[np.ndarray, bool]:
    found = cells.map(lambda cell: _BOOLEANS.get(str(cell).strip().lower(), np.nan)).to_numpy(dtype=float)
    return found, bool((~np.isnan(found)).any())


def _is_numberlike(cells: pd.Series, position: int = 0) -> bool:
    cell = cells.iloc[position]
    return not isinstance(cell, str) or (bool(cell) and is_number(cell))


def _not_numbers(table: Table, name: str, bad: np.ndarray, decimal: str) -> SequenceFileError:
    cell = table.frame[name].iloc[bad[0]]
    mark = "a point" if decimal == "." else "a comma"
    return SequenceFileError(
        f"{_shown(cell)} is not a finite number{further(len(bad) - 1)}.",
        where=table.place(int(bad[0]), name),
        hint=f"Every value must be a number, with {mark} for decimals.",
    )


def _texts(table: Table, names: list[str], texts: list[tuple[str, int]]) -> SequenceFileError:
    """Columns of words among those of numbers: what they may be is for the person to say."""
    name, first = texts[0]
    words = [each for each, _ in texts]
    kept = tuple(each for each in names if each not in words)
    cells = table.frame[name]
    if len(words) == 1 and len(kept) < 2:
        ids = table.frame[kept[0]].tolist() if kept else None
        own = [str(cell).strip() for cell in cells]
        if is_vocabulary(own, ids):
            return vocabulary_given(table.where, own)
    fixes = []
    if kept:
        listed = " and ".join(repr(each) for each in words) if len(words) < 4 else f"the {len(words)} columns of words"
        fixes.append(Fix(f"Leave out {listed}", {"columns": kept}))
    repeated = cells.nunique()
    if kept and len(words) == 1 and 1 < repeated <= len(cells) / 2:
        fixes.insert(0, Fix(f"{name!r} says which sequence a row belongs to", {"id_column": name}))
    elif kept and len(words) == 1 and repeated == len(cells):
        fixes.insert(0, Fix(f"{name!r} labels the timesteps", {"time_column": name}))
    others = f"; so are {', '.join(repr(each) for each in words[1:4])}" if len(words) > 1 else ""
    return SequenceFileError(
        f"{_shown(cells.iloc[first])} is not a finite number: the column is text{others}.",
        where=table.place(first, name),
        hint="The values of a sequence must be numbers. Leave the column out, say what it is, or turn it into numbers "
        "as for the model's training.",
        fixes=tuple(fixes),
    )


#: What many files have in the place of a missing value; it is never taken for one unasked.
_STAND_INS = (-200.0, -999.0, -9999.0, -99999.0, -999.9, -999.99, -9999.9)


def stand_ins(values: np.ndarray, names: list[str]) -> tuple[list[str], list[Fix]]:
    """Notes on numbers that may stand for missing values, and the ways to take them so."""
    notes, fixes = [], []
    for number in _STAND_INS:
        found = values == number
        columns = [name for name, own in zip(names, found.any(axis=0), strict=True) if own]
        if columns and not (values[~found] <= number / 2).any():  # and nothing else is near it
            listed = ", ".join(map(repr, columns[:3])) + (", ..." if len(columns) > 3 else "")
            times = f"{count:,} times" if (count := int(found.sum())) > 1 else "once"
            notes.append(f"{number:g} is there {times}, in {listed}; it is read as that number.")
            fixes.append(Fix(f"{number:g} stands for a missing value", {"missing": number}))
    return notes, fixes


def filled(values: np.ndarray, how: str) -> np.ndarray:
    """One sequence (time, feature) with its gaps filled; gaps at the start take the first value there is."""
    if how == "zero":
        return np.nan_to_num(values, nan=0.0)
    frame = pd.DataFrame(values)
    frame = frame.ffill() if how == "previous" else frame.interpolate(limit_direction="both")
    return frame.bfill().to_numpy()


def check_finite(values: np.ndarray, table: Table, names: list[str], missing: float | None = None) -> None:
    """Refuse missing and infinite values.

    Args:
        missing: the number that stands for a missing value, where one does.

    Raises:
        SequenceFileError: names the first and counts the others.
    """
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    row, column = (int(i) for i in np.argwhere(bad)[0])
    cell = table.frame[names[column]].iloc[row]
    more = int(bad.sum()) - 1
    if missing is not None and not is_missing(table.frame[names[column]].iloc[[row]]).any():
        what = f"The value is missing: {_shown(cell)} stands for that{further(more, 'missing or not finite')}."
    elif isinstance(cell, str) and cell == "":
        what = f"The cell is empty{further(more, 'missing or not finite')}."
    else:
        what = f"{_shown(cell)} is not a finite number{further(more)}."
    raise SequenceFileError(
        what,
        where=table.place(row, names[column]),
        hint="Fill or drop gaps as for the model's training.",
        fixes=fill_fixes() if np.isnan(values[bad]).all() else (),
    )


def fill_fixes() -> tuple[Fix, ...]:
    """The ways to fill gaps."""
    return (
        Fix("Fill gaps with the value before", {"fill": "previous"}),
        Fix("Fill gaps with a straight line", {"fill": "linear"}),
        Fix("Fill gaps with 0", {"fill": "zero"}),
    )


def further(count: int, fault: str = "not either") -> str:
    """Words for how many more cells are at fault; ``fault`` is what they are."""
    if count <= 0:
        return ""
    return f", and {count:,} more {'cell is' if count == 1 else 'cells are'} {fault}"


def _shown(cell: object) -> str:
    text = repr(cell) if isinstance(cell, str) else str(cell)
    return text if len(text) <= 60 else f"{text[:57]}...'"
