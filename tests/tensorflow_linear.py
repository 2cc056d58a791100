"""Random calls of the linear TensorFlow rows; see `tensorflow_samples`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow_draws import (
    ANY,
    NUMBER,
    Draw,
    Make,
    Sample,
    binary,
    each,
    over_axes,
    raw,
    scattered,
    segments,
    sparse_segments,
    unary,
    unsorted_segments,
)


def pool(op, axes: int, domain: str = "real") -> Make:
    def sample(d: Draw) -> Sample:
        x = d.x(d.size(), *d.shape(axes, low=2), d.size(), domain=domain)
        window, steps = ([1, *(d.one(1, 2) for _ in range(axes)), 1] for _ in range(2))
        padding, name = d.one("SAME", "VALID"), "value" if op is raw.AvgPool else "input"
        return Sample(lambda v: op(**{name: v}, ksize=window, strides=steps, padding=padding), [x])

    return sample


def _add_n(d: Draw) -> Sample:
    shape, domain = d.shape(), d.one(*NUMBER)
    return Sample(lambda *v: raw.AddN(inputs=v), [d.x(*shape, domain=domain) for _ in range(d.one(1, 2, 3))])


def _bias(d: Draw) -> Sample:
    form, domain = d.one("NHWC", "NCHW"), d.one(*NUMBER)
    shape = d.shape(d.one(2, 3, 4) if form == "NHWC" else d.one(3, 4))
    channels = shape[-1 if form == "NHWC" else 1]
    given = [d.x(*shape, domain=domain), d.x(channels, domain=domain)]
    return Sample(lambda v, w: raw.BiasAdd(value=v, bias=w, data_format=form), given)


def running(op, *domains: str) -> Make:
    def sample(d: Draw) -> Sample:
        x, exclusive, reverse = d.x(*d.shape(), domain=d.one(*domains)), d.flag(), d.flag()
        axis = d.axis(x.test.ndim)
        if op is raw.CumulativeLogsumexp and exclusive:  # the first is minus infinity in both members
            exclude = lambda y: tf.where(tf.math.is_inf(y), tf.zeros_like(y), y)  # noqa: E731
            return Sample(lambda v: exclude(op(x=v, axis=axis, exclusive=True, reverse=reverse)), [x])
        return Sample(lambda v: op(x=v, axis=axis, exclusive=exclusive, reverse=reverse), [x])

    return sample


def _diag_part(d: Draw) -> Sample:
    half = d.shape(d.one(1, 2))
    return Sample(lambda v: raw.DiagPart(input=v), [d.x(*half, *half, domain=d.one(*NUMBER))])


def _band(d: Draw) -> Sample:
    low, up = d.below(3, -1), d.below(3, -1)
    x = d.x(*d.shape(d.one(2, 3), low=3), domain=d.one(*ANY))
    return Sample(lambda v: raw.MatrixBandPart(input=v, num_lower=low, num_upper=up), [x])


def _matrix_part(d: Draw) -> Sample:
    return Sample(lambda v: raw.MatrixDiagPart(input=v), [d.x(*d.shape(d.one(2, 3)), domain=d.one(*ANY))])


def _set_diag(d: Draw) -> Sample:
    shape, domain = d.shape(d.one(2, 3)), d.one(*ANY)
    given = [d.x(*shape, domain=domain), d.x(*shape[:-2], min(shape[-2:]), domain=domain)]
    return Sample(lambda v, w: raw.MatrixSetDiag(input=v, diagonal=w), given)


def _bands(d: Draw) -> tuple[list[int], str]:
    return d.one([0, 0], [-1, 0], [0, 1], [-1, 1], [1, 1]), d.one("RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT")


def _stored(k: list[int], rows: int, columns: int) -> list[int]:
    """The axes that the diagonals from k to k of a matrix are stored in."""
    most = min(rows + min(k[1], 0), columns - max(k[0], 0))
    return [most] if k[0] == k[1] else [k[1] - k[0] + 1, most]


def _matrix_diag_v3(d: Draw) -> Sample:
    (k, align), n, domain = _bands(d), d.size(2), d.one(*ANY)
    given = [d.x(d.size(), *_stored(k, n, n), domain=domain), d.x(domain=domain, refused=True)]
    return Sample(
        lambda v, w: raw.MatrixDiagV3(diagonal=v, k=k, num_rows=n, num_cols=n, padding_value=w, align=align), given
    )


def _matrix_diag_part_v3(d: Draw) -> Sample:
    (k, align), domain = _bands(d), d.one(*ANY)
    given = [d.x(*d.shape(3, low=2), domain=domain), d.x(domain=domain, refused=True)]
    return Sample(lambda v, w: raw.MatrixDiagPartV3(input=v, k=k, padding_value=w, align=align), given)


def _matrix_set_diag_v3(d: Draw) -> Sample:
    (k, align), shape, domain = _bands(d), d.shape(3, low=2), d.one(*ANY)
    given = [d.x(*shape, domain=domain), d.x(shape[0], *_stored(k, *shape[1:]), domain=domain)]
    return Sample(lambda v, w: raw.MatrixSetDiagV3(input=v, diagonal=w, k=k, align=align), given)


def _resize(op, domain: str, *options: str):
    def sample(d: Draw) -> Sample:
        size, chosen = [d.size(), d.size()], {name: True for name in (d.one(*options, None),) if name}
        return Sample(lambda v: op(images=v, size=size, **chosen), [d.x(*d.shape(4), domain=domain)])

    return sample


def _ragged(d: Draw) -> Sample:
    lengths, inner = [d.below(4) for _ in range(d.size())], d.shape(d.one(0, 1))
    splits = np.cumsum([0, *lengths])
    given = [d.x(max(splits[-1], 1), *inner), d.x()]
    splits[-1] = len(given[0].test)
    kinds = ["ROW_SPLITS"]

    def function(v, w):
        return raw.RaggedTensorToTensor(
            shape=[-1, -1, *inner],
            values=v,
            default_value=w,
            row_partition_tensors=[splits],
            row_partition_types=kinds,
        )

    return Sample(function, given)


def _scatter(d: Draw) -> Sample:
    shape = d.shape(low=2)
    depth, count = d.below(len(shape) + 1, 1), d.size()
    places = np.stack([d.index(n, count) for n in shape[:depth]], -1)
    x = d.x(count, *shape[depth:], domain=d.one(*NUMBER))
    return Sample(lambda v: raw.ScatterNd(indices=places, updates=v, shape=shape), [x])


def _batch_norm(op) -> Make:
    def sample(d: Draw) -> Sample:
        form, x = d.one("NHWC", "NCHW"), d.x(*d.shape(4))
        n = x.test.shape[-1 if form == "NHWC" else 1]
        statistics = [d.x(n, refused=True) for _ in range(3)] + [d.x(n, domain="positive", refused=True)]

        def function(*given):
            names = ("x", "scale", "offset", "mean", "variance")
            return op(**dict(zip(names, given, strict=True)), is_training=False, data_format=form).y

        return Sample(function, [x, *statistics], singles=True)

    return sample


LINEAR: dict[str, Make] = {
    **each("Add AddV2 Sub", binary(*NUMBER)),
    "AddN": _add_n,
    "AvgPool": pool(raw.AvgPool, 2),
    "AvgPool3D": pool(raw.AvgPool3D, 3, "single"),
    "BiasAdd": _bias,
    "Cumsum": running(raw.Cumsum, *NUMBER),
    "Diag": lambda d: Sample(lambda v: raw.Diag(diagonal=v), [d.x(*d.shape(d.one(1, 2)), domain=d.one(*NUMBER))]),
    "DiagPart": _diag_part,
    "MatrixBandPart": _band,
    **each("MatrixDiag", unary(*ANY)),
    "MatrixDiagPart": _matrix_part,
    "MatrixDiagPartV3": _matrix_diag_part_v3,
    "MatrixDiagV3": _matrix_diag_v3,
    "MatrixSetDiag": _set_diag,
    "MatrixSetDiagV3": _matrix_set_diag_v3,
    **each("Mean Sum", over_axes(*NUMBER)),
    **each("Neg", unary(*NUMBER)),
    "ResizeBilinear": _resize(raw.ResizeBilinear, "single", "align_corners", "half_pixel_centers"),
    "ResizeNearestNeighbor": _resize(raw.ResizeNearestNeighbor, "real", "align_corners", "half_pixel_centers"),
    "RaggedTensorToTensor": _ragged,
    "ScatterNd": _scatter,
    **each("SegmentMean SegmentSum", segments(*NUMBER)),
    **each("SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum", sparse_segments),
    **each("TensorScatterAdd TensorScatterSub", scattered(*NUMBER)),
    **each("UnsortedSegmentSum", unsorted_segments(*NUMBER)),
    "FusedBatchNorm": _batch_norm(raw.FusedBatchNorm),
    "FusedBatchNormV3": _batch_norm(raw.FusedBatchNormV3),
}
