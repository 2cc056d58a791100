"""The table from ATen operation to rule: one row an operation, nothing else.

Rows are looked up as ``name.overload`` first and ``name`` second. An operation with no row that PyTorch itself defines
through simpler ones is taken apart (`interpreter`); any other is an `UnsupportedOperation`.
"""

from __future__ import annotations

import torch

from explain_core.backends.torch import (
    attention,
    complex_numbers,
    distances,
    groups,
    orders,
    pooling,
    scans,
    truths,
    views,
)
from explain_core.backends.torch import compositions as composed
from explain_core.backends.torch import normalisations as norms
from explain_core.backends.torch.formulas import secants, two_players
from explain_core.backends.torch.kinds import (
    Bilinear,
    Comparison,
    Composed,
    Given,
    Linear,
    Lookup,
    Maximum,
    Pick,
    Position,
    Product,
    Recurrent,
    Refused,
    Rescale,
    Rule,
    Same,
    TwoPlayers,
)
from explain_core.backends.torch.pairs import Pair, leaves_of
from explain_core.backends.torch.recurrent import layers as recurrent
from explain_core.backends.torch.writes import Overwrite, place

aten = torch.ops.aten

_LINEAR_IN_ALL = [
    "add", "sub", "subtract", "rsub", "neg", "negative", "positive", "clone", "contiguous", "alias", "lift_fresh_copy",
    "to_dense", "view", "view_as", "_unsafe_view", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "squeeze",
    "unsqueeze", "expand", "expand_as", "broadcast_to", "permute", "transpose", "movedim", "moveaxis", "swapaxes",
    "swapdims", "t", "numpy_T", "mT", "mH", "adjoint", "slice", "narrow", "select", "split", "split_with_sizes",
    "chunk", "tensor_split", "hsplit", "vsplit", "unbind", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes",
    "unfold", "diagonal", "diag", "diag_embed", "tril", "triu", "cat", "concat", "concatenate", "stack", "hstack",
    "vstack", "dstack", "column_stack", "flip", "fliplr", "flipud", "roll", "rot90", "repeat", "tile", "sum", "mean",
    "cumsum", "nansum", "trace", "sum_to_size", "pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d",
    "replication_pad1d", "replication_pad2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "_adaptive_avg_pool2d", "upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d",
    "upsample_bicubic2d", "upsample_nearest3d", "upsample_trilinear3d", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
    "avg_pool3d", "adaptive_avg_pool3d", "_adaptive_avg_pool3d", "reflection_pad3d", "replication_pad3d",
    "diagonal_scatter", "pixel_shuffle", "im2col", "col2im", "diff",
]  # fmt: skip

_OF_COMPLEX = [
    "view_as_real", "view_as_complex", "complex", "real", "imag", "conj", "_conj", "conj_physical", "_conj_physical",
    "resolve_conj", "resolve_neg", "_neg_view", "_fft_r2c", "_fft_c2r", "_fft_c2c",
    *(f"fft_{way}{kind}fft{axes}" for way in ("", "i") for kind in ("", "r", "h") for axes in ("", "2", "n")),
    "fft_fftshift", "fft_ifftshift",
]  # fmt: skip

_WITH_CONSTANT_INDEX = {
    "gather": 2, "take": 1, "take_along_dim": 1, "masked_select": 1,
    "_unsafe_index": 1, "index_add": 2, "scatter_add": 2, "masked_scatter": 1, "repeat_interleave": 1,
    "slice_scatter": 2, "select_scatter": 3, "stft": 4, "istft": 4,
    "grid_sampler": 1, "grid_sampler_2d": 1, "grid_sampler_3d": 1, "_sparse_mm": 0, "slice_backward": 1,
    "cholesky_solve": 1, "linalg_solve_triangular": 0, "triangular_solve": 1, "linalg_solve": 0, "_linalg_solve_ex": 0,
    "linalg_solve_ex": 0,
}  # fmt: skip

