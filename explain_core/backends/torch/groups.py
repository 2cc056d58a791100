"""Elements brought together by constant positions, then added, multiplied or compared: `scatter_reduce`, bags."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.kinds import Linear
from explain_core.backends.torch.pairs import apply_linear, apply_or_call, dtype_of, is_pair, pairs_in, shape_of
from explain_core.errors import UnsupportedOperation

aten = torch.ops.aten

_OTHER_NAMES = {"add": "sum", "multiply": "prod"}
_NEUTRAL = {"prod": 1.0, "amax": -math.inf, "amin": math.inf}


def _members(of: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Which elements each group has.

    Args:
        of: (n,): the group of each element.

    Returns:
        (groups, most) numbers of elements, -1 where there are no more; and (groups,) how many.
    """
    order = torch.argsort(of, stable=True)
    counts = torch.bincount(of, minlength=groups)
    starts = counts.cumsum(0) - counts
    table = of.new_full((groups, int(counts.max()) if groups else 0), -1)
    table[of[order], torch.arange(len(of), device=of.device) - starts[of[order]]] = order
    return table, counts


def _reduce(ops, x: Any, source: Any, of: Tensor, reduce: str, include_self: bool) -> Any:
    """Each element of ``x`` with those of ``source`` (n,) that belong to it by ``of`` (n,)."""
    shape, count = shape_of(x), shape_of(x).numel()
    table, counts = _members(of, count)
    keeps = torch.ones_like(counts) if include_self else (counts == 0).long()
    if reduce in ("sum", "mean"):
        many = (counts + keeps) if reduce == "mean" else torch.ones_like(counts)
        add = lambda a, b: (a.reshape(-1) * keeps).index_add(0, of, b).div(many).reshape(shape)  # noqa: E731
        return apply_linear(add, x, source)
    own = torch.where(keeps > 0, torch.arange(count, device=of.device), -1)
    places = torch.cat([own.unsqueeze(1), torch.where(table < 0, -1, table + count)], 1)

    def take(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a.reshape(-1), b, b.new_full((1,), _NEUTRAL[reduce])])[places]

    together = apply_linear(take, x, source)
    whole = {"prod": aten.prod.dim_int, "amax": aten.amax.default, "amin": aten.amin.default}[reduce]
    return apply_linear(lambda v: v.reshape(shape), ops(whole, together, -1))


def scatter_reduce(ops, x, dim, index, source, reduce, include_self=True) -> Any:
    """Each element of ``source`` joins the one of ``x`` that ``index`` says along ``dim``."""
    _constant(index)
    numbers = torch.arange(shape_of(x).numel(), device=index.device).reshape(shape_of(x))
    of = numbers.gather(dim, index).reshape(-1)
    flat = apply_or_call(lambda v: v[tuple(slice(n) for n in index.shape)].reshape(-1), source)
    return _reduce(ops, x, flat, of, _OTHER_NAMES.get(reduce, reduce), include_self)


def scatter_value_reduce(ops, x, dim, index, value, *, reduce) -> Any:
    """`scatter_reduce` of one number."""
    source = torch.full(index.shape, value, dtype=dtype_of(x), device=index.device)
    return scatter_reduce(ops, x, dim, index, source, reduce)


def scatter_with(ops, x, dim, index, source, *, reduce) -> Any:
    """``scatter(..., reduce=)``."""
    return scatter_reduce(ops, x, dim, index, source, reduce)


def index_reduce(ops, x, dim, index, source, reduce, *, include_self=True) -> Any:
    """Each slice of ``source`` along ``dim`` joins the one of ``x`` that ``index`` says."""
    _constant(index)
    numbers = torch.arange(shape_of(x).numel(), device=index.device).reshape(shape_of(x))
    of = numbers.index_select(dim, index).reshape(-1)
    return _reduce(ops, x, apply_or_call(lambda v: v.reshape(-1), source), of, reduce, include_self)


def bincount(ops, ids, weights=None, minlength=0) -> Any:
    """The sum of the weights of each number."""
    _constant(ids)
    count = max(int(ids.max()) + 1 if ids.numel() else 0, minlength)
    return apply_linear(lambda w: w.new_zeros(count).index_add(0, ids, w), weights)


def _constant(index: Any) -> None:
    if is_pair(index):
        Linear(constant=(0,)).check((index,))


# --- bags of rows --------------------------------------------------------------------------------------------------

_SUM, _MEAN, _MAX = 0, 1, 2


def embedding_bag(
    ops, table, ids, offsets, scale_grad_by_freq=False, mode=_SUM, sparse=False, weights=None, include_last=False,
    padding=None,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """The sum, mean or largest of the rows of each bag; ``offsets`` (bags,) say where in ``ids`` (n,) each starts.

    The other three results, which PyTorch keeps for its gradient, are left out.
    """
    _constant(offsets)
    bags = len(offsets) - int(include_last)
    starts = offsets[:bags].contiguous()
    at = torch.arange(shape_of(ids)[0], device=starts.device)
    of = torch.searchsorted(starts, at.to(starts.dtype), right=True) - 1
    rows = ops(aten.embedding.default, table, ids)
    if weights is not None:
        rows = ops(aten.mul.Tensor, rows, apply_or_call(lambda v: v.unsqueeze(-1), weights))
    real = ops(aten.ne.Scalar, ids, -1 if padding is None else padding)
    if mode == _MAX:
        return _largest_of_bags(ops, rows, real, of, bags), None, None, None
    real = ops(aten.to.dtype, real, dtype_of(rows))
    rows = ops(aten.mul.Tensor, rows, apply_or_call(lambda v: v.unsqueeze(-1), real))
    gather = lambda v: v.new_zeros(bags, *v.shape[1:]).index_add(0, of, v)  # noqa: E731
    total = apply_or_call(gather, rows)
    if mode == _MEAN:
        count = ops(aten.clamp_min.default, apply_or_call(gather, real), 1)
        total = ops(aten.div.Tensor, total, apply_or_call(lambda v: v.unsqueeze(-1), count))
    return total, None, None, None


def bag_with_padding(ops, *args, **kwargs) -> tuple[Any, Any, Any, Any]:
    """`embedding_bag`, where a padding below zero stands for none."""
    args, padding = args[:8], args[8] if len(args) > 8 else kwargs.pop("padding_idx", -1)
    return embedding_bag(ops, *args, padding=None if padding < 0 else padding, **kwargs)


def _largest_of_bags(ops, rows: Any, real: Any, of: Tensor, bags: int) -> Any:
    if pairs_in(real):
        raise UnsupportedOperation(
            "the padding of a bag differs between the input and the baseline",
            hint="Choose a baseline with padding in the same places, or the sum or mean of a bag.",
        )
    kept = real.nonzero().reshape(-1)
    table, counts = _members(of[kept], bags)
    places = torch.where(table < 0, len(kept), table)
    if not places.shape[1]:
        return apply_linear(lambda v: v[:0].new_zeros(bags, v.shape[1]) + 0 * v.sum(), rows)
    take = lambda v: torch.cat([v[kept], v.new_full((1, v.shape[1]), -math.inf)])[places]  # noqa: E731
    largest = ops(aten.amax.default, apply_linear(take, rows), [1])
    return ops(aten.where.self, (counts > 0).unsqueeze(1), largest, torch.zeros((), dtype=dtype_of(rows)))
