"""Tables as CSV files that hold no formulas.

Names of features, sequences and layers come from files that somebody else may have made. A spreadsheet program takes a
cell that begins like a formula for one, and runs it.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

_UNSEEN = r"[\s\x00-\x1f\u00ad\u200b-\u200f\u2060\ufeff]*"
# Also in the wide forms of Chinese and Japanese keyboards, and after a separator: where another one is usual, such as
# the semicolon in Germany, a cell may begin in the middle of ours.
_BEGINS = re.compile(rf"(^|[;,|\t\r\n])(?={_UNSEEN}[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b])")
_LEADING_CONTROL = re.compile(r"^(?=[\t\r\n])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8, without its index.

    Text that a spreadsheet program would take for a formula begins with an apostrophe, column names too; numbers stay
    as they are, also those that are written as text.
    """
    safe = table.copy(deep=False)
    for place, (_, kind) in enumerate(table.dtypes.items()):
        if not pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_datetime64_any_dtype(kind):
            cells = [as_text(value) for value in table.iloc[:, place]]
            safe.isetitem(place, pd.Series(cells, index=table.index, dtype=object))
    safe.columns = [as_text(name) for name in table.columns]
    return safe.to_csv(index=False, lineterminator="\r\n").encode(errors="replace")


def as_text(value: Any) -> Any:
    """A text with an apostrophe where it would begin a formula; any other value as it is."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return _LEADING_CONTROL.sub("'", _BEGINS.sub(r"\1'", value))
