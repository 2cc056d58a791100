"""How a file is to be read and cut, and the limits that hold before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from explain_core.errors import InputError

MAX_BYTES = 512 * 2**20
"""Of a file, and of what a compressed file declares to hold."""
MAX_CELLS = 20_000_000
"""Numbers in one array or table."""
MAX_TEXT_CELLS = 5_000_000
"""Cells of a file of text; each is a Python string for a while."""
MAX_COLUMNS = 20_000
"""Of a table; each of them is looked at by itself."""

FILLS = ("previous", "linear", "zero")
PADDINGS = ("zero", "nan")


@dataclass(frozen=True)
class Options:
    """What a file does not say by itself. None is "as the file shows"; nothing here is ever guessed and kept silent.

    Attributes:
        id_column: the column that says which sequence a row belongs to; "" for none.
        time_column: the column of time labels; "" for none.
        columns: the columns of values, in the model's order; all others are left out.
        array: which array of an NPZ file, or which list of a JSON file.
        header: whether the first row of a text file has names.
        decimal: "." or ",".
        day_first: whether 03/04/2024 is 3 April.
        missing: a number that stands for a missing value, such as -999.
        fill: what stands in for missing values: "previous", "linear" or "zero".
        sort: put the rows of each sequence in the order of their times.
        padding: "zero" or "nan": whether trailing steps that are all zero, or all missing, are padding.
        transpose: rows are features and columns are timesteps.
        unfold: rows are whole sequences, flattened: the number of timesteps in each.
        unfold_order: "time" where all features of a step are side by side, "feature" where all steps of a feature are.
        last: keep the last so many timesteps.
        pad: add steps of zeros up to this length; ``pad_where`` is "end" or "start".
        window, stride: cut windows of so many steps, one every ``stride`` steps.
    """

    id_column: str | None = None
    time_column: str | None = None
    columns: tuple[str, ...] | None = None
    array: str | None = None
    header: bool | None = None
    decimal: str | None = None
    day_first: bool | None = None
    missing: float | None = None
    fill: str | None = None
    sort: bool = False
    padding: str | None = None
    transpose: bool = False
    unfold: int | None = None
    unfold_order: str = "time"
    last: int | None = None
    pad: int | None = None
    pad_where: str = "end"
    window: int | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        for name, allowed in (
            ("decimal", (None, ".", ",")),
            ("fill", (None, *FILLS)),
            ("padding", (None, *PADDINGS)),
            ("unfold_order", ("time", "feature")),
            ("pad_where", ("end", "start")),
        ):
            if getattr(self, name) not in allowed:
                choices = ", ".join(repr(each) for each in allowed if each is not None)
                raise InputError(f"{name} is {getattr(self, name)!r}.", hint=f"Choose one of {choices}.")
        for name in ("unfold", "last", "pad", "window", "stride"):
            size = getattr(self, name)
            if size is not None and (isinstance(size, bool) or int(size) != size or size < 1):
                raise InputError(f"{name} is {size!r}.", hint="It must be a whole number of at least 1.")

    def changed(self, changes: dict[str, Any]) -> Options:
        """With the changes of a `Fix`."""
        return replace(self, **changes)

    @property
    def given(self) -> dict[str, Any]:
        """What differs from the defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
