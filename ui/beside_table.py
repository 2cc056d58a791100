"""Which columns of the sequence's file other inputs of the model may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from explain_core.models import ExpectedInput
from explain_core.sequences.roles import Role, roles_of
from ui.data import Data
from ui.data_options import choices


@dataclass(frozen=True)
class Table:
    """The sequence's file as a table that other inputs may take columns of.

    ``free`` are the columns that nothing takes for sure; ``whole`` has the kinds of inputs that take all of them
    together with the sequence, and ``own`` is how many of them are the sequence's.
    """

    data: Data
    free: tuple[str, ...]
    whole: tuple[Role, ...]
    own: int = 0

    @classmethod
    def of(cls, data: Data | None, inputs: Sequence[ExpectedInput], main: int, taken: set[str]) -> Table | None:
        if data is None or data.sequences is None or "feature" not in data.reading.sequences.dims:
            return None
        names = [str(name) for name in data.reading.sequences["feature"].values]
        chosen = choices().of(data.path).columns
        free = tuple(name for name in names if name not in taken and (chosen is None or name not in chosen))
        own = 0 if chosen is not None else (inputs[main].shape or (0,))[-1] or 0
        columns = len(free) + len(taken)
        for kinds in ((Role.SEQUENCE, Role.STATIC), (Role.SEQUENCE,)):
            sizes = [
                spec.shape[-1] if spec.shape else None
                for place, (spec, role) in enumerate(zip(inputs, roles_of(inputs), strict=True))
                if place != main and role in kinds
            ]
            if sizes and None not in sizes and own + sum(size or 0 for size in sizes) == columns:
                return cls(data, free, kinds, own)
        return cls(data, free, (), own)

    def likely(self, count: int | None, role: Role) -> list[str]:
        """Columns for an input of so many: the next that are free; for one without time those that never change."""
        if not count or role not in self.whole:
            return []
        if role is Role.STATIC:
            reading = self.data.reading.sequences
            held = [name for name in self.free if _never_changes(reading.sel(feature=name))]
            if len(held) == count:
                return held
        return list(self.free[self.own : self.own + count])


def _never_changes(column: xr.DataArray) -> bool:
    lengths = column["length"].values if "length" in column.coords else [column.sizes["time"]] * len(column)
    return all((row[:length] == row[0]).all() for row, length in zip(column.values, lengths, strict=True))
