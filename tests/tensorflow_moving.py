"""Random calls of the TensorFlow rows that move data; see `tensorflow_samples`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow_draws import (
    ANY,
    NUMBER,
    Draw,
    Make,
    Sample,
    each,
    raw,
    scattered,
)


def _batch_to_space(d: Draw) -> Sample:
    block = [d.one(1, 2), d.one(1, 2)][: d.one(1, 2)]
    space, crops = [], []
    for size in block:
        length = d.size(2)
        before = d.below(size)
        crops.append([before, d.below(size)])
        space.append(length)
    x = d.x(int(np.prod(block)) * d.size(), *space, d.size(), domain=d.one(*NUMBER))
    return Sample(lambda v: raw.BatchToSpaceND(input=v, block_shape=block, crops=crops), [x])


def _space_to_batch(d: Draw) -> Sample:
    block = [d.one(1, 2), d.one(1, 2)][: d.one(1, 2)]
    space = [d.size() for _ in block]
    paddings = [[d.one(0, b), 0] for b in block]
    for i, (n, b) in enumerate(zip(space, block, strict=True)):
        paddings[i][1] = -(n + paddings[i][0]) % b
    x = d.x(d.size(), *space, d.size(), domain=d.one(*NUMBER))
    return Sample(lambda v: raw.SpaceToBatchND(input=v, block_shape=block, paddings=paddings), [x])


def _broadcast_to(d: Draw) -> Sample:
    shape = d.shape()
    x = d.x(*d.repeated(shape), domain=d.one(*ANY))
    return Sample(lambda v: raw.BroadcastTo(input=v, shape=shape), [x])


def _concat(d: Draw) -> Sample:
    shape, domain = d.shape(), d.one(*ANY)
    axis = d.axis(len(shape))
    parts = []
    for _ in range(d.one(2, 3)):
        one = list(shape)
        one[axis] = d.size()
        parts.append(d.x(*one, domain=domain))
    return Sample(lambda *v: raw.ConcatV2(values=v, axis=axis), parts)


def _expand_dims(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    axis = d.axis(x.test.ndim + 1)
    return Sample(lambda v: raw.ExpandDims(input=v, axis=axis), [x])


def _gather_nd(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    count = d.size()
    places = np.stack([d.index(n, count) for n in x.test.shape[: d.below(x.test.ndim + 1, 1)]], -1)
    return Sample(lambda v: raw.GatherNd(params=v, indices=places), [x])


def _mirror_pad(d: Draw) -> Sample:
    x, mode = d.x(*d.shape(low=2), domain=d.one(*ANY)), d.one("REFLECT", "SYMMETRIC")
    widths = [[d.below(n), d.below(n)] for n in x.test.shape]
    return Sample(lambda v: raw.MirrorPad(input=v, paddings=widths, mode=mode), [x])


def _pack(d: Draw) -> Sample:
    shape, domain = d.shape(), d.one(*ANY)
    axis = d.axis(len(shape) + 1)
    return Sample(lambda *v: raw.Pack(values=v, axis=axis), [d.x(*shape, domain=domain) for _ in range(d.one(1, 2, 3))])


def _pad(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    widths = [[d.below(3), d.below(3)] for _ in x.test.shape]
    return Sample(lambda v: raw.Pad(input=v, paddings=widths), [x])


def _pad_with(d: Draw) -> Sample:
    domain = d.one(*ANY)
    x = d.x(*d.shape(), domain=domain)
    widths = [[d.below(3), d.below(3)] for _ in x.test.shape]
    fill = d.x(domain=domain, refused=True)
    return Sample(lambda v, w: raw.PadV2(input=v, paddings=widths, constant_values=w), [x, fill])


def _reshape(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    shape = d.one([-1], [*x.test.shape[::-1]], [1, -1, x.test.shape[-1]])
    return Sample(lambda v: raw.Reshape(tensor=v, shape=shape), [x])


def _reverse_sequence(d: Draw) -> Sample:
    x = d.x(*d.shape(3), domain=d.one(*ANY))
    batch, along, _ = d.order(3)
    lengths = d.index(x.test.shape[along] + 1, x.test.shape[batch])
    return Sample(lambda v: raw.ReverseSequence(input=v, seq_lengths=lengths, seq_dim=along, batch_dim=batch), [x])


def _reverse(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    axes = d.axes(x.test.ndim)
    return Sample(lambda v: raw.ReverseV2(tensor=v, axis=axes), [x])


def _roll(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    axes = d.axes(x.test.ndim)
    shifts = [d.below(4, -3) for _ in axes]
    return Sample(lambda v: raw.Roll(input=v, shift=shifts, axis=axes), [x])


def _slice(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    begin = [d.below(n) for n in x.test.shape]
    size = [d.one(-1, n - b) for n, b in zip(x.test.shape, begin, strict=True)]
    return Sample(lambda v: raw.Slice(input=v, begin=begin, size=size), [x])


def _split(d: Draw) -> Sample:
    shape, count = list(d.shape()), d.size()
    axis = d.axis(len(shape))
    shape[axis] *= count
    x = d.x(*shape, domain=d.one(*ANY))
    return Sample(lambda v: raw.Split(value=v, axis=axis, num_split=count), [x])


def _split_by(d: Draw) -> Sample:
    shape, sizes = list(d.shape()), [d.size() for _ in range(d.one(1, 2, 3))]
    axis = d.axis(len(shape))
    shape[axis] = sum(sizes)
    x = d.x(*shape, domain=d.one(*ANY))
    return Sample(lambda v: raw.SplitV(value=v, size_splits=sizes, axis=axis, num_split=len(sizes)), [x])


def _squeeze(d: Draw) -> Sample:
    shape = list(d.shape())
    axis = d.axis(len(shape))
    shape[axis] = 1
    given = d.one([axis], [])
    return Sample(lambda v: raw.Squeeze(input=v, axis=given), [d.x(*shape, domain=d.one(*ANY))])


def _strided(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    last = d.one(0, -1, slice(None, None, 2), slice(None, None, -1), tf.newaxis, slice(0, 1))
    return Sample(lambda v: v[..., last], [x])


def _tile(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    times = [d.size() for _ in x.test.shape]
    return Sample(lambda v: raw.Tile(input=v, multiples=times), [x])


def _transpose(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    order = d.order(x.test.ndim)
    return Sample(lambda v: raw.Transpose(x=v, perm=order), [x])


def _unpack(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one(*ANY))
    axis = d.axis(x.test.ndim)
    return Sample(lambda v: raw.Unpack(value=v, num=x.test.shape[axis], axis=axis), [x])


MOVING: dict[str, Make] = {
    "BatchToSpaceND": _batch_to_space,
    "BroadcastTo": _broadcast_to,
    "ConcatV2": _concat,
    "ExpandDims": _expand_dims,
    "GatherNd": _gather_nd,
    "MirrorPad": _mirror_pad,
    "Pack": _pack,
    "Pad": _pad,
    "PadV2": _pad_with,
    "Reshape": _reshape,
    "ReverseSequence": _reverse_sequence,
    "ReverseV2": _reverse,
    "Roll": _roll,
    "Slice": _slice,
    "SpaceToBatchND": _space_to_batch,
    "Split": _split,
    "SplitV": _split_by,
    "Squeeze": _squeeze,
    "StridedSlice": _strided,
    **each("TensorScatterUpdate", scattered("real")),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unpack": _unpack,
}
