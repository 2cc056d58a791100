"""What the strongest runs come to, in sentences: ``18 to 20 July: maximum temperature, +9.1 °C of the +14.5 °C``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explain_core.stage.ranges import Range
from explain_core.stage.when import in_words
from explain_core.words import signed

_NO_CHANGE = 1e-6  # of all |attribution|; a smaller difference is none that parts could be "of"
_LONGEST_NAME = 40  # characters of a feature's name
_MOST_WORDS = 8


def range_sentence(
    run: Range,
    change: float,
    size: float,
    *,
    labels: np.ndarray | None,
    features: Sequence[str],
    tokens: Sequence[str] | None = None,
    time_label: str = "",
    unit: str = "",
) -> str:
    """One run in words.

    Args:
        change: prediction - baseline prediction, that all attributions add up to.
        size: ``sum|attribution|``.
        labels: (T,) labels of the timesteps; None for an input without a time axis.
        features: names.
        tokens: (T,) texts of token ids.
        time_label: what a timestep is called.
    """
    where = []
    if labels is not None and len(labels) > 1:  # one step alone needs no name
        where.append(in_words(labels, run.first, run.last, time_label))
    if tokens is not None:
        where.append(_quoted(tokens[run.first : run.last + 1]))
    elif run.feature is None:
        where.append("all features together")
    elif len(features) > 1 or not where:
        where.append(_short(features[run.feature]))
    if len(where) == 2:
        return f"{where[0]}: {where[1]}, {amount_of(run.amount, change, size, unit)}"
    return f"{where[0]}: {amount_of(run.amount, change, size, unit)}"


def amount_of(amount: float, change: float, size: float, unit: str = "") -> str:
    """An amount and what it is of the whole difference, e.g. ``+9.1 °C of the +14.5 °C``.

    An amount with the other sign is none "of" the difference, nor is one that is larger than it.
    """
    said, whole = signed(amount, unit), signed(change, unit)
    if abs(change) <= _NO_CHANGE * size:
        return f"{said}, which other values cancel"
    if (amount < 0) != (change < 0):
        return f"{said}, against the {whole} in all"
    if abs(amount) > abs(change) and said != whole:
        return f"{said}, more than the {whole} in all: other values pull back"
    return f"{said} of the {whole}"


def _short(name: str) -> str:
    """A name that leaves room for the amount; namesakes often differ at the end."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 16]}…{name[-15:]}"


def _quoted(tokens: Sequence[str]) -> str:
    some = " ".join(tokens[:_MOST_WORDS])
    return f"“{some}{' …' if len(tokens) > _MOST_WORDS else ''}”"
