"""Running products, maxima and log-sum-exps along an axis, and the product of one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.compositions import cast
from explain_core.backends.torch.formulas import maximum, softmax
from explain_core.backends.torch.pairs import Pair, apply_linear, apply_multilinear, attach, discrete

aten = torch.ops.aten

_AT_ONCE = 2**22  # elements of one block of prefixes


def _degree(x: Pair, dim: int | None) -> int:
    """How many factors differ at most: the degree of the product along the line between the members."""
    differs = x.difference != 0
    return max(int((differs.sum() if dim is None else differs.sum(dim).amax()) if differs.numel() else 0), 1)


def prod(ops, x: Pair, dim: int | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Pair:
    """The product over all elements or one axis: the Shapley values of all factors."""
    x = cast(ops, x, dtype or (x.test.dtype if x.is_float else torch.float64))
    product = (lambda v: v.prod()) if dim is None else (lambda v: v.prod(dim, keepdim))
    return apply_multilinear(product, x, degree=_degree(x, dim))


def cumprod(ops, x: Pair, dim: int, *, dtype: torch.dtype | None = None) -> Pair:
    """`prod` of each beginning."""
    x = cast(ops, x, dtype or (x.test.dtype if x.is_float else torch.float64))
    return apply_multilinear(lambda v: v.cumprod(dim), x, degree=_degree(x, dim))


def _running_extreme(ops, x: Pair, dim: int, sign: int) -> tuple[Pair, Any]:
    with torch.no_grad():
        run = torch.cummax if sign > 0 else torch.cummin
        (test, at_test), (base, at_base) = run(x.test.detach(), dim), run(x.base, dim)
    if not x.test.ndim:
        return x, at_test
    a, b = ((sign * v).movedim(dim, -1) for v in (x.test.detach(), x.base))
    count, before = a.shape[-1], torch.ones(a.shape[-1], a.shape[-1], dtype=torch.bool, device=a.device).tril()
    block = max(_AT_ONCE // max(a.numel(), 1), 1)

    def back(m: Tensor) -> Tensor:
        m, total = m.movedim(dim, -1), torch.zeros_like(a)
        for start in range(0, count, block):
            seen = before[start : start + block]
            beginnings = (torch.where(seen, v.unsqueeze(-2), -math.inf) for v in (a, b))
            total += (maximum.max_multipliers(*beginnings) * m[..., start : start + block].unsqueeze(-1)).sum(-2)
        return total.movedim(-1, dim)

    return Pair(attach([test], back, x.tape), base), discrete(at_test, at_base, None)


def cummax(ops, x: Pair, dim: int) -> tuple[Pair, Any]:
    """The Shapley maximum of each beginning; positions as for `max`."""
    return _running_extreme(ops, x, dim, 1)


def cummin(ops, x: Pair, dim: int) -> tuple[Pair, Any]:
    """The Shapley minimum of each beginning."""
    return _running_extreme(ops, x, dim, -1)


def logcumsumexp(ops, x: Pair, dim: int) -> Pair:
    """``log Σ exp`` of each beginning, each by the rule of `logsumexp`."""
    if not x.test.ndim:
        return x
    x = apply_linear(lambda v: v.movedim(dim, -1), x)
    with torch.no_grad():
        test, base = (torch.logcumsumexp(v, -1) for v in (x.test.detach(), x.base))
        back = softmax.cumulative_logsumexp_rule(x.test.detach(), x.base)
    y = Pair(attach([test], back, x.tape), base)
    return apply_linear(lambda v: v.movedim(-1, dim), y)
