"""Which Keras wrote a file, as far as it matters for what the file means."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
_LONGEST = 40  # letters of a version


def words(text: str) -> frozenset[str]:
    """A set of names, from a text of them."""
    return frozenset(text.split())


@dataclass
class Era:
    """The Keras that wrote a file, and what opening the file changed.

    Attributes:
        text: the version as the file has it; empty where it has none.
        version: the same as numbers; None where it cannot be told.
        backend: what that Keras ran on: "tensorflow", "theano", "cntk", or empty.
        notes: what was changed to open it and what it is taken to mean, one sentence each, without repetitions.
    """

    text: str
    backend: str = "tensorflow"
    notes: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.text = self.text[:_LONGEST]

    @property
    def version(self) -> tuple[int, int] | None:
        found = _VERSION.match(self.text)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def is_keras3(self) -> bool:
        return self.version is not None and self.version >= (3, 0)

    @property
    def is_multi_backend(self) -> bool:
        """Keras by itself, up to 2.3; from 2.4 on, and with "-tf", it is the one inside TensorFlow."""
        return self.version is not None and self.version < (2, 4) and not self.text.endswith("-tf")

    @property
    def name(self) -> str:
        return f"Keras {self.text}" if self.text else "an unknown version of Keras"

    def note(self, sentence: str) -> None:
        self.notes[sentence] = None