_OVERWRITTEN = {"index_copy": 2, "index_fill": 2, "scatter": 2}

_PRODUCTS = {
    "matmul": (0, 1), "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "vdot": (0, 1), "inner": (0, 1),
    "outer": (0, 1), "ger": (0, 1), "kron": (0, 1), "linear": (0, 1), "bilinear": (0, 1, 2), "tensordot": (0, 1),
    "linalg_vecdot": (0, 1), "linalg_matmul": (0, 1), "cross": (0, 1), "linalg_cross": (0, 1),
    "addmm": (1, 2), "addmv": (1, 2), "addbmm": (1, 2), "baddbmm": (1, 2), "addr": (1, 2),
    "conv1d": (0, 1), "conv2d": (0, 1), "conv3d": (0, 1), "convolution": (0, 1), "_convolution": (0, 1),
    "conv_transpose1d": (0, 1), "conv_transpose2d": (0, 1), "conv_transpose3d": (0, 1),
    "conv_tbc": (0, 1),
}  # fmt: skip

_ELEMENTWISE = {
    "tanh": secants.tanh, "sigmoid": secants.sigmoid, "relu": secants.relu, "relu6": secants.relu6,
    "leaky_relu": secants.leaky_relu,
    "elu": secants.elu, "selu": secants.selu, "celu": secants.celu, "gelu": secants.gelu, "silu": secants.silu,
    "mish": secants.mish, "log_sigmoid": secants.log_sigmoid,
    "softplus": lambda a, b, beta=1.0, threshold=20.0: secants.softplus(a, b, beta, threshold),
    "hardtanh": lambda a, b, low=-1.0, high=1.0: secants.clamp(a, b, low, high),
    "hardsigmoid": secants.hardsigmoid, "hardswish": secants.hardswish, "hardshrink": secants.hardshrink,
    "softshrink": secants.softshrink, "threshold": secants.threshold, "abs": secants.absolute,
    "absolute": secants.absolute, "clamp": secants.clamp, "clip": secants.clamp,
    "clamp_min": lambda a, b, low: secants.clamp(a, b, low, None),
    "clamp_max": lambda a, b, high: secants.clamp(a, b, None, high),
    "exp": secants.exp, "exp2": secants.exp2, "expm1": secants.exp, "log": secants.log, "log2": secants.log2,
    "log10": secants.log10, "log1p": secants.log1p, "sqrt": secants.sqrt, "rsqrt": secants.rsqrt,
    "square": secants.square, "reciprocal": secants.reciprocal, "sin": secants.sin, "cos": secants.cos,
    "tan": secants.tan, "atan": secants.atan, "arctan": secants.atan, "sinh": secants.sinh, "cosh": secants.cosh,
    "asinh": secants.asinh, "erf": secants.erf, "special_erf": secants.erf, "erfc": secants.erfc,
    "special_expit": secants.sigmoid, "special_expm1": secants.exp, "pow.Tensor_Scalar": secants.power,
    "asin": secants.asin, "arcsin": secants.asin, "acos": secants.acos, "arccos": secants.acos, "acosh": secants.acosh,
    "arccosh": secants.acosh, "atanh": secants.atanh, "arctanh": secants.atanh, "arcsinh": secants.asinh,
    "logit": secants.logit, "special_logit": secants.logit, "erfinv": secants.erfinv, "special_erfinv": secants.erfinv,
    "lgamma": secants.lgamma, "special_gammaln": secants.lgamma, "digamma": secants.digamma,
    "special_digamma": secants.digamma, "special_psi": secants.digamma, "sinc": secants.sinc,
    "special_sinc": secants.sinc, "special_exp2": secants.exp2, "special_erfc": secants.erfc,
    "special_log1p": secants.log1p, "special_entr": secants.entropy,
}  # fmt: skip

