"""Whose a run is: what stands for a visitor in the table, and those who come without a name that lasts."""

from __future__ import annotations

import hashlib
import secrets

_NAMELESS = "nameless "  # with a space, which no cookie's token has
NAMELESS = f"{_NAMELESS}*"  # for GLOB: how the owners begin in the table who are nameless


def nameless() -> str:
    """A secret for a visitor whose browser keeps none: it is somebody else at the next visit."""
    return _NAMELESS + secrets.token_urlsafe(32)


def is_nameless(owner: str) -> bool:
    """Whether an owner's secret is gone when the visit ends."""
    return owner.startswith(_NAMELESS)


def hidden(owner: str) -> str:
    """An owner's secret as it stands in the table, from which nobody learns it."""
    found = hashlib.sha256(owner.encode()).hexdigest()
    return _NAMELESS + found if is_nameless(owner) else found
