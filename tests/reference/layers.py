"""The layers that stand around recurrent ones, for one sample, out of `PairedArray` operations."""

from __future__ import annotations

import numpy as np

from reference.paired import PairedArray, as_pair, concat, elementwise, gelu, normalise, relu, softmax, stack
from reference.recurrent import Weights


def linear(weights: Weights, x: PairedArray, prefix: str = "") -> PairedArray:
    """``x Wᵀ + b`` over the last axis of x."""
    rows = x.reshape(-1, x.shape[-1]) @ weights[f"{prefix}weight"].T
    y = rows.reshape(*x.shape[:-1], rows.shape[-1])
    bias = weights.get(f"{prefix}bias")
    return y if bias is None else y + bias


def conv1d(
    weights: Weights, x: PairedArray, *, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> PairedArray:
    """Window by window: (C, T) -> (C', T')."""
    kernel = weights["weight"]  # (C', C/groups, K)
    if padding:
        edge = as_pair(np.zeros((x.shape[0], padding)))
        x = concat([edge, x, edge], axis=1)
    out_per_group, in_per_group = kernel.shape[0] // groups, kernel.shape[1]
    reach = dilation * (kernel.shape[2] - 1) + 1
    columns = []
    for start in range(0, x.shape[1] - reach + 1, stride):
        window = x[:, start : start + reach : dilation]
        parts = []
        for group in range(groups):
            chosen = kernel[group * out_per_group : (group + 1) * out_per_group].reshape(out_per_group, -1)
            taken = window[group * in_per_group : (group + 1) * in_per_group].reshape(1, -1)
            parts.append((taken @ chosen.T)[0])
        columns.append(concat(parts))
    y = stack(columns).transpose(1, 0)
    bias = weights.get("bias")
    return y if bias is None else y + bias[:, None]


def batch_norm(weights: Weights, x: PairedArray, eps: float = 1e-5) -> PairedArray:
    """In evaluation mode, over channels on the first axis: (C, ...)."""
    per_channel = (-1,) + (1,) * (len(x.shape) - 1)
    scale = weights["weight"] / np.sqrt(weights["running_var"] + eps)
    shift = weights["bias"] - weights["running_mean"] * scale
    return x * scale.reshape(per_channel) + shift.reshape(per_channel)


def layer_norm(weights: Weights, x: PairedArray, prefix: str = "", eps: float = 1e-5) -> PairedArray:
    """Over the last axis."""
    return normalise(x, -1, eps) * weights[f"{prefix}weight"] + weights[f"{prefix}bias"]


def group_norm(weights: Weights, x: PairedArray, groups: int, eps: float = 1e-5) -> PairedArray:
    """(C, T), channels in `groups` groups."""
    y = normalise(x.reshape(groups, -1), -1, eps).reshape(x.shape)
    return y * weights["weight"][:, None] + weights["bias"][:, None]


def attention(query: PairedArray, key: PairedArray, value: PairedArray, mask: np.ndarray | None = None) -> PairedArray:
    """Scaled dot-product attention: (..., T, E), (..., S, E), (..., S, V) -> (..., T, V).

    Args:
        mask: added to the scores; a large negative number where a key must not be seen.
    """
    swap = (*range(len(key.shape) - 2), len(key.shape) - 1, len(key.shape) - 2)
    scores = (query @ key.transpose(*swap)) * (1 / np.sqrt(query.shape[-1]))
    if mask is not None:
        scores = scores + mask
    return softmax(scores) @ value


def multihead_attention(
    weights: Weights,
    query: PairedArray,
    key: PairedArray,
    value: PairedArray,
    heads: int,
    prefix: str = "",
    mask=None,
) -> PairedArray:
    """(T, E) each; weights of `nn.MultiheadAttention` with one packed input projection."""
    projections = []
    for which, x in enumerate((query, key, value)):
        size = query.shape[1]
        rows = slice(which * size, (which + 1) * size)
        y = x @ weights[f"{prefix}in_proj_weight"][rows].T + weights[f"{prefix}in_proj_bias"][rows]
        projections.append(y.reshape(x.shape[0], heads, -1).transpose(1, 0, 2))
    mixed = attention(*projections, mask=mask)
    return linear(weights, mixed.transpose(1, 0, 2).reshape(query.shape), f"{prefix}out_proj.")


def transformer_encoder_layer(
    weights: Weights, x: PairedArray, heads: int, *, activation=relu, norm_first: bool = False
) -> PairedArray:
    """(T, E), in evaluation mode."""

    def attend(y):
        return multihead_attention(weights, y, y, y, heads, "self_attn.")

    def feed(y):
        return linear(weights, elementwise(linear(weights, y, "linear1."), activation), "linear2.")

    if norm_first:
        x = x + attend(layer_norm(weights, x, "norm1."))
        return x + feed(layer_norm(weights, x, "norm2."))
    x = layer_norm(weights, x + attend(x), "norm1.")
    return layer_norm(weights, x + feed(x), "norm2.")


__all__ = [
    "attention",
    "batch_norm",
    "conv1d",
    "gelu",
    "group_norm",
    "layer_norm",
    "linear",
    "multihead_attention",
    "transformer_encoder_layer",
]
