"""Reading JSON that nobody vouches for: its size and depth are counted before anything is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

_CHUNK = 2**20
_QUOTE, _COMMA, _LIST, _LIST_END, _OBJECT, _OBJECT_END = b'",[]{}'
_HALF = "has half of a character, which no text can hold"
_LONGEST_NUMBER = 300  # digits; what is longer is infinite as a number with a point


class JsonError(ValueError):
    """JSON that is damaged, too deep or too large; the message goes on from "the JSON ...".

    Attributes:
        row, column: where, from 1; None where it is not in one place.
    """

    def __init__(self, what: str, row: int | None = None, column: int | None = None) -> None:
        super().__init__(what)
        self.row, self.column = row, column


def read_json(
    text: str | bytes | memoryview,
    *,
    most_values: int,
    deepest: int,
    made: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """The value that a text of JSON holds.

    Args:
        text: bytes are UTF-8.
        most_values: of numbers, texts, lists and objects together.
        deepest: lists and objects in each other.
        made: makes an object of its names and values; a dict if left out.

    Raises:
        JsonError: it is no JSON, has more than that, or has half of a character.
    """
    try:
        text = text if isinstance(text, str) else str(text, "utf-8-sig")
        values, depth = measured(text.encode())
    except UnicodeDecodeError:
        raise JsonError("is not UTF-8") from None
    except UnicodeEncodeError:
        raise JsonError(_HALF) from None
    if depth > deepest:
        raise JsonError(f"is nested too deep: {depth:,} times; the limit is {deepest}")
    if values > most_values:
        raise JsonError(f"has {values:,} values; the limit is {most_values:,}")
    try:
        found = json.loads(text, parse_int=_integer, object_pairs_hook=made)
    except json.JSONDecodeError as error:
        raise JsonError(f"is damaged or cut off: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise JsonError("is nested too deep") from None
    if "\\u" in text and not _is_text(found):
        raise JsonError(_HALF)
    return found


def measured(data: bytes) -> tuple[int, int]:
    """At most how many values JSON has, and how deep they are; counted without making any of them."""
    values, depth, deepest, inside = 1, 0, 0, 0
    carried = b""
    for start in range(0, len(data), _CHUNK):
        chunk = carried + data[start : start + _CHUNK]
        carried = b"\\" if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2 else b""
        chunk = chunk[: len(chunk) - len(carried)]
        # Escapes first: of what is left, every quotation mark begins a text or ends one.
        marks = np.frombuffer(chunk.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
        if not marks.size:
            continue
        texts = (np.cumsum(marks == _QUOTE) + inside) % 2
        inside = int(texts[-1])
        outer = marks[texts == 0]
        opening = (outer == _LIST) | (outer == _OBJECT)
        closing = (outer == _LIST_END) | (outer == _OBJECT_END)
        if outer.size:
            depths = depth + np.cumsum(opening.astype(np.int64) - closing)
            deepest, depth = max(deepest, int(depths.max())), int(depths[-1])
        values += int(opening.sum()) + int((outer == _COMMA).sum())
    return values, deepest


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_NUMBER else float("-inf" if digits.startswith("-") else "inf")


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True
