"""The formats of files of sequences, a row each, and reading a file of any of them: its content tells which it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from explain_core.errors import SequenceFileError
from explain_core.sequences import arrays, json_file, parquet, text
from explain_core.sequences.columns import sequences_of
from explain_core.sequences.contents import Contents, Found, read_bytes
from explain_core.sequences.foreign import refuse_others
from explain_core.sequences.options import Options
from explain_core.sequences.reading import Reading
from explain_core.sequences.table import Table
from explain_core.untrusted.last_boundary import ending_typed


@dataclass(frozen=True)
class Format:
    """A format, how its files are known, and what reads them.

    Attributes:
        title: for people.
        begins: whether a file that begins with these bytes is one.
        read: what is in it, as `Options` say; raises `SequenceFileError`.
    """

    title: str
    begins: Callable[[bytes], bool]
    read: Callable[[Contents, Options], Found]


def _with(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(marks)


FORMATS = (
    Format("NumPy array (NPY)", _with(b"\x93NUMPY"), arrays.read_npy),
    Format("NumPy arrays (NPZ)", _with(b"PK\x03\x04", b"PK\x05\x06"), arrays.read_npz),
    Format("Parquet", _with(b"PAR1"), parquet.read_parquet),
    Format("JSON", json_file.looks_like_json, json_file.read_json),
    Format("Text", _with(b""), text.read_text),
)
"""The first that a file begins like reads it, so the one that takes any file is the last."""


def read_file(path: str | PathLike[str], options: Options | None = None) -> Reading:
    """Read a file of sequences, without cutting or changing them.

    Raises:
        SequenceFileError: says the row and the column.
    """
    path = Path(path)
    with ending_typed(SequenceFileError, "sequences", path.name):
        return _read(Contents(read_bytes(path), path.name, path.stem), options or Options())


def _read(file: Contents, options: Options) -> Reading:
    refuse_others(file.data, file.where)
    format = next(each for each in FORMATS if each.begins(file.data))
    found = format.read(file, options)
    title = found.format or format.title
    if isinstance(found.values, Table):
        return sequences_of(found.values.with_notes(*found.notes), title, file.stem, options)
    return Reading(found.values, title, choices=found.choices, notes=found.notes)
