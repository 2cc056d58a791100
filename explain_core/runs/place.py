"""The folder that outlives the server: who may read it, and what happens where there is none."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from explain_core.runs.files import cause

_log = logging.getLogger("pairlift.runs")
FOLDER = "PAIRLIFT_DATA"  # environment variable: the folder, instead of the one that is usual on the system


def data_folder(fallback: Path, environment: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """A folder that only this process's user can read, and a note where it does not last.

    Args:
        fallback: a folder of this process, for where the usual one cannot be written.
        environment: `PAIRLIFT_DATA` says where; without it, the system's place for a user's data.

    Returns:
        the folder, which exists; and a sentence that says why it goes when the server ends, or "".
    """
    wanted = Path(environment[FOLDER]) if environment.get(FOLDER) else _usual(environment)
    try:
        return _made(wanted), ""
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        _log.error("%s cannot be used for what is kept: %s", wanted, error)  # visitors are not told where it is
        reason = cause(error) if isinstance(error, OSError) else "there is none"
    folder = fallback / "data"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder, (
        f"Runs are kept until the server ends, since their folder cannot be used: {reason}. "
        f"Whoever runs it can name another one with {FOLDER}."
    )


def _usual(environment: Mapping[str, str]) -> Path:
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = environment.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base) / "pairlift"


def _made(folder: Path) -> Path:
    """The folder, made where it is not there.

    Raises:
        OSError: it cannot be made or written, or belongs to somebody else.
    """
    folder = folder.expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid"):
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(0, "it belongs to another user")
        folder.chmod(0o700)
    with tempfile.TemporaryFile(dir=folder):
        return folder
