"""What is done with each TensorFlow operation on pairs: one row each.

``linear`` and ``movement`` leave it to TensorFlow's gradient; ``elementwise``, ``binary`` and ``bilinear``
put a multiplier in its place; the rest are functions of their own. An operation that is not here stops the
run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from . import arrays, discrete, normal, orders, pooling, products, reductions, scales, writes
from .formulas import maximum, secants, two_players
from .kinds import BinarySecant, Rule, averaged, bilinear, binary, elementwise, linear, movement, parametrised


def _mean(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return a / 2 + b / 2  # halves first: masks are made with the most negative number that there is


_product = binary(lambda a, a_, b, b_: _mean(b, b_), lambda a, a_, b, b_: _mean(a, a_))
_quotient = binary(
    lambda a, a_, b, b_: _mean(1 / b, 1 / b_),
    lambda a, a_, b, b_: _mean(a, a_) * secants.reciprocal(b, b_),
)
_safe_quotient = binary(
    lambda a, a_, b, b_: _mean(tf.math.reciprocal_no_nan(b), tf.math.reciprocal_no_nan(b_)),
    lambda a, a_, b, b_: (
        _mean(a, a_) * tf.math.divide_no_nan(tf.math.reciprocal_no_nan(b) - tf.math.reciprocal_no_nan(b_), b - b_)
    ),
)
_squared_difference = binary(lambda a, a_, b, b_: (a - b) + (a_ - b_), lambda a, a_, b, b_: (b - a) + (b_ - a_))


def _factor_of_none(a: tf.Tensor, a_: tf.Tensor, b: tf.Tensor, b_: tf.Tensor) -> tf.Tensor:
    """Multiplier of the factor by which ``MulNoNan`` hides what is no number: there all of the change is its own."""
    y, y_base = tf.math.multiply_no_nan(a, b), tf.math.multiply_no_nan(a_, b_)
    middle = _mean(a, a_) + tf.zeros_like(b)
    return tf.where(tf.math.is_finite(middle), middle, tf.math.divide_no_nan(y - y_base, b - b_ + tf.zeros_like(a)))


_safe_product = binary(
    lambda a, a_, b, b_: tf.math.multiply_no_nan(_mean(b, b_), tf.cast(tf.math.is_finite(_mean(a, a_)), a.dtype)),
    _factor_of_none,
)


def _both(first: Callable[..., tf.Tensor], second: Callable[..., tf.Tensor] | None = None) -> Rule:
    """A function of two arguments by its secants in each, with the other held."""
    return binary(averaged(first, second=False), averaged(second or first, second=True))


def _power_base(exponent: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """With one exponent as a number, for which whole ones have a form of their own."""
    one = float(tf.reshape(exponent, ())) if exponent.shape.num_elements() == 1 else exponent
    return two_players.power_base(one, a, b)


def _angle(slope: BinarySecant, *, second: bool) -> BinarySecant:
    """A multiplier of ``atan2``. Beside a zero that only changes its sign, which is no difference that a multiplier
    could meet, the other argument has the whole change.
    """

    def of(a: tf.Tensor, a_: tf.Tensor, b: tf.Tensor, b_: tf.Tensor) -> tf.Tensor:
        (moved, moved_), (held, held_) = ((b, b_), (a, a_)) if second else ((a, a_), (b, b_))
        turned = (held == held_) & (arrays.signbit(held) != arrays.signbit(held_))
        whole = (tf.atan2(a, b) - tf.atan2(a_, b_)) / (moved - moved_)
        return tf.where(turned & ~arrays.is_still(moved, moved_), whole, slope(a, a_, b, b_))

    return of


_largest_of = reductions.in_segments(maximum.max_multipliers, lambda kind: kind.min)
_smallest_of = reductions.in_segments(maximum.min_multipliers, lambda kind: kind.max)
_product_of = reductions.in_segments(products.product_multipliers, lambda kind: 1.0)


RULES: dict[str, Rule] = {
    # Data that is moved, and stays what it is
    "BatchToSpaceND": movement(0),
    "BroadcastTo": movement(0),
    "ConcatV2": movement(among=slice(None, -1)),
    "ExpandDims": movement(0),
    "GatherNd": movement(0),
    "MirrorPad": movement(0),
    "Pack": movement(),
    "Pad": movement(0),
    "PadV2": linear(0),
    "Reshape": movement(0),
    "ReverseSequence": movement(0),
    "ReverseV2": movement(0),
    "Roll": movement(0),
    "Slice": movement(0),
    "SpaceToBatchND": movement(0),
    "Split": movement(1),
    "SplitV": movement(0),
    "Squeeze": movement(0),
    "StridedSlice": movement(0),
    "TensorScatterUpdate": writes.overwrite,
    "Tile": movement(0),
    "Transpose": movement(0),
    "Unpack": movement(0),
    # Linear
    "Add": linear(),
    "AddN": linear(),
    "AddV2": linear(),
    "AvgPool": linear(0),
    "AvgPool3D": linear(0),
    "BiasAdd": linear(0, 1),
    "Cumsum": linear(0),
    "Diag": linear(0),
    "DiagPart": linear(0),
    "MatrixBandPart": linear(0),
    "MatrixDiag": linear(0),
    "MatrixDiagPart": linear(0),
    "MatrixDiagPartV3": linear(0),
    "MatrixDiagV3": linear(0),
    "MatrixSetDiag": linear(0, 1),
    "MatrixSetDiagV3": linear(0, 1),
    "Mean": linear(0),
    "Neg": linear(0),
    "ResizeBilinear": linear(0),
    "ResizeNearestNeighbor": linear(0),
    "RaggedTensorToTensor": linear(1, 2),
    "ScatterNd": linear(1),
    "SegmentMean": linear(0),
    "SegmentSum": linear(0),
    "SparseSegmentMean": linear(0),
    "SparseSegmentSqrtN": linear(0),
    "SparseSegmentSum": linear(0),
    "Sub": linear(),
    "Sum": linear(0),
    "TensorScatterAdd": linear(0, 2),
    "TensorScatterSub": linear(0, 2),
    "UnsortedSegmentSum": linear(0),
    "FusedBatchNorm": normal.batch_norm,
    "FusedBatchNormV3": normal.batch_norm,
    # Linear in each of two inputs
    "BatchMatMul": bilinear(0, 1),
    "BatchMatMulV2": bilinear(0, 1),
    "BatchMatMulV3": bilinear(0, 1),
    "Conv2D": bilinear(0, 1),
    "Conv2DBackpropInput": bilinear(1, 2),
    "Conv3D": bilinear(0, 1),
    "Conv3DBackpropInputV2": bilinear(1, 2),
    "Cross": bilinear(0, 1),
    "DepthwiseConv2dNative": bilinear(0, 1),
    "Einsum": products.multilinear,
    "MatMul": bilinear(0, 1),
    "Mul": scales.product(_product),
    # Two inputs that broadcast
    "Atan2": binary(
        _angle(averaged(two_players.atan2_numerator, second=False), second=False),
        _angle(averaged(two_players.atan2_denominator, second=True), second=True),
    ),
    "DivNoNan": scales.quotient(_safe_quotient),
    "FloorDiv": writes.corners,
    "FloorMod": _both(two_players.remainder_number, two_players.remainder_divisor),
    "Maximum": _both(two_players.maximum),
    "Minimum": _both(two_players.minimum),
    "Pow": _both(_power_base, two_players.power_exponent),
    "MulNoNan": _safe_product,
    "RealDiv": scales.quotient(_quotient),
    "SquaredDifference": _squared_difference,
    "Xdivy": _both(two_players.xdivy_number, two_players.xdivy_divisor),
    "Xlog1py": _both(two_players.xlog1py_number, two_players.xlog1py_logarithm),
    "Xlogy": _both(two_players.xlogy_number, two_players.xlogy_logarithm),
    # One input, element by element
    "Abs": elementwise(secants.absolute),
    "Acos": elementwise(secants.acos),
    "Acosh": elementwise(secants.acosh),
    "Asin": elementwise(secants.asin),
    "Asinh": elementwise(secants.asinh),
    "Atan": elementwise(secants.atan),
    "Atanh": elementwise(secants.atanh),
    "Ceil": elementwise(partial(secants.step, tf.math.ceil)),
    "ClipByValue": parametrised(secants.clamp),
    "Cos": elementwise(secants.cos),
    "Cosh": elementwise(secants.cosh),
    "Digamma": elementwise(secants.digamma),
    "Elu": elementwise(secants.elu),
    "Erf": elementwise(secants.erf),
    "Erfc": elementwise(secants.erfc),
    "Erfinv": elementwise(secants.erfinv),
    "Exp": elementwise(secants.exp),
    "Expm1": elementwise(secants.exp),
    "Floor": elementwise(partial(secants.step, tf.math.floor)),
    "Inv": elementwise(secants.reciprocal),
    "LeakyRelu": parametrised(secants.leaky_relu, "alpha"),
    "Lgamma": elementwise(secants.lgamma),
    "Log": elementwise(secants.log),
    "Log1p": elementwise(secants.log1p),
    "Ndtri": elementwise(secants.ndtri),
    "Reciprocal": elementwise(secants.reciprocal),
    "Relu": elementwise(secants.relu),
    "Relu6": elementwise(secants.relu6),
    "Rint": elementwise(partial(secants.step, tf.math.rint)),
    "Round": elementwise(partial(secants.step, tf.math.round)),
    "Rsqrt": scales.finite(elementwise(secants.rsqrt)),
    "Selu": elementwise(secants.selu),
    "Sigmoid": elementwise(secants.sigmoid),
    "Sign": elementwise(partial(secants.step, tf.math.sign)),
    "Sin": elementwise(secants.sin),
    "Sinh": elementwise(secants.sinh),
    "Softplus": elementwise(secants.softplus),
    "Softsign": elementwise(secants.softsign),
    "Sqrt": elementwise(secants.sqrt),
    "Square": elementwise(secants.square),
    "Tan": elementwise(secants.tan),
    "Tanh": elementwise(secants.tanh),
    # Over an axis
    "CumulativeLogsumexp": normal.cumulative_log_sum_exp,
    "Cumprod": products.cumprod,
    "EuclideanNorm": reductions.over_axes(reductions.norm_multipliers),
    "LogSoftmax": normal.log_softmax,
    "Max": reductions.over_axes(maximum.max_multipliers),
    "MaxPool": pooling.pool,
    "MaxPool3D": pooling.pool,
    "Min": reductions.over_axes(maximum.min_multipliers),
    "NthElement": orders.nth,
    "Prod": reductions.over_axes(products.product_multipliers),
    "Softmax": normal.softmax,
    "TopKV2": orders.top,
    # In groups by constant positions
    "SegmentMax": _largest_of,
    "SegmentMin": _smallest_of,
    "SegmentProd": _product_of,
    "TensorScatterMax": reductions.written(maximum.max_multipliers, lambda kind: kind.min),
    "TensorScatterMin": reductions.written(maximum.min_multipliers, lambda kind: kind.max),
    "UnsortedSegmentMax": _largest_of,
    "UnsortedSegmentMin": _smallest_of,
    "UnsortedSegmentProd": _product_of,
    # Ids, masks and choices
    "All": discrete.quantifier,
    "Any": discrete.quantifier,
    "AsString": discrete.elementwise_discrete,
    "ArgMax": orders.place,
    "ArgMin": orders.place,
    "Bucketize": discrete.cast,
    "Cast": discrete.cast,
    "Equal": discrete.game,
    "Gather": discrete.gather,
    "GatherV2": discrete.gather,
    "Greater": discrete.game,
    "GreaterEqual": discrete.game,
    "IsFinite": discrete.game,
    "IsInf": discrete.game,
    "IsNan": discrete.game,
    "Less": discrete.game,
    "LessEqual": discrete.game,
    "LogicalAnd": discrete.game,
    "LogicalNot": discrete.elementwise_discrete,
    "LogicalOr": discrete.game,
    "LookupTableFindV2": discrete.find,
    "NotEqual": discrete.game,
    "OneHot": discrete.one_hot,
    "Select": discrete.select,
    "SelectV2": discrete.select,
    "StringToHashBucketFast": discrete.elementwise_discrete,
}

# The shape of a pair is the same for both members, and so is what is made of it alone.
OF_SHAPE = ("Shape", "ShapeN", "Rank", "Size", "ZerosLike", "OnesLike")


def register_rule(operation: str, rule: Rule) -> None:
    """Give a TensorFlow operation a rule, or another one.

    Args:
        operation: its type, as `UnsupportedOperation` names it, for example ``"Erfinv"``.
        rule: one of the kinds in `kinds`, for example ``elementwise(secant)``, or a function that takes a
            node and
            its input values and returns the output values.
    """
    RULES[operation] = rule
