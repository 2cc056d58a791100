"""Sorting, and single elements of the sorted, by the rule of `rules.orders`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.formulas import maximum
from explain_core.backends.torch.pairs import Pair, apply_linear, attach, base_of, discrete, pairs_in, test_of
from explain_core.errors import UnsupportedOperation
from explain_core.rules import orders

aten = torch.ops.aten


def order_rule(test: Tensor, base: Tensor, ranks: Tensor) -> Callable[[Tensor], Tensor]:
    """The multiplier of each element (..., n), given those of some of the sorted ones, (..., k); see `rules.orders`."""
    if ranks.tolist() in ([1], [test.shape[-1]]):
        slope = (maximum.max_multipliers if ranks.tolist() == [1] else maximum.min_multipliers)(test, base)
        return lambda m: m * slope
    here, there = (v.double().cpu().numpy() for v in (test, base))
    back = orders.order_rule(here, there, ranks.cpu().numpy())
    return lambda m: torch.from_numpy(back(m.double().cpu().numpy())).to(m)


def ordered(x: Pair, dim: int, ranks: list[int]) -> Pair:
    """Some of the sorted elements along an axis, in its place."""
    last = apply_linear(lambda v: v.movedim(dim, -1) if v.ndim else v.reshape(1), x)
    which = torch.tensor(ranks, device=x.test.device)
    take = lambda v: v.sort(-1, descending=True).values[..., which - 1]  # noqa: E731
    test, base = take(last.test.detach()), take(last.base)
    chosen = Pair(attach([test], order_rule(last.test.detach(), last.base, which), last.tape), base)
    return apply_linear(lambda v: v.movedim(-1, dim) if x.test.ndim else v.reshape(()), chosen)


def _length(x: Pair, dim: int) -> int:
    return x.test.shape[dim] if x.test.ndim else 1


def _floats(x: Any) -> Pair:
    if not x.is_float or x.test.is_complex():
        raise UnsupportedOperation("whole numbers that differ between the input and the baseline are put in order here")
    return x


def _positions(op: Any, args: tuple, kwargs: dict, at: int = 1) -> Any:
    """Where the elements come from: a position, which nothing can be attributed to where it differs."""
    with torch.no_grad():
        return discrete(op(*test_of(args), **kwargs)[at], op(*base_of(args), **kwargs)[at], None)


def sort(ops, op, args, kwargs) -> tuple[Pair, Any]:
    """``sort(x, dim, descending)``, also the stable one, which names its arguments."""
    x = _floats(args[0])
    named = dict(zip(("dim", "descending"), args[1:], strict=False)) | kwargs
    dim, descending = named.get("dim", -1), named.get("descending", False)
    count = _length(x, dim)
    ranks = list(range(1, count + 1)) if descending else list(range(count, 0, -1))
    return ordered(x, dim, ranks), _positions(op, args, kwargs)


def topk(ops, op, args, kwargs) -> tuple[Pair, Any]:
    """``topk(x, k, dim, largest, sorted)``; sorted also where that was not asked for."""
    x = _floats(args[0])
    names = ("k", "dim", "largest", "sorted")
    named = {"dim": -1, "largest": True} | dict(zip(names, args[1:], strict=False)) | kwargs
    count, k = _length(x, named["dim"]), named["k"]
    ranks = list(range(1, k + 1)) if named["largest"] else list(range(count, count - k, -1))
    return ordered(x, named["dim"], ranks), _positions(op, (x, k, named["dim"], named["largest"], True), {})


def _one(x: Pair, dim: int, rank: int, keepdim: bool) -> Pair:
    found = ordered(x, dim, [rank])
    return found if keepdim or not x.test.ndim else apply_linear(lambda v: v.squeeze(dim), found)


def kthvalue(ops, op, args, kwargs) -> tuple[Pair, Any]:
    """``kthvalue(x, k, dim, keepdim)``, counted from the smallest."""
    x = _floats(args[0])
    named = {"dim": -1, "keepdim": False} | dict(zip(("k", "dim", "keepdim"), args[1:], strict=False)) | kwargs
    rank = _length(x, named["dim"]) + 1 - named["k"]
    return _one(x, named["dim"], rank, named["keepdim"]), _positions(op, args, kwargs)


def median(ops, op, args, kwargs) -> Any:
    """``median(x)``, and along an axis with positions; the lower of the middle two."""
    x = _floats(args[0])
    if len(args) == 1 and not kwargs:
        flat = apply_linear(lambda v: v.reshape(-1), x)
        return _one(flat, 0, _middle(flat, 0), False)
    named = {"keepdim": False} | dict(zip(("dim", "keepdim"), args[1:], strict=False)) | kwargs
    return _one(x, named["dim"], _middle(x, named["dim"]), named["keepdim"]), _positions(op, args, kwargs)


def _middle(x: Pair, dim: int) -> int:
    return _length(x, dim) - (_length(x, dim) - 1) // 2


def quantile(ops, op, args, kwargs) -> Pair:
    """``quantile(x, q, dim, keepdim, interpolation=)``: a mean of two neighbours in the order."""
    x = _floats(args[0])
    named = {"dim": None, "keepdim": False, "interpolation": "linear"}
    named |= dict(zip(("q", "dim", "keepdim"), args[1:], strict=False)) | kwargs
    if pairs_in(named["q"]):
        raise UnsupportedOperation("the share that a quantile is taken at differs between the input and the baseline")
    flat = x if named["dim"] is not None else apply_linear(lambda v: v.reshape(-1), x)
    dim = 0 if named["dim"] is None else named["dim"]
    q = torch.as_tensor(named["q"], dtype=torch.float64, device=x.test.device)
    count = _length(flat, dim)
    at = q.reshape(-1) * (count - 1)
    low, high, part = at.floor(), at.ceil(), at - at.floor()
    modes = {
        "linear": part,
        "lower": torch.zeros_like(part),
        "higher": torch.ones_like(part),
        "midpoint": torch.full_like(part, 0.5),
        "nearest": at.round() - low,
    }
    part = modes[named["interpolation"]]
    lower_ranks, upper_ranks = (
        [count - int(i) for i in ends.tolist()] for ends in (low, torch.where(part > 0, high, low))
    )
    ranks = sorted({*lower_ranks, *upper_ranks})
    found = ordered(flat, dim, ranks)
    kept = [1 if named["dim"] is None or i == dim % x.test.ndim else n for i, n in enumerate(x.test.shape)]

    def mean(v: Tensor) -> Tensor:
        v = v.movedim(dim, 0) if v.ndim else v.reshape(1)
        lower, upper = (v[[ranks.index(rank) for rank in wanted]] for wanted in (lower_ranks, upper_ranks))
        share = part.to(v.dtype).reshape(-1, *[1] * (lower.ndim - 1))
        result = lower * (1 - share) + upper * share  # (q, ...)
        if named["keepdim"]:
            result = result.reshape(len(part), *kept)
        return result if q.ndim else result.squeeze(0)

    return apply_linear(mean, found)
