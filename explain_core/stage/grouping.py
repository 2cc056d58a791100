"""Features in the order of their totals, those that belong together, and how many get a row of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

MOST_ROWS = 14
_FEWEST, _MOST, _ENOUGH = 6, 12, 0.9  # rows of their own where the rest is folded, and the part that they should hold
_MANY = 8  # from more features than this on, a common beginning makes a group
_ENDING = re.compile(r"^(?P<stem>.*?[^\W\d_].*?)[\s_.:/\[(-]*(?P<end>[^\W_]+)[\])]?$")
_STEM = re.compile(r"^(?P<stem>[^\W\d_]{2,}[^_.:/\[]*?)(?:[_.:/\[]|\s*\d+\b)")
#: Endings that make two features parts of one thing, however few features there are.
_PAIRS = (
    {"sin", "cos"},
    {"sine", "cosine"},
    {"u", "v"},
    {"x", "y"},
    {"x", "y", "z"},
    {"u", "v", "w"},
    {"real", "imag"},
)


def groups_of(names: Sequence[str], given: Mapping[str, str] | None = None) -> list[str | None]:
    """The group of each feature, None for one by itself.

    Features are a group that a person put together, or that are the sine and cosine (or the components) of one thing;
    and among more than 8, those whose names begin alike: ``lag_1, lag_2``, ``sensor.a, sensor.b``. One group of all
    features would say nothing, and neither would a group of one.

    Args:
        given: group by name of feature; then nothing is guessed.
    """
    if given is not None:
        found = [given.get(name) or None for name in names]
    else:
        found = _components(names)
        if len(names) > _MANY:
            stems = [match["stem"].rstrip() if (match := _STEM.match(name)) else None for name in names]
            found = [pair or stem for pair, stem in zip(found, stems, strict=True)]
    sizes = Counter(found)
    groups = [group if group is not None and sizes[group] > 1 else None for group in found]
    return [None] * len(groups) if len(set(groups)) == 1 and len(groups) > 1 and given is None else groups


def _components(names: Sequence[str]) -> list[str | None]:
    """Stems of names that differ in a known pair of endings alone."""
    parts = [
        (match["stem"].rstrip(" _.:/[(-"), match["end"].lower()) if (match := _ENDING.match(n)) else None for n in names
    ]
    ends: dict[str, set[str]] = {}
    for part in parts:
        if part is not None:
            ends.setdefault(part[0], set()).add(part[1])
    return [part[0] if part is not None and ends[part[0]] in _PAIRS else None for part in parts]


def order_of(attribution: np.ndarray, groups: Sequence[str | None]) -> list[int]:
    """Positions of the features in the order of what they moved in total, the largest ``|sum|`` first.

    The features of a group stand together, at the place of the group's own total. Equals stay in their order.

    Args:
        attribution: (T, F).
        groups: (F,) as `groups_of` gives them.
    """
    totals = attribution.sum(axis=0)
    blocks: dict[str | int, list[int]] = {}
    for feature, group in enumerate(groups):
        blocks.setdefault(feature if group is None else group, []).append(feature)
    ranked = sorted(blocks.values(), key=lambda block: -abs(totals[block].sum()))
    return [feature for block in ranked for feature in sorted(block, key=lambda each: -abs(totals[each]))]


def fold_after(attribution: np.ndarray, order: Sequence[int], groups: Sequence[str | None]) -> int:
    """How many features of ``order`` get rows; all of them where there is room.

    Otherwise as many as hold nine tenths of ``sum|attribution|``, at least 6 and at most 12: the others are one row.
    """
    rows = sum(group is None for group in groups) + len({group for group in groups if group is not None})
    if rows <= MOST_ROWS:
        return len(order)
    sizes = np.cumsum(np.abs(attribution).sum(axis=0)[list(order)])
    return int(np.clip(np.searchsorted(sizes, _ENOUGH * sizes[-1]) + 1, _FEWEST, _MOST))
