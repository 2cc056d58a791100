"""Values between a worker and the app, and in the app's own files: a head of JSON, and the arrays' bytes behind it.

What comes from a worker is data and stays data, since other people's files were opened there: there is a closed list of
what can be in it, every size is known and bounded before it is read, and nothing in it names code. JSON and raw bytes
rather than a format of a library: the reader is short enough to be read whole, its one parser is Python's own, and
arrays are read where they stay, without a copy. (A pickle is code; Arrow and HDF5 have large parsers in C++ and C,
and the arrays here are few and large, so there is nothing that MessagePack would pack tighter.)

    8 bytes  the head's length, little-endian
    head     {"sizes": [bytes of each array], "value": ...} as UTF-8
    arrays   one after the other

In the head, JSON's own scalars and lists stand for themselves; all else is an object with its kind under "k".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib import import_module
from math import prod
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
import xarray as xr

from explain_core import errors
from explain_core.errors import ExplainError
from explain_core.untrusted.json_reader import measured, read_json

_MOST_HEAD = 32 * 2**20  # bytes; heads have labels, notes and the texts in tables
_MOST_VALUES = 10**6  # in a head: each takes up to 100 bytes of memory, however few it has there
_DEEPEST = 100
_LONGEST_AXIS = 10**9
_MOST_TEXT = 2**27  # characters in tables, where one text may be in many rows
_MOST_EMPTY = 10**6  # rows of a table without columns
_LENGTH = 8
_DTYPE = re.compile(r"[<|]([biuf]\d{1,2}|U[1-9]\d{0,5}|[mM]8\[\w{1,4}\])")
_MOST_CODE, _SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)  # of Unicode; what is in between is no character

# The classes whose objects may be sent, by name; each is a dataclass of values that may be.
_CLASSES = {
    "Audit": "explain_core.jobs.tasks.ledgers",
    "ExpectedInput": "explain_core.models.loaded",
    "Explanation": "explain_core.explanation.result",
    "Fix": "explain_core.errors",
    "LayerSummary": "explain_core.models.loaded",
    "MethodResult": "explain_core.diagnostics.comparison",
    "ModelOutput": "explain_core.backends.protocol",
    "ModelSummary": "explain_core.models.loaded",
    "OpenedModel": "explain_core.jobs.tasks.opening",
    "Preview": "explain_core.jobs.tasks.preview",
    "Reading": "explain_core.sequences.reading",
    "Scaling": "explain_core.sequences.scaling",
    "Trial": "explain_core.jobs.tasks.trying",
    "Vocabulary": "explain_core.sequences.vocabulary",
}
_ERRORS = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ExplainError)
}


class WireError(ValueError):
    """What was read, or is to be written, is no value of this format, or larger than it may be."""


class Stream(Protocol):
    """What can be read from: a file or a pipe, opened for bytes and buffered."""

    def read(self, size: int, /) -> bytes: ...
    def readinto(self, buffer: Any, /) -> int: ...


def dump(value: Any) -> Iterator[bytes | memoryview]:
    """The value in pieces, to be written one after the other.

    Raises:
        TypeError: there is something in it that cannot be sent; says what.
        WireError: it has more in its head than heads may have.
    """
    packer = _Packer()
    node = packer.pack(value)
    head = {"sizes": [array.nbytes for array in packer.arrays], "value": node}
    text = json.dumps(head, ensure_ascii=False).encode("utf-8", "replace")
    values, depth = measured(text)
    if len(text) > _MOST_HEAD or values > _MOST_VALUES or depth > _DEEPEST:
        raise WireError(f"a head of {len(text):,} bytes and {values:,} values, {depth:,} deep")
    yield len(text).to_bytes(_LENGTH, "little")
    yield text
    for array in packer.arrays:
        yield array.reshape(-1).view(np.uint8).data


def load(stream: Stream, most: int) -> tuple[Any, int]:
    """Read a value that `dump` wrote; returns it, and how many bytes it had.

    Args:
        stream: stands at its beginning; stands behind it afterwards.
        most: bytes that it may have.

    Raises:
        WireError: it is none, or has more.
        EOFError: the stream ends before it does.
    """
    size = int.from_bytes(_exactly(stream, _LENGTH), "little")
    if size > min(_MOST_HEAD, most):
        raise WireError(f"a head of {size:,} bytes")
    try:
        head = read_json(_exactly(stream, size), most_values=_MOST_VALUES, deepest=_DEEPEST)
        sizes, node = head["sizes"], head["value"]
        if not all(type(each) is int and each >= 0 for each in sizes) or sum(sizes) > most:
            raise WireError(f"arrays of {sum(sizes):,} bytes")
        arrays = [np.empty(each, np.uint8) for each in sizes]
        for array in arrays:
            _fill(stream, array)
        return _Unpacker(arrays).unpack(node), _LENGTH + size + sum(sizes)
    except (WireError, EOFError):
        raise
    except Exception as error:  # pandas and xarray may raise anything for labels and sizes that do not fit
        raise WireError(f"{type(error).__name__}: {error}") from error


def _exactly(stream: Stream, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _fill(stream: Stream, array: np.ndarray) -> None:
    view = array.data
    while view:
        count = stream.readinto(view)
        if not count:
            raise EOFError
        view = view[count:]


class _Packer:
    """Turns values into nodes, and keeps their arrays."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._characters = 0  # in tables

    def pack(self, value: Any) -> Any:
        if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
            return value
        if isinstance(value, list):
            return [self.pack(item) for item in value]
        if type(value).__name__ in _CLASSES and type(value).__module__ == _CLASSES[type(value).__name__]:
            content = {field.name: self.pack(getattr(value, field.name)) for field in fields(value) if field.init}
            return {"k": "object", "class": type(value).__name__, "fields": content}
        for kind, pack in self._KINDS:
            if isinstance(value, kind):
                return pack(self, value)
        raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} cannot be sent to the app.")

    def _error(self, value: ExplainError) -> dict:
        # modules tell kinds of their own apart, such as `axes.OtherNumberError`: to the app it is an `InputError`
        kind = next(kind.__name__ for kind in type(value).__mro__ if _ERRORS.get(kind.__name__) is kind)
        said = {"what": value.what, "where": value.where, "hint": value.hint}
        return {"k": "error", "class": kind, **said, "fixes": self.pack(value.fixes)}

    def _tuple(self, value: tuple) -> dict:
        return {"k": "tuple", "items": [self.pack(item) for item in value]}

    def _dict(self, value: dict) -> dict:
        for key in value:
            _require_text(key)
        return {"k": "dict", "items": [[self.pack(key), self.pack(item)] for key, item in value.items()]}

    def _bytes(self, value: bytes) -> dict:
        return {"k": "bytes", "at": self._keep(np.frombuffer(value, np.uint8))}

    def _scalar(self, value: np.generic) -> dict:
        return {"k": "scalar", "array": self.pack(np.asarray(value))}

    def _array(self, value: np.ndarray) -> dict:
        if value.dtype == object:
            return {"k": "objects", "shape": list(value.shape), "items": [self.pack(item) for item in value.flat]}
        value = value.astype(value.dtype.newbyteorder("<"), copy=False)
        if not _DTYPE.fullmatch(value.dtype.str):
            raise TypeError(f"An array of {value.dtype} cannot be sent to the app.")
        if value.dtype == "U0":
            value = value.astype("U1")
        if value.dtype.kind == "U" and not _are_characters(value):
            value = np.array([_sendable(text) for text in value.flat], dtype=np.str_).reshape(value.shape)
        return {"k": "array", "dtype": value.dtype.str, "shape": list(value.shape), "at": self._keep(value)}

    def _keep(self, array: np.ndarray) -> int:
        self.arrays.append(np.ascontiguousarray(array))
        return len(self.arrays) - 1

    def _data_array(self, value: xr.DataArray) -> dict:
        content = {"data": self._variable(value.variable), "coords": self._variables(value.coords)}
        return {"k": "data array", "name": self.pack(value.name), **content}

    def _dataset(self, value: xr.Dataset) -> dict:
        content = {"data": self._variables(value.data_vars), "coords": self._variables(value.coords)}
        return {"k": "dataset", **content, "attrs": self._dict(value.attrs)}

    def _variables(self, arrays: Any) -> list:
        return [[_require_text(name), self._variable(array.variable)] for name, array in arrays.items()]

    def _variable(self, value: xr.Variable) -> dict:
        return {
            "dims": self.pack(list(value.dims)),
            "array": self._array(value.values),
            "attrs": self._dict(value.attrs),
        }

    def _table(self, value: pd.DataFrame) -> dict:
        columns = [[self.pack(name), self._column(value.iloc[:, i])] for i, name in enumerate(value.columns)]
        index = len(value) if isinstance(value.index, pd.RangeIndex) else self.pack(value.index.to_numpy())
        name = self.pack(value.index.name)
        return {
            "k": "table",
            "columns": columns,
            "index": index,
            "index name": name,
            "attrs": self.pack(dict(value.attrs)),
        }

    def _column(self, column: pd.Series) -> dict:
        """Numbers as they are; of texts and the like each different one once, and which of them each row has."""
        values = column.to_numpy()
        if values.dtype != object:
            return {"array": self._array(values)}
        self._characters += sum(len(value) for value in values if isinstance(value, str))
        _bound(self._characters)
        places: dict[Any, int] = {}  # by type too, since 1 and True are equal; NaN is not equal to itself
        codes = [places.setdefault((type(v), v if v == v else None), len(places)) for v in values]
        different = dict(zip(codes, values, strict=True))
        dtype = "str" if isinstance(column.dtype, pd.StringDtype) else "object"
        labels = [self.pack(different[code]) for code in range(len(places))]
        return {"dtype": dtype, "codes": self._array(np.array(codes, np.int32)), "labels": labels}

    _KINDS: ClassVar[tuple[tuple[type, Callable[[Any, Any], Any]], ...]] = (
        (tuple, _tuple),
        (dict, _dict),
        (bytes, _bytes),
        (np.ndarray, _array),
        (np.generic, _scalar),
        (xr.DataArray, _data_array),
        (xr.Dataset, _dataset),
        (pd.DataFrame, _table),
        (ExplainError, _error),
    )


