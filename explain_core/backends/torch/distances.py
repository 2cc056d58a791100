"""Norms and distances."""

from __future__ import annotations

import math

import torch

from explain_core.backends.torch.pairs import Pair
from explain_core.errors import UnsupportedOperation

aten = torch.ops.aten


def vector_norm(ops, x, order=2, dim=None, keepdim=False, *, dtype=None) -> Pair:
    """The 1-, 2- or max-norm over ``dim``."""
    axes = list(range(x.test.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if x.test.is_complex():
        x = ops(aten.abs.default, x)
    if order == 2:
        return ops(aten.sqrt.default, ops(aten.sum.dim_IntList, ops(aten.square.default, x), axes, keepdim))
    if order == 1:
        return ops(aten.sum.dim_IntList, ops(aten.abs.default, x), axes, keepdim)
    if order == math.inf:
        return ops(aten.amax.default, ops(aten.abs.default, x), axes, keepdim)
    raise UnsupportedOperation(f"the norm of order {order} has no rule")
