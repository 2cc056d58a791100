"""By row of the TensorFlow rule table: a function from a `Draw` to a `Sample`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow_choices import DISCRETE
from tensorflow_draws import (
    DOMAINS,
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
    unary,
    unsorted_segments,
)
from tensorflow_linear import LINEAR, pool, running
from tensorflow_moving import MOVING


def _matrices(op, repeats: bool = True) -> Make:
    def sample(d: Draw) -> Sample:
        before, (n, m, k) = d.shape(d.one(0, 1, 2)), d.shape(3)
        a_first, b_first = (d.repeated(before) if repeats and before and d.flag() else before for _ in range(2))
        turn_a, turn_b = d.flag(), d.flag()
        if op is raw.MatMul:
            a_first = b_first = ()
        given = [d.x(*a_first, *((m, n) if turn_a else (n, m))), d.x(*b_first, *((k, m) if turn_b else (m, k)))]
        if op is raw.MatMul:
            return Sample(lambda v, w: op(a=v, b=w, transpose_a=turn_a, transpose_b=turn_b), given)
        out = {"Tout": tf.float64} if op is raw.BatchMatMulV3 else {}
        return Sample(lambda v, w: op(x=v, y=w, adj_x=turn_a, adj_y=turn_b, **out), given)

    return sample


def _convolution(op, axes: int, back: bool = False, depthwise: bool = False) -> Make:
    """Convolutions with steps and padding of either kind, in groups of channels, and those that go back."""

    def sample(d: Draw) -> Sample:
        space, kernel = d.shape(axes, low=2), [d.one(1, 2) for _ in range(axes)]
        groups = d.one(1, 2) if axes == 2 and not back and not depthwise else 1
        inward, out, step, padding = groups * d.one(1, 2), groups * d.one(1, 2), d.one(1, 2), d.one("SAME", "VALID")
        options = {"strides": [1, *[step] * axes, 1], "padding": padding}
        rows = d.size()
        weights = d.x(*kernel, inward // groups, out)
        if not back:
            return Sample(lambda v, w: op(input=v, filter=w, **options), [d.x(rows, *space, inward), weights])
        reached = [
            -(-n // step) if padding == "SAME" else -(-(n - k + 1) // step) for n, k in zip(space, kernel, strict=True)
        ]
        sizes = [rows, *space, inward]
        return Sample(
            lambda v, w: op(input_sizes=sizes, filter=v, out_backprop=w, **options),
            [weights, d.x(rows, *reached, out)],
        )

    return sample


def _cross(d: Draw) -> Sample:
    shape = (*d.shape(d.one(0, 1, 2)), 3)
    return Sample(lambda v, w: raw.Cross(a=v, b=w), [d.x(*shape), d.x(*shape)])


def _einsum(d: Draw) -> Sample:
    equation = d.one("ij,jk->ik", "...ij,kj->...ik", "ij,ij->", "ij->ji", "ij->j", "bij,bjk->bik", "ij,jk,kl->il")
    lengths = {letter: d.size() for letter in "ijklb"}
    before = d.shape(1)
    shapes = [
        [*(before if "..." in part else ()), *(lengths[letter] for letter in part.replace("...", ""))]
        for part in equation.partition("->")[0].split(",")
    ]
    return Sample(lambda *v: tf.einsum(equation, *v, optimize="greedy"), [d.x(*shape) for shape in shapes])


def _power(d: Draw) -> Sample:
    shape = d.shape()
    return Sample(lambda v, w: raw.Pow(x=v, y=w), [d.x(*shape, domain="positive"), d.x(*d.repeated(shape))])


BILINEAR: dict[str, Make] = {
    "BatchMatMul": _matrices(raw.BatchMatMul, repeats=False),
    "BatchMatMulV2": _matrices(raw.BatchMatMulV2),
    "BatchMatMulV3": _matrices(raw.BatchMatMulV3),
    "Conv2D": _convolution(raw.Conv2D, 2),
    "Conv2DBackpropInput": _convolution(raw.Conv2DBackpropInput, 2, back=True),
    "Conv3D": _convolution(raw.Conv3D, 3),
    "Conv3DBackpropInputV2": _convolution(raw.Conv3DBackpropInputV2, 3, back=True),
    "Cross": _cross,
    "DepthwiseConv2dNative": _convolution(raw.DepthwiseConv2dNative, 2, depthwise=True),
    "Einsum": _einsum,
    "MatMul": _matrices(raw.MatMul),
    **each("Mul", binary("real")),
}


def _of_two(op) -> Make:
    """Whole numbers have a rule where one of the two does not differ."""

    def sample(d: Draw) -> Sample:
        if d.flag():
            return binary("real")(op)(d)
        shape = d.shape()
        other = DOMAINS["positive"](d.constant(*d.repeated(shape))).round().astype(np.int32) + 1
        x = d.x(*shape, domain="int")
        return Sample(lambda v: op(x=v, y=other), [x])

    return sample


def _weighted(domain: str) -> Callable:
    def of(op) -> Make:
        def sample(d: Draw) -> Sample:
            shape = d.shape()
            a, b = d.x(*shape), d.x(*d.repeated(shape), domain=domain)
            return Sample(lambda v, w: op(x=v, y=w), [a, b])

        return sample

    return of


def _clip(d: Draw) -> Sample:
    x = d.x(*d.shape())
    low, high = d.x(refused=True), d.x(domain="positive", refused=True)
    return Sample(lambda v, a, b: raw.ClipByValue(t=v, clip_value_min=a - 3, clip_value_max=b), [x, low, high])


def _leaky(d: Draw) -> Sample:
    alpha = d.one(0.0, 0.2, 0.9)
    return Sample(lambda v: raw.LeakyRelu(features=v, alpha=alpha), [d.x(*d.shape())])


COMPUTING: dict[str, Make] = {
    **each("Atan2 DivNoNan Maximum Minimum MulNoNan RealDiv SquaredDifference", binary("real")),
    **{name: _of_two(getattr(raw, name)) for name in ("FloorDiv", "FloorMod")},
    "Pow": _power,
    **each("Xdivy", _weighted("above one")),
    **each("Xlog1py Xlogy", _weighted("positive")),
    **each("Abs Sign Square", unary(*NUMBER)),
    **each("Acos Asin Atanh Erfinv", unary("unit")),
    **each("Acosh", unary("above one")),
    **each("Asinh Atan Ceil Cos Cosh Elu Erf Erfc Exp Expm1 Floor Relu Relu6", unary("real")),
    **each("Rint Round Selu Sigmoid Sin Sinh Softplus Softsign Tanh", unary("real")),
    **each("Digamma Inv Lgamma Log Log1p Reciprocal Rsqrt Sqrt", unary("positive")),
    **each("Ndtri", unary("share")),
    **each("Tan", unary("unit")),
    "ClipByValue": _clip,
    "LeakyRelu": _leaky,
}


def _last_axis(op) -> Make:
    def sample(d: Draw) -> Sample:
        return Sample(lambda v: op(logits=5 * v), [d.x(*d.shape())])

    return sample


def _nth(d: Draw) -> Sample:
    x, reverse = d.x(*d.shape()), d.flag()
    number = d.below(x.test.shape[-1])
    return Sample(lambda v: raw.NthElement(input=v, n=number, reverse=reverse), [x])


def _top(d: Draw) -> Sample:
    x = d.x(*d.shape())
    count = d.below(x.test.shape[-1] + 1, 1)
    return Sample(lambda v: raw.TopKV2(input=v, k=count).values, [x])


OVER_AXES: dict[str, Make] = {
    "CumulativeLogsumexp": running(raw.CumulativeLogsumexp, "real"),
    "Cumprod": running(raw.Cumprod, "real"),
    **each("EuclideanNorm Max Min Prod", over_axes("real")),
    **each("LogSoftmax Softmax", _last_axis),
    "MaxPool": pool(raw.MaxPool, 2),
    "MaxPool3D": pool(raw.MaxPool3D, 3, "single"),
    "NthElement": _nth,
    "TopKV2": _top,
    **each("SegmentMax SegmentMin SegmentProd", segments("real")),
    **each("TensorScatterMax TensorScatterMin", scattered("real")),
    **each("UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd", unsorted_segments("real")),
}

SAMPLES: dict[str, Make] = {**MOVING, **LINEAR, **BILINEAR, **COMPUTING, **OVER_AXES, **DISCRETE}
