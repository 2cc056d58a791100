"""Fonts of pictures: those installed here that have the letters of the world, and the letters that none of them has."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

_FIRST = "DejaVu Sans"  # comes with matplotlib
#: Families with the letters that the first has not: as systems call them, the likeliest first.
_FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK TC",
    "Noto Sans CJK KR",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans TC",
    "Noto Sans KR",
    "Source Han Sans SC",
    "Source Han Sans",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "IPAGothic",
    "IPAexGothic",
    "TakaoGothic",
    "NanumGothic",
    "Droid Sans Fallback",
    "Arial Unicode MS",
    "Unifont",
    "Noto Sans",
    "Noto Sans Symbols2",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "FreeSans",
)


def _surely_there(letter: str) -> bool:
    """Whether the first family has it, which is known without looking: Latin, punctuation, arrows, mathematics."""
    return letter < "\u0250" or "\u2010" <= letter <= "\u2027" or "\u2190" <= letter <= "\u22ff"


@cache
def families() -> list[str]:
    """Families to take letters from, one after the other: the usual one, and those that are installed here."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return [_FIRST, *(name for name in _FALLBACKS if name in installed)]


@cache
def _letters() -> frozenset[int]:
    """Code points that some family of `families` has a glyph for."""
    from matplotlib import font_manager

    found: set[int] = set()
    for name in families():
        found.update(font_manager.get_font(font_manager.findfont(name)).get_charmap())
    return frozenset(found)


def letters_without_glyph(value: Any) -> list[str]:
    """Letters for which a PNG can only have empty boxes, in the order of their first place.

    Args:
        value: a text, or dicts and lists of texts such as a figure's JSON.
    """
    seen = dict.fromkeys(letter for text in _texts(value) for letter in text)
    unsure = [letter for letter in seen if letter.isprintable() and not letter.isspace() and not _surely_there(letter)]
    return [letter for letter in unsure if ord(letter) not in _letters()]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif isinstance(value, np.ndarray):
        value = value.tolist() if value.dtype.kind in "OU" else []
    if isinstance(value, list | tuple):
        return [text for each in value for text in _texts(each)]
    return []
