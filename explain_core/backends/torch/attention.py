"""Attention, and PyTorch's fused transformer layers, as the operations that they stand for."""

from __future__ import annotations

import math
from typing import Any

import torch

from explain_core.backends.torch.normalisations import layer_norm
from explain_core.backends.torch.pairs import Pair, apply_linear, apply_or_call, dtype_of, is_pair, pairs_in, shape_of
from explain_core.errors import UnsupportedOperation

aten = torch.ops.aten


def attention(ops, query, key, value, mask=None, dropout_p=0.0, is_causal=False, *, scale=None, enable_gqa=False):
    """``softmax(q kᵀ · scale + mask) v`` (Vaswani et al. 2017)."""
    if dropout_p:
        raise UnsupportedOperation("attention with dropout left on answers differently each time")
    if enable_gqa:
        heads = shape_of(query)[-3]
        key, value = (apply_or_call(lambda v: v.repeat_interleave(heads // v.shape[-3], -3), v) for v in (key, value))
    scale = 1 / math.sqrt(shape_of(query)[-1]) if scale is None else scale
    keys = apply_or_call(lambda v: v.transpose(-2, -1), key)
    scores = ops(aten.mul.Tensor, ops(aten.matmul.default, query, keys), scale)
    if is_causal:
        rows, columns = shape_of(query)[-2], shape_of(key)[-2]
        like = next(p.test for p in pairs_in((query, key, value)))
        mask = torch.ones(rows, columns, dtype=torch.bool, device=like.device).tril()
    if mask is not None:
        is_truth = (mask.test if is_pair(mask) else mask).dtype == torch.bool
        if is_truth:
            scores = ops(aten.where.self, mask, scores, torch.tensor(-math.inf, dtype=dtype_of(scores)))
        else:
            scores = ops(aten.add.Tensor, scores, mask)
    return ops(aten.matmul.default, _weights_or_none(ops, scores), value)


def _weights_or_none(ops, scores: Any) -> Any:
    """Softmax, and zeros where everything is masked, as PyTorch's attention has it."""
    members = (scores.test.detach(), scores.base) if is_pair(scores) else (scores,)
    empty = [(member == -math.inf).all(-1, keepdim=True) for member in members]
    if not any(bool(rows.any()) for rows in empty):
        return ops(aten.softmax.int, scores, -1)
    if not torch.equal(empty[0], empty[-1]):
        raise UnsupportedOperation(
            "a mask that leaves nothing to attend to differs between the input and the baseline",
            hint="Choose a baseline with the same mask.",
        )
    nothing = scores.new_zeros(()) if not is_pair(scores) else scores.base.new_zeros(())
    weights = ops(aten.softmax.int, ops(aten.where.self, empty[0], nothing, scores), -1)
    return ops(aten.where.self, empty[0], nothing, weights)


def native_multi_head_attention(
    ops, query, key, value, width, heads, in_weight, in_bias, out_weight, out_bias,
    mask=None, need_weights=True, average_weights=True, mask_type=None,
) -> tuple[Any, Any]:  # fmt: skip
    """The fast path of ``nn.MultiheadAttention``; its averaged weights, which it may return, are left out."""
    parts = []
    for i, source in enumerate((query, key, value)):
        rows = slice(i * width, (i + 1) * width)
        part = ops(aten.linear.default, source, in_weight[rows], None if in_bias is None else in_bias[rows])
        split = lambda v: v.unflatten(-1, (heads, width // heads)).transpose(1, 2)  # noqa: E731
        parts.append(apply_or_call(split, part))
    if mask is not None:
        # A mask of truths says what to leave out; one of numbers is added.
        mask = ~mask if mask.dtype == torch.bool else mask
        mask = mask[:, None, None, :] if mask_type == 1 else mask
    query, key, value = parts
    mixed = attention(ops, query, key, value, mask)
    joined = apply_linear(lambda v: v.transpose(1, 2).flatten(-2), mixed)
    return ops(aten.linear.default, joined, out_weight, out_bias), None


def transformer_encoder_layer(
    ops, x, width, heads, in_weight, in_bias, out_weight, out_bias, use_gelu, norm_first, eps,
    norm1_weight, norm1_bias, norm2_weight, norm2_bias, weight1, bias1, weight2, bias2, mask=None, mask_type=None,
) -> Pair:  # fmt: skip
    """The fast path of ``nn.TransformerEncoderLayer``, as that layer's own Python writes it."""
    add = lambda a, b: ops(aten.add.Tensor, a, b)  # noqa: E731

    def attend(v):
        return native_multi_head_attention(
            ops, v, v, v, width, heads, in_weight, in_bias, out_weight, out_bias, mask, mask_type=mask_type
        )[0]

    def feed(v):
        hidden = ops(aten.linear.default, v, weight1, bias1)
        hidden = ops(aten.gelu.default if use_gelu else aten.relu.default, hidden)
        return ops(aten.linear.default, hidden, weight2, bias2)

    norm1 = lambda v: layer_norm(ops, v, [width], norm1_weight, norm1_bias, eps)  # noqa: E731
    norm2 = lambda v: layer_norm(ops, v, [width], norm2_weight, norm2_bias, eps)  # noqa: E731
    if norm_first:
        x = add(x, attend(norm1(x)))
        return add(x, feed(norm2(x)))
    x = norm1(add(x, attend(x)))
    return norm2(add(x, feed(x)))
