"""Where compiled kernels are kept, and who may write there. Imports no numba.

What is kept are pickles, so no process that reads files of other people may ever write the folder: workers in a sandbox
can read it only. They get `ONLY_STORED`, with which a kernel that is not there is not compiled either, and take the
plain loop.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

FOLDER = "PAIRLIFT_KERNELS"  # environment variable: the folder, instead of the one that `folder` finds
ONLY_STORED = "PAIRLIFT_KERNELS_ONLY_STORED"  # environment variable: set where nothing may be compiled

_SOURCES = Path(__file__).parent
_COMPILING = ("import numba", "from explain_core.kernels.compiling import")  # how the source of a kernel begins


class NotCompiledError(Exception):
    """A kernel is not stored, and may not be compiled here."""


@cache
def folder() -> Path:
    """Beside the sources, or in the user's folder for caches where that is not writable."""
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    beside = _SOURCES / "__pycache__"
    if os.access(beside if beside.exists() else _SOURCES, os.W_OK):
        return beside
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(base).expanduser() / "pairlift" / "kernels"


@cache
def stamp() -> str:
    """A hash over the sources of what is compiled: code that was made from others is not taken."""
    sources = [path.read_text("utf-8") for path in sorted(_SOURCES.glob("*.py"))]
    compiled = [source for source in sources if any(words in source for words in _COMPILING)]
    return hashlib.sha256("\0".join(compiled).encode()).hexdigest()


def for_workers() -> dict[str, str]:
    """Environment variables of a process that reads other people's files."""
    return {FOLDER: str(folder()), ONLY_STORED: "1"}


def compile_in_background() -> subprocess.Popen:
    """Have a process of its own compile what is not stored yet; it takes a second or two where everything is."""
    return subprocess.Popen(
        [sys.executable, "-m", "explain_core.kernels"],
        cwd=_SOURCES.parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
