"""The temporary folder of this app and what is in it, removed when the app ends.

An app that was killed cannot remove its own. It held a lock on a file in it, which the operating system lets go of
however a process ends, so the next app that starts finds out and removes the folder.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from secrets import token_hex

from filelock import FileLock, Timeout

_PREFIX = "pairlift-app-"
_LOCK = "in-use.lock"
_YOUNG = 60.0  # seconds in which a new folder may not have its lock yet


class Workspace:
    """A folder that only this process's user can read, with folders of unguessable names in it."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        remove_abandoned(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._lock = FileLock(self.folder / _LOCK)
        self._lock.acquire()

    def new_folder(self, kind: str) -> Path:
        """A new folder for one session or one process."""
        folder = self.folder / f"{kind}-{token_hex(16)}"
        folder.mkdir(mode=0o700)
        return folder

    def remove(self) -> None:
        """Remove everything."""
        self._lock.release()
        remove_folder(self.folder)


@cache
def workspace() -> Workspace:
    """The folder of this process; made when it is first needed."""
    return Workspace()


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of apps that are gone."""
    for folder in parent.glob(_PREFIX + "*"):
        lock = folder / _LOCK
        try:
            if not lock.exists() and time.time() - folder.stat().st_mtime < _YOUNG:
                continue
            with FileLock(lock, timeout=0):
                pass
        except (Timeout, OSError):  # in use, another user's, or just being removed by another app
            continue
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder that a worker may have filled: however deep, however full, and whatever the rights in it.

    Folders further down are moved up into it one after the other, so that no path is too long and nothing is
    recursive. What cannot be removed stays.
    """
    names = (f"{folder}/.{token_hex(8)}-{number}" for number in count())
    with suppress(OSError):
        waiting = _empty(str(folder))
        while waiting:
            place = waiting.pop()
            os.chmod(place, 0o700)
            while below := _empty(place):
                for path in below:
                    os.chmod(path, 0o700)  # what may not be written cannot be moved
                    waiting.append(next(names))
                    os.rename(path, waiting[-1])
            os.rmdir(place)
        os.rmdir(folder)


def _empty(folder: str) -> list[str]:
    """Remove the files in a folder; returns the folders in it."""
    below = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            else:
                os.unlink(entry)
    return below
