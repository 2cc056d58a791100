"""Rows that only move, repeat or add elements, and those that write them."""

from __future__ import annotations

import math

import torch

from rows.draws import Draw, Sample, aten, binary, each, flag, op, some_axes, some_axis, unary


def _list_of(name: str):
    def sample(d: Draw) -> Sample:
        shape = d.shape(2)
        if name == "column_stack" or name in ("hstack", "vstack", "dstack") or d.flag():
            return lambda a, b: op(name)([a, b]), [d.x(*shape), d.x(*shape)]
        axis = d.axis(2)
        return lambda a, b: op(name)([a, b, a], axis), [d.x(*shape), d.x(*shape)]

    return sample


def _parts(*args):
    def of(name: str):
        def sample(d: Draw) -> Sample:
            x = d.x(4, 4, 2)
            axis = d.one(0, 1, -2, -3)
            given = args if name in ("hsplit", "vsplit") else (*args, axis)
            return lambda v: op(name)(v, *given), [x]

        return sample

    return of


def _sizes(d: Draw, x: torch.Tensor) -> list[int]:
    return [d.one(-1, x.numel())] if d.flag() else [1, *reversed(x.shape)]


def _like(d: Draw, x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(tuple(reversed(x.shape)))


def _wider(d: Draw, x: torch.Tensor) -> list[int]:
    return [d.size(), *x.shape]


def _padded(axes: int, dims: int):
    return unary(lambda d, x: [d.one(0, 1) for _ in range(2 * dims)], axes=axes, low=2)


def _spatial(dims: int, *args):
    """An image with channels, of 3 to 5 along each axis."""

    def of(name: str):
        def sample(d: Draw) -> Sample:
            x = d.x(d.size(), *(d.one(3, 4, 5) for _ in range(dims)))
            given = [a(d) if callable(a) else a for a in args]
            return lambda v: op(name)(v[None], *given), [x]

        return sample

    return of


def _as_strided(d: Draw) -> Sample:
    step = d.one(1, 2)  # rows that overlap, or not
    return lambda x: aten.as_strided(x, [3, 2], [step, 1], 1), [d.x(4, 2)]


def _index(name: str):
    def sample(d: Draw) -> Sample:
        x = d.x(*d.shape(3))
        indices = d.one(
            [None, d.index(x.test.shape[1], 5)],
            [d.index(x.test.shape[0], 3), None, d.index(x.test.shape[2], 3)],
            [d.index(x.test.shape[0], 2, 1), d.index(x.test.shape[1], 3)],
        )
        return lambda v: op(name)(v, indices), [x]

    return sample


def _put(name: str):
    """Positions that are written more than once, with values that may be repeated."""

    def sample(d: Draw) -> Sample:
        x = d.x(3, 2, 4)
        rows, count = d.index(2, 5), 5
        values = d.x(*d.one((3, count, 4), (count, 4), (1, 1), ()))
        accumulate = d.flag()
        return lambda v, w: op(name)(v, [None, rows], w, accumulate), [x, values]

    return sample


def _flat_put(d: Draw) -> Sample:
    index, accumulate = d.index(6, 4), d.flag()
    return lambda v, w: aten.put(v, index, w, accumulate), [d.x(2, 3), d.x(4)]


def _gathered(name: str):
    def sample(d: Draw) -> Sample:
        x = d.x(3, 4)
        axis = d.axis(2)
        index = d.index(x.test.shape[axis], *d.one((3, 4), (2, 3), (3, 2)))
        if name == "take_along_dim":
            index = d.index(4, 3, 5)
            return lambda v: aten.take_along_dim(v, index, 1), [x]
        return lambda v: aten.gather(v, axis, index), [x]

    return sample


def _scattered(name: str):
    """More than one source for a place."""

    def sample(d: Draw) -> Sample:
        shape = d.shape(2)
        x, axis = d.x(*shape), d.axis(2)
        source = [d.size() for _ in shape]
        source = [n if i == axis % 2 else min(n, shape[i]) for i, n in enumerate(source)]
        index = d.index(shape[axis], *source)
        return lambda v, w: op(name)(v, axis, index, w), [x, d.x(*source)]

    return sample


def _indexed(name: str):
    def sample(d: Draw) -> Sample:
        shape = d.shape(2)
        axis, count = d.axis(2), d.size()
        index = d.index(shape[axis], count)
        if name == "index_fill":
            return lambda v, w: aten.index_fill(v, axis, index, w), [d.x(*shape), d.x()]
        source = list(shape)
        source[axis] = count
        return lambda v, w: op(name)(v, axis, index, w), [d.x(*shape), d.x(*source)]

    return sample


def _chosen(index, call, last: int):
    def sample(d: Draw) -> Sample:
        chosen = index(d)
        return lambda v: call(v, chosen), [d.x(d.size(), last)]

    return sample


def _adjacency(d: Draw) -> Sample:
    graph = d.index(2, 3, 4).double().to_sparse()
    return lambda v: torch.sparse.mm(graph, v), [d.x(4, d.size())]


def _grid(dims: int):
    def of(name: str):
        def sample(d: Draw) -> Sample:
            grid = d.constant(1, *[2] * dims, dims, domain="unit") * 1.3
            given = d.one(0, 1), d.one(0, 1), d.flag()
            return lambda v: op(name)(v, grid, *given), [d.x(1, d.size(), *[3] * dims)]

        return sample

    return of


def _masked(d: Draw) -> Sample:
    mask = d.index(2, 3, 4) > 0
    return lambda v, w: aten.masked_scatter(v, mask, w), [d.x(3, 4), d.x(12)]


MOVING = {
    **each("add sub subtract", binary()),
    "rsub": binary()("rsub"),
    "rsub.Scalar": unary(2.0)("rsub"),
    **each(
        "neg negative positive clone contiguous alias detach lift_fresh_copy ravel squeeze to_dense data diag_embed",
        unary(),
    ),
    **each("sum nansum mean", unary(some_axes, flag)),
    **each("mT adjoint tril triu fliplr flipud rot90 diagonal", unary(axes=2)),
    **each("t numpy_T mH diag", unary(axes=2)),
    "trace": unary(axes=2)("trace"),
    **each("view _unsafe_view reshape", unary(_sizes)),
    **each("view_as reshape_as", unary(_like)),
    "view.dtype": unary(torch.float64)("view"),
    **each("expand_as", unary(lambda d, x: torch.zeros(2, *x.shape))),
    **each("expand broadcast_to", unary(_wider)),
    **each("transpose swapaxes swapdims movedim moveaxis", unary(some_axis, some_axis)),
    "flatten": unary(0, -1)("flatten"),
    "unflatten": lambda d: (lambda v: aten.unflatten(v, -1, [2, -1]), [d.x(d.size(), 4)]),
    "unsqueeze": unary(some_axis)("unsqueeze"),
    "permute": unary([2, 0, -2], axes=3)("permute"),
    "slice": unary(some_axis, 0, 3, 2)("slice"),
    "narrow": unary(some_axis, 1, 1, low=2)("narrow"),
    "select": unary(some_axis, -1)("select"),
    **each("split chunk tensor_split unsafe_chunk unsafe_split", _parts(2)),
    **each(
        "split_with_sizes unsafe_split_with_sizes", lambda n: lambda d: (lambda v: op(n)(v, [1, 3], 1), [d.x(2, 4)])
    ),
    **each("hsplit vsplit", _parts(2)),
    "unbind": unary(some_axis)("unbind"),
    "unfold": unary(some_axis, 2, 1, low=2)("unfold"),
    "as_strided": _as_strided,
    **each("cat concat concatenate stack hstack vstack dstack column_stack", _list_of),
    "flip": unary(some_axes)("flip"),
    "roll": unary([1], [0])("roll"),
    **each("repeat tile", unary([2, 1, 2])),
    "cumsum": unary(some_axis)("cumsum"),
    "sum_to_size": unary([1])("sum_to_size"),
    **each("pad constant_pad_nd", unary([1, 2])),
    **each("reflection_pad1d replication_pad1d", _padded(2, 1)),
    **each("reflection_pad2d replication_pad2d", _padded(3, 2)),
    "avg_pool1d": _spatial(1, [2], [1], [1], True, False)("avg_pool1d"),
    "avg_pool2d": _spatial(2, [2, 3], [1, 2], [1, 0], True, False)("avg_pool2d"),
    "adaptive_avg_pool1d": _spatial(1, [2])("adaptive_avg_pool1d"),
    **each("adaptive_avg_pool2d _adaptive_avg_pool2d", _spatial(2, [2, 3])),
    "upsample_nearest1d": _spatial(1, [7])("upsample_nearest1d"),
    "upsample_nearest2d": _spatial(2, [6, 2])("upsample_nearest2d"),
    "upsample_linear1d": _spatial(1, [7], lambda d: d.flag())("upsample_linear1d"),
    "upsample_bilinear2d": _spatial(2, [2, 7], lambda d: d.flag())("upsample_bilinear2d"),
    "upsample_bicubic2d": _spatial(2, [2, 7], lambda d: d.flag())("upsample_bicubic2d"),
    "upsample_nearest3d": _spatial(3, [2, 5, 4])("upsample_nearest3d"),
    "upsample_trilinear3d": _spatial(3, [2, 5, 4], lambda d: d.flag())("upsample_trilinear3d"),
    "_upsample_nearest_exact1d": _spatial(1, [7])("_upsample_nearest_exact1d"),
    "_upsample_nearest_exact2d": _spatial(2, [2, 7])("_upsample_nearest_exact2d"),
    "_upsample_nearest_exact3d": _spatial(3, [2, 5, 4])("_upsample_nearest_exact3d"),
    "_upsample_bilinear2d_aa": _spatial(2, [2, 7], False)("_upsample_bilinear2d_aa"),
    "_upsample_bicubic2d_aa": _spatial(2, [2, 7], False)("_upsample_bicubic2d_aa"),
    "avg_pool3d": _spatial(3, [2, 2, 3], [1, 1, 1], [0, 1, 1])("avg_pool3d"),
    **each("adaptive_avg_pool3d _adaptive_avg_pool3d", _spatial(3, [2, 1, 3])),
    **each("reflection_pad3d replication_pad3d", _padded(4, 3)),
    "diagonal_scatter": lambda d: (aten.diagonal_scatter, [d.x(3, 3), d.x(3)]),
    "_sparse_mm": _adjacency,
    **each("grid_sampler grid_sampler_2d", _grid(2)),
    "grid_sampler_3d": _grid(3)("grid_sampler_3d"),
    "pixel_shuffle": lambda d: (lambda v: aten.pixel_shuffle(v, 2), [d.x(4, 2, d.size())]),
    "im2col": _spatial(2, [2, 2], [1, 1], [1, 0], [1, 2])("im2col"),
    "col2im": lambda d: (lambda v: aten.col2im(v, [3, 3], [2, 2], [1, 1], [0, 0], [1, 1]), [d.x(d.size(), 4, 4)]),
    "diff": unary(1, some_axis)("diff"),
    **each("index _unsafe_index", _index),
    "index_select": _chosen(lambda d: d.index(3, 5), lambda v, i: aten.index_select(v, -1, i), 3),
    **each("gather take_along_dim", _gathered),
    "take": _chosen(lambda d: d.index(3, 3, 2), aten.take, 3),
    "masked_select": _chosen(lambda d: d.index(2, 3) > 0, aten.masked_select, 3),
    **each("index_put _unsafe_index_put", _put),
    "put": _flat_put,
    **each("scatter scatter_add", _scattered),
    **each("index_add index_copy index_fill", _indexed),
    "masked_scatter": _masked,
    "repeat_interleave": unary(2, some_axis)("repeat_interleave"),
    "slice_scatter": lambda d: (lambda v, w: aten.slice_scatter(v, w, 1, 1, 3), [d.x(2, 4), d.x(2, 2)]),
    "select_scatter": lambda d: (lambda v, w: aten.select_scatter(v, w, 1, -2), [d.x(2, 4), d.x(2)]),
    "slice_backward": lambda d: (lambda v: aten.slice_backward(v, [3, 8], 1, 0, 8, 2), [d.x(3, 4)]),
    "copy": lambda d: (aten.copy, [d.x(3, 2), d.x(2)]),
    "fill": lambda d: (lambda v, w: aten.fill(v, w) + v, [d.x(3, 2), d.x()]),
    "zero": lambda d: (lambda v: aten.zero(v) + v, [d.x(3, 2)]),
    **each("zeros_like ones_like", lambda n: lambda d: (lambda v: v + op(n)(v), [d.x(*d.shape())])),
    "full_like": lambda d: (lambda v: v + aten.full_like(v, math.pi), [d.x(*d.shape())]),
    **each("new_zeros new_ones", lambda n: lambda d: (lambda v: v + op(n)(v, [1]), [d.x(*d.shape())])),
    "new_full": lambda d: (lambda v: v + aten.new_full(v, [1], 2.0), [d.x(*d.shape())]),
    "to": unary(torch.float64)("to"),
    "_to_copy": unary(dtype=torch.float64)("_to_copy"),
    "type_as": unary(torch.zeros(1, dtype=torch.float64))("type_as"),
    **each("dropout feature_dropout alpha_dropout feature_alpha_dropout", unary(0.5, False)),
}
