"""A table of cells, whichever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd


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


def row_numbers(count: int) -> pd.RangeIndex:
    """Numbers of the rows of a file that has no lines."""
    return pd.RangeIndex(1, count + 1)
