"""Reading zip archives that nobody vouches for: nothing is read before it is known to be small enough.

Python's `zipfile` makes an object of each entry that a table of contents lists, unpacks whatever comes out, and takes
entries that share bytes. Here the record at the end of the file is looked at first, then the table's size and count,
then the table, and an entry unpacks to the size that it declares or is refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from os import PathLike
from typing import BinaryIO

MAX_ENTRIES = 20_000
"""In one archive; a model has an entry for each tensor and a few more."""
MAX_TABLE_BYTES = 8 * 2**20
"""Of the table of contents."""
MAX_NAME_BYTES = 1024
"""Of the name of one entry."""

_END = struct.Struct("<4s4H2LH")  # signature, disk, disk of the table, entries here, entries, size, offset, comment
_END_64 = struct.Struct("<4sQ2H2L4Q")  # signature, own size, versions, disks, entries here, entries, size, offset
_LOCATOR = struct.Struct("<4sLQL")  # signature, disk, offset of the record above, disks
_ENTRY = struct.Struct("<4s6H3L5H2L")  # signature, versions, flags, method, time, date, sum, sizes, lengths, ...
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 2**16
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 1, 2**11
_FULL_16, _FULL_32 = 2**16 - 1, 2**32 - 1
_SIZES_64 = 1  # the extra field that has what does not fit into 32 bits


class ZipError(Exception):
    """An archive that is damaged, or more than is read of one.

    Attributes:
        what, hint: as those of an `explain_core.errors.ExplainError`.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


class DamagedZipError(ZipError):
    """An archive that does not fit together; ``why`` says where."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The archive is damaged or cut off: {why}.",
            "Copy or download it again; compare its size with the original's.",
        )
        self.why = why


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in an archive, as the table of contents has it."""

    name: str
    raw_name: bytes
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class ZipReader:
    """An archive whose table of contents has been looked at.

    Attributes:
        entries: what is in it, without its folders, in the order of the table.
    """

    def __init__(self, file: BinaryIO, whole: bytes | None = None) -> None:
        self._file, self._whole = file, whole
        count, size, start = _find_table(file)
        self._table = start
        file.seek(start)
        entries = list(_entries(file.read(size), count))
        self._ends = _check_places(entries, start)
        self.entries = [entry for entry in entries if not entry.name.endswith("/")]

    def require(self, entries: list[Entry], most: int) -> None:
        """Refuse entries that are locked, packed in an unusual way, or unpack to more than ``most`` bytes together.

        Raises:
            ZipError: which entry, or how much.
        """
        total = sum(entry.size for entry in entries)
        if total > most:
            raise ZipError(
                f"The archive unpacks to {total:,} bytes; the limit is {most:,}.", "Give only what is needed of it."
            )
        for entry in entries:
            if entry.method not in (_STORED, _DEFLATED):
                raise ZipError(
                    f"The entry {entry.name[:80]!r} of the archive is compressed in an unusual way (method "
                    f"{entry.method}).",
                    "Unpack the archive and pack it again as a plain zip file.",
                )

    def read(self, entry: Entry) -> bytes | memoryview:
        """What the entry holds, of exactly the size that it declares.

        Raises:
            ZipError: it is damaged, or holds more or less than it declares.
        """
        shown = repr(entry.name[:80])
        self._file.seek(entry.offset)
        try:
            mark, *_, name_size, extra_size = _LOCAL.unpack(self._file.read(_LOCAL.size))
        except struct.error:
            raise DamagedZipError(f"{shown} is not where the table of contents says") from None
        if mark != b"PK\x03\x04" or self._file.read(name_size) != entry.raw_name:
            raise DamagedZipError(f"{shown} is not where the table of contents says")
        start = entry.offset + _LOCAL.size + name_size + extra_size
        if start + entry.packed > self._ends[entry.offset]:
            raise DamagedZipError(f"{shown} overlaps what follows it")
        if self._whole is not None:
            data: bytes | memoryview = memoryview(self._whole)[start : start + entry.packed]
        else:
            self._file.seek(start)
            data = self._file.read(entry.packed)
        if entry.method == _DEFLATED:
            data = _inflated(data, entry.size, shown)
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise DamagedZipError(f"{shown} is not what the table of contents says")
        return data


@contextmanager
def open_zip(source: str | PathLike[str] | bytes) -> Generator[ZipReader]:
    """An archive, by its path or its content.

    Raises:
        ZipError: it is damaged, or its table of contents is larger than `MAX_ENTRIES` and `MAX_TABLE_BYTES` allow.
        OSError: it cannot be read.
    """
    if isinstance(source, bytes):
        yield ZipReader(BytesIO(source), source)
        return
    with open(source, "rb") as file:
        yield ZipReader(file)


