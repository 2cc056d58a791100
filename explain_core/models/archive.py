"""Reading the zip archives that frameworks write, and handing on only what was looked at.

PyTorch reads archives with its own C++ reader, which can see other entries than Python's (names that differ
in case, entries given twice, a second table of contents). So what was checked here is put into a new archive,
and only that one is given to PyTorch.
"""

from __future__ import annotations

import io
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from explain_core.errors import ModelFileError
from explain_core.untrusted.zip_reader import DamagedZipError, ZipError, open_zip

MAX_UNPACKED_BYTES = 4 * 2**30
_ROOT = "model"  # the one folder that PyTorch expects around all entries


def names_of(path: Path) -> list[str]:
    """The names of an archive's entries, without its folders; reads the table of contents only.

    Raises:
        ModelFileError: damaged, or with a table of contents that no model has.
    """
    try:
        with open_zip(path) as archive:
            return [entry.name for entry in archive.entries]
    except (ZipError, OSError) as error:
        raise _refused(error, path.name) from None


def read_entries(
    path: Path,
    *,
    in_root: bool = True,
    rewrite: str = "torch.export.save, torch.jit.save or torch.save",
    wanted: Callable[[str], bool] = lambda name: True,
) -> dict[str, bytes]:
    """Every entry of the archive by its name.

    Args:
        path: the archive.
        in_root: take names below the one root folder, as PyTorch writes them.
        rewrite: what writes such archives, for the errors.
        wanted: whether an entry is to be read, by its name in the archive.

    Raises:
        ModelFileError: damaged, too large once unpacked, or with names given twice.
    """
    try:
        with open_zip(path) as archive:
            entries = {
                entry.name.partition("/")[2] if in_root else entry.name: entry
                for entry in archive.entries
                if wanted(entry.name)
            }
            if len({name.lower() for name in entries}) != sum(wanted(entry.name) for entry in archive.entries):
                raise ModelFileError(
                    "The archive has several entries of one name, so what would be loaded is not certain.",
                    where=path.name,
                    hint=f"Write the model again with {rewrite}.",
                )
            archive.require(list(entries.values()), MAX_UNPACKED_BYTES)
            return {name: bytes(archive.read(entry)) for name, entry in entries.items()}
    except (ZipError, OSError) as error:
        raise _refused(error, path.name) from None


def pack(entries: Mapping[str, bytes]) -> io.RawIOBase:
    """A new archive of exactly these entries, in the form that PyTorch's reader takes.

    It shares the memory of the entries, which may be a model of gigabytes.
    """
    sink = _Sink()
    with zipfile.ZipFile(cast(Any, sink), "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{_ROOT}/{name}", data)
    return _Joined(sink.parts)


def write_entries(entries: Mapping[str, bytes], path: Path) -> None:
    """A new archive of exactly these entries, as a file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


class _Sink:
    """What an archive is written to: a list of its parts, as they come."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))  # the same bytes where they are bytes, and no copy
        return len(data)

    def flush(self) -> None:
        pass


class _Joined(io.RawIOBase):
    """A file to read whose content is these parts, one after the other."""

    def __init__(self, parts: list[bytes]) -> None:
        super().__init__()
        self._parts = [memoryview(part) for part in parts if part]
        self._starts = [0, *accumulate(map(len, self._parts))]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        into, done = memoryview(buffer).cast("B"), 0
        while done < len(into) and self._at < self._starts[-1]:
            number = bisect_right(self._starts, self._at) - 1
            begin = self._at - self._starts[number]
            part = self._parts[number][begin : begin + len(into) - done]
            into[done : done + len(part)] = part
            done, self._at = done + len(part), self._at + len(part)
        return done

    def readall(self) -> bytes:
        rest = bytearray(max(0, self._starts[-1] - self._at))
        self.readinto(rest)
        return bytes(rest)


def _refused(error: ZipError | OSError, where: str) -> ModelFileError:
    if isinstance(error, DamagedZipError):
        what = f"The model file is a damaged or cut-off archive: {error.why}."
        return ModelFileError(what, where=where, hint=error.hint)
    if isinstance(error, ZipError):
        return ModelFileError(error.what, where=where, hint=error.hint)
    return ModelFileError(f"The model file cannot be read: {error.strerror}.", where=where, hint="Check the path.")