_STEPS = [
    "gt", "ge", "lt", "le", "eq", "ne", "greater", "greater_equal", "less", "less_equal", "not_equal", "logical_and",
    "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "__and__",
    "__or__", "__xor__", "sign", "sgn", "floor", "ceil", "round", "trunc", "fix", "floor_divide", "heaviside", "isnan",
    "isinf", "isfinite", "signbit",
]  # fmt: skip

_SHAPES = [
    "size", "sym_size", "sym_stride", "sym_numel", "sym_storage_offset", "stride", "numel", "dim", "is_contiguous",
    "is_floating_point", "is_complex", "zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones",
    "new_empty", "new_full", "new_empty_strided", "is_same_size", "result_type", "device", "layout",
    "_assert_tensor_metadata",  # in exports, before a change of dtype
]  # fmt: skip

_MAXIMUM = TwoPlayers(two_players.maximum, two_players.maximum)
_MINIMUM = TwoPlayers(two_players.minimum, two_players.minimum)
_ANGLE = TwoPlayers(two_players.atan2_numerator, two_players.atan2_denominator)
_XLOGY = TwoPlayers(two_players.xlogy_number, two_players.xlogy_logarithm)

_TWO_PLAYERS = {
    "maximum": _MAXIMUM, "max.other": _MAXIMUM, "fmax": _MAXIMUM,
    "minimum": _MINIMUM, "min.other": _MINIMUM, "fmin": _MINIMUM,
    "pow": TwoPlayers(two_players.power_base, two_players.power_exponent),
    "atan2": _ANGLE, "arctan2": _ANGLE, "xlogy": _XLOGY, "special_xlogy": _XLOGY,
    "special_xlog1py": TwoPlayers(two_players.xlog1py_number, two_players.xlog1py_logarithm),
    "copysign": TwoPlayers(two_players.copysign_number, two_players.copysign_sign),
    "remainder": TwoPlayers(two_players.remainder_number, two_players.remainder_divisor),
    "fmod": TwoPlayers(two_players.fmod_number, two_players.fmod_divisor),
}  # fmt: skip

_COMPOSED_PRODUCTS = {
    "mul": composed.multiply, "multiply": composed.multiply, "div": composed.divide, "divide": composed.divide,
    "true_divide": composed.divide, "where": composed.where, "masked_fill": composed.masked_fill,
    "einsum": composed.einsum, "prod": scans.prod, "cumprod": scans.cumprod,
}  # fmt: skip