def _find_table(file: BinaryIO) -> tuple[int, int, int]:
    """Entries, size and place of the table of contents, by the record at the end of the file."""
    length = file.seek(0, SEEK_END)
    tail_start = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read(_END.size + _LONGEST_COMMENT)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise DamagedZipError("its table of contents is missing")
    _, disk, table_disk, here, count, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    wide = _find_wide(file, end)
    if wide is not None:
        narrow = (count, _FULL_16), (size, _FULL_32), (offset, _FULL_32)
        if any(short not in (long, full) for (short, full), long in zip(narrow, wide[:3], strict=True)):
            raise DamagedZipError("it has two tables of contents")
        count, size, offset, end = wide
    elif disk or table_disk or here != count:
        raise ZipError("The archive is one part of several.", "Put the parts together, and give the whole.")
    if count > MAX_ENTRIES or size > MAX_TABLE_BYTES:
        raise ZipError(
            f"The archive lists {count:,} entries in {size:,} bytes; the limits are {MAX_ENTRIES:,} and "
            f"{MAX_TABLE_BYTES:,}.",
            "Models and arrays have far fewer. Give only the file that is meant.",
        )
    if offset + size != end:
        raise DamagedZipError("its table of contents is not where it should be")
    return count, size, offset


def _find_wide(file: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    """Entries, size and place of the table, and where it ends, for archives that may be larger than 4 GiB."""
    if end < _LOCATOR.size:
        return None
    file.seek(end - _LOCATOR.size)
    mark, disk, place, disks = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark != b"PK\x06\x07":
        return None
    if place != end - _LOCATOR.size - _END_64.size:
        raise DamagedZipError("its table of contents is not where it should be")
    file.seek(place)
    mark, _, _, _, own_disk, table_disk, here, count, size, offset = _END_64.unpack(file.read(_END_64.size))
    if mark != b"PK\x06\x06" or here != count:
        raise DamagedZipError("its table of contents is not where it should be")
    if disk or disks > 1 or own_disk or table_disk:
        raise ZipError("The archive is one part of several.", "Put the parts together, and give the whole.")
    return count, size, offset, place


def _entries(table: bytes, count: int) -> Iterator[Entry]:
    at = 0
    for _ in range(count):
        try:
            fields = _ENTRY.unpack_from(table, at)
        except struct.error:
            raise DamagedZipError("its table of contents is cut off") from None
        mark, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size, *_, offset = fields
        name_at = at + _ENTRY.size
        extra_at = name_at + name_size
        at = extra_at + extra_size + comment_size
        if mark != b"PK\x01\x02" or at > len(table):
            raise DamagedZipError("its table of contents is cut off")
        raw = table[name_at:extra_at]
        if name_size > MAX_NAME_BYTES:
            raise ZipError(
                f"An entry of the archive has a name of {name_size:,} bytes; the limit is {MAX_NAME_BYTES:,}.",
                "Models and arrays have short names. Give only the file that is meant.",
            )
        if flags & _ENCRYPTED:
            raise ZipError("The archive is locked by a password.", "Unpack it, and give what was in it.")
        if _FULL_32 in (packed, size, offset):
            packed, size, offset = _wide_sizes(table[extra_at : extra_at + extra_size], (packed, size, offset))
        if method == _STORED and packed != size:
            raise DamagedZipError("an entry has two sizes")
        yield Entry(_text(raw, flags), raw, method, crc, packed, size, offset)
    if at != len(table):
        raise DamagedZipError("its table of contents has more than it counts")


def _text(raw: bytes, flags: int) -> str:
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise DamagedZipError("the name of an entry is no text") from None
    if not name or "\0" in name:
        raise DamagedZipError("the name of an entry is no text")
    return name


def _wide_sizes(extra: bytes, narrow: tuple[int, int, int]) -> tuple[int, int, int]:
    """The sizes and the place that do not fit into 32 bits, in the order that the format has for them."""
    packed, size, offset = narrow
    at = 0
    while at + 4 <= len(extra):
        kind, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        at += 4
        if kind == _SIZES_64:
            field = extra[at : at + length]
            numbers = [int.from_bytes(field[i : i + 8], "little") for i in range(0, length - 7, 8)]
            found = []
            for number in (size, packed, offset):
                if number == _FULL_32:
                    if not numbers:
                        raise DamagedZipError("an entry does not say its size")
                    number = numbers.pop(0)
                found.append(number)
            size, packed, offset = found
            return packed, size, offset
        at += length
    raise DamagedZipError("an entry does not say its size")


def _check_places(entries: list[Entry], table: int) -> dict[int, int]:
    """Where the next entry begins, by where one begins; refuses entries that share bytes."""
    order = sorted(entries, key=lambda entry: entry.offset)
    ends = {}
    for entry, after in zip(order, [*(entry.offset for entry in order[1:]), table], strict=True):
        if entry.offset + _LOCAL.size + len(entry.raw_name) + entry.packed > after:
            raise DamagedZipError(f"{entry.name[:80]!r} overlaps what follows it")
        ends[entry.offset] = after
    return ends


def _inflated(data: bytes | memoryview, size: int, shown: str) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = inflater.decompress(data, size + 1)
    except zlib.error:
        raise DamagedZipError(f"{shown} does not unpack") from None
    if not inflater.eof or len(found) != size:
        raise DamagedZipError(f"{shown} does not unpack to the size that it declares")
    return found
