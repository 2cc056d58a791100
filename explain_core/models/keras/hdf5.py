"""Reading HDF5 files that nobody vouches for.

HDF5 can point to other files (external links, external storage, virtual datasets), declare terabytes in a kilobyte, and
go round in circles. All of it is looked for in the file's tables before any array is read, and `Hdf5File` reads only
plain arrays of numbers and attributes of bounded size.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct
from typing import Any

import h5py
import numpy as np

from explain_core.errors import ModelFileError
from explain_core.models.archive import MAX_UNPACKED_BYTES

_DEEPEST = 200
_MOST_ENTRIES = 100_000
_SMALL = 64 * 2**20  # bytes that anything may unpack to
_MOST_UNPACKED = 200  # times what is stored; float weights shrink to two thirds at most, zeros to a thousandth
_FILTERS = frozenset((1, 2, 3, 4, 5, 6, 32000))  # deflate, shuffle, checksum, szip, nbit, scale-offset, lzf
_TEXTS = b"GCOL\x01\0\0\0"  # how a collection of texts begins, with its version
_TEXT = Struct("<HH4xQ")  # number, uses, size
_SAVE_AGAIN = "Save the model again with model.save(path), which writes plain weights."
_DAMAGED = "The file is damaged or cut off; copy it again."
_READ_ERRORS = (ArithmeticError, KeyError, OSError, RuntimeError, TypeError, ValueError, UnicodeError)


class Hdf5File:
    """A looked-through HDF5 file: numbers and short texts by their path."""

    def __init__(self, file: h5py.File, where: str, size: int) -> None:
        self._file, self._where, self._size = file, where, size
        self.shapes: dict[str, tuple[int, ...]] = {}  # of every array of numbers, by its path without a leading slash
        self.groups: set[str] = {""}
        self._look_through()

    def array(self, path: str) -> np.ndarray:
        """One array of numbers.

        Raises:
            ModelFileError: it cannot be read.
        """
        with reading(self._where):
            return np.asarray(self._file[path])

    def text(self, group: str, name: str) -> str | None:
        """A text attribute; None where there is none.

        Raises:
            ModelFileError: it is no text.
        """
        value = self._attribute(group, name)
        if value is None:
            return None
        if isinstance(value, np.ndarray) and value.size == 1:  # an array of one text
            value = value.reshape(())[()]
        if isinstance(value, bytes):
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                value = None
        if not isinstance(value, str) or not _is_unicode(value):
            raise ModelFileError(
                f"The attribute {name!r} of the file is not text.", where=self._where, hint=_SAVE_AGAIN
            )
        return value

    def texts(self, group: str, name: str) -> list[str]:
        """A list of texts, which Keras spreads over ``name0``, ``name1``, ... when it is long; empty if there is none.

        Raises:
            ModelFileError: it is no list of texts.
        """
        found = self._attribute(group, name)
        parts = [] if found is None else [found]
        while found is None and (part := self._attribute(group, f"{name}{len(parts)}")) is not None:
            parts.append(part)
        try:
            items = [item for part in parts for item in part]
            texts = [item.decode("utf-8") if isinstance(item, bytes) else item for item in items]
            if all(isinstance(text, str) for text in texts):
                return texts
        except (TypeError, UnicodeDecodeError):
            pass
        raise ModelFileError(
            f"The attribute {name!r} of {group!r} is not a list of names.", where=self._where, hint=_SAVE_AGAIN
        )

    def _attribute(self, group: str, name: str) -> Any:
        with reading(self._where):
            attributes = self._file[group or "/"].attrs
            if name not in attributes:
                return None
            kind = attributes.get_id(name)
            count = int(np.prod(kind.shape, dtype=object)) if kind.shape else 1
            is_variable = h5py.check_string_dtype(kind.dtype) is not None and kind.dtype.kind == "O"
            # Elements of variable length may all share one stored text, so a small file can hold any amount.
            if kind.dtype.kind not in "SU" and not is_variable:
                return np.empty(0) if count else None
            if count * (self._size if is_variable and count > 1 else kind.dtype.itemsize) > MAX_UNPACKED_BYTES:
                raise self._refuse(f"The attribute {name!r} of {group!r} is too large: {count:,} texts")
            return attributes[name]

    def _look_through(self) -> None:
        total, seen, groups = 0, set(), [self._file]
        with reading(self._where):
            while groups:
                group = groups.pop()
                for key in group:
                    path = f"{group.name.rstrip('/')}/{key}"
                    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                        raise self._refers(path)
                    entry = group[key]
                    address = h5py.h5o.get_info(entry.id).addr
                    if address in seen or path.count("/") > _DEEPEST or len(seen) > _MOST_ENTRIES:
                        raise self._refers(path)
                    seen.add(address)
                    if isinstance(entry, h5py.Group):
                        self.groups.add(path.lstrip("/"))
                        groups.append(entry)
                    elif isinstance(entry, h5py.Dataset):
                        total += self._check_array(entry, path)
        if total > MAX_UNPACKED_BYTES:
            raise self._refuse(
                f"The weights would unpack to {total / 2**30:.1f} GiB; "
                f"the limit is {MAX_UNPACKED_BYTES / 2**30:.0f} GiB"
            )

    def _check_array(self, entry: h5py.Dataset, path: str) -> int:
        if entry.external or entry.is_virtual:
            raise self._refers(path)
        if entry.dtype.kind not in "fiub":
            return 0  # never read: it is not in `shapes`
        if entry.shape is None:
            return 0
        layout = entry.id.get_create_plist()
        strange = {layout.get_filter(i)[0] for i in range(layout.get_nfilters())} - _FILTERS
        if strange:
            raise self._refuse(
                f"The entry {path!r} is compressed in a way that no Keras file is (filter {min(strange)})"
            )
        size, stored = entry.nbytes, entry.id.get_storage_size()
        if entry.chunks:
            size = max(size, entry.dtype.itemsize * int(np.prod(entry.chunks, dtype=object)))
        if size > MAX_UNPACKED_BYTES or size > max(_SMALL, _MOST_UNPACKED * stored):
            raise self._refuse(
                f"The entry {path!r} declares {size / 2**30:.1f} GiB, and {stored / 2**20:.1f} MiB are there"
            )
        self.shapes[path.lstrip("/")] = entry.shape
        return size

    def _refers(self, path: str) -> ModelFileError:
        return self._refuse(f"The entry {path!r} of the weights points to another place or file; it is not opened")

    def _refuse(self, what: str) -> ModelFileError:
        return ModelFileError(f"{what}.", where=self._where, hint=_SAVE_AGAIN)


@contextmanager
def opened(source: Path | bytes, where: str) -> Generator[Hdf5File]:
    """An HDF5 file, looked through.

    Raises:
        ModelFileError: damaged, or one that refers to other files or is far larger than it looks; names the entry.
    """
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    with reading(where):
        file = h5py.File(BytesIO(source) if isinstance(source, bytes) else source, "r")
    with file:
        with reading(where):
            _check_texts(source)
        yield Hdf5File(file, where, size)


def _check_texts(source: Path | bytes) -> None:
    """Refuse a damaged store of texts, in which the HDF5 library would look for the next one forever.

    Texts of variable length stand in collections, one after another: (number, uses, reserved, size) and the text,
    filled up to 8 bytes. Number 0 is room that is left, and its size counts from its own beginning. A size that leads
    nowhere is what the library does not look for, nor are collections that share bytes, which could make the walk as
    long as the square of the file.
    """
    with ExitStack() as stack:
        if isinstance(source, bytes):
            data: bytes | mmap = source
        else:
            file = stack.enter_context(source.open("rb"))
            data = stack.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))
        start, left = data.find(_TEXTS), len(data) // _TEXT.size + 1
        while start >= 0:
            size = int.from_bytes(data[start + 8 : start + 16], "little")
            place, end = start + 16, min(start + size, len(data))
            while place + _TEXT.size <= end:
                number, _, stored = _TEXT.unpack_from(data, place)
                step = (stored if number == 0 else _TEXT.size + (stored + 7) // 8 * 8) % 2**64
                left -= 1
                if step < _TEXT.size or left < 0:
                    raise ValueError("its store of texts is damaged")
                place += step
            start = data.find(_TEXTS, start + 1)


def _is_unicode(text: str) -> bool:
    """Whether a text has no bytes in it that are no letters, which the HDF5 library passes on as halves of some."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


@contextmanager
def reading(where: str) -> Generator[None]:
    """Errors of the HDF5 library as errors for people."""
    try:
        yield
    except _READ_ERRORS as error:
        said = str(error).splitlines()
        raise ModelFileError(
            f"The weights in the file cannot be read: {said[0] if said else repr(error)}", where=where, hint=_DAMAGED
        ) from None