_COMPOSED = {
    "softmax": composed.softmax, "_softmax": lambda ops, x, dim, half: composed.softmax(ops, x, dim),
    "log_softmax": composed.log_softmax, "_log_softmax": lambda ops, x, dim, half: composed.log_softmax(ops, x, dim),
    "logsumexp": composed.logsumexp, "logcumsumexp": scans.logcumsumexp, "cummax": scans.cummax, "cummin": scans.cummin,
    "layer_norm": norms.layer_norm, "rms_norm": norms.rms_norm,
    "group_norm": norms.group_norm, "instance_norm": norms.instance_norm, "batch_norm": norms.batch_norm,
    "var.correction": norms.variance, "std.correction": norms.standard_deviation,
    "linalg_vector_norm": distances.vector_norm, "scaled_dot_product_attention": attention.attention,
    "hypot": distances.hypot, "_cdist_forward": distances.cdist, "cdist": distances.cdist, "pdist": distances.pdist,
    "_pdist_forward": distances.pdist, "dist": distances.dist, "cov": distances.covariance,
    "corrcoef": distances.correlation, "var_mean.correction": norms.variance_and_mean,
    "std_mean.correction": norms.deviation_and_mean, "native_layer_norm": norms.native_layer_norm,
    "native_group_norm": norms.native_group_norm, "native_batch_norm": norms.native_batch_norm,
    "_native_batch_norm_legit_no_training": norms.batch_norm_in_evaluation,
    "logaddexp": composed.logaddexp, "logaddexp2": composed.logaddexp2,
    "ldexp": composed.ldexp, "scatter_reduce": groups.scatter_reduce, "scatter.reduce": groups.scatter_with,
    "scatter.value_reduce": groups.scatter_value_reduce, "index_reduce": groups.index_reduce,
    "bincount": groups.bincount, "embedding_bag": groups.embedding_bag, "_embedding_bag": groups.bag_with_padding,
    "_embedding_bag_forward_only": groups.bag_with_padding, "rrelu": composed.rrelu,
    "glu": composed.glu, "lerp": composed.lerp, "addcmul": composed.addcmul, "addcdiv": composed.addcdiv,
    "clamp.Tensor": composed.clamp_tensor, "clip.Tensor": composed.clamp_tensor,
    "clamp_min.Tensor": lambda ops, x, low: composed.clamp_tensor(ops, x, low),
    "clamp_max.Tensor": lambda ops, x, high: composed.clamp_tensor(ops, x, None, high),
    "dropout": composed.dropout, "feature_dropout": composed.dropout, "alpha_dropout": composed.dropout,
    "feature_alpha_dropout": composed.dropout, "dropout_": composed.dropout, "feature_dropout_": composed.dropout,
    "alpha_dropout_": composed.dropout, "feature_alpha_dropout_": composed.dropout, "rrelu_": composed.rrelu,
    "max_pool1d": pooling.max_pool, "max_pool2d": pooling.max_pool, "max_pool3d": pooling.max_pool,
    "max_pool1d_with_indices": pooling.max_pool_with_indices,
    "max_pool2d_with_indices": pooling.max_pool_with_indices, "adaptive_max_pool1d": pooling.adaptive_max_pool,
    "adaptive_max_pool2d": pooling.adaptive_max_pool, "adaptive_max_pool3d": pooling.adaptive_max_pool,
    "max_pool3d_with_indices": pooling.max_pool_with_indices, "to": composed.to, "_to_copy": composed.to,
    "type_as": composed.type_as, "detach": lambda ops, x: x, "data": lambda ops, x: x,
    "polar": complex_numbers.polar,
    "_transformer_encoder_layer_fwd": attention.transformer_encoder_layer,
    "_native_multi_head_attention": attention.native_multi_head_attention,
}  # fmt: skip

