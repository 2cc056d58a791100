"""Files of texts: one a line, a column of a table, or a JSON list."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import pandas as pd

from explain_core.errors import SequenceFileError
from explain_core.preparation.axis_words import ID_NAMES
from explain_core.sequences import json_file, parquet
from explain_core.sequences.contents import Contents, read_bytes
from explain_core.sequences.foreign import refuse_others
from explain_core.sequences.options import Options
from explain_core.sequences.text import decode, read_text
from explain_core.untrusted.last_boundary import ending_typed

_TEXT_NAMES = ("text", "sentence", "review", "document", "comment", "tweet", "message", "content", "body", "tokens")
_MOST_TEXTS = 100_000


def read_texts(path: str | PathLike[str], column: str | None = None) -> tuple[list[str], list[str], list[str]]:
    """Names and texts of a file, and what was noticed.

    Args:
        column: the column of texts; found by its name (``text``, ``review``, ...) when left out. A file without such a
            column has one text on each line.

    Raises:
        SequenceFileError: there is no such column, or no text.
    """
    path = Path(path)
    with ending_typed(SequenceFileError, "texts", path.name):
        return _read(path, column)


def _read(path: Path, column: str | None) -> tuple[list[str], list[str], list[str]]:
    data = read_bytes(path)
    file = Contents(data, path.name, path.stem)
    refuse_others(data, path.name)
    notes: list[str] = []
    if data.startswith(b"PAR1"):
        return _checked(*_from_frame(parquet.read_parquet(file, Options()).table.frame, column, path), notes, path.name)
    frame = None
    text = decode(data, path.name, notes)
    if json_file.looks_like_json(data):
        try:
            found = json_file.texts_of_json(text, path.name)
            if found is not None:
                return _checked(*found, notes, path.name)
            table = json_file.read_json(file, Options()).values
            frame = getattr(table, "frame", None)
        except SequenceFileError:
            if not text.lstrip().startswith("["):
                raise  # a text may begin with "[CLS]"
    elif _has_header(text, column):
        frame = read_text(file, Options(header=True)).table.frame
    if frame is None:
        lines = [line.strip() for line in text.splitlines()]
        kept = {i + 1: line for i, line in enumerate(lines) if line}
        names = [path.stem] if len(kept) == 1 else [f"line {number}" for number in kept]
        return _checked(names, list(kept.values()), notes, path.name)
    return _checked(*_from_frame(frame, column, path), notes, path.name)


def _has_header(text: str, column: str | None) -> bool:
    """Whether the first line names a column of texts; any other file has a text on each line."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    names = [name.strip(' "').lower() for name in first.replace(";", ",").replace("\t", ",").split(",")]
    return column is not None or any(name in _TEXT_NAMES for name in names)


def _from_frame(frame: pd.DataFrame, column: str | None, path: Path) -> tuple[list[str], list[str]]:
    by_lower = {str(name).lower(): name for name in frame.columns}
    if column is not None and column not in frame.columns:
        raise SequenceFileError(
            f"There is no column {column!r}.", where=path.name, hint=f"There are: {', '.join(map(str, frame.columns))}."
        )
    chosen = column or next((by_lower[name] for name in _TEXT_NAMES if name in by_lower), None)
    if chosen is None:
        raise SequenceFileError(
            "There is no column of texts.",
            where=path.name,
            hint=f"Call it 'text'. There are: {', '.join(map(str, frame.columns[:12]))}.",
        )
    own = next((by_lower[name] for name in ID_NAMES if name in by_lower and by_lower[name] != chosen), None)
    names = [str(name) for name in (frame[own] if own is not None else frame.index)]
    if len(set(names)) < len(names) or own is None:
        names = [f"row {number}" for number in frame.index]
    return names, [str(cell) for cell in frame[chosen]]


def _checked(
    names: list[str], texts: list[str], notes: list[str], where: str
) -> tuple[list[str], list[str], list[str]]:
    if len(texts) > _MOST_TEXTS:
        raise SequenceFileError(f"The file has {len(texts):,} texts; the limit is {_MOST_TEXTS:,}.", where=where)
    empty = next((name for name, text in zip(names, texts, strict=True) if not text.strip()), None)
    if not texts or empty is not None:
        raise SequenceFileError("A text is empty.", where=f"{where}, {empty}" if empty else where)
    return names, texts, notes
