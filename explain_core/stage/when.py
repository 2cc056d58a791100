"""Dates and runs of timesteps as people say them: ``18 to 20 July``, ``timesteps 12 to 20``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from explain_core.explanation.labels import is_count, spoken_labels

_YEAR, _MONTH = 365, 28  # the fewest days of each


def is_date(labels: np.ndarray) -> bool:
    """Whether every label is a date."""
    return labels.dtype.kind == "M" and not np.isnat(labels).any()


def step_texts(labels: np.ndarray) -> list[str]:
    """A text for each timestep: dates as ``18 Jul 2014``, labels that are only 0, 1, 2, ... counted from 1.

    Args:
        labels: (T,) as `Panel.time` has them.
    """
    if is_date(labels):
        form = {"year": "{d:%Y}", "month": "{d:%b %Y}"}.get(grain := _grain(labels), "{d.day} {d:%b %Y}")
        return [form.format(d=date) + _clock(date, grain, ", ") for date in _dates(labels)]
    return spoken_labels(labels + 1 if is_count(labels) else labels)


def in_words(labels: np.ndarray, first: int, last: int, word: str) -> str:
    """The timesteps ``first`` to ``last`` (positions, both included) as the start of a sentence.

    Args:
        word: what a timestep is called, such as "Timestep"; dates need none.
    """
    texts = step_texts(labels)
    if is_date(labels):
        return _dates_in_words(_dates(labels), first, last, _grain(labels))
    word = word or "Timestep"
    if first == last:
        return f"{word} {texts[first]}"
    several = word if labels.dtype.kind not in "iu" or word.endswith("s") else f"{word}s"
    return f"{several} {texts[first]} to {texts[last]}"


def _dates_in_words(dates: pd.DatetimeIndex, first: int, last: int, grain: str) -> str:
    a, b = dates[first], dates[last]
    years = dates.year.nunique() > 1
    if grain == "year":
        return f"{a:%Y}" if first == last else f"{a:%Y} to {b:%Y}"
    of_year = f" {b:%Y}" if years else ""
    own_year = f" {a:%Y}" if a.year != b.year else ""
    if grain == "month":
        return f"{b:%B}{of_year}" if first == last else f"{a:%B}{own_year} to {b:%B}{of_year}"
    clocks = _clock(a, grain, ""), _clock(b, grain, "")
    day = f"{b.day} {b:%B}{of_year}"
    if a.normalize() == b.normalize():
        clock = clocks[0] if first == last else " to ".join(clocks)
        return f"{day}, {clock}" if clock else day
    start = f"{a.day} {a:%B}{own_year}"
    if any(clocks):
        return f"{start}, {clocks[0]} to {day}, {clocks[1]}"
    return f"{a.day} to {day}" if (a.year, a.month) == (b.year, b.month) else f"{start} to {day}"


def _dates(labels: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(labels)


def _grain(labels: np.ndarray) -> str:
    """What dates differ by: year, month, day, minute, second or less."""
    dates = _dates(labels)
    gap = min(np.diff(labels), default=np.timedelta64(1, "D")) / np.timedelta64(1, "D")
    if (dates == dates.normalize()).all():
        firsts = (dates.day == 1).all() and len(dates) > 1
        if firsts and (dates.month == 1).all() and gap >= _YEAR:
            return "year"
        return "month" if firsts and gap >= _MONTH else "day"
    return next(
        (grain for grain, unit in (("minute", "min"), ("second", "s")) if (dates == dates.floor(unit)).all()), ""
    )


def _clock(date: pd.Timestamp, grain: str, before: str) -> str:
    if grain in ("year", "month", "day"):
        return ""
    form = {"minute": "%H:%M", "second": "%H:%M:%S"}.get(grain)
    return before + (date.strftime(form) if form else date.strftime("%H:%M:%S.%f").rstrip("0"))
