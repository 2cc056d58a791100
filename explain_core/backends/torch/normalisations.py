"""Normalisations and the statistics that they divide by, each a few lines of its own definition.

Division by a statistic has a rule of its own, in `rules.statistics`.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from explain_core.backends.torch.pairs import Pair, apply_linear, apply_or_call, dtype_of, pairs_in, shape_of
from explain_core.errors import UnsupportedOperation

aten = torch.ops.aten


def standardise(ops, x: Pair, axes: list[int], eps: float, centre: bool = True) -> Pair:
    """``(x - mean) / sqrt(var + eps)`` over ``axes``."""
    if centre:
        x = ops(aten.sub.Tensor, x, ops(aten.mean.dim, x, axes, True))
    variance = ops(aten.mean.dim, ops(aten.square.default, x), axes, True)
    return ops(aten.mul.Tensor, x, ops(aten.rsqrt.default, ops(aten.add.Scalar, variance, eps)))


def affine(ops, x: Pair, weight: Any, bias: Any) -> Pair:
    """``x·weight + bias``, either of which may be missing."""
    x = x if weight is None else ops(aten.mul.Tensor, x, weight)
    return x if bias is None else ops(aten.add.Tensor, x, bias)


def layer_norm(ops, x, shape, weight=None, bias=None, eps=1e-5, cudnn_enable=True) -> Pair:
    """Ba et al. 2016."""
    return affine(ops, standardise(ops, x, list(range(-len(shape), 0)), eps), weight, bias)


def rms_norm(ops, x, shape, weight=None, eps=None) -> Pair:
    """Zhang & Sennrich 2019."""
    eps = torch.finfo(dtype_of(x)).eps if eps is None else eps
    return affine(ops, standardise(ops, x, list(range(-len(shape), 0)), eps, centre=False), weight, None)


def group_norm(ops, x, groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True) -> Pair:
    """Wu & He 2018: statistics over the channels of a group and all positions."""
    shape = shape_of(x)
    grouped = apply_or_call(lambda v: v.reshape(shape[0], groups, -1), x)
    y = apply_or_call(lambda v: v.reshape(shape), standardise(ops, grouped, [-1], eps))
    return affine(ops, y, *(by_channel(v, len(shape)) for v in (weight, bias)))


def by_channel(values: Any, axes: int) -> Any:
    """One value for each channel, shaped to go with a tensor of so many axes, (N, C, ...)."""
    return None if values is None else apply_or_call(lambda v: v.reshape(-1, *[1] * (axes - 2)), values)


def instance_norm(ops, x, weight, bias, mean, var, use_input_stats, momentum, eps, cudnn_enabled) -> Pair:
    """`group_norm` with a group for each channel, or constant statistics."""
    if use_input_stats:
        return group_norm(ops, x, shape_of(x)[1], weight, bias, eps)
    return batch_norm(ops, x, weight, bias, mean, var, False, momentum, eps, cudnn_enabled)


def batch_norm(ops, x, weight, bias, mean, var, training, momentum, eps, cudnn_enabled) -> Pair:
    """Ioffe & Szegedy 2015 with the running statistics: linear, unless they or the weights are explained too."""
    if training:
        raise UnsupportedOperation(
            "batch normalisation with the statistics of the batch mixes samples",
            hint="Give it running statistics (track_running_stats=True) or use another normalisation.",
        )
    if not pairs_in((weight, bias, mean, var)):
        given = weight, bias, mean, var, False, momentum, eps, cudnn_enabled
        return apply_linear(lambda v: aten.batch_norm.default(v, *given), x)
    weight, bias, mean, var = (by_channel(v, len(shape_of(x))) for v in (weight, bias, mean, var))
    scale = ops(aten.rsqrt.default, ops(aten.add.Scalar, var, eps))
    return affine(ops, ops(aten.mul.Tensor, ops(aten.sub.Tensor, x, mean), scale), weight, bias)


def variance(ops, x, dim=None, *, correction=1, keepdim=False) -> Pair:
    """The variance over ``dim``, divided by n minus ``correction``."""
    axes = list(range(x.test.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    count = math.prod(x.test.shape[d] for d in axes)
    centred = ops(aten.sub.Tensor, x, ops(aten.mean.dim, x, axes, True))
    total = ops(aten.sum.dim_IntList, ops(aten.square.default, centred), axes, keepdim)
    return ops(aten.mul.Tensor, total, 1 / (count - (1 if correction is None else correction)))


def standard_deviation(ops, x, dim=None, *, correction=1, keepdim=False) -> Pair:
    """The root of the variance."""
    return ops(aten.sqrt.default, variance(ops, x, dim, correction=correction, keepdim=keepdim))


def variance_and_mean(ops, x, dim=None, *, correction=1, keepdim=False) -> tuple[Pair, Pair]:
    """`variance` and the mean."""
    axes = list(range(x.test.ndim)) if dim is None else dim
    return variance(ops, x, dim, correction=correction, keepdim=keepdim), ops(aten.mean.dim, x, axes, keepdim)


def deviation_and_mean(ops, x, dim=None, *, correction=1, keepdim=False) -> tuple[Pair, Pair]:
    """The root of the variance, and the mean."""
    spread, mean = variance_and_mean(ops, x, dim, correction=correction, keepdim=keepdim)
    return ops(aten.sqrt.default, spread), mean


def native_layer_norm(ops, x, shape, weight, bias, eps) -> tuple[Pair, None, None]:
    """`layer_norm`; what PyTorch keeps for its gradient is left out."""
    return layer_norm(ops, x, shape, weight, bias, eps), None, None


def native_group_norm(ops, x, weight, bias, samples, channels, positions, groups, eps) -> tuple[Pair, None, None]:
    """`group_norm`; what PyTorch keeps for its gradient is left out."""
    return group_norm(ops, x, groups, weight, bias, eps), None, None


def native_batch_norm(ops, x, weight, bias, mean, var, training, momentum, eps) -> tuple[Pair, None, None]:
    """`batch_norm`; what PyTorch keeps for its gradient is left out."""
    return batch_norm(ops, x, weight, bias, mean, var, training, momentum, eps, False), None, None


def batch_norm_in_evaluation(ops, x, weight, bias, mean, var, momentum, eps) -> tuple[Pair, None, None]:
    """`native_batch_norm` with the running statistics."""
    return native_batch_norm(ops, x, weight, bias, mean, var, False, momentum, eps)
