"""The temporary folder of this app and what is in it, removed when the app ends.

An app that was killed cannot remove its own. It held a lock on a file in it, which the operating system lets go of
however a process ends, so the next app that starts finds out and removes the folder.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from functools import cache
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
        shutil.rmtree(self.folder, ignore_errors=True)


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
        shutil.rmtree(folder, ignore_errors=True)