class _Unpacker:
    """Turns nodes back into values. Whatever is not as `_Packer` makes it raises an error of some kind."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self._arrays: dict[int, np.ndarray] = dict(enumerate(arrays))  # each is for one place, and goes with it
        self._characters = 0  # in tables

    def unpack(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.unpack(item) for item in node]
        if isinstance(node, dict):
            return self._KINDS[node["k"]](self, node)
        return node

    def _object(self, node: dict) -> Any:
        name = node["class"]
        kind = getattr(import_module(_CLASSES[name]), name)
        return kind(**{field: self.unpack(item) for field, item in node["fields"].items()})

    def _error(self, node: dict) -> ExplainError:
        what, where, hint = (str(node[name]) for name in ("what", "where", "hint"))
        return _ERRORS[node["class"]](what, where=where, hint=hint, fixes=self.unpack(node["fixes"]))

    def _tuple(self, node: dict) -> tuple:
        return tuple(self.unpack(item) for item in node["items"])

    def _dict(self, node: dict) -> dict:
        found = {}
        for key, item in node["items"]:
            found[_require_text(key)] = self.unpack(item)
        return found

    def _bytes(self, node: dict) -> bytes:
        return self._arrays.pop(node["at"]).tobytes()

    def _scalar(self, node: dict) -> Any:
        return self.unpack(node["array"])[()]

    def _objects(self, node: dict) -> np.ndarray:
        array = np.empty(len(node["items"]), object)
        array[:] = [self.unpack(item) for item in node["items"]]
        return array.reshape(_shape(node, len(array)))

    def _array(self, node: dict) -> np.ndarray:
        if not _DTYPE.fullmatch(node["dtype"]):
            raise WireError(f"an array of {node['dtype'][:40]}")
        dtype, data = np.dtype(node["dtype"]), self._arrays.pop(node["at"])
        shape = _shape(node, data.nbytes // dtype.itemsize)
        array = data.view(dtype)
        if dtype.kind == "U" and not _are_characters(array):
            raise WireError("a text with something that is no character")
        return array.reshape(shape)

    def _data_array(self, node: dict) -> xr.DataArray:
        return xr.DataArray(
            self._variable(node["data"]), self._variables(node["coords"]), name=self.unpack(node["name"])
        )

    def _dataset(self, node: dict) -> xr.Dataset:
        data, coords = self._variables(node["data"]), self._variables(node["coords"])
        return xr.Dataset(data, coords, self._dict(node["attrs"]))

    def _variables(self, nodes: list) -> dict[Any, xr.Variable]:
        return {_require_text(name): self._variable(node) for name, node in nodes}

    def _variable(self, node: dict) -> xr.Variable:
        return xr.Variable(self.unpack(node["dims"]), self.unpack(node["array"]), self._dict(node["attrs"]))

    def _table(self, node: dict) -> pd.DataFrame:
        index = node["index"]
        index = pd.RangeIndex(index) if isinstance(index, int) else pd.Index(self.unpack(index))
        columns = [self._column(column) for _, column in node["columns"]]
        if any(len(column) != len(index) for column in columns) or (not columns and len(index) > _MOST_EMPTY):
            raise WireError("a table with columns of different lengths")
        table = pd.DataFrame(dict(enumerate(columns)), index=None if columns else index)
        table.index = index.rename(self.unpack(node["index name"]))
        if columns:
            table.columns = [self.unpack(name) for name, _ in node["columns"]]
        table.attrs = self.unpack(node["attrs"])
        return table

    def _column(self, node: dict) -> Any:
        if "array" in node:
            return self.unpack(node["array"])
        labels = np.empty(len(node["labels"]), object)
        labels[:] = [self.unpack(label) for label in node["labels"]]
        codes = self.unpack(node["codes"])
        lengths = np.array([len(label) if isinstance(label, str) else 0 for label in labels], int)
        self._characters += int(lengths[codes].sum())
        _bound(self._characters)
        values = labels[codes]
        return pd.Series(values, dtype="str" if node["dtype"] == "str" else "object")

    _KINDS: ClassVar[dict[str, Callable[[Any, dict], Any]]] = {
        "object": _object,
        "error": _error,
        "tuple": _tuple,
        "dict": _dict,
        "bytes": _bytes,
        "scalar": _scalar,
        "objects": _objects,
        "array": _array,
        "data array": _data_array,
        "dataset": _dataset,
        "table": _table,
    }


def _shape(node: dict, count: int) -> tuple[int, ...]:
    """The shape of an array of so many values."""
    shape = tuple(node["shape"])
    fine = all(type(size) is int and 0 <= size <= _LONGEST_AXIS for size in shape)
    if not fine or prod(shape) != count:
        raise WireError(f"an array of {count} values and the shape {shape}"[:200])
    return shape


def _require_text(key: Any) -> str:
    """A key: how texts are hashed cannot be foreseen, and numbers of one hash by the million take hours."""
    if not isinstance(key, str):
        raise TypeError(f"A dictionary with the key {key!r}, which is no text, cannot be sent to the app.")
    return key


def _bound(characters: int) -> None:
    if characters > _MOST_TEXT:
        raise WireError(f"tables of {characters:,} characters; the limit is {_MOST_TEXT:,}")


def _sendable(text: str) -> str:
    """The text with a question mark for what is no character, such as a byte of a file's name."""
    return text.encode("utf-8", "replace").decode()


def _are_characters(array: np.ndarray) -> bool:
    codes = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
    first, last = _SURROGATES
    return not (codes > _MOST_CODE).any() and not ((codes >= first) & (codes <= last)).any()
