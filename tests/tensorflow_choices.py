"""Random calls of the TensorFlow rows for ids, masks and choices; see `tensorflow_samples`."""

from __future__ import annotations

import tensorflow as tf
from tensorflow_draws import ANY, NUMBER, Draw, Make, Sample, binary, each, over_axes, raw


def _cast(d: Draw) -> Sample:
    x = d.x(*d.shape(), domain=d.one("real", "int", "truth"))
    kind = d.one(tf.float64, tf.int32, tf.bool)
    return Sample(lambda v: raw.Cast(x=v, DstT=kind), [x])


def _bucketize(d: Draw) -> Sample:
    bounds = sorted(d.one(-1.0, -0.3, 0.2) + step for step in (0.0, 0.5, 1.1))
    return Sample(lambda v: raw.Bucketize(input=v, boundaries=bounds), [d.x(*d.shape(), domain=d.one("real", "int"))])


def _hashed(d: Draw) -> Sample:
    buckets = d.one(2, 5)
    return Sample(
        lambda v: raw.StringToHashBucketFast(input=raw.AsString(input=v), num_buckets=buckets),
        [d.x(*d.shape(), domain="int")],
    )


_TABLES = [
    tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([-1, 0, 2], [3, 1, 4], tf.int32, kind), 7)
    for kind in (tf.int32, tf.float64)
]


def _find(d: Draw) -> Sample:
    table = d.one(*_TABLES)
    return Sample(lambda v: table.lookup(tf.cast(v, tf.int32)), [d.x(*d.shape(), domain="int")])


def _gather(d: Draw) -> Sample:
    shape = d.shape(low=2)
    given = [d.x(*shape), d.ids(shape[0], *d.shape(d.one(0, 1, 2)))]
    return Sample(lambda v, w: raw.Gather(params=v, indices=w), given)


def _gather_v2(d: Draw) -> Sample:
    shape, moved = d.shape(low=2), d.one(*ANY)
    axis = d.axis(len(shape))
    if moved == "real":
        given = [d.x(*shape), d.ids(shape[axis], *d.shape(d.one(0, 1, 2)))]
        return Sample(lambda v, w: raw.GatherV2(params=v, indices=w, axis=axis), given)
    rows = d.flag()
    ids = d.index(shape[axis], *(shape[: axis % len(shape)] if rows else ()), d.size())
    ids = ids if rows else ids.ravel()
    batch = ids.ndim - 1
    return Sample(
        lambda v: raw.GatherV2(params=v, indices=ids, axis=axis, batch_dims=batch), [d.x(*shape, domain=moved)]
    )


def _not(d: Draw) -> Sample:
    return Sample(lambda v: raw.LogicalNot(x=v), [d.x(*d.shape(), domain="truth")])


def _one_hot(d: Draw) -> Sample:
    ids, depth = d.ids(4, *d.shape()), d.one(3, 4)
    axis = d.below(ids.test.ndim + 1, -1)
    given = [ids, d.x(refused=True), d.x(refused=True)]
    return Sample(lambda v, on, off: raw.OneHot(indices=v, depth=depth, on_value=on, off_value=off, axis=axis), given)


def _select(d: Draw) -> Sample:
    n = d.size(2)
    shape = d.one(d.shape(), (n, n), (n, n))
    condition = d.x(*d.one(shape, shape[:1], shape[:1], ()), domain="truth")
    if d.below(4) == 0:  # whole numbers have a rule where the branches do not differ
        v, w = (d.constant(*shape, domain="int") for _ in range(2))
        return Sample(lambda c: tf.cast(raw.Select(condition=c, x=v, y=w), tf.float64), [condition])
    given = [condition, d.x(*shape), d.x(*shape)]
    return Sample(lambda c, v, w: raw.Select(condition=c, x=v, y=w), given)


def _select_v2(d: Draw) -> Sample:
    shape = d.shape()
    given = [d.x(*d.repeated(shape), domain="truth"), d.x(*d.repeated(shape)), d.x(*shape)]
    return Sample(lambda c, v, w: raw.SelectV2(condition=c, t=v, e=w), given)


DISCRETE: dict[str, Make] = {
    **each("All Any", over_axes("truth")),
    "AsString": _hashed,
    "Bucketize": _bucketize,
    "Cast": _cast,
    **each("Equal NotEqual Greater GreaterEqual Less LessEqual", binary(*NUMBER)),
    "Gather": _gather,
    "GatherV2": _gather_v2,
    **each("LogicalAnd LogicalOr", binary("truth")),
    "LogicalNot": _not,
    "LookupTableFindV2": _find,
    "OneHot": _one_hot,
    "Select": _select,
    "SelectV2": _select_v2,
    "StringToHashBucketFast": _hashed,
}
