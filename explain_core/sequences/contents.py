"""The bytes of a file of sequences, and what a reader makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from explain_core.errors import SequenceFileError
from explain_core.sequences.options import MAX_BYTES
from explain_core.sequences.table import Table


@dataclass(frozen=True)
class Contents:
    """A file's bytes, its name for messages, and the name without suffix for a sequence that has none of its own."""

    data: bytes
    where: str
    stem: str


@dataclass(frozen=True)
class Found:
    """What a reader makes of a file.

    Attributes:
        values: a table, whose columns are told apart afterwards, or sequences (sample, time, feature).
        choices: names of the arrays to choose among.
        notes: what was noticed, a sentence each.
        format: of the file, where the reader knows it more exactly than the title of its `Format`.
    """

    values: Table | xr.DataArray
    choices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    format: str = ""

    @property
    def table(self) -> Table:
        """The values of a reader that always makes a table: of text, and of Parquet."""
        assert isinstance(self.values, Table)
        return self.values


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The whole file, if it is not larger than ``most`` (`MAX_BYTES` if left out).

    Raises:
        SequenceFileError: it cannot be read, is empty or too large.
    """
    try:
        size, most = path.stat().st_size, MAX_BYTES if most is None else most
        if size > most:
            raise SequenceFileError(
                f"The file has {size:,} bytes; the limit is {most:,}.",
                where=path.name,
                hint="Give what belongs to the sequences that you want to explain, not to the whole data set.",
            )
        data = path.read_bytes()
    except OSError as error:
        raise SequenceFileError(
            f"The file cannot be read: {error.strerror}.", where=path.name, hint="Check the path."
        ) from None
    if not data.strip():
        raise SequenceFileError(
            "The file is empty.", where=path.name, hint="It needs a header and one row per timestep."
        )
    return data
