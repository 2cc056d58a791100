"""Rows that compute: products, functions, norms, choices."""

from __future__ import annotations

import torch

from rows.draws import Draw, Sample, aten, binary, each, flag, op, some_axes, some_axis, unary


def _product(*shapes):
    """Operands of shapes in letters, each letter a size that is drawn once."""

    def of(name: str):
        def sample(d: Draw) -> Sample:
            sizes = {}
            operands = [
                d.x(*(sizes.setdefault(letter, d.size()) if letter.isalpha() else int(letter) for letter in shape))
                for shape in shapes
            ]
            return op(name), operands

        return sample

    return of


def _conv(dims: int, transposed: bool = False):
    def of(name: str):
        def sample(d: Draw) -> Sample:
            inner, outer = d.size(), d.size()
            kernel = [d.one(1, 2) for _ in range(dims)]
            channels = (inner, outer) if transposed else (outer, inner)
            x = d.x(d.size(), inner, *(d.one(2, 3) for _ in range(dims)))
            operands = [x, d.x(*channels, *kernel), d.x(outer)]
            stride = [d.one(1, 2) for _ in range(dims)]
            if name in ("convolution", "_convolution"):
                more = [False] * 4 if name == "_convolution" else []
                zeros, ones = [0] * dims, [1] * dims
                return lambda v, w, b: op(name)(v, w, b, stride, ones, ones, transposed, zeros, 1, *more), operands
            return lambda v, w, b: op(name)(v, w, b, stride), operands

        return sample

    return of


def _softmax(name: str):
    def sample(d: Draw) -> Sample:
        x = d.x(*d.shape())
        axis = d.axis(x.test.ndim)
        return lambda v: op(name)(v, axis, *([False] if name.startswith("_") else [])), [x]

    return sample


def _attention(d: Draw) -> Sample:
    heads, rows, keys, width = d.size(), d.size(), d.size(), d.size()
    mask = d.one(None, d.x(rows, keys))
    operands = [d.x(heads, rows, width), d.x(heads, keys, width), d.x(heads, keys, width)]
    attend = aten.scaled_dot_product_attention
    if mask is None:
        return lambda q, k, v: attend(q, k, v, None, 0.0, True), operands
    return lambda q, k, v, m: attend(q, k, v, m, scale=0.3), [*operands, mask]


def _normalised(shape_of_weights, call):
    def of(name: str):
        def sample(d: Draw) -> Sample:
            x = d.x(d.size(), 4, *d.shape(d.one(1, 2), low=2))
            size = shape_of_weights(x.test.shape)
            return lambda v, w, b: call(op(name), v, w, b), [x, d.x(*size), d.x(*size)]

        return sample

    return of


def _last(v):
    return list(v.shape[2:])


def _batch_norm(d: Draw) -> Sample:
    x = d.x(d.size(), 3, *d.shape(d.one(0, 1, 2)))
    statistics = [d.x(3), d.x(3), d.x(3), d.x(3, domain="positive")]
    return lambda v, w, b, m, s: aten.batch_norm(v, w, b, m, s, False, 0.1, 1e-5, False), [x, *statistics]


def _rms(d: Draw) -> Sample:
    x = d.x(*d.shape(3))
    return lambda v, w: aten.rms_norm(v, [v.shape[-1]], w), [x, d.x(x.test.shape[-1])]


def _pool(dims: int, with_indices: bool = False):
    def of(name: str):
        def sample(d: Draw) -> Sample:
            x = d.x(1, d.size(), *(d.one(3, 4) for _ in range(dims)))
            many = lambda *choices: [d.one(*choices) for _ in range(dims)]  # noqa: E731
            args = many(2, 3), many(1, 2), many(0, 1), [1] * dims, d.flag()
            return lambda v: op(name)(v, *args)[0] if with_indices else op(name)(v, *args), [x]

        return sample

    return of


