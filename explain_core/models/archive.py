"""Reading the zip archives that frameworks write, and handing on only what was looked at.

PyTorch reads archives with its own C++ reader, which can see other entries than Python's (names that differ
in case, entries given twice, a second table of contents). So what was checked here is written to a new
archive, and only that one is given to PyTorch.
"""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from explain_core.errors import ModelFileError

MAX_UNPACKED_BYTES = 4 * 2**30
#: What Python's reader raises on damaged archives, names that are no text and negative offsets among them.
ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)
_ROOT = "model"  # the one folder that PyTorch expects around all entries


def read_entries(
    path: Path, *, in_root: bool = True, rewrite: str = "torch.export.save, torch.jit.save or torch.save"
) -> dict[str, bytes]:
    """Every entry of the archive by its name.

    Args:
        path: the archive.
        in_root: take names below the one root folder, as PyTorch writes them.
        rewrite: what writes such archives, for the errors.

    Raises:
        ModelFileError: damaged, too large once unpacked, or with names given twice.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _check_sizes(infos, path.name)
            entries = [
                (info.filename.partition("/")[2] if in_root else info.filename, archive.read(info)) for info in infos
            ]
    except ARCHIVE_ERRORS as error:
        raise ModelFileError(
            f"The model file is a damaged archive: {error}.",
            where=path.name,
            hint="Copy or download it again; compare its size with the original's.",
        ) from None
    if len({name.lower() for name, _ in entries}) != len(entries):
        raise ModelFileError(
            "The archive has several entries of one name, so what would be loaded is not certain.",
            where=path.name,
            hint=f"Write the model again with {rewrite}.",
        )
    return dict(entries)


def pack(entries: Mapping[str, bytes]) -> io.BytesIO:
    """A new archive of exactly these entries, in the form that PyTorch's reader takes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{_ROOT}/{name}", data)
    buffer.seek(0)
    return buffer


def write_entries(entries: Mapping[str, bytes], path: Path) -> None:
    """A new archive of exactly these entries, as a file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def _check_sizes(infos: list[zipfile.ZipInfo], name: str) -> None:
    total = sum(info.file_size for info in infos)
    if total > MAX_UNPACKED_BYTES:
        raise ModelFileError(
            f"The archive would unpack to {total / 2**30:.1f} GiB; the limit is {MAX_UNPACKED_BYTES / 2**30:.0f} GiB.",
            where=name,
            hint="PairLift is made for models that fit in memory several times over.",
        )
