"""Norms and distances."""

from __future__ import annotations

import math
from typing import Any

import torch

from explain_core.backends.torch.formulas import reductions
from explain_core.backends.torch.pairs import (
    Pair,
    apply_linear,
    apply_or_call,
    attach,
    base_of,
    dtype_of,
    onto,
    pairs_in,
    shape_of,
    test_of,
)

aten = torch.ops.aten


def vector_norm(ops, x, order=2, dim=None, keepdim=False, *, dtype=None) -> Pair:
    """``(Σ |x|^order)^(1/order)`` over ``dim``, and its limits: how many are not 0, the largest, the smallest."""
    if dtype is not None:
        x = ops(aten.to.dtype, x, dtype)
    count = len(shape_of(x))
    axes = list(range(count)) if dim is None or dim == [] else [dim] if isinstance(dim, int) else list(dim)
    if order == 2:
        if x.test.is_complex():
            x = ops(aten.abs.default, x)
        return ops(aten.sqrt.default, ops(aten.sum.dim_IntList, ops(aten.square.default, x), axes, keepdim))
    size = ops(aten.abs.default, x)
    if order in (math.inf, -math.inf):
        return ops(aten.amax.default if order > 0 else aten.amin.default, size, axes, keepdim)
    if order == 0:
        different = ops(aten.to.dtype, ops(aten.gt.Scalar, size, 0), dtype_of(size))
        return ops(aten.sum.dim_IntList, different, axes, keepdim)
    if order != 1:
        size = ops(aten.pow.Tensor_Scalar, size, order)
    total = ops(aten.sum.dim_IntList, size, axes, keepdim)
    return total if order == 1 else ops(aten.pow.Tensor_Scalar, total, 1 / order)


def hypot(ops, a: Any, b: Any) -> Pair:
    """``√(a² + b²)``: ``Δr = ((a + a')·Δa + (b + b')·Δb) / (r + r')``, what its parts give, but without overflow."""
    with torch.no_grad():
        test, base = torch.hypot(test_of(a), test_of(b)), torch.hypot(base_of(a), base_of(b))
        slopes = [reductions.norm_multipliers(p.test.detach(), p.base, test, base) for p in pairs_in((a, b))]
    tapes = [p.tape for p in pairs_in((a, b))]
    back = lambda m: tuple(onto(m * slope, tape) for slope, tape in zip(slopes, tapes, strict=True))  # noqa: E731
    return Pair(attach([test], back, *tapes), base)


def cdist(ops, a: Any, b: Any, order: float = 2.0, compute_mode: int | None = None) -> Pair:
    """The distance of each row of one to each row of the other."""
    a, b = apply_or_call(lambda v: v.unsqueeze(-2), a), apply_or_call(lambda v: v.unsqueeze(-3), b)
    return vector_norm(ops, ops(aten.sub.Tensor, a, b), order, [-1])


def pdist(ops, x: Pair, order: float = 2.0) -> Pair:
    """The distances of all rows to those after them."""
    rows = shape_of(x)[0]
    first, second = torch.triu_indices(rows, rows, 1, device=x.test.device)
    return vector_norm(ops, apply_linear(lambda v: v[first] - v[second], x), order, [-1])


def dist(ops, a: Any, b: Any, order: float = 2.0) -> Pair:
    """The norm of a difference."""
    return vector_norm(ops, ops(aten.sub.Tensor, a, b), order)


def covariance(ops, x: Pair, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Pair:
    """Between the rows, over the columns; counts and weights of the columns are constants."""
    if x.test.ndim < 2:
        x = apply_linear(lambda v: v.reshape(1, -1), x)
        return apply_linear(
            lambda v: v.reshape(()), covariance(ops, x, correction=correction, fweights=fweights, aweights=aweights)
        )
    count = x.test.shape[1]
    counts = torch.ones(count, device=x.test.device) if fweights is None else fweights
    weights = (counts if aweights is None else counts * aweights).to(x.test.dtype)
    total = weights.sum()
    if correction and aweights is not None:
        norm = total - correction * (weights * aweights).sum() / total
    else:
        norm = total - correction
    centred = apply_linear(lambda v: v - (v * weights).sum(1, keepdim=True) / total, x)
    turned = apply_linear(lambda v: (v * weights / norm.clamp(min=0)).conj().mT, centred)
    return ops(aten.matmul.default, centred, turned)


def correlation(ops, x: Pair) -> Pair:
    """`covariance` over both standard deviations."""
    if x.test.ndim < 2:
        return ops(aten.div.Tensor, covariance(ops, x), covariance(ops, x))
    found = covariance(ops, x)
    deviation = ops(aten.sqrt.default, apply_linear(lambda v: v.diagonal(), found))
    found = ops(aten.div.Tensor, found, apply_linear(lambda v: v.unsqueeze(1), deviation))
    return ops(aten.div.Tensor, found, apply_linear(lambda v: v.unsqueeze(0), deviation))