def _extreme(name: str):
    def sample(d: Draw) -> Sample:
        x = d.x(*d.shape())
        axis, keep = d.axis(x.test.ndim), d.flag()
        return lambda v: op(name)(v, axis, keep)[0], [x]

    return sample


def _ordered(name: str, *args, **kwargs):
    """An operation along an axis that has values and positions, of which the first are explained."""

    def sample(d: Draw) -> Sample:
        x = d.x(*d.shape(d.one(1, 2, 3)))
        axis, given = d.axis(x.test.ndim), [a(d) if callable(a) else a for a in args]
        if name in ("topk", "kthvalue"):
            k = d.one(*range(1, x.test.shape[axis] + 1))
            return lambda v: op(name)(v, k, axis, *given)[0], [x]
        return lambda v: op(name)(v, axis, *given)[0], [x]

    return sample


def _quantile(d: Draw) -> Sample:
    x, mode = d.x(*d.shape()), d.one("linear", "lower", "higher", "midpoint", "nearest")
    q, keep = d.one(0.3, 0.0, torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)), d.flag()
    axis = d.one(None, d.axis(x.test.ndim))
    return lambda v: torch.quantile(v, q, axis, keep, interpolation=mode), [x]


def _compared(domain: str = "real"):
    def of(name: str):
        return lambda d: (
            lambda a, b: op(name)(a, b).to(torch.float64),
            [d.x(*(s := d.shape()), domain=domain), d.x(*s, domain=domain)],
        )

    return of


def _einsum(d: Draw) -> Sample:
    equation, shapes = d.one(
        ("ij,jk->ik", "ij jk"),
        ("ij,jk,kl->il", "ij jk kl"),
        ("ij,ij,ij->j", "ij ij ij"),
        ("a,b,c,d", "a b c d"),
        ("bi,bj,bk,bijk->b", "bi bj bk bijk"),
        ("ij->ji", "ij"),
    )
    sizes: dict[str, int] = {}
    operands = [d.x(*(sizes.setdefault(letter, d.size()) for letter in shape)) for shape in shapes.split()]
    return lambda *v: aten.einsum(equation, list(v)), operands


def _where(d: Draw) -> Sample:
    shape = d.shape()
    return aten.where, [d.x(*shape, domain="truth"), d.x(*shape), d.x(*shape)]


def _masked_fill(d: Draw) -> Sample:
    shape = d.shape()
    return aten.masked_fill, [d.x(*shape), d.x(*shape, domain="truth"), d.x()]


def _three(name: str):
    shape = lambda d: [d.x(*(s := d.shape())), d.x(*s), d.x(*s, domain="positive")]  # noqa: E731
    return lambda d: (op(name), shape(d))


def _bounds(name: str):
    base = name.partition(".")[0]

    def sample(d: Draw) -> Sample:
        shape = d.shape()
        bounds = [d.x(*shape) for _ in range(1 if base[-1] in "nx" else 2)]
        return op(base), [d.x(*shape), *bounds]

    return sample


def _norm_of(d: Draw, call, *operands) -> Sample:
    order = d.one(2.0, 1.0, 3.0, 0.5, float("inf"), 0.0)
    return lambda *v: call(*v, order), list(operands)


def _distances(d: Draw, call) -> Sample:
    width = d.size()
    return _norm_of(d, call, d.x(d.size(), width), d.x(d.size(), width))


def _native_batch_norm(name: str):
    def sample(d: Draw) -> Sample:
        parts = [d.x(2, 3), d.x(3), d.x(3), d.x(3), d.x(3, domain="positive")]
        training = [] if name.endswith("no_training") else [False]
        return lambda v, w, b, m, s: op(name)(v, w, b, m, s, *training, 0.1, 1e-5)[0], parts

    return sample


def _truth_of_many(name: str):
    def sample(d: Draw) -> Sample:
        x = d.x(*d.shape(), domain=d.one("truth", "whole"))
        given = d.one([], [d.axis(x.test.ndim), d.flag()])
        return lambda v: op(name)(v, *given).to(torch.float64), [x]

    return sample


