"""Pickles that PyTorch's safe reader does not know, in the operations that it does know.

Its ``weights_only`` reader knows protocol 2, and nothing but storages as persistent objects. Protocols 3 to 5, and the
classes of modules that ``torch.save`` wrote as persistent objects before PyTorch 1.6, are put in other words here:
bytes are copied or replaced, and nothing is made of them. What comes out goes through the same reader, so that a pickle
which was written to mislead this module gains nothing.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MODULE_CLASS = "pairlift.module_class"  # what takes the place of a persistent module class, in GLOBAL
_MAX_OPERATIONS = 5_000_000
_BEFORE_OBJECT = 3  # pickles in an old file before that of what was saved: magic number, version, system
_BROKEN = (ValueError, EOFError, UnicodeDecodeError, IndexError, OverflowError)
_CLOSING = ("TUPLE", "LIST", "DICT", "APPENDS", "SETITEMS", "POP_MARK", "INST", "OBJ", "ADDITEMS", "FROZENSET")
_PUTS = ("BINPUT", "LONG_BINPUT", "MEMOIZE")

_Operation = tuple[str, Any, bytes]  # its name, its argument, and its bytes


def as_protocol_2(data: bytes) -> bytes:
    """One pickle of any protocol in protocol 2; as it is where it cannot be read that way."""
    if data[:1] != b"\x80" or data[1:2] <= b"\x02":
        return data
    try:
        return b"".join(_in_protocol_2(_operations(io.BytesIO(data))))
    except _BROKEN:
        return data


def with_module_classes(path: Path) -> io.BytesIO | None:
    """A file from before PyTorch 1.6 with the classes of its modules as names; None where it has no such classes."""
    with path.open("rb") as file:
        try:
            for _ in range(_BEFORE_OBJECT):
                for _ in pickletools.genops(file):
                    pass
            start = file.tell()
            operations = list(_operations(file))
        except _BROKEN:
            return None
        renamed = _named_classes(operations)
        if renamed is None:
            return None
        rest = file.read()
        file.seek(0)
        return io.BytesIO(file.read(start) + b"".join(renamed) + rest)


def _operations(stream: BinaryIO) -> Iterator[_Operation]:
    """The operations of the pickle that begins here; the stream then stands behind it."""
    start = stream.tell()
    places = []
    for opcode, argument, place in pickletools.genops(stream):
        assert place is not None  # the stream can tell
        places.append((opcode.name, argument, place - start))
        if len(places) > _MAX_OPERATIONS:
            raise ValueError("more operations than real files have")
    end = stream.tell()
    stream.seek(start)
    data = stream.read(end - start)
    ends = [*(place for _, _, place in places[1:]), len(data)]
    for (name, argument, place), stop in zip(places, ends, strict=True):
        yield name, argument, data[place:stop]


def _named_classes(operations: list[_Operation]) -> list[bytes] | None:
    """Each persistent tuple ("module", class, file, source) as a call that gives the class."""
    found = [data for _, _, data in operations]
    marks: list[int] = []
    strings: dict[int, str] = {}
    changed, opened, before = False, -1, ""
    for i, (name, argument, _) in enumerate(operations):
        if name == "MARK":
            marks.append(i)
        elif name in _CLOSING and marks:
            opened = marks.pop()
        elif name in _PUTS and isinstance(operations[i - 1][1], str):
            strings[argument] = operations[i - 1][1]
        elif name == "BINPERSID" and before == "TUPLE":
            first, pushed, _ = operations[opened + 1]
            if (strings.get(pushed) if first.endswith("GET") else pushed) == "module":
                found[opened] = _global(*MODULE_CLASS.split(".")) + found[opened]
                found[i] = b"R"
                changed = True
        before = before if name in _PUTS else name
    return found if changed else None


def _in_protocol_2(operations: Iterator[_Operation]) -> list[bytes]:
    written: list[bytes] = []
    strings: list[str | None] = []  # what each piece written pushes, where that is a string
    memo: dict[int, str | None] = {}

    def write(piece: bytes, string: str | None = None) -> None:
        written.append(piece)
        strings.append(string)

    for name, argument, data in operations:
        if name == "PROTO":
            write(b"\x80\x02")
        elif name == "FRAME":
            continue
        elif name.endswith("UNICODE") or name == "BINUNICODE8":
            write(_string(argument), argument)
        elif name in _PUTS:
            place = len(memo) if name == "MEMOIZE" else argument
            memo[place] = strings[-1]
            if strings[-1] is None:  # strings are written out wherever they are used again
                write(b"r" + place.to_bytes(4, "little"))
        elif name.endswith("BINGET"):
            string = memo[argument]
            write(b"j" + argument.to_bytes(4, "little") if string is None else _string(string), string)
        elif name == "STACK_GLOBAL":
            module, attribute = strings[-2:]
            del written[-2:], strings[-2:]
            if module is None or attribute is None:
                raise ValueError("a name that is no string")
            write(_global(module, attribute))
        elif name.endswith("BINBYTES"):  # as Python writes bytes in protocol 2
            write(_global("_codecs", "encode") + _string(argument.decode("latin1")) + _string("latin1") + b"\x86R")
        else:
            write(data)
    return written


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + len(data).to_bytes(4, "little") + data


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode("utf-8", "surrogatepass")
