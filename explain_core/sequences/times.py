"""Labels of timesteps: numbers, dates in any usual notation, or the text as it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from explain_core.errors import Fix, SequenceFileError
from explain_core.sequences.options import Options
from explain_core.sequences.table import Table

_ISO = re.compile(r"\d{4}(-\d{1,2}|([-/.])\d{1,2}\2\d{1,2}([T ]\d{1,2}:\d{2}.*)?)")
_PARTS = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})([T ,].*)?")
_FORMATS = ("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%b %d %Y")
_FORMATS += ("%d %B %Y", "%B %d, %Y", "%b %Y", "%b-%y", "%B %Y")
_DAY = re.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(\d{4}|\d{2})")
_EPOCHS = ((1e8, 4.1e9, "s", "seconds"), (1e11, 4.1e12, "ms", "milliseconds"), (1e14, 4.1e15, "us", "microseconds"))
_EPOCHS += ((1e17, 4.1e18, "ns", "nanoseconds"),)
_OFFSET = re.compile(r".*\d:\d{2}(:\d{2}([.,]\d+)?)?\s*[+-](?!00:?00$)\d{2}(:?\d{2})?")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(:\d{2}(?:\.\d+)?)?\s*(?:([AaPp])\.?[Mm]\.?)?")
_TOTALS = ("total", "totals", "sum", "mean", "average", "avg", "median", "min", "max", "std", "count")
_TOTALS += ("summe", "gesamt", "mittelwert", "grand total", "subtotal")
_DATED = re.compile(r"date|time|epoch|unix|day|^ts$", re.IGNORECASE)

_SECONDS = {"Y": 31_556_952, "M": 2_629_746, "W": 604_800, "D": 86_400, "h": 3600, "m": 60, "s": 1}
_SECONDS |= {"ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12, "fs": 1e-15, "as": 1e-18}
#: What is said of dates that are not `in_calendar`.
OUT_OF_CALENDAR = "There are dates that no calendar has: before the year 1, after the year 9999, or of no unit."
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_800  # of the year 1, and after the year 9999


def is_date(cell: str) -> bool:
    """Whether a cell is written as a date."""
    return bool(_ISO.fullmatch(cell) or _PARTS.fullmatch(cell))


def with_clock_times(columns: Sequence[pd.Series]) -> pd.Series | None:
    """A column of days and one of times of the day as one of times; None where they are something else."""
    days, clocks = columns
    if not _all_are(_DAY, days) or not _all_are(_CLOCK, clocks.astype(str).str.replace(".", ":")):
        return None
    return days.str.cat(
        clocks.str.strip().str.replace(r"^(\d{1,2})\.(\d{2})\b\.?", r"\1:\2:", regex=True).str.rstrip(":"), sep=" "
    )


def of_calendar(columns: Sequence[pd.Series]) -> pd.Series | None:
    """Columns of years, months, days and perhaps hours as one of times; None where they make no dates."""
    if any(cells.dtype.kind == "M" for cells in columns):
        return None
    numbers = [pd.to_numeric(cells, errors="coerce") for cells in columns]
    if any(each.isna().any() or (each != each.round()).any() for each in numbers):
        return None
    parts = dict(zip(("year", "month", "day", "hour"), numbers, strict=False))
    if not parts["year"].between(1000, 2999).all():
        return None
    dates = pd.to_datetime(pd.DataFrame(parts).astype("int64"), errors="coerce")
    return None if dates.isna().any() else dates


def _all_are(form: re.Pattern, cells: pd.Series) -> bool:
    some = cells.head(50)
    return bool(len(some)) and all(isinstance(cell, str) and form.fullmatch(cell.strip()) for cell in some)


def holds_dates(cells: pd.Series) -> bool:
    """Whether a column holds dates, so that it can only label timesteps."""
    if cells.dtype.kind == "M":
        return True
    some = cells.head(50)
    return bool(len(some)) and all(isinstance(cell, str) and is_date(cell) for cell in some)


class Times:
    """The labels of a column of times, made once for all sequences of a file."""

    def __init__(self, table: Table, column: str, options: Options) -> None:
        self.table, self.column = table, column
        self.notes: list[str] = []
        self.fixes: list[Fix] = []
        self.labels = self._read(table.frame[column], options)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The labels of some rows, which make one sequence.

        Raises:
            SequenceFileError: one label stands twice.
        """
        labels = self.labels[rows]
        twice = pd.Series(labels).duplicated().to_numpy()
        if twice.any():
            row = int(rows[np.flatnonzero(twice)[0]])
            cell = self.table.frame[self.column].iloc[row]
            raise SequenceFileError(
                f"The time {str(cell)!r} is there twice.",
                where=self.table.place(row, self.column),
                hint="One sequence has each time once; several sequences need a column called 'sequence'.",
                fixes=(*self._id_fixes(), Fix("Number the timesteps instead", {"time_column": ""})),
            )
        return labels

    def _id_fixes(self) -> list[Fix]:
        """Columns within which each time stands once."""
        found = []
        for name in self.table.frame.columns:
            if name == self.column or not name or len(found) == 2:
                continue
            cells = self.table.frame[name].astype(str)
            pairs = pd.DataFrame({"id": cells.to_numpy(), "time": self.labels.astype(str)})
            if 1 < cells.nunique() <= len(cells) / 2 and not pairs.duplicated().any():
                found.append(Fix(f"{name!r} says which sequence a row belongs to", {"id_column": name}))
        return found

    def _read(self, cells: pd.Series, options: Options) -> np.ndarray:
        self._require_times(cells)
        if isinstance(cells.dtype, pd.DatetimeTZDtype):
            self.notes.append(f"Times of {self.column!r} are in UTC.")
            return _labels(cells.dt.tz_convert("UTC").dt.tz_localize(None))
        if cells.dtype.kind == "M":
            return _labels(cells)
        numbers = pd.to_numeric(cells, errors="coerce")
        if not numbers.isna().any():
            return self._from_numbers(numbers.to_numpy())
        text = cells.astype(str).str.strip()
        dashed = text.str.replace(r"^(\d{4})[/.](\d{1,2})[/.]", r"\1-\2-", regex=True)
        dates = pd.to_datetime(dashed, errors="coerce", format="ISO8601", utc=True)
        if dates.isna().any():
            dates = self._day_and_month(text, options)
        for form in _FORMATS:
            if dates is not None and not dates.isna().any():
                break
            dates = pd.to_datetime(text, errors="coerce", format=form, utc=True)
        if dates is None or dates.isna().any():
            return text.to_numpy().astype(str)
        if text.str.fullmatch(_OFFSET).any():
            self.notes.append(f"Times of {self.column!r} are in UTC.")
        return _labels(dates.dt.tz_localize(None))

    def _require_times(self, cells: pd.Series) -> None:
        """Refuse a time that is missing, and a row of totals among those of times."""
        text = cells.astype(str).str.strip().str.lower()
        total = text.isin(_TOTALS).to_numpy()
        missing = (cells.isna() | (text == "")).to_numpy()
        if missing.any() and not missing.all():
            what, row = "The time is missing.", int(np.flatnonzero(missing)[0])
        elif total.any() and total.sum() < len(total) / 2:
            row = int(np.flatnonzero(total)[0])
            what = f"{cells.iloc[row]!r} is no time: the row seems to sum up others."
        else:
            return
        raise SequenceFileError(
            what,
            where=self.table.place(row, self.column),
            hint="Delete the row if it is of totals; else give it its time.",
            fixes=(Fix("All rows are timesteps: number them", {"time_column": ""}),),
        )

    def _from_numbers(self, numbers: np.ndarray) -> np.ndarray:
        """Counts; or dates, where the column is called so and the size of its numbers leaves no doubt."""
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise SequenceFileError("A time is missing or not finite.", where=self.table.place(row, self.column))
        whole = (numbers == numbers.round()).all()
        if _DATED.search(self.column):
            for low, high, unit, words in _EPOCHS:
                if (numbers >= low).all() and (numbers < high).all():
                    self.notes.append(f"{self.column!r} is read as {words} since 1970, in UTC.")
                    return _labels(pd.Series(pd.to_datetime(numbers, unit=unit)))
            if whole and ((numbers >= 19000101) & (numbers <= 21001231)).all():
                days = pd.to_datetime(pd.Series(numbers.astype(np.int64)).astype(str), format="%Y%m%d", errors="coerce")
                if not days.isna().any():
                    return _labels(days)
        return numbers.astype(np.int64) if whole and (np.abs(numbers) < 2**53).all() else numbers

    def _day_and_month(self, text: pd.Series, options: Options) -> pd.Series | None:
        """Dates such as 3/4/2024: by what the numbers allow, else by order in time, and then it is said."""
        parts = text.str.extract(_PARTS)
        if parts[0].isna().any():
            return None
        first, second = parts[0].astype(int), parts[2].astype(int)
        day_first = options.day_first
        if day_first is None and (first > 12).any() != (second > 12).any():
            day_first = bool((first > 12).any())
        year = parts[3].where(parts[3].str.len() == 4, "20" + parts[3])
        rest = parts[4].fillna("").str.strip(" ,T").str.replace(_CLOCK, _in_24_hours, regex=True)

        def read(day_first: bool) -> pd.Series:
            month, day = (second, first) if day_first else (first, second)
            iso = year + "-" + month.astype(str).str.zfill(2) + "-" + day.astype(str).str.zfill(2)
            return pd.to_datetime((iso + " " + rest).str.strip(), errors="coerce", format="ISO8601", utc=True)

        if day_first is not None:
            return read(day_first)
        both = {way: read(way) for way in (True, False)}
        day_first = (parts[1] == ".").all() or not (
            both[False].is_monotonic_increasing and not both[True].is_monotonic_increasing
        )
        day_first = day_first and not both[True].isna().any()
        words = {True: "day first", False: "month first"}
        self.notes.append(f"Dates such as {text.iloc[0]!r} can be read in two ways; they are read {words[day_first]}.")
        self.fixes.append(Fix(f"Read the dates {words[not day_first]}", {"day_first": not day_first}))
        return both[day_first]


def in_calendar(dates: np.ndarray) -> bool:
    """Whether all dates (datetime64, of any unit) are in the years 1 to 9999, which is as far as calendars go here."""
    unit, step = np.datetime_data(dates.dtype)
    if unit not in _SECONDS:
        return False
    seconds = dates[~np.isnat(dates)].astype(np.int64) * float(_SECONDS[unit] * step)
    return bool(((seconds >= _FIRST_SECOND) & (seconds < _LAST_SECOND)).all())


def _labels(dates: pd.Series) -> np.ndarray:
    """Dates to the microsecond, or finer where they are."""
    values = dates.to_numpy()
    is_finer = values.dtype == "datetime64[ns]" and (values.astype(np.int64) % 1000).any()
    return values if is_finer else values.astype("datetime64[us]")


def _in_24_hours(clock: re.Match) -> str:
    """1:05 PM as 13:05, and 9:05 as 09:05."""
    hour, half = int(clock[1]), (clock[4] or "").lower()
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"{hour:02d}:{clock[2]}{clock[3] or ''}"