def _among(d: Draw, call=aten.bucketize) -> Sample:
    bounds = torch.tensor([-1.0, 0.1, 0.5, 1.0], dtype=torch.float64)
    return lambda v: call(v, bounds).to(torch.float64), [d.x(*d.shape())]


def _reduced(name: str):
    def sample(d: Draw) -> Sample:
        axis, count = d.one(0, 1, -1), d.one(1, 5)
        x, source = d.x(3, 2), d.x(*((count, 2) if axis == 0 else (3, count)))
        index = d.index(2, *source.test.shape)
        how, own = d.one("sum", "mean", "prod", "amax", "amin"), d.flag()
        if name == "scatter_reduce":
            return lambda v, w: aten.scatter_reduce(v, axis, index, w, how, include_self=own), [x, source]
        if name == "index_reduce":
            along, how = d.index(2, count), "prod" if how == "sum" else how
            return lambda v, w: aten.index_reduce(v, axis, along, w, how, include_self=own), [x, source]
        how = d.one("add", "multiply")
        if name == "scatter.reduce":
            return lambda v, w: aten.scatter(v, axis, index, w, reduce=how), [x, source]
        return lambda v: aten.scatter(v, axis, index, 1.7, reduce=how), [x]

    return sample


def _bag(name: str):
    def sample(d: Draw) -> Sample:
        ids, offsets = d.index(4, 6), torch.tensor([0, 2, 2, 5])
        mode, padding = d.one(0, 1, 2), d.one(None, 1)
        operands = [d.x(4, d.size())] + ([d.x(6)] if mode == 0 else [])
        more = [-1 if padding is None else padding] if name.startswith("_") else [] if padding is None else [padding]
        if name == "embedding_bag" and padding is not None:
            more = [False, padding]
        elif name != "embedding_bag":
            more = [False, *more]

        def call(table, weights=None):
            return op(name)(table, ids, offsets, False, mode, False, weights, *more)[0]

        return call, operands

    return sample


