"""Labels of samples, outputs, timesteps and features: made uniform, unique, and found again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from explain_core.errors import ExplainError, InputError


def label_array(labels: Any) -> np.ndarray:
    """Labels as an array of numbers, datetimes or text; anything else becomes its text.

    Datetimes with a time zone keep the wall-clock time, as the person wrote it; numpy has no time zones.
    """
    if isinstance(getattr(labels, "dtype", None), pd.DatetimeTZDtype):
        labels = pd.DatetimeIndex(labels).tz_localize(None)
    array = np.asarray(labels)
    if array.dtype.kind in "iufMm":
        return array
    flat = array.ravel().tolist()
    if flat and all(isinstance(label, pd.Timestamp) for label in flat):
        return np.array([label.tz_localize(None).to_datetime64() for label in flat]).reshape(array.shape)
    return np.array([str(label) for label in flat], dtype=np.str_).reshape(array.shape)


_OR_NONE = ", or none where an index means nothing: .reset_index(drop=True)"


def unique_labels(labels: Sequence | np.ndarray, size: int, what: str) -> np.ndarray:
    """One label per position, all different.

    Raises:
        InputError: another number of labels, or the same label twice.
    """
    array = label_array(labels)
    if array.shape != (size,):
        raise InputError(f"There are {size} {what}s but {array.size} labels for them.", where=f"{what} labels")
    values, counts = np.unique(array, return_counts=True)
    if (counts > 1).any():
        raise InputError(
            f"The {what} label {str(values[counts.argmax()])!r} is there {counts.max()} times.",
            where=f"{what} labels",
            hint=f"Give every {what} a name of its own{_OR_NONE if what == 'sample' else ''}.",
        )
    return array


def position_of(label: Any, labels: np.ndarray, what: str, error: type[ExplainError]) -> int:
    """Position of a label. Where the labels are not numbers, a whole number is a position, counted from 0.

    Raises:
        error: no such label.
    """
    found = np.flatnonzero([str(label) == str(candidate) for candidate in labels])
    if labels.dtype.kind == "M" and not found.size:
        found = np.flatnonzero([str(label) == text for text in label_texts(labels)])
    if found.size:
        return int(found[0])
    is_position = isinstance(label, int | np.integer) and labels.dtype.kind not in "iuf"
    if is_position and -len(labels) <= label < len(labels):
        return int(label) % len(labels)
    some = ", ".join(repr(candidate) for candidate in labels[:10].tolist())
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    raise error(f"There is no {what} {label!r}.", hint=f"There are: {some}{more}.")


def positions_of(chosen: Any, labels: np.ndarray, what: str, error: type[ExplainError]) -> list[int]:
    """Positions of one label, of a list of labels, or of a slice of positions."""
    if isinstance(chosen, slice):
        return list(range(len(labels)))[chosen]
    several = isinstance(chosen, list | tuple | np.ndarray)
    return [position_of(label, labels, what, error) for label in (chosen if several else [chosen])]


def label_texts(labels: np.ndarray) -> list[str]:
    """Labels for people: dates without the parts that are zero in all of them, numbers without zeros."""
    if labels.dtype.kind == "M":
        known = labels[~np.isnat(labels)]
        for unit in ("D", "m", "s", "ms"):
            if (known == known.astype(f"datetime64[{unit}]")).all():
                return [text.replace("T", " ") for text in np.datetime_as_string(labels, unit=unit)]
        return [text.replace("T", " ") for text in np.datetime_as_string(labels)]
    if labels.dtype.kind == "m":
        return [str(pd.Timedelta(label)) for label in labels]
    return [f"{label:.6g}" if labels.dtype.kind == "f" else str(label) for label in labels]


def spoken_labels(labels: np.ndarray, of: np.ndarray | None = None) -> list[str]:
    """Labels on axes and in sentences: as `label_texts`, with thousands apart like other numbers, but for years.

    Args:
        of: all labels of a sequence, where these are some of it.
    """
    if labels.dtype.kind not in "iuf" or are_years(labels if of is None else of):
        return label_texts(labels)
    return [f"{label:,.6g}" if labels.dtype.kind == "f" else f"{label:,}" for label in labels]


def are_years(labels: np.ndarray) -> bool:
    """Whether numbers are taken for years, which nobody writes with a comma."""
    return labels.dtype.kind in "iuf" and bool(labels.size) and bool(((labels >= 1800) & (labels < 2200)).all())


def is_count(labels: np.ndarray) -> bool:
    """Whether labels are the numbers that pandas and others give by themselves."""
    return labels.dtype.kind in "iu" and np.array_equal(labels, np.arange(len(labels)))


def of_samples(labels: Iterable[np.ndarray]) -> np.ndarray | None:
    """Of the labels that several arrays have for the same samples, those that samples go by; None where there are none.

    The first, unless they are only numbers from 0 and others say more.
    """
    there = list(labels)
    return next((own for own in there if not is_count(np.sort(label_array(own)))), next(iter(there), None))


def exact_texts(labels: np.ndarray) -> list[str]:
    """Labels as texts that are equal where the labels are, whatever unit dates are kept in."""
    array = label_array(labels)
    return [str(label) for label in (array.astype("datetime64[ns]") if array.dtype.kind == "M" else array).tolist()]


def listed(names: Sequence[str]) -> str:
    """The first names, quoted."""
    return f"[{', '.join(map(repr, names[:8]))}{', ...' if len(names) > 8 else ''}]"


def sample_order(
    own: np.ndarray | pd.RangeIndex | None,
    wanted: np.ndarray | pd.RangeIndex | None,
    whose: str,
    others: str = "the input",
    *,
    where: str = "",
    error: type[ExplainError] = InputError,
) -> list[int] | None:
    """Where the samples that are wanted stand among one's own; None where they stand in that order or have no labels.

    Numbers from 0 are labels only where the others are the same numbers, and somebody gave both.

    Args:
        own, wanted: labels, one for each sample, or None; a ``RangeIndex`` is what pandas counted by itself.
        whose, others: what the own labels and those that are wanted are of, for the message, such as "the baseline".

    Raises:
        error: the labels are not the same, or pandas counted the samples of one side and those of the other are the
            same numbers in another order, so that it cannot be told which sample is which.
    """
    if own is None or wanted is None:
        return None
    mine, theirs = exact_texts(own), exact_texts(wanted)
    if mine == theirs:
        return None
    if sorted(mine) == sorted(theirs) and len(set(mine)) == len(mine):
        if isinstance(own, pd.RangeIndex) or isinstance(wanted, pd.RangeIndex):
            raise error(
                f"the samples of {whose} are {listed(mine)}, and those of {others} {listed(theirs)}: one side is only "
                "counted by pandas, so these may be the same samples, or others that have lost their labels",
                where=where,
                hint="To go by position, .reset_index(drop=True) or .to_numpy(); to go by these numbers, name both "
                'indexes: .rename_axis("sample").',
            )
        return [mine.index(label) for label in theirs]
    if is_count(np.asarray(own)) or is_count(np.asarray(wanted)):
        return None
    raise error(
        f"the samples of {whose} are {listed(mine)}, and those of {others} {listed(theirs)}",
        where=where,
        hint="Give both the same labels, in any order, or none to go by position: .reset_index(drop=True) where an "
        "index means nothing, else .to_numpy().",
    )
