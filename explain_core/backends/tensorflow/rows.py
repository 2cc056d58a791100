"""The rows of both members of a recurrent layer: see `explain_core.backends.distinct`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ...rules.cells import Members
from ..distinct import distinct
from .pairs import Value, base, detach, test


@dataclass(frozen=True)
class Rows:
    """Which rows run, (U,) of the 2N, and which of them make a pair; ``kept`` is None where all run."""

    kept: np.ndarray | None
    members: Members

    def put(self, value: Value) -> tf.Tensor:
        """Those rows of a value: (N, ...) to (U, ...)."""
        both = _both(value)
        return both if self.kept is None else tf.gather(both, self.kept)


def rows_of(*values: Value) -> Rows:
    """The rows of values (N, ...) that are given together."""
    found = distinct(*(_both(value).numpy() for value in values))
    return Rows(found.kept, Members(*found.members))


def _both(value: Value) -> tf.Tensor:
    return tf.concat([detach(test(value)), base(value)], 0)
