"""What a file of sequences holds, and how it was read."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from explain_core.errors import Fix


@dataclass(frozen=True)
class Reading:
    """What a file holds, and how it was read.

    Attributes:
        sequences: (sample, time, feature), all columns of values; token ids are (sample, time).
        format: of the file, in words.
        columns: every column that has a name, in the order of the file; empty for arrays.
        id_column, time_column: which of them are these; None for none.
        choices: names of the arrays to choose among.
        notes: what was noticed or assumed, a sentence each.
        fixes: other ways to read it.
    """

    sequences: xr.DataArray
    format: str
    columns: tuple[str, ...] = ()
    id_column: str | None = None
    time_column: str | None = None
    choices: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
