"""Ways to spoil what files are made of, each field still where it belongs: JSON, zip, NPY, HDF5 and Parquet."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

#: JSON that no writer of models or tables writes, as it would stand in a file.
ODD_JSON = (
    *('"\\ud800"', '"\\udc00x"', "9" * 400, "-" + "9" * 5000, "1e400", "-0", "NaN", "-Infinity", "1" + "0" * 30),
    *('{"a": 1, "a": 2}', '{"\\ud800": 1}', "[" * 90 + "]" * 90, "[" * 300 + "]" * 300, "[" * 5000 + "]" * 5000),
    *('{"a":' * 150 + "1" + "}" * 150, "true", "null", "[]", "{}", '""', "[[]]", '[[1], [2, 3], "x"]', "0.1", "-1"),
    *("[true, false]", '{"class_name": 7, "config": []}', '[null, null, {"x": []}]', '"\\u0000"', '"2024-13-45"'),
)
_MARK = "@odd@"
_NUMBERS = (0, 1, 2, 8, 12, 14, 99, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
# Of a zip archive: the signature of a record, and its fields (place, size).
_ZIP_RECORDS: tuple[tuple[bytes, tuple[tuple[int, int], ...]], ...] = (
    (b"PK\x05\x06", ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))),
    (b"PK\x06\x06", ((4, 8), (16, 4), (24, 8), (32, 8), (40, 8), (48, 8))),
    (b"PK\x06\x07", ((4, 4), (8, 8), (16, 4))),
    (b"PK\x01\x02", ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (42, 4))),
    (b"PK\x03\x04", ((6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))),
)
_SHAPES = (
    *(
        "(True, 2)",
        "(2, False)",
        f"({'1, ' * 33})",
        f"({'1, ' * 70})",
        "(-1, 2)",
        "(2, -4)",
        f"({10**30},)",
        "(2.0, 2)",
    ),
    *("()", "(0,)", "(0, 5)", "((4,), 2)", "(4, 2)", "(8,)", "[4, 2]", "(2, 2, 2)", "None", "4", f"({2**62}, 0)"),
)
_TYPES = (
    *("'<f8'", "'>f8'", "'<f2'", "'<f16'", "'<c16'", "'<m8[ns]'", "'<M8'", "'|b1'", "'|V0'", "'|S0'", "'<U0'", "'|O'"),
    *("[('a', '<f8'), ('b', '<f8')]", "[('a', '<f8'), ('a', '<f8')]", "[('\\ud800', '<f8')]", "('<f8', (2,))"),
    *("[('a', [('b', '<f8')])]", "[('a', '<f8', (2, 2))]", "[('a', '|O')]", "'<i8'", "'x'", "7", "'<f8, <f8'", "[]"),
    *("[('time', '<M8[D]'), ('v', '<f8')]", "[('time', '|S3'), ('v', '<f8')]", "[('', '<f8')]"),
)


def odd_json(rng: random.Random, places: list[tuple[Any, Any]], tree: Any) -> bytes:
    """JSON with something odd in the place of a value or of a name.

    Args:
        places: each (list or dict, index or key) in ``tree``.
        tree: what the JSON holds; it is changed.
    """
    if not places:
        return rng.choice(ODD_JSON).encode()
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.2:
        holder[_MARK] = holder.pop(key)
        return json.dumps(tree).replace(f'"{_MARK}"', rng.choice(('"\\ud800"', '""', '"a\\udfff"'))).encode()
    holder[key] = _MARK
    return json.dumps(tree).replace(f'"{_MARK}"', rng.choice(ODD_JSON)).encode()


def zip_field(content: bytes, rng: random.Random) -> bytes:
    """An archive with another number in a field of one of its records."""
    mark, fields = rng.choice([record for record in _ZIP_RECORDS if record[0] in content])
    starts, at = [], content.find(mark)
    while at >= 0:
        starts.append(at)
        at = content.find(mark, at + 1)
    place, size = rng.choice(fields)
    at = rng.choice(starts) + place
    if at + size > len(content):
        return content
    before = int.from_bytes(content[at : at + size], "little")
    number = rng.choice([*_NUMBERS, before + 1, before - 1, before * 2, len(content), rng.getrandbits(8 * size)])
    return content[:at] + (number % 2 ** (8 * size)).to_bytes(size, "little") + content[at + size :]


def npy_header(content: bytes, rng: random.Random) -> bytes:
    """An array under a header of another shape or type."""
    if len(content) < 10:
        return content
    start = 10 + int.from_bytes(content[8:10], "little")
    shape, kind = rng.choice(("(4, 2)", *_SHAPES)), rng.choice(("'<f8'", *_TYPES))
    order = rng.choice(("False", "False", "True", "0", "None"))
    header = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[start:]


def hdf5_attribute(file: h5py.File, rng: random.Random) -> None:
    """Put an attribute of an odd type in the place of one of the file's."""
    names = [""]
    file.visit(names.append)
    items = [item for item in (file[name or "/"] for name in names) if len(item.attrs)]
    if not items:
        return
    item = rng.choice(items)
    name, text = rng.choice([*item.attrs]), h5py.string_dtype()
    odd: list[Callable[[], Any]] = [
        lambda: h5py.Empty("S5"),
        lambda: h5py.Empty("f4"),
        lambda: np.array([], "S1"),
        lambda: np.array([[b"a", b"b"], [b"c", b"d"]]),
        lambda: np.array([1.5, np.nan]),
        lambda: np.array([("a", 1)], dtype=[("name", "S4"), ("number", "i4")]),
        lambda: np.array(["\udcff", "a"], dtype=object).astype(text),
        lambda: np.array([b"\xff\xfe", b"\x00"], dtype="S4"),
        lambda: np.array(["a"] * 2000, dtype=object).astype(text),
        lambda: np.void(b"\x00\x01"),
        lambda: item.ref,
        lambda: np.bool_(True),
        lambda: np.array(3, h5py.enum_dtype({"A": 3})),
        lambda: rng.choice(ODD_JSON),
        lambda: np.array([rng.choice(ODD_JSON)], dtype=object).astype(text),
    ]
    value = rng.choice(odd)()
    del item.attrs[name]
    item.attrs[name] = value


