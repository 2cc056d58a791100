"""What computes results, as a fingerprint: a kept result stands for a request only while that is the same."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from explain_core.installed import versions_of

_PACKAGE = Path(__file__).resolve().parents[1]
_FRAMEWORKS = ("torch", "tensorflow", "keras", "numba", "numpy")


@cache
def engine_digest() -> str:
    """A digest of the package's own code and of the versions of what it computes with; made once in a process."""
    found = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        found.update(str(file.relative_to(_PACKAGE)).encode() + b"\0" + file.read_bytes() + b"\0")
    found.update(str(versions_of(_FRAMEWORKS)).encode())
    return found.hexdigest()[:24]
