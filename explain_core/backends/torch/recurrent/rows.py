"""The rows of both members of a recurrent layer: see `explain_core.backends.distinct`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explain_core.backends.distinct import distinct
from explain_core.backends.torch.pairs import Pair
from explain_core.rules.cells import Members


@dataclass(frozen=True)
class Rows:
    """Which rows run, (U,) of the 2N, and which of them make a pair; ``kept`` is None where all run."""

    kept: Tensor | None
    members: Members

    def put(self, pair: Pair) -> Tensor:
        """Those rows of a pair: (..., N, ·) to (..., U, ·)."""
        both = _both(pair)
        return both if self.kept is None else both.index_select(-2, self.kept)


def rows_of(pairs: Sequence[Pair]) -> Rows:
    """The rows of pairs (..., N, ·) given together. On a GPU all of them run, which costs less than to compare them."""
    n = pairs[0].test.shape[-2]
    if pairs[0].test.is_cuda:
        return Rows(None, Members(slice(0, n), slice(n, 2 * n)))
    found = distinct(*(_both(pair).movedim(-2, 0).numpy() for pair in pairs))
    members = (at if isinstance(at, slice) else torch.from_numpy(at) for at in found.members)
    return Rows(None if found.kept is None else torch.from_numpy(found.kept), Members(*members))


def _both(pair: Pair) -> Tensor:
    return torch.cat([pair.test.detach(), pair.base], -2)