_REFUSED = {
    **dict.fromkeys(
        ["unique_dim", "_unique", "_unique2", "unique_consecutive", "unique_dim_consecutive"],
        "which values are different from one another decides the shape of the result",
    ),
    **dict.fromkeys(["nanmedian", "nanquantile"], "an order that leaves out what is not a number has no rule"),
    **dict.fromkeys(
        [f"fake_quantize_per_{of}_affine{kind}" for of in ("tensor", "channel") for kind in ("", "_cachemask")]
        + ["_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "fused_moving_avg_obs_fake_quant"],
        "a simulated quantization (fake_quantize) rounds to steps, and has no rule; explain the model without it",
    ),
    "linalg_matrix_exp": "the exponential of an explained matrix has no exact rule",
    "mode": "the most frequent value is no function with finite steps of its values",
    "histc": "counts of values between bounds have no rule",
}  # fmt: skip

_GIVEN = {
    "copy": lambda ops, x, source, non_blocking=False: source, "fill": lambda ops, x, value: value,
    "zero": lambda ops, x: 0.0,
}  # fmt: skip

_RECURRENT = {
    "lstm.input": recurrent.lstm, "lstm.data": recurrent.lstm_packed, "lstm_cell": recurrent.lstm_cell,
    "gru.input": recurrent.gru, "gru.data": recurrent.gru_packed, "gru_cell": recurrent.gru_cell,
    "rnn_tanh.input": recurrent.rnn_tanh, "rnn_tanh.data": recurrent.rnn_tanh_packed,
    "rnn_relu.input": recurrent.rnn_relu, "rnn_relu.data": recurrent.rnn_relu_packed,
    "rnn_tanh_cell": recurrent.rnn_tanh_cell, "rnn_relu_cell": recurrent.rnn_relu_cell,
}  # fmt: skip

RULES: dict[str, Rule] = {
    **{name: Linear() for name in (*_LINEAR_IN_ALL, *_OF_COMPLEX)},
    **{name: Linear(constant=(at,)) for name, at in _WITH_CONSTANT_INDEX.items()},
    **{name: Overwrite(constant=(at,)) for name, at in _OVERWRITTEN.items()},
    **{name: Bilinear(factors) for name, factors in _PRODUCTS.items()},
    **{name: Rescale(secant) for name, secant in _ELEMENTWISE.items()},
    **{name: Comparison() for name in _STEPS},
    **{name: Same() for name in _SHAPES},
    **{name: Composed(function) for name, function in _COMPOSED.items()},
    **{name: Product(function) for name, function in _COMPOSED_PRODUCTS.items()},
    **{name: Given(function) for name, function in _GIVEN.items()},
    **{name: Recurrent(function) for name, function in _RECURRENT.items()},
    **_TWO_PLAYERS,
    "pow.Scalar": Rescale(secants.exponential, argument=1),
    "rsub.Scalar": Linear(),
    "any": truths.any_of,
    "all": truths.all_of,
    "bucketize": truths.bucketize,
    "searchsorted": truths.searchsorted,
    **{name: Refused(why) for name, why in _REFUSED.items()},
    "index": Pick(Linear(constant=(1,)), Lookup(ids=1)),
    "index_select": Pick(Linear(constant=(2,)), Lookup(ids=2)),
    "index_put": Product(composed.index_put),
    "_unsafe_index_put": place,
    "put": place,
    "linalg_lu_solve": Linear(constant=(0, 1)),
    **{name: Rescale(composed.prelu_secant, explained=composed.prelu) for name in ("prelu", "_prelu_kernel")},
    "view.dtype": Composed(views.view_dtype),
    "as_strided": views.Strided(),
    "embedding": Lookup(ids=1),
    "one_hot": Lookup(ids=0),
    "amax": Maximum(),
    "amin": Maximum(sign=-1),
    "max": Maximum(),
    "min": Maximum(sign=-1),
    "max.dim": Maximum(indices=True),
    "min.dim": Maximum(sign=-1, indices=True),
    "sort": orders.sort,
    "topk": orders.topk,
    "kthvalue": orders.kthvalue,
    "median": orders.median,
    "quantile": orders.quantile,
    "angle": Comparison(),
    "argsort": Position(),
    "argmax": Position(),
    "argmin": Position(),
}
"""Rule by ATen operation name (without ``aten::``), or ``name.overload``."""


def register_rule(name: str, rule: Rule) -> None:
    """Give an operation a rule, or replace one.

    Args:
        name: the operation as errors name it, without ``aten::``: ``"erfinv"``, or ``"pow.Scalar"`` for one overload.
            Operations of another namespace keep it: ``"mylib::gate"``.
        rule: one of the kinds, e.g. ``Rescale(secant)`` with ``secant(a, b)`` the difference quotient of an
            elementwise function, or ``Linear()``; or any callable ``rule(ops, op, args, kwargs)``.
    """
    RULES[name] = rule


def find_rule(op: torch._ops.OpOverload) -> Rule | None:
    """The rule of an operation, if it has one."""
    name = op._schema.name.removeprefix("aten::")
    return RULES.get(f"{name}.{op._schema.overload_name or 'default'}") or RULES.get(name)


def for_numbers(rule: Rule, op: torch._ops.OpOverload, arguments: tuple) -> Rule:
    """The rule, or what stands in its place where an argument is complex."""
    values = (v.test if isinstance(v, Pair) else v for v in leaves_of(arguments))
    if not any(v.is_complex() if isinstance(v, torch.Tensor) else isinstance(v, complex) for v in values):
        return rule
    name = op._schema.name.removeprefix("aten::")
    return complex_numbers.rule_for(name, op._schema.overload_name, rule, find_rule(op))
