"""Every row of the rule table in a model that reaches it, and what has no exact rule refused by name."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from exactness import Net, draw
from reference.paired import shapley_max
from rows import SAMPLES
from torch import nn

import explain_core as xc
from explain_core.backends.torch import Rescale, Same, rules
from explain_core.backends.torch.formulas import maximum

RESIDUAL = 1e-12  # measured: 3e-15 at most
SHAPE = (3, 4, 4)
W = torch.from_numpy(draw(9, 4, 4))
ROWS = torch.tensor([2, 0, 0])
INDEX = torch.tensor([2, 0, 0, 1]).expand(3, 4, 4)
MASK = torch.tensor([True, False, True, True])
KEPT = torch.arange(48).reshape(SHAPE) % 3 > 0

aten = torch.ops.aten


def op(name: str) -> Callable:
    return getattr(aten, name)


def explain(function, *inputs, **options):
    options = {"precision": "float64", **options}
    return xc.explain(Net(lambda _, *x: function(*x)), inputs if len(inputs) > 1 else inputs[0], **options)


def complete(function, *inputs, **options):
    ex = explain(function, *inputs, **options)
    assert ex.relative_residual.max() <= RESIDUAL
    return ex


# --- The table, row by row -----------------------------------------------------------------------------------


def each(names: str, make: Callable[[str], Callable]) -> dict[str, Callable]:
    return {name: make(name) for name in names.split()}


def given(*args, **kwargs) -> Callable[[str], Callable]:
    return lambda name: lambda x: op(name)(x, *args, **kwargs)


def parts(*args) -> Callable[[str], Callable]:
    return lambda name: lambda x: sum(2.0**i * v.sum(-1).sum(-1) for i, v in enumerate(op(name)(x, *args)))


def joined(name: str) -> Callable:
    return lambda x: op(name)([x, x.flip(1)])


def compared(name: str) -> Callable:
    return lambda x: op(name)(x, x.flip(1)).to(x.dtype) * x


def truths(name: str) -> Callable:
    return lambda x: op(name)(x > 0, x.flip(1) > 0).to(x.dtype) * x


def product(name: str) -> Callable:
    return lambda x: op(name)(x, x.flip(1).tanh())


def made(*args) -> Callable[[str], Callable]:
    return lambda name: lambda x: x.exp() + op(name)(x, *args)


EXAMPLES: dict[str, Callable] = {
    **each("add sub subtract", given(W)),
    "rsub": lambda x: aten.rsub(W, x),
    "rsub.Scalar": lambda x: aten.rsub(x, 2.0),
    **each("neg negative positive clone contiguous alias detach lift_fresh_copy ravel squeeze", given()),
    **each("mT adjoint fliplr flipud rot90 sum mean nansum tril triu diagonal diff", given()),
    **each("view _unsafe_view reshape", given([3, 16])),
    **each("view_as reshape_as expand_as", given(torch.zeros(SHAPE))),
    **each("expand broadcast_to", given([2, 3, 4, 4])),
    **each("transpose swapaxes swapdims movedim moveaxis", given(1, 2)),
    **each("t numpy_T mH trace diag", lambda name: lambda x: op(name)(x[:, 0])),
    **each("split chunk tensor_split unsafe_chunk unsafe_split", parts(2, 1)),
    **each("split_with_sizes unsafe_split_with_sizes", parts([1, 3], 1)),
    **each("hsplit vsplit", lambda name: lambda x: sum(op(name)(x[:2], 2))),
    "unbind": lambda x: sum(aten.unbind(x, 1)),
    **each("cat concat concatenate stack hstack vstack dstack column_stack", joined),
    **each("pad constant_pad_nd", given([1, 1])),
    **each("reflection_pad1d replication_pad1d", given([1, 1])),
    **each("reflection_pad2d replication_pad2d", given([1, 1, 1, 1])),
    **each("avg_pool1d avg_pool2d adaptive_avg_pool1d upsample_nearest1d", given([2])),
    **each("adaptive_avg_pool2d _adaptive_avg_pool2d", given([2, 2])),
    "upsample_nearest2d": lambda x: aten.upsample_nearest2d(x[None], [6, 6]),
    "upsample_linear1d": given([6], False)("upsample_linear1d"),
    "upsample_bilinear2d": lambda x: aten.upsample_bilinear2d(x[None], [6, 6], False),
    "pixel_shuffle": lambda x: aten.pixel_shuffle(x[:, None].expand(3, 4, 4, 4), 2),
    "im2col": lambda x: aten.im2col(x[:, None], [2, 2], [1, 1], [0, 0], [1, 1]),
    "col2im": lambda x: aten.col2im(x, [3, 3], [2, 2], [1, 1], [0, 0], [1, 1]),
    "flatten": given(1)("flatten"),
    "unflatten": given(1, [2, 2])("unflatten"),
    "unsqueeze": given(1)("unsqueeze"),
    "permute": given([0, 2, 1])("permute"),
    "slice": given(1, 0, 3)("slice"),
    "narrow": given(1, 1, 2)("narrow"),
    "select": given(1, 2)("select"),
    "unfold": given(1, 2, 1)("unfold"),
    "as_strided": given([3, 4], [16, 1], 4)("as_strided"),
    "diag_embed": given()("diag_embed"),
    "flip": given([1])("flip"),
    "roll": given([1], [1])("roll"),
    **each("repeat tile", given([1, 2, 1])),
    "cumsum": given(1)("cumsum"),
    "sum_to_size": given([1, 4, 4])("sum_to_size"),
    "to_dense": given()("to_dense"),
    "data": given()("data"),
    **each("index _unsafe_index", given([None, ROWS])),
    "index_select": given(1, ROWS)("index_select"),
    **each(
        "gather take_along_dim", lambda name: lambda x: op(name)(x, *((1, INDEX) if name == "gather" else (INDEX, 1)))
    ),
    "take": given(INDEX)("take"),
    "masked_select": lambda x: aten.masked_select(x, KEPT).reshape(4, 8).sum() + x,
    **each("index_put _unsafe_index_put", lambda name: lambda x: op(name)(x, [None, ROWS], x[:, :3].exp(), True)),
    **each("index_add index_copy", lambda name: lambda x: op(name)(x, 1, torch.tensor([3, 1]), x[:, :2].exp())),
    "index_fill": given(1, ROWS, 2.0)("index_fill"),
    "scatter": lambda x: aten.scatter(x, 1, torch.arange(4).flip(0)[None, :, None].expand(3, 4, 4), x.exp()),
    "scatter_add": lambda x: aten.scatter_add(x, 1, INDEX, x.exp()),
    "masked_scatter": lambda x: aten.masked_scatter(x, KEPT, x.exp()),
    "repeat_interleave": given(2, 1)("repeat_interleave"),
    "slice_scatter": lambda x: aten.slice_scatter(x, x[:, :2].exp(), 1, 1, 3),
    "select_scatter": lambda x: aten.select_scatter(x, x[:, 0].exp(), 1, 2),
    "slice_backward": lambda x: aten.slice_backward(x, [3, 8, 4], 1, 0, 8, 2),
    **each("matmul bmm", product),
    **each(
        "mm inner kron linear",
        lambda name: lambda x: op(name)(x[:, 0], x[:, :, 1].tanh()) if name != "mm" else aten.mm(x[:, 0], x[0].tanh()),
    ),
    "mv": lambda x: aten.mv(x[:, 0], x[0, 0].exp()),
    **each("dot vdot outer ger", lambda name: lambda x: op(name)(x[0, 0], x[1, 0].exp()) + x),
    "bilinear": lambda x: aten.bilinear(x[:, 0], x[:, 1], W[None].expand(2, 4, 4)),
    "tensordot": lambda x: aten.tensordot(x, x[0].exp(), [2], [1]),
    "linalg_vecdot": product("linalg_vecdot"),
    "linalg_matmul": product("linalg_matmul"),
    **each("cross linalg_cross", lambda name: lambda x: op(name)(x[..., :3], x[..., 1:].exp(), dim=2)),
    "addmm": lambda x: aten.addmm(x[:, 1], x[:, 0], x[0].tanh()),
    "addmv": lambda x: aten.addmv(x[:, 1, 0], x[:, 0], x[0, 1].tanh()),
    "addbmm": lambda x: aten.addbmm(x[0], x, x.tanh()),
    "baddbmm": lambda x: aten.baddbmm(x, x, x.tanh()),
    "addr": lambda x: aten.addr(x[0], x[0, 0], x[0, 1].exp()) + x,
    "conv1d": lambda x: aten.conv1d(x, W[:, :, None]),
    "conv2d": lambda x: aten.conv2d(x[:, None], W[None, None]),
    "conv3d": lambda x: aten.conv3d(x[:, None, None], W[None, None, None]),
    **each(
        "convolution _convolution",
        lambda name: (
            lambda x: op(name)(
                x, W[:, :, None], None, [1], [0], [1], False, [0], 1, *([False] * 4 if name[0] == "_" else [])
            )
        ),
    ),
    "conv_transpose1d": lambda x: aten.conv_transpose1d(x, W[:, :, None]),
    "conv_transpose2d": lambda x: aten.conv_transpose2d(x[:, None], W[None, None]),
    "conv_transpose3d": lambda x: aten.conv_transpose3d(x[:, None, None], W[None, None, None]),
    **each("tanh sigmoid relu relu6 leaky_relu elu selu celu gelu silu mish softplus log_sigmoid hardtanh", given()),
    **each("hardsigmoid hardswish hardshrink softshrink abs absolute exp exp2 expm1 square sin cos tan atan", given()),
    **each("arctan sinh cosh asinh erf special_erf erfc special_expit special_expm1", given()),
    **each("prelu _prelu_kernel", given(torch.tensor([0.2], dtype=torch.float64))),
    "threshold": given(0.1, 3.0)("threshold"),
    **each("clamp clip", given(-0.5, 0.5)),
    **each("clamp_min clamp_max", given(0.1)),
    **each("log log2 log10 log1p sqrt rsqrt reciprocal", lambda name: lambda x: op(name)(x.abs() + 0.5)),
    "pow.Tensor_Scalar": given(3)("pow"),
    "pow.Scalar": lambda x: aten.pow(2.0, x),
    "pow": lambda x: aten.pow(x.abs() + 0.5, x.flip(1)),
    **each("gt ge lt le eq ne greater greater_equal less less_equal not_equal", compared),
    **each("logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__", truths),
    **each("logical_not bitwise_not", lambda name: lambda x: op(name)(x > 0).to(x.dtype) * x),
    **each("sign sgn floor ceil round trunc fix", given()),
    "floor_divide": given(0.3)("floor_divide"),
    "heaviside": given(torch.tensor(0.5, dtype=torch.float64))("heaviside"),
    **each("isnan isinf isfinite", lambda name: lambda x: op(name)(x).to(x.dtype) + x),
    **each("zeros_like ones_like", made()),
    "full_like": made(2.0)("full_like"),
    **each("new_zeros new_ones", made([4])),
    "new_full": made([4], 2.0)("new_full"),
    **each("maximum fmax minimum fmin atan2 arctan2", lambda name: lambda x: op(name)(x, x.flip(1).exp())),
    "max.other": lambda x: aten.max(x, x.flip(1).exp()),
    "min.other": lambda x: aten.min(x, x.flip(1).exp()),
    **each("mul multiply", product),
    **each("div divide true_divide", lambda name: lambda x: op(name)(x, x.flip(1).exp())),
    "where": lambda x: aten.where(x > 0, x, x.exp()),
    "masked_fill": lambda x: aten.masked_fill(x, x > 0, 2.0),
    **each("softmax log_softmax", given(1)),
    **each("_softmax _log_softmax", given(1, False)),
    "logsumexp": given([1])("logsumexp"),
    "layer_norm": given([4])("layer_norm"),
    "rms_norm": given([4])("rms_norm"),
    "group_norm": given(2)("group_norm"),
    "instance_norm": given(None, None, None, None, True, 0.1, 1e-5, False)("instance_norm"),
    "batch_norm": given(None, None, W[0], W[1].exp(), False, 0.1, 1e-5, False)("batch_norm"),
    **each("var.correction std.correction", lambda name: lambda x: op(name[:3]).correction(x, [1])),
    "linalg_vector_norm": given(2, [1])("linalg_vector_norm"),
    "scaled_dot_product_attention": lambda x: aten.scaled_dot_product_attention(x, x.tanh(), x.exp()),
    "copy": lambda x: aten.copy(x, x.exp()),
    "fill": lambda x: aten.fill(x, 2.0) + x,
    "zero": lambda x: aten.zero(x) + x,
    "rrelu": given()("rrelu"),
    "glu": given()("glu"),
    "lerp": lambda x: aten.lerp(x, x.exp(), 0.3),
    "addcmul": lambda x: aten.addcmul(x, x, x.exp(), value=0.5),
    "addcdiv": lambda x: aten.addcdiv(x, x, x.exp(), value=0.5),
    **each("clamp.Tensor clip.Tensor", lambda name: lambda x: op(name[:-7])(x, x.flip(1) - 0.5, x.flip(1) + 0.5)),
    **each("clamp_min.Tensor clamp_max.Tensor", lambda name: lambda x: op(name[:-7])(x, x.flip(1))),
    **each("dropout feature_dropout alpha_dropout feature_alpha_dropout", given(0.5, False)),
    "einsum": lambda x: aten.einsum("abc,adc->abd", [x, x.exp()]),
    **each(
        "max_pool1d max_pool1d_with_indices",
        lambda name: lambda x: op(name)(x, [2], [1], [1]) if name == "max_pool1d" else op(name)(x, [2], [1], [1])[0],
    ),
    "max_pool2d": given([2, 2])("max_pool2d"),
    "max_pool3d": lambda x: aten.max_pool3d(x[:, None, None], [1, 2, 2]),
    "max_pool2d_with_indices": lambda x: aten.max_pool2d_with_indices(x, [2, 2])[0],
    "adaptive_max_pool1d": lambda x: aten.adaptive_max_pool1d(x, [3])[0],
    "adaptive_max_pool2d": lambda x: aten.adaptive_max_pool2d(x, [3, 2])[0],
    "to": lambda x: aten.to.dtype(x, torch.float64),
    "_to_copy": lambda x: aten._to_copy(x, dtype=torch.float64),
    "type_as": lambda x: aten.type_as(x, W),
    "amax": given([1])("amax"),
    "amin": given([1])("amin"),
    **each("max min", lambda name: lambda x: op(name)(x) + x),
    **each("max.dim min.dim", lambda name: lambda x: op(name[:3])(x, 1)[0]),
}
# Read sizes, or make tensors without values: they give no result of their own to explain.
SHAPES = set(rules._SHAPES) - set(EXAMPLES)
# Each has a test file of its own, or a test below.
ELSEWHERE = {
    *(
        row
        for row in rules.RULES
        if row.partition(".")[0].removesuffix("_cell") in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    ),
    *("_transformer_encoder_layer_fwd", "_native_multi_head_attention"),
    *("embedding", "one_hot", "argmax", "argmin", "argsort"),
    # two players at their corners: test_torch_corners; one secant: test_torch_secants; by a matrix: test_torch_solving
    *("copysign", "xlogy", "special_xlogy", "special_xlog1py", "special_entr", "cholesky_solve", "triangular_solve"),
    *("linalg_solve", "linalg_solve_ex", "_linalg_solve_ex", "linalg_solve_triangular", "linalg_lu_solve"),
    *(row for row, rule in rules.RULES.items() if isinstance(rule, rules.Refused)),
}


def test_every_row_has_an_example():
    assert set(rules.RULES) == set(EXAMPLES) | SHAPES | ELSEWHERE | ONLY_IN_PLACE | set(SAMPLES)


@pytest.mark.parametrize("row", EXAMPLES)
def test_row_is_reached_and_complete(row, monkeypatch):
    reached = []

    def spy(ops, op, args, kwargs):
        reached.append(op)
        return rule(ops, op, args, kwargs)

    rule = rules.RULES[row]
    monkeypatch.setitem(rules.RULES, row, spy)
    x, base = draw(0, *SHAPE), draw(1, *SHAPE)
    base[0, 1] = x[0, 1]
    x, base = x[None], base[None]  # one sample, so that nothing in the function can mix samples
    ex = xc.explain(Net(lambda _, v: weighed(EXAMPLES[row](v[0]))), x, base, precision="float64")
    assert reached or row == "view"  # which runs as reshape where nothing is written to it
    assert ex.relative_residual.max() <= RESIDUAL


def weighed(y: torch.Tensor) -> torch.Tensor:
    """One number in which no two elements have the same weight."""
    return (y * torch.arange(1, y.numel() + 1, dtype=y.dtype).sqrt().view_as(y)).sum().reshape(1)


@pytest.mark.parametrize("row", sorted(SHAPES))
def test_rows_of_sizes_take_the_test_member(row):
    assert isinstance(rules.RULES[row], Same)


ONLY_IN_PLACE = {"dropout_", "feature_dropout_", "alpha_dropout_", "feature_alpha_dropout_", "rrelu_"}
IN_PLACE = [row for row in EXAMPLES if "." not in row and hasattr(aten, f"{row}_")]
NOT_ALONE_IN_PLACE = {
    "addr",  # written by PyTorch itself through another overload
    *("pow", "floor_divide"),  # their overloads have other names in place
    # change the shape or dtype, or are written for tensors of whole numbers
    *[
        "t",
        "transpose",
        "swapaxes",
        "swapdims",
        "squeeze",
        "unsqueeze",
        "as_strided",
        "detach",
        "bitwise_not",
        "logical_not",
    ],
    *[
        "gt",
        "ge",
        "lt",
        "le",
        "eq",
        "ne",
        "greater",
        "greater_equal",
        "less",
        "less_equal",
        "not_equal",
        "logical_and",
        "logical_or",
        "logical_xor",
    ],
    *["bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__", "__xor__"],
}


def aten_in_place(function, row, x):
    """The example with the operation writing into a copy of its first argument."""
    out_of_place = getattr(aten, row)
    try:
        setattr(aten, row, lambda first, *args, **kwargs: getattr(aten, f"{row}_")(first.clone(), *args, **kwargs))
        return function(x)
    finally:
        setattr(aten, row, out_of_place)


@pytest.mark.parametrize("row", [row for row in IN_PLACE if row not in NOT_ALONE_IN_PLACE])
def test_row_in_place_is_complete_and_the_same(row):
    x, base = draw(0, 1, *SHAPE), draw(1, 1, *SHAPE)
    net = Net(lambda _, v: weighed(aten_in_place(EXAMPLES[row], row, v[0])))
    in_place = xc.explain(net, x, base, precision="float64")
    assert in_place.relative_residual.max() <= RESIDUAL
    expected = xc.explain(Net(lambda _, v: weighed(EXAMPLES[row](v[0]))), x, base, precision="float64")
    np.testing.assert_allclose(in_place.attributions, expected.attributions, rtol=1e-12, atol=1e-12)


# --- Maxima against their definition ---------------------------------------------------------------------------


def shapley_by_orderings(test, base, f=max) -> np.ndarray:
    """The mean over all orders in which the elements may move, of what each changes when it does."""
    share, orders = np.zeros(len(test)), list(itertools.permutations(range(len(test))))
    for order in orders:
        values = list(base)
        for i in order:
            before = f(values)
            values[i] = test[i]
            share[i] += f(values) - before
    return share / len(orders)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_maximum_is_the_shapley_value(size):
    random = np.random.default_rng(size)
    for draw_from in (lambda: random.normal(size=size), lambda: random.integers(-1, 2, size).astype(float)):
        for _ in range(10):
            test, base = draw_from(), draw_from()
            slopes = maximum.max_multipliers(torch.from_numpy(test), torch.from_numpy(base)).numpy()
            np.testing.assert_allclose(slopes * (test - base), shapley_by_orderings(test, base), atol=1e-14)
            np.testing.assert_allclose(slopes, shapley_max(test, base), atol=1e-13)
            assert ((slopes >= 0) & (slopes <= 1 + 1e-14)).all()


def test_a_largest_element_that_stays_passes_on_what_cancels_in_it():
    """``max(a + b, c)`` where a rises as b falls; and the same value taken twice counts once."""
    x, base = np.array([[3.0, 1.0, 0.5]]), np.array([[1.0, 3.0, -0.5]])
    sums = lambda v: v[:, :1] + v[:, 1:2]  # noqa: E731
    for parts in (lambda v: [sums(v), v[:, 2:]], lambda v: [sums(v), v[:, 2:], sums(v)]):
        model = Net(lambda _, v, parts=parts: torch.cat(parts(v), 1).amax(1, keepdim=True)).eval()
        np.testing.assert_allclose(xc.explain(model, x, base, target=0).attributions[0], [2, -2, 0], atol=1e-15)


def test_maximum_beside_minus_infinity():
    test, base = np.array([1.0, -np.inf, 0.5, -np.inf]), np.array([-2.0, -np.inf, 0.7, -np.inf])
    slopes = maximum.max_multipliers(torch.from_numpy(test), torch.from_numpy(base)).numpy()
    assert (slopes[[1, 3]] == 0).all()
    test, base = test[[0, 2]], base[[0, 2]]
    np.testing.assert_allclose(slopes[[0, 2]] * (test - base), shapley_by_orderings(test, base), atol=1e-15)


POOLS = {
    "1d": lambda x: F.max_pool1d(x, 3),
    "1d stride": lambda x: F.max_pool1d(x, 3, 2),
    "1d padding": lambda x: F.max_pool1d(x, 3, 1, 1),
    "1d dilation": lambda x: F.max_pool1d(x, 3, 1, 0, 2),
    "1d ceil": lambda x: F.max_pool1d(x, 3, 2, 1, 1, True),
    "1d ceil and a long stride": lambda x: F.max_pool1d(x, 2, 4, 1, 1, True),
    "2d": lambda x: F.max_pool2d(x, 2),
    "2d uneven": lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 1), (1, 2), True),
    "adaptive 1d": lambda x: F.adaptive_max_pool1d(x, 3),
    "adaptive 2d": lambda x: F.adaptive_max_pool2d(x, (3, 2)),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools_are_torchs_and_complete(name):
    x = draw(0, 2, 5, 7)
    ex = complete(lambda x: POOLS[name](x).flatten(1), x, baselines=draw(1, 2, 5, 7))
    np.testing.assert_array_equal(ex.prediction, POOLS[name](torch.from_numpy(x)).flatten(1))


# --- Choices that differ in the pair -----------------------------------------------------------------------------

CHOICES = {
    "comparison": lambda x: x * (x > 0),
    "where": lambda x: torch.where(x > 0, x, x.exp()),
    "where of constants": lambda x: torch.where(x > x.mean(2, keepdim=True), 1.0, -1.0),
    "masked_fill": lambda x: x.masked_fill(x < 0, 7.0),
    "written by a mask": lambda x: x.clone().index_put_([x < 0], torch.tensor(7.0, dtype=x.dtype)),
    "rows written by a mask": lambda x: x.clone().index_put_([x[:, :, 0] < 0], torch.tensor(7.0, dtype=x.dtype)),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_by_the_values_are_complete(name):
    complete(lambda x: CHOICES[name](x).sum((1, 2)), draw(0, *SHAPE), baselines=draw(1, *SHAPE))


def test_comparisons_of_two_values_do_not_depend_on_the_other_samples():
    """A truth that stays, though it would change if one of the two moved alone, beside samples in which one changes."""
    x, base = np.array([[[3.0, 2.0]], [[0.0, 1.0]]]), np.array([[[1.0, 0.0]], [[1.0, 0.0]]])
    net = Net(lambda _, x: (x * (x > x.flip(-1))).sum((1, 2)), head=nn.Linear(1, 1)).double()
    together = xc.explain(net, x, baselines=base).attributions
    alone = [xc.explain(net, x[n : n + 1], baselines=base[n : n + 1]).attributions for n in range(len(x))]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-15)


def test_what_a_mask_writes_is_what_where_chooses():
    def written(x):
        y = x.clone()
        y[y < 0] = 0
        return y

    x, base = draw(0, *SHAPE), draw(1, *SHAPE)
    one, other = (
        complete(lambda x, function=function: function(x).sum((1, 2)), x, baselines=base)
        for function in (written, lambda x: torch.where(x < 0, 0.0, x))
    )
    np.testing.assert_allclose(one.attributions, other.attributions, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter:UserWarning")
@pytest.mark.parametrize("value", ["tensor", "number"])
def test_scatter_that_multiplies_is_complete(value):
    index = torch.zeros(SHAPE, dtype=torch.int64)
    complete(
        lambda x: x.scatter(1, index, x if value == "tensor" else 2.0, reduce="multiply").sum((1, 2)),
        draw(0, *SHAPE),
        baselines=draw(1, *SHAPE),
    )


REFUSED = {
    "unique2": lambda x: torch.unique(x),
    "unique_consecutive": lambda x: torch.unique_consecutive(x),
    "mode": lambda x: x.mode(1).values,
    "nanmedian": lambda x: x.nanmedian(1).values,
    "nanquantile": lambda x: x.nanquantile(0.5, 1),
    "histc": lambda x: torch.histc(x, 4, -1, 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_rule_is_refused_by_name(name):
    with pytest.raises(xc.errors.UnsupportedOperation, match=name):
        explain(lambda x: REFUSED[name](x).sum() * x.sum((1, 2)), draw(0, *SHAPE), baselines=draw(1, *SHAPE))


def tokens(use):
    return Net(lambda net, ids: use(net.table(ids), ids != 0).sum((1, 2)), table=nn.Embedding(5, 4)).double()


IDS = np.array([[1, 2, 3, 0], [4, 4, 0, 0]])


@pytest.mark.parametrize(
    "use",
    [lambda x, m: x * m.unsqueeze(-1), lambda x, m: x.masked_fill(~m.unsqueeze(-1), 3.0)],
    ids=["product", "masked_fill"],
)
def test_masks_from_token_ids_are_complete(use):
    torch.manual_seed(0)
    assert xc.explain(tokens(use), IDS).relative_residual.max() <= RESIDUAL


def test_mask_of_infinities_that_differs_is_as_one_of_large_numbers():
    baseline = np.array([[1, 2, 3, 4], [4, 4, 0, 0]])

    def attend(low):
        torch.manual_seed(0)
        return tokens(lambda x, m: x.masked_fill(~m.unsqueeze(-1), low).softmax(1) * x.tanh())

    found, expected = (xc.explain(attend(low), IDS, baseline) for low in (-math.inf, -1e30))
    assert found.relative_residual.max() <= RESIDUAL
    np.testing.assert_allclose(found.attributions, expected.attributions, atol=1e-12)


def test_mask_of_nan_that_differs_is_refused():
    net = tokens(lambda x, m: x.masked_fill(~m.unsqueeze(-1), math.nan).nan_to_num(0.0))
    with pytest.raises(xc.errors.UnsupportedOperation, match="writes NaN"):
        xc.explain(net, IDS, np.array([[1, 2, 3, 4], [4, 4, 0, 0]]))


# --- What is refused ---------------------------------------------------------------------------------------------

RANDOM = {
    "randn": lambda x: x + torch.randn(4, dtype=x.dtype),
    "dropout": lambda x: F.dropout(x, 0.5, training=True),
    "bernoulli": lambda x: x * torch.bernoulli(torch.full((4,), 0.5, dtype=x.dtype)),
    "bernoulli of values": lambda x: torch.bernoulli(x.sigmoid()),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_are_refused(name):
    with pytest.raises(xc.errors.UnsupportedOperation):
        explain(lambda x: RANDOM[name](x).sum((1, 2)), draw(0, *SHAPE))


@pytest.mark.parametrize(
    "function", [lambda x: x if x.sum() > 0 else -x, lambda x: x * x.max().item()], ids=["if", "item"]
)
def test_control_flow_by_values_is_refused(function):
    with pytest.raises(xc.errors.CaptureError, match=r"decides by (sum|max)"):
        explain(lambda x: function(x).sum((1, 2)), draw(0, *SHAPE))


def test_own_rule(monkeypatch):
    monkeypatch.setattr(rules, "RULES", dict(rules.RULES))
    x, base = draw(0, *SHAPE) / 9, draw(1, *SHAPE) / 9
    with pytest.raises(xc.errors.UnsupportedOperation, match="i0"):
        explain(lambda x: torch.i0(x).sum((1, 2)), x, baselines=base)
    plain = lambda a, b: (torch.i0(a) - torch.i0(b)) / (a - b)  # noqa: E731
    xc.register_rule("i0", Rescale(plain))
    complete(lambda x: torch.i0(x).sum((1, 2)), x, baselines=base)


# --- Models in other forms -----------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, kind: str = "LSTM"):
        super().__init__()
        torch.manual_seed(0)
        self.layer = getattr(nn, kind)(4, 3, batch_first=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Stateful(Recurrent):
    hidden = None

    def forward(self, x):
        out, self.hidden = self.layer(x, self.hidden)
        return self.head(out[:, -1])


class Cut(Recurrent):
    def forward(self, x):
        with torch.no_grad():
            out = self.layer(x)[0]
        return self.head(out.detach()[:, -1])


X, BASE = draw(0, 3, 4, 4).astype(np.float32), draw(1, 3, 4, 4).astype(np.float32)
CLOSE = {None: 2e-6, "float64": 1e-12}  # of the largest; measured 3e-7 and 5e-16


def exported(model, samples, dynamic):
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if dynamic else None
    return torch.export.export(model.eval(), (torch.from_numpy(X[:samples]),), dynamic_shapes=shapes)


FORMS = {
    "exported": lambda model: exported(model, 3, True),
    "exported for one sample": lambda model: exported(model, 1, False),
    "scripted": lambda model: torch.jit.script(model.eval()),
    "traced": lambda model: torch.jit.trace(model.eval(), torch.from_numpy(X)),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*RNN module weights.*:UserWarning")
@pytest.mark.filterwarnings("ignore:The tensor attributes.*were assigned during export:UserWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("form", FORMS)
def test_other_forms_say_the_same(form, kind, precision):
    model = Recurrent(kind)
    live = xc.explain(model, X, BASE, precision=precision).attributions.values
    other = xc.explain(FORMS[form](model), X, BASE, precision=precision).attributions.values
    np.testing.assert_allclose(other, live, rtol=0, atol=CLOSE[precision] * np.abs(live).max())


def test_no_grad_and_detach_do_not_cut():
    model = xc.explain(Recurrent(), X, BASE, precision="float64").attributions
    np.testing.assert_array_equal(xc.explain(Cut(), X, BASE, precision="float64").attributions, model)


def test_stateful_model_keeps_its_state():
    model = Stateful()
    model(torch.from_numpy(X))
    hidden = model.hidden
    before = [h.detach().clone() for h in hidden]
    with contextlib.suppress(xc.errors.ExplainError):  # a model that answers differently each time may be refused
        xc.explain(model, X, BASE)
    assert model.hidden is hidden
    assert all(torch.equal(a, b) for a, b in zip(hidden, before, strict=True))


def test_half_precision_is_explained_in_single():
    ex = xc.explain(Recurrent().bfloat16(), X, BASE)
    assert ex.attrs["dtype"] == "float32"
    assert any(note.startswith("The model computes in bfloat16") for note in ex.notes)
    assert ex.relative_residual.max() <= 1e-5


class Twice(Recurrent):
    """The same layer twice, and a head tied to its weights."""

    def forward(self, x):
        first = self.layer(x)[0]
        second = self.layer(F.pad(first, (0, 1)))[0]
        return F.linear(second[:, -1], self.layer.weight_hh_l0)


MODELS = {
    "used twice and tied": Twice,
    "weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Tanh(), nn.Flatten()
    ),
    "spectral norm": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), nn.Flatten()
    ).eval(),
}


@pytest.mark.parametrize("name", MODELS)
def test_shared_and_parametrized_weights(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    ex = xc.explain(model, X, BASE, precision="float64")
    assert ex.relative_residual.max() <= RESIDUAL
    with torch.no_grad():
        np.testing.assert_allclose(ex.prediction, model(torch.from_numpy(X)), atol=1e-6)
