"""Parquet files as tables. The sizes that a file declares are checked before it is read."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import pandas as pd

from explain_core.errors import SequenceFileError
from explain_core.sequences.contents import Contents, Found
from explain_core.sequences.options import MAX_BYTES, MAX_CELLS, Options
from explain_core.sequences.table import Table, check_columns, row_numbers
from explain_core.sequences.times import OUT_OF_CALENDAR, in_calendar

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_TEXT = 128 * 2**20


def read_parquet(file: Contents, options: Options) -> Found:
    """The table in a Parquet file.

    Raises:
        SequenceFileError: it is damaged, too large, or has columns of lists or records.
    """
    data, where = file.data, file.where
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise SequenceFileError(
            "Parquet files need the package pyarrow.", where=where, hint="Install it: pip install pyarrow."
        ) from None
    try:
        schema = pq.read_schema(io.BytesIO(data))
        nested = next((field for field in schema if pa.types.is_nested(field.type)), None)
        if nested is not None:
            raise SequenceFileError(
                f"The column is of {nested.type}, and its cells must be single values.",
                where=f"{where}, column {nested.name!r}",
                hint="Write a row for each timestep and a column for each feature.",
            )
        texts = [f.name for f in schema if _is_text(f.type)]
        # Text stays as a dictionary of distinct values, or a short file could hold one long text a million times.
        parquet = pq.ParquetFile(io.BytesIO(data), read_dictionary=texts, arrow_extensions_enabled=False)
        _check_size(parquet.metadata, where)
        return Found(_as_table(parquet.read(), where))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        line = (str(error).splitlines() or ["it cannot be read"])[0][:200]
        raise SequenceFileError(f"The Parquet file is damaged or cut off: {line}", where=where) from None


def _as_table(table: pa.Table, where: str) -> Table:
    names = ["" if name.startswith("__index_level_") else name for name in table.column_names]
    order = sorted(range(len(names)), key=lambda i: bool(names[i]))  # pandas writes its index last
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise SequenceFileError(f"Two columns are called {twice[:60]!r}.", where=where)
    _check_text(table, where)
    columns = {names[i]: _column(table.column(i), names[i], where) for i in order}
    frame = pd.DataFrame(columns, index=row_numbers(table.num_rows))
    if frame.empty:
        raise SequenceFileError("The file has no row of values.", where=where)
    return Table(frame, where)


def _check_size(metadata: Any, where: str) -> None:
    rows, columns = metadata.num_rows, metadata.num_columns
    check_columns(columns, where)
    bytes_declared = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if rows * columns > MAX_CELLS or bytes_declared > MAX_BYTES:
        raise SequenceFileError(
            f"The file has {rows:,} rows of {columns:,} columns; the limit is {MAX_CELLS:,} cells.",
            where=where,
            hint="Give the sequences that you want to explain, not the whole data set.",
        )


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)


def _column(column: pa.ChunkedArray, name: str, where: str) -> pd.Series:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    own = kind.value_type if pa.types.is_dictionary(kind) else kind
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null)
    known += (pa.types.is_timestamp, pa.types.is_date, _is_text)
    if not any(test(own) for test in known):
        raise SequenceFileError(f"The column is of {own}.", where=f"{where}, column {name!r}", hint="Write numbers.")
    if pa.types.is_timestamp(own) or pa.types.is_date(own):
        naive = column.cast(pa.timestamp(own.unit)) if pa.types.is_timestamp(own) else column
        if not in_calendar(naive.to_numpy()):
            raise SequenceFileError(OUT_OF_CALENDAR, where=f"{where}, column {name!r}", hint="Leave the column out.")
    cells = column.to_pandas(date_as_object=False)
    cells.index = row_numbers(len(cells))
    if pa.types.is_binary(own):
        cells = cells.astype(object).map(lambda cell: _decoded(cell, name, where), na_action="ignore")
    if pa.types.is_dictionary(kind) or _is_text(kind):
        return cells.astype(object).where(cells.notna(), "")
    if pa.types.is_boolean(kind) or pa.types.is_null(kind) or (pa.types.is_integer(kind) and cells.dtype == object):
        return cells.astype(object).map(lambda cell: float("nan") if cell is None else float(cell)).astype(float)
    return cells


def _check_text(table: pa.Table, where: str) -> None:
    """That the texts are not more than memory holds, once each row has its own."""
    size = sum(_text_size(chunk) for column in table.columns for chunk in column.chunks)
    if size > _MOST_TEXT:
        raise SequenceFileError(
            f"The file has {size:,} bytes of text; the limit is {_MOST_TEXT:,}.",
            where=where,
            hint="Give columns of numbers, and as text only names and times.",
        )


def _text_size(chunk: pa.Array) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    has_dictionary = pa.types.is_dictionary(chunk.type)
    texts = chunk.dictionary if has_dictionary else chunk
    if not _is_text(texts.type):
        return 0
    lengths = pc.binary_length(texts).cast(pa.int64())
    return pc.sum(pc.take(lengths, chunk.indices) if has_dictionary else lengths).as_py() or 0


def _decoded(cell: bytes, name: str, where: str) -> str:
    """Text that was written as bytes, as some writers do with any."""
    try:
        return cell.decode("utf-8")
    except UnicodeDecodeError:
        raise SequenceFileError(
            "The column is of bytes that are no text.",
            where=f"{where}, column {name!r}",
            hint="Write numbers, or leave the column out.",
        ) from None
