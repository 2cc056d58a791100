"""The files of kept results: written whole or not at all, and read as data only."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from explain_core.errors import RunError
from explain_core.jobs import wire

_log = logging.getLogger("pairlift.runs")
_FORGOTTEN_SECONDS = 3600.0  # after which a part is nobody's that is being written
_DOWNLOAD = "Download the result to keep it. Whoever runs this server finds more in its log."


class ResultFiles:
    """A folder with a file for each result.

    A name is given to a file, and taken from it, only while the table is locked for writing: so the two agree, whoever
    else uses the folder, and whenever a process is killed.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.make()

    def make(self) -> None:
        """Have the folder.

        Raises:
            RunError: it cannot be made.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_kept(error) from None

    @contextmanager
    def part(self, content: Any, check: Callable[[int], None]) -> Generator[tuple[Path, int]]:
        """A file without a result's name that has a content, and its bytes; it goes unless `place` has named it.

        Args:
            content: of types that `jobs.wire` has.
            check: is given the bytes before any is written, and may raise.

        Raises:
            RunError: it cannot be written.
        """
        self.make()
        part = self.folder / f".{secrets.token_hex(8)}"
        try:
            pieces = [*wire.dump(content)]
            size = sum(map(len, pieces))
            check(size)
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.writelines(pieces)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise self._not_kept(error) from None
        except wire.WireError as error:
            raise RunError(f"The result could not be kept: {error}.") from None
        try:
            yield part, size
        finally:
            part.unlink(missing_ok=True)

    def place(self, part: Path, result: str) -> None:
        """Give a part the name of a result.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            part.replace(self.folder / result)
        except OSError as error:
            raise self._not_kept(error) from None

    def read(self, result: str) -> Any:
        """The content of a result.

        Raises:
            RunError: its file is gone or damaged.
        """
        try:
            with (self.folder / result).open("rb") as file:
                content, _ = wire.load(file, os.fstat(file.fileno()).st_size)
                return content
        except FileNotFoundError:
            raise RunError("The file of this run is gone.", hint="Explain again.") from None
        except OSError as error:
            _log.error("%s: %s", self.folder / result, error)
            raise RunError(f"The file of this run cannot be read: {cause(error)}.", hint="Explain again.") from None
        except (wire.WireError, EOFError):
            raise RunError("The file of this run is damaged.", hint="Delete the run and explain again.") from None

    def stamp(self, result: str) -> tuple[int, int] | None:
        """What tells a file from one that takes its place; None where there is none.

        Raises:
            RunError: nobody can tell.
        """
        try:
            found = (self.folder / result).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._not_kept(error) from None
        return found.st_ino, found.st_mtime_ns

    def names(self) -> set[str]:
        """Of the results that have a file. Parts that a killed process left are removed."""
        old = time.time() - _FORGOTTEN_SECONDS
        with os.scandir(self.folder) as files:
            found = {file.name for file in files}
        parts = {name for name in found if name.startswith(".")}
        for name in parts:
            try:
                if (self.folder / name).stat().st_mtime < old:
                    self.remove(name)
            except FileNotFoundError:  # its writer has named it
                continue
        return found - parts

    def remove(self, result: str) -> None:
        """Remove a file; one that stays is looked for at the next start."""
        try:
            (self.folder / result).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("A result could not be removed: %s", error)

    def _not_kept(self, error: OSError) -> RunError:
        _log.error("%s: %s", self.folder, error)
        return RunError(f"The run could not be kept: {cause(error)}.", hint=_DOWNLOAD)


def cause(error: OSError) -> str:
    """Why the system refused, without the path, which is nobody's but the server's."""
    words = error.strerror or type(error).__name__
    return words[:1].lower() + words[1:]
