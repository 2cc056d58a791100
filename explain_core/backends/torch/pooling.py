"""Max-pooling: the Shapley maximum over windows."""

from __future__ import annotations

import math
from typing import Any

import torch

from explain_core.backends.torch.pairs import Pair, apply_linear

aten = torch.ops.aten


def max_pool(ops, x, kernel, stride=(), padding=0, dilation=1, ceil_mode=False) -> Any:
    """Max-pooling over the last axes: the Shapley maximum over each window, laid out along new last axes."""
    kernel = [kernel] if isinstance(kernel, int) else list(kernel)
    axes = len(kernel)
    stride, padding, dilation = (
        list(v) * (axes if len(v) == 1 else 1) for v in (_many(stride) or kernel, _many(padding), _many(dilation))
    )
    ndim = x.test.ndim
    for i in range(axes):
        axis = ndim - axes + i
        size = x.test.shape[axis]
        span = dilation[i] * (kernel[i] - 1) + 1
        steps = (size + 2 * padding[i] - span) / stride[i]
        count = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
        if ceil_mode and (count - 1) * stride[i] >= size + padding[i]:
            count -= 1
        right = max((count - 1) * stride[i] + span - size - padding[i], 0)
        pad = [0, 0] * (x.test.ndim - 1 - axis) + [padding[i], right]
        x = apply_linear(lambda v, pad=pad: torch.nn.functional.pad(v, pad, value=-math.inf), x)
        x = apply_linear(
            lambda v, axis=axis, span=span, i=i, count=count: v.unfold(axis, span, stride[i])[
                ..., :: dilation[i]
            ].narrow(axis, 0, count),
            x,
        )
    return ops(aten.amax.default, x, list(range(-axes, 0)))


def _many(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def max_pool_with_indices(ops, *args, **kwargs) -> Any:
    """`max_pool`; the positions, which differ in the pair, cannot be used."""
    pooled = max_pool(ops, *args, **kwargs)
    nowhere = torch.zeros_like(pooled.test, dtype=torch.int64)
    return pooled, Pair(nowhere, nowhere - 1)


def adaptive_max_pool(ops, x, size) -> Any:
    """The Shapley maximum over windows of nearly equal size along the last axes."""
    size = _many(size)
    for i, cells in enumerate(size):
        axis = x.test.ndim - len(size) + i
        length = x.test.shape[axis]
        edges = [(k * length // cells, -(-(k + 1) * length // cells)) for k in range(cells)]
        parts = [
            ops(aten.amax.default, ops(aten.narrow.default, x, axis, low, high - low), [axis], True)
            for low, high in edges
        ]
        x = ops(aten.cat.default, parts, axis)
    nowhere = torch.zeros_like(x.test, dtype=torch.int64)
    return x, Pair(nowhere, nowhere - 1)