COMPUTING = {
    **each("matmul linalg_matmul", _product("aij", "jk")),
    "mm": _product("ij", "jk")("mm"),
    "bmm": _product("aij", "ajk")("bmm"),
    "mv": _product("ij", "j")("mv"),
    **each("dot vdot", _product("i", "i")),
    "inner": _product("ij", "kj")("inner"),
    **each("outer ger", _product("i", "j")),
    "kron": _product("ij", "kl")("kron"),
    "linear": _product("aij", "kj", "k")("linear"),
    "bilinear": _product("ai", "aj", "kij", "k")("bilinear"),
    "tensordot": lambda d: (lambda a, b: aten.tensordot(a, b, [1], [0]), [d.x(2, 3), d.x(3, 2)]),
    "linalg_vecdot": _product("ij", "ij")("linalg_vecdot"),
    **each("cross linalg_cross", lambda n: lambda d: (lambda a, b: op(n)(a, b, dim=1), [d.x(2, 3), d.x(2, 3)])),
    "addmm": _product("ik", "ij", "jk")("addmm"),
    "addmv": _product("i", "ij", "j")("addmv"),
    "addbmm": _product("ik", "aij", "ajk")("addbmm"),
    "baddbmm": _product("aik", "aij", "ajk")("baddbmm"),
    "addr": _product("ij", "i", "j")("addr"),
    "conv1d": _conv(1)("conv1d"),
    "conv2d": _conv(2)("conv2d"),
    "conv3d": _conv(3)("conv3d"),
    **each("convolution _convolution", _conv(1)),
    "conv_transpose1d": _conv(1, True)("conv_transpose1d"),
    "conv_transpose2d": _conv(2, True)("conv_transpose2d"),
    "conv_transpose3d": _conv(3, True)("conv_transpose3d"),
    "einsum": _einsum,
    **each("tanh sigmoid relu relu6 leaky_relu elu selu celu gelu silu mish softplus log_sigmoid hardtanh", unary()),
    **each("hardsigmoid hardswish hardshrink softshrink abs absolute exp exp2 expm1 square sin cos tan atan", unary()),
    **each("arctan sinh cosh asinh erf special_erf erfc special_expit special_expm1", unary()),
    **each(
        "prelu _prelu_kernel",
        lambda n: lambda d: (op(n), [d.x(2, 3, d.size()), d.x(*((3,) if n == "prelu" else (1, 3, 1)))]),
    ),
    "threshold": unary(0.1, 3.0)("threshold"),
    **each("clamp clip", unary(-0.5, 0.5)),
    **each("clamp_min clamp_max", unary(0.1)),
    **each("log log2 log10 log1p sqrt rsqrt reciprocal", unary(domain="positive")),
    "pow.Tensor_Scalar": unary(lambda d, x: d.one(2, 3, 0.5, -1, -2.5), domain="positive")("pow"),
    "pow.Scalar": lambda d: (lambda v: aten.pow(2.0, v), [d.x(*d.shape())]),
    "pow": binary("positive", "real")("pow"),
    **each("gt ge lt le eq ne greater greater_equal less less_equal not_equal", _compared("whole")),
    **each("logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor", _compared("truth")),
    **each("__and__ __or__ __xor__", _compared("truth")),
    **each(
        "logical_not bitwise_not",
        lambda n: lambda d: (lambda v: op(n)(v).to(torch.float64), [d.x(*d.shape(), domain="truth")]),
    ),
    **each("sign sgn floor ceil round trunc fix", unary()),
    "floor_divide": unary(0.3)("floor_divide"),
    "heaviside": binary()("heaviside"),
    **each("isnan isinf isfinite", lambda n: lambda d: (lambda v: op(n)(v).to(v.dtype) + v, [d.x(*d.shape())])),
    **each("maximum fmax minimum fmin", binary()),
    **each("max.other min.other", lambda n: binary()(n[:3])),
    **each("atan2 arctan2", binary()),
    **each("mul multiply", binary()),
    **each("div divide true_divide", binary("real", "positive")),
    "where": _where,
    "masked_fill": _masked_fill,
    **each("softmax log_softmax _softmax _log_softmax", _softmax),
    "logsumexp": unary(some_axes, flag)("logsumexp"),
    "layer_norm": _normalised(lambda s: s[2:], lambda f, v, w, b: f(v, _last(v), w, b))("layer_norm"),
    "rms_norm": _rms,
    "group_norm": _normalised(lambda s: s[1:2], lambda f, v, w, b: f(v, 2, w, b))("group_norm"),
    "instance_norm": _normalised(lambda s: s[1:2], lambda f, v, w, b: f(v, w, b, None, None, True, 0.1, 1e-5, False))(
        "instance_norm"
    ),
    "batch_norm": _batch_norm,
    **each("var.correction std.correction", lambda n: unary(some_axes, correction=0, keepdim=True)(n[:3])),
    "linalg_vector_norm": unary(lambda d, x: d.one(1, 2, float("inf")), some_axes, flag)("linalg_vector_norm"),
    "scaled_dot_product_attention": _attention,
    "rrelu": unary()("rrelu"),
    "glu": lambda d: (lambda v: aten.glu(v, -1), [d.x(d.size(), 4)]),
    "lerp": _three("lerp"),
    **each("addcmul addcdiv", _three),
    **each("clamp.Tensor clip.Tensor clamp_min.Tensor clamp_max.Tensor", _bounds),
    "max_pool1d": _pool(1)("max_pool1d"),
    "max_pool1d_with_indices": _pool(1, True)("max_pool1d_with_indices"),
    "max_pool2d": _pool(2)("max_pool2d"),
    "max_pool2d_with_indices": _pool(2, True)("max_pool2d_with_indices"),
    "max_pool3d": _pool(3)("max_pool3d"),
    "adaptive_max_pool1d": lambda d: (lambda v: aten.adaptive_max_pool1d(v, [2])[0], [d.x(1, 2, 5)]),
    "adaptive_max_pool2d": lambda d: (lambda v: aten.adaptive_max_pool2d(v, [2, 3])[0], [d.x(1, 4, 5)]),
    "sort": lambda d: _ordered("sort", d.flag())(d),
    "topk": lambda d: _ordered("topk", d.flag(), d.flag())(d),
    "kthvalue": lambda d: _ordered("kthvalue", d.flag())(d),
    "median": lambda d: d.one(_ordered("median", d.flag()), unary()("median"))(d),
    "quantile": _quantile,
    **each("cummax cummin", _ordered),
    **each("cumprod logcumsumexp", unary(some_axis)),
    "prod": lambda d: d.one(unary(some_axis, flag), unary())("prod")(d),
    **each("amax amin", unary(some_axes, flag)),
    **each("max min", unary()),
    **each("asin arcsin acos arccos atanh arctanh erfinv special_erfinv", unary(domain="unit")),
    **each("acosh arccosh", unary(domain="above one")),
    **each("lgamma special_gammaln digamma special_digamma special_psi special_log1p", unary(domain="positive")),
    **each("arcsinh sinc special_sinc special_exp2 special_erfc signbit", unary()),
    **each("logit special_logit", lambda n: lambda d: d.one(unary(domain="share"), unary(0.2, domain="share"))(n)(d)),
    **each("remainder fmod", lambda n: lambda d: d.one(binary("real", "positive"), unary(0.7))(n)(d)),
    **each("hypot logaddexp logaddexp2", binary()),
    "ldexp": lambda d: (lambda v: aten.ldexp(v, torch.tensor([1, -2, 0])), [d.x(d.size(), 3)]),
    "cdist": lambda d: _distances(d, aten.cdist),
    "_cdist_forward": lambda d: _distances(d, lambda a, b, p: aten._cdist_forward(a, b, p, None)),
    **each("pdist _pdist_forward", lambda n: lambda d: _norm_of(d, op(n), d.x(3, d.size()))),
    "dist": lambda d: _norm_of(d, aten.dist, d.x(*(s := d.shape())), d.x(*s)),
    "cov": lambda d: (aten.cov, [d.x(d.size(), 3)]),
    "corrcoef": lambda d: (aten.corrcoef, [d.x(d.size(), 4)]),
    **each("var_mean.correction std_mean.correction", lambda n: unary(some_axes, correction=0, keepdim=True)(n[:8])),
    "native_layer_norm": _normalised(lambda s: s[2:], lambda f, v, w, b: f(v, _last(v), w, b, 1e-5)[0])(
        "native_layer_norm"
    ),
    "native_group_norm": _normalised(
        lambda s: s[1:2], lambda f, v, w, b: f(v, w, b, len(v), v.shape[1], v[0, 0].numel(), 2, 1e-5)[0]
    )("native_group_norm"),
    **each("native_batch_norm _native_batch_norm_legit_no_training", _native_batch_norm),
    **each("any all", _truth_of_many),
    "bucketize": _among,
    "searchsorted": lambda d: _among(d, lambda x, bounds: aten.searchsorted(bounds, x)),
    **each("scatter_reduce index_reduce scatter.reduce scatter.value_reduce", _reduced),
    "bincount": lambda d: (lambda w: aten.bincount(torch.tensor([0, 2, 2, 0]), w, 4), [d.x(4)]),
    **each("embedding_bag _embedding_bag _embedding_bag_forward_only", _bag),
    "conv_tbc": _product("abc", "2cd", "d")("conv_tbc"),
    "adaptive_max_pool3d": lambda d: (lambda v: aten.adaptive_max_pool3d(v, [2, 1, 2])[0], [d.x(1, 1, 3, 3, 3)]),
    "max_pool3d_with_indices": _pool(3, True)("max_pool3d_with_indices"),
    **each("max.dim min.dim", lambda n: _extreme(n[:3])),
}
