"""What a kept result says of itself, without being read."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from explain_core.errors import RunError

MOST_NAME = 120  # characters
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "float": (int, float),
    "tuple[str, ...]": str,
    "tuple[float, ...]": (int, float),
}


def is_run_id(text: str) -> bool:
    """Whether a text could be the id of a run: `secrets.token_urlsafe(16)`."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class About:
    """What a result is of.

    Attributes:
        key: a digest of all that was asked: equal keys have equal results.
        title, sequence: what was explained, as the page calls it.
        model, model_digest: the file's name, and the SHA-256 of its bytes.
        data_digest: of the input that was explained.
        target: what was explained of the outputs, in words.
        outputs: their names, with the ``predictions`` and ``baseline_predictions`` of each.
        baseline: what it is compared with, in words.
        residual: whether the shares add up, in words.
        seconds: what explaining took.
        versions: of PairLift and what it stands on, by name.
        origin: where it came from, for a page to go on: ``demo``, ``sequence`` and ``baseline`` of a demo; else empty.
    """

    key: str
    title: str
    sequence: str
    model: str
    model_digest: str
    data_digest: str
    target: str
    outputs: tuple[str, ...]
    predictions: tuple[float, ...]
    baseline_predictions: tuple[float, ...]
    baseline: str
    residual: str
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """As a text for the database."""
        return json.dumps(asdict(self), ensure_ascii=True)

    @classmethod
    def of_json(cls, text: str) -> About:
        """What `to_json` wrote.

        Raises:
            RunError: it is something else.
        """
        try:
            told = json.loads(text)
            return cls(**{each.name: _checked(told[each.name], str(each.type)) for each in fields(cls)})
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RunError("What is kept about this run is damaged.", hint="Delete it and explain again.") from None


def _checked(value: Any, kind: str) -> Any:
    if kind == "dict[str, str]":
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise TypeError
        return value
    items = value if kind.startswith("tuple") else [value]
    if not isinstance(items, list) or any(isinstance(i, bool) or not isinstance(i, _KINDS[kind]) for i in items):
        raise TypeError
    return tuple(items) if kind.startswith("tuple") else value


@dataclass(frozen=True)
class Run:
    """A kept result.

    Attributes:
        id: unguessable; whoever has it may see the run.
        name: what its owner calls it.
        about: what it is of.
        created: seconds since 1970.
        size: bytes of its file.
        is_own: whether it belongs to whoever asked.
        is_pinned: whether it stays when room is made.
    """

    id: str
    name: str
    about: About
    created: float
    size: int
    is_own: bool
    is_pinned: bool
    result: str = field(repr=False)
