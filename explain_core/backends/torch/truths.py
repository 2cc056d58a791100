"""Truth values brought together, and places among constant bounds: steps, like a comparison."""

from __future__ import annotations

from typing import Any

import torch

from explain_core.backends.torch.kinds import Comparison, Maximum
from explain_core.backends.torch.pairs import discrete, is_pair, pairs_in
from explain_core.errors import UnsupportedOperation

aten = torch.ops.aten


def _extreme(sign: int):
    def rule(ops, op, args, kwargs) -> Any:
        x, *rest = args
        if x.test.dtype is not torch.bool:
            x = ops(aten.ne.Scalar, x, 0)
        if not is_pair(x):
            return op(x, *rest, **kwargs)
        most: Any = Maximum(sign)(ops, op, (x.as_float(torch.float64), *rest), kwargs)
        test, base = most.test.detach() > 0, most.base > 0
        # One that stays moves nothing, whatever its elements do: alone in its batch it would be a constant.
        return discrete(test, base, torch.where(test == base, most.test.detach(), most.test))

    return rule


any_of = _extreme(1)
"""``any``: the Shapley maximum of truths as numbers."""
all_of = _extreme(-1)
"""``all``: the Shapley minimum."""


def _among(bounds_at: int):
    def rule(ops, op, args, kwargs) -> Any:
        if pairs_in((args[bounds_at], kwargs)):
            raise UnsupportedOperation(
                "the bounds between which values are placed differ between the input and the baseline",
                hint="Choose a baseline for which they are the same.",
            )
        return Comparison()(ops, op, args, kwargs)

    return rule


bucketize = _among(1)
searchsorted = _among(0)