def parquet_column(content: bytes, rng: random.Random) -> bytes:
    """A table with one column of an odd type or under an odd name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    rows, at = table.num_rows, rng.randrange(max(table.num_columns, 1))
    odd: list[Callable[[], pa.Array]] = [
        lambda: pa.array([b"\xff\xfe"] * rows, pa.binary()),
        lambda: pa.array([b"1.5"] * rows, pa.binary()),
        lambda: pa.array([b"ab"] * rows, pa.binary(2)),
        lambda: pa.array([b"1"] * rows, pa.large_binary()),
        lambda: pa.array(["1"] * rows, pa.large_string()),
        lambda: pa.array([b"\xff", *[b"a"] * rows][:rows], pa.binary()).dictionary_encode(),
        lambda: pa.array([1, *[2] * rows][:rows], pa.int64()).dictionary_encode(),
        lambda: pa.array([None] * rows, pa.decimal128(38, 10)),
        lambda: pa.array([10**37] * rows, pa.decimal128(38, 0)),
        lambda: pa.array([10**70] * rows, pa.decimal256(76, 0)),
        lambda: pa.array([1] * rows, pa.time32("s")),
        lambda: pa.array([1] * rows, pa.duration("ns")),
        lambda: pa.array([2**62] * rows, pa.timestamp("us")),
        lambda: pa.array([-(2**62)] * rows, pa.timestamp("ms", "Europe/Athens")),
        lambda: pa.array([2**62] * rows, pa.date64()),
        lambda: pa.array([2**31 - 1] * rows, pa.date32()),
        lambda: pa.array([None] * rows, pa.null()),
        lambda: pa.array([np.float16(1)] * rows, pa.float16()),
        lambda: pa.array([2**64 - 1] * rows, pa.uint64()),
        lambda: pa.array([None, *[True] * rows][:rows], pa.bool_()),
        lambda: pa.array([None, *[1] * rows][:rows], pa.int8()),
        lambda: pa.array([[1.0]] * rows, pa.list_(pa.float64())),
        lambda: pa.array([{"a": 1}] * rows, pa.struct([("a", pa.int8())])),
        lambda: pa.array([float("nan")] * rows, pa.float32()),
    ]
    name = rng.choice(["time", "id", "sequence", "date", "", "a" * 70_000, "x", "\0", *table.column_names])
    column = rng.choice(odd)()
    changed = table.set_column(at, name, column) if table.num_columns else table.append_column(name, column)
    buffer = io.BytesIO()
    pq.write_table(changed.slice(0, rng.choice([0, 1, rows, rows])), buffer)
    return buffer.getvalue()
