"""Sorting, and single elements of the sorted: exact Shapley values, as the maximum has them.

The players are the elements of an axis, each at its test or its baseline value, and the game is their ``k``-th largest,
``∫ [at least k elements > t] dt``. Each threshold is a simple game in which all rising elements have one share and all
falling ones another (`counting.deciding_share`). For the first it is the rule of `rules.maximum` (Lundberg & Lee 2017,
section 4.2); an element that is above or below ``t`` in both runs has no part in it. Sorting all values makes the
integral a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.counting import deciding_share
from explain_core.backends.torch.formulas import maximum
from explain_core.backends.torch.pairs import Pair, apply_linear, attach, base_of, discrete, pairs_in, test_of
from explain_core.errors import UnsupportedOperation

aten = torch.ops.aten


@torch.no_grad()
def order_rule(test: Tensor, base: Tensor, ranks: Tensor) -> Callable[[Tensor], Tensor]:
    """The multiplier of each element, given those of some of the sorted ones.

    Args:
        test, base: (..., n).
        ranks: (k,): which of the elements, 1 for the largest, n for the smallest.

    Returns:
        from (..., k) to (..., n).
    """
    count = test.shape[-1]
    if ranks.tolist() in ([1], [count]):
        sign = 1 if ranks.tolist() == [1] else -1
        slope = maximum.max_multipliers(sign * test, sign * base)
        return lambda m: m * slope
    dtype, test, base = test.dtype, test.double(), base.double()
    values, order = torch.sort(torch.cat([test, base], -1), -1, descending=True)
    place = torch.empty_like(order).scatter_(-1, order, torch.arange(2 * count, device=test.device).expand_as(order))
    at_test, at_base = place[..., :count], place[..., count:]
    width = values[..., :-1] - values[..., 1:]
    # How many are above each gap between neighbours: in the test, in the baseline, and in both.
    above_test = (order < count).cumsum(-1)[..., :-1].double()
    above_base = (order >= count).cumsum(-1)[..., :-1].double()
    lower = torch.zeros_like(values).scatter_(-1, torch.maximum(at_test, at_base), 1.0)
    both = lower.cumsum(-1)[..., :-1]
    rising, falling, needed = torch.broadcast_tensors(
        (above_test - both).unsqueeze(-1), (above_base - both).unsqueeze(-1), ranks.double() - both.unsqueeze(-1)
    )
    shares = deciding_share(rising, falling, needed), deciding_share(falling, rising, needed)
    # The infinities of a mask have no width: nobody is in between.
    up, down = (torch.where(share > 0, share * width.unsqueeze(-1), 0.0) for share in shares)
    rises, start, stop = at_test < at_base, torch.minimum(at_test, at_base), torch.maximum(at_test, at_base)
    move = torch.where(test == base, 0.0, (test - base).abs())

    def back(m: Tensor) -> Tensor:
        risen, fallen = (_range_sums((part @ m.double().unsqueeze(-1)).squeeze(-1), start, stop) for part in (up, down))
        return torch.where(move == 0, 0.0, torch.where(rises, risen, fallen) / move).to(dtype)

    return back


def _range_sums(values: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """``Σ values[start:stop]`` over the last axis, from sums of 1, 2, 4, ... neighbours; nothing is subtracted."""
    total, at, length, step = torch.zeros_like(start, dtype=values.dtype), start, stop - start, 1
    while values.shape[-1] and step <= int(length.max()):
        taken = (length & step) > 0
        total = total + torch.where(taken, values.gather(-1, at.clamp(max=values.shape[-1] - 1)), 0.0)
        at = at + torch.where(taken, step, 0)
        values = values + torch.nn.functional.pad(values[..., step:], (0, min(step, values.shape[-1])))
        step *= 2
    return total


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
