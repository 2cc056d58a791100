"""A table of cells, whichever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from explain_core.errors import SequenceFileError
from explain_core.sequences.options import MAX_COLUMNS


@dataclass(frozen=True)
class Table:
    """Columns of cells as the file has them, text or typed. The index has the numbers of the file's rows.

    A column without a name has the name "".
    """

    frame: pd.DataFrame
    where: str
    notes: tuple[str, ...] = ()
    row_word: str = "row"

    def place(self, position: int, column: str) -> str:
        """Where a cell is, in words; ``position`` counts from 0."""
        return f"{self.where}, {self.row_word} {self.frame.index[position]}, column {column!r}"

    def with_notes(self, *notes: str) -> Table:
        return replace(self, notes=(*self.notes, *notes))


def check_columns(count: int, where: str) -> None:
    """Refuse a table with more columns than one is worked on with, which takes time for each of them.

    Raises:
        SequenceFileError
    """
    if count > MAX_COLUMNS:
        raise SequenceFileError(
            f"The file has {count:,} columns; the limit is {MAX_COLUMNS:,}.",
            where=where,
            hint="Save long rows as an array: np.save(path, values).",
        )


def row_numbers(count: int) -> pd.RangeIndex:
    """Numbers of the rows of a file that has no lines."""
    return pd.RangeIndex(1, count + 1)
