"""The rule table, row by row: every operation on pairs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from reference.paired import shapley_max
from tensorflow_tools import runner_of

pytest.importorskip("tensorflow")
import tensorflow as tf
from tensorflow_rows import ROWS

from explain_core.backends.protocol import Target
from explain_core.backends.tensorflow import register_rule
from explain_core.backends.tensorflow.formulas import maximum
from explain_core.backends.tensorflow.kinds import elementwise
from explain_core.backends.tensorflow.rules import RULES
from explain_core.errors import CaptureError, UnsupportedOperation

raw = tf.raw_ops


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- The maximum
# -----------------------------------------------------------------------------------------------


def _by_all_orders(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shapley values of max, averaged over all orders in which the elements change."""
    total = np.zeros(a.size)
    for order in itertools.permutations(range(a.size)):
        now = b.copy()
        for i in order:
            before, now[i] = now.max(), a[i]
            total[i] += now.max() - before
    return total / math.factorial(a.size)


@pytest.mark.parametrize("seed", range(6))
def test_maximum_is_shared_by_shapley_values(seed):
    a, b = draw(2, 5, seed=seed).astype(float)
    b[seed % 5] = a[seed % 5]  # one element that does not change
    found = maximum.max_multipliers(tf.constant(a), tf.constant(b)).numpy()
    np.testing.assert_allclose(found * (a - b), _by_all_orders(a, b), atol=1e-14)
    np.testing.assert_allclose(found, shapley_max(a, b), atol=1e-13)


def test_maximum_with_ties():
    a, b = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0, 0.0])
    found = maximum.max_multipliers(tf.constant(a), tf.constant(b)).numpy()
    np.testing.assert_allclose(found * (a - b), _by_all_orders(a, b), atol=1e-15)
    np.testing.assert_allclose(found, shapley_max(a, b), atol=1e-15)


@pytest.mark.parametrize("seed", range(6))
def test_elements_that_tie_and_stay_share_what_one_would_have(seed):
    a, b = np.random.default_rng(seed).integers(-1, 2, (2, 6)).astype(float)
    found = maximum.max_multipliers(tf.constant(a), tf.constant(b)).numpy()
    np.testing.assert_allclose(found, shapley_max(a, b), atol=1e-15)


def test_maximum_of_many():
    a, b = draw(2, 3, 3000, seed=5).astype(np.float32)
    slopes = maximum.max_multipliers(tf.constant(a), tf.constant(b)).numpy()
    np.testing.assert_allclose((slopes * (a - b)).sum(-1), a.max(-1) - b.max(-1), atol=1e-6)
    assert np.all(slopes >= 0)


# --- The table
# -------------------------------------------------------------------------------------------------

_FILTER = {n: tf.constant(draw(*([2] * n), 3, 4, seed=9)) for n in (1, 2, 3)}
_OTHER = tf.constant(draw(4, 3, seed=8))
_TABLE = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([-1, 0, 2], [3, 1, 4], tf.int32, tf.int32), 7)
_NHWC = {"strides": [1, 1, 1, 1], "padding": "SAME"}


def _mask(x):
    return tf.cast(x > 0.2, x.dtype)


# A function of x, (N, 4, 3) and positive on request, by the row of the table that it is there for.
OPERATIONS = {
    "Acos": lambda x: tf.acos(0.2 * x),
    "Acosh": lambda x: tf.acosh(x + 6),
    "Asin": lambda x: tf.asin(0.2 * x),
    "Asinh": lambda x: tf.asinh(x),
    "Atanh": lambda x: tf.atanh(0.2 * x),
    "Digamma": lambda x: tf.math.digamma(x + 6),
    "Erfinv": lambda x: tf.math.erfinv(0.2 * x),
    "Lgamma": lambda x: tf.math.lgamma(x + 6),
    "Ndtri": lambda x: tf.math.ndtri(tf.sigmoid(x)),
    "Tan": lambda x: tf.tan(0.3 * x),
    "Abs": lambda x: raw.Abs(x=x),
    "Add": lambda x: raw.Add(x=x, y=_OTHER),
    "AddN": lambda x: raw.AddN(inputs=[x, 2 * x, x]),
    "AddV2": lambda x: x + _OTHER,
    "All": lambda x: tf.cast(tf.reduce_all(x > -1.5, axis=1), x.dtype),
    "Any": lambda x: tf.cast(tf.reduce_any(x > 0.9, axis=[1], keepdims=True), x.dtype),
    "Atan": lambda x: tf.atan(x),
    **dict.fromkeys(
        ("AsString", "StringToHashBucketFast"),
        lambda x: tf.cast(tf.strings.to_hash_bucket_fast(tf.as_string(tf.cast(4 * x, tf.int32)), 5), x.dtype),
    ),
    "Atan2": lambda x: tf.atan2(x, 2 + tf.sin(x[:, :1])) + tf.atan2(0.3, x),
    "AvgPool": lambda x: raw.AvgPool(value=x[:, None], ksize=[1, 1, 2, 1], **_NHWC),
    "AvgPool3D": lambda x: raw.AvgPool3D(
        input=x[:, None, None], ksize=[1, 1, 1, 2, 1], strides=[1] * 5, padding="SAME"
    ),
    "BatchMatMul": lambda x: raw.BatchMatMul(x=x, y=tf.transpose(x, [0, 2, 1])),
    "BatchMatMulV2": lambda x: raw.BatchMatMulV2(x=tf.tanh(x), y=tf.transpose(x, [0, 2, 1])),
    "BatchMatMulV3": lambda x: raw.BatchMatMulV3(x=x, y=tf.transpose(x, [0, 2, 1]), Tout=x.dtype),
    "BatchToSpaceND": lambda x: tf.batch_to_space(tf.space_to_batch(x, [2], [[0, 0]]), [2], [[0, 0]]),
    "BiasAdd": lambda x: tf.nn.bias_add(x, x[0, 0] * 0 + 0.5),
    "BroadcastTo": lambda x: tf.broadcast_to(x[:, :1], [3, 5, 3]),
    "Bucketize": lambda x: tf.cast(raw.Bucketize(input=x, boundaries=[-0.5, 0.0, 0.7]), x.dtype),
    "Cast": lambda x: tf.cast(x, tf.float32) + tf.cast(tf.cast(4 * x, tf.int32), tf.float32),
    "Ceil": lambda x: tf.math.ceil(3 * x),
    "ClipByValue": lambda x: raw.ClipByValue(t=x, clip_value_min=-0.5, clip_value_max=0.5),
    "ConcatV2": lambda x: tf.concat([x, 2 * x, tf.ones([3, 1, 3])], 1),
    "Conv2D": lambda x: tf.nn.conv2d(x[:, None], _FILTER[2], 1, "SAME"),
    "Conv2DBackpropInput": lambda x: tf.nn.conv2d_transpose(
        x[:, None], tf.transpose(_FILTER[2], [0, 1, 3, 2]), [3, 2, 8, 4], 2
    ),
    "Conv3D": lambda x: tf.nn.conv3d(x[:, None, None], _FILTER[3], [1] * 5, "SAME"),
    "Conv3DBackpropInputV2": lambda x: tf.nn.conv3d_transpose(
        x[:, None, None], tf.transpose(_FILTER[3], [0, 1, 2, 4, 3]), [3, 2, 2, 8, 4], 2
    ),
    "Cos": lambda x: tf.cos(x),
    "Cosh": lambda x: tf.cosh(x),
    "Cumsum": lambda x: tf.cumsum(x, 1, reverse=True),
    "DepthwiseConv2dNative": lambda x: tf.nn.depthwise_conv2d(x[:, None], _FILTER[2], [1] * 4, "SAME"),
    "MulNoNan": lambda x: tf.math.multiply_no_nan(x, tf.nn.relu(x[:, ::-1])),
    "DivNoNan": lambda x: tf.math.divide_no_nan(x, tf.nn.relu(x[:, ::-1])),
    "Einsum": lambda x: tf.einsum("nij,nkj->nik", x, tf.sin(x)) + tf.einsum("nij->ni", x)[..., None],
    "Elu": lambda x: tf.nn.elu(x),
    "Equal": lambda x: tf.cast(tf.equal(tf.round(x), tf.round(2 * x)), x.dtype),
    "Erf": lambda x: tf.math.erf(x),
    "Erfc": lambda x: tf.math.erfc(x),
    "Exp": lambda x: tf.exp(x),
    "ExpandDims": lambda x: tf.expand_dims(x, 2),
    "Expm1": lambda x: tf.math.expm1(x),
    "Floor": lambda x: tf.floor(3 * x),
    "FloorDiv": lambda x: tf.math.floordiv(4 * x, 1.5 + tf.sin(x[:, :1])) + tf.math.floordiv(x, 0.7),
    "FloorMod": lambda x: (
        tf.cast(tf.math.floormod(tf.cast(8 * x, tf.int32), 3), x.dtype)
        + x % 1.0
        + tf.math.floormod(2 * x, 1.5 + tf.sin(x[:, :1]))
    ),
    "FusedBatchNorm": lambda x: (
        raw.FusedBatchNorm(
            x=x[:, None],
            scale=[1.0, 2, 3],
            offset=[0.0, 1, 2],
            mean=[0.1, 0.2, 0.3],
            variance=[1.0, 2, 3],
            is_training=False,
        ).y
    ),
    "FusedBatchNormV3": lambda x: (
        raw.FusedBatchNormV3(
            x=x[:, None],
            scale=[1.0, 2, 3],
            offset=[0.0, 1, 2],
            mean=[0.1, 0.2, 0.3],
            variance=[1.0, 2, 3],
            is_training=False,
        ).y
    ),
    "Gather": lambda x: raw.Gather(params=tf.transpose(x, [1, 0, 2]), indices=[0, 2, 2]),
    "GatherNd": lambda x: tf.gather_nd(x, [[0, 1], [1, 0], [2, 3]]),
    "GatherV2": lambda x: tf.gather(tf.sin(x), tf.math.floormod(tf.cast(8 * x[0, :, 0], tf.int32), 4), axis=1),
    "Greater": lambda x: _mask(x),
    "GreaterEqual": lambda x: tf.cast(x >= tf.sin(x[:, ::-1]), x.dtype),
    "Inv": lambda x: raw.Inv(x=x + 4),
    "IsFinite": lambda x: tf.where(tf.math.is_finite(x), x, 0.0),
    "IsInf": lambda x: tf.where(tf.math.is_inf(x), 0.0, x),
    "IsNan": lambda x: tf.where(tf.math.is_nan(x), 0.0, x),
    "LeakyRelu": lambda x: tf.nn.leaky_relu(x, 0.3),
    "Less": lambda x: tf.cast(x < x[:, ::-1], x.dtype),
    "LessEqual": lambda x: tf.cast(tf.less_equal(tf.sin(x[:, ::-1]), x), x.dtype),
    "Log": lambda x: tf.math.log(x + 6),
    "Log1p": lambda x: tf.math.log1p(x + 6),
    "LogSoftmax": lambda x: tf.nn.log_softmax(5 * x),
    "LogicalAnd": lambda x: tf.cast((x > 0) & (x[:, ::-1] > 0.1), x.dtype),
    "LogicalNot": lambda x: tf.cast(~(x > 0), x.dtype),
    "LogicalOr": lambda x: tf.cast((x > 0) | (x[:, ::-1] > 0.1), x.dtype),
    "LookupTableFindV2": lambda x: tf.cast(_TABLE.lookup(tf.cast(4 * x, tf.int32)), x.dtype),
    "MatMul": lambda x: tf.matmul(x[0], tf.sin(x[1]), transpose_b=True),
    "MatrixBandPart": lambda x: tf.linalg.band_part(x, 1, 0),
    "MatrixDiagPartV3": lambda x: tf.linalg.diag_part(x),
    "MatrixDiagV3": lambda x: tf.linalg.diag(x),
    "Max": lambda x: tf.reduce_max(x, [0, 2], keepdims=True),
    "MaxPool": lambda x: tf.nn.max_pool2d(tf.stack([x, tf.sin(x)], 1), [2, 3], [1, 2], "SAME"),
    "MaxPool3D": lambda x: tf.nn.max_pool3d(tf.stack([x, tf.sin(x)], 1)[:, None], [1, 2, 2], 1, "VALID"),
    "Maximum": lambda x: tf.maximum(x, tf.sin(x[:, :1])) + tf.maximum(x, 0.3),
    "Mean": lambda x: tf.reduce_mean(x, [1], keepdims=True),
    "Min": lambda x: tf.reduce_min(x, 1),
    "Minimum": lambda x: tf.minimum(x, tf.sin(x[:, :1])) + tf.minimum(x, 0.3),
    "MirrorPad": lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 0]], "REFLECT"),
    "Mul": lambda x: x * tf.sin(x[:, :1]) * _OTHER,
    "Neg": lambda x: -x,
    "NotEqual": lambda x: tf.cast(tf.not_equal(tf.round(x), 0), x.dtype),
    "OneHot": lambda x: tf.one_hot(tf.cast(4 * tf.abs(x), tf.int32), 5, axis=1),
    "Pack": lambda x: tf.stack([x, tf.zeros_like(x) + 1, -x], 1),
    "Pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]]),
    "PadV2": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0]], constant_values=3.0),
    "Pow": lambda x: tf.pow(tf.exp(x), tf.sin(x[:, :1])) + tf.pow(x, 3.0) + tf.pow(2.0, x),
    "RealDiv": lambda x: x / (3 + tf.sin(x[:, :1])) + 1 / (x + 5) + x / 3,
    "Reciprocal": lambda x: tf.math.reciprocal(x + 5),
    "Relu": lambda x: tf.nn.relu(x),
    "Relu6": lambda x: tf.nn.relu6(5 * x),
    "Reshape": lambda x: tf.reshape(x, [3, -1]),
    "ResizeBilinear": lambda x: tf.image.resize(x[:, None], [2, 5]),
    "ResizeNearestNeighbor": lambda x: tf.image.resize(x[:, None], [2, 5], "nearest"),
    "ReverseSequence": lambda x: tf.reverse_sequence(x, [2, 3, 4], 1),
    "ReverseV2": lambda x: x[:, ::-1] + tf.reverse(x, [1]),
    "Rint": lambda x: tf.math.rint(3 * x),
    "Roll": lambda x: tf.roll(x, 1, 1),
    "Round": lambda x: tf.round(3 * x),
    "Rsqrt": lambda x: tf.math.rsqrt(x + 6),
    "ScatterNd": lambda x: tf.scatter_nd([[2], [0], [1]], x, [4, 4, 3]),
    "SegmentMean": lambda x: tf.reshape(tf.math.segment_mean(x, [0, 0, 1]), [2, 4, 3]),
    "SegmentSum": lambda x: tf.reshape(tf.math.segment_sum(x, [0, 0, 1]), [2, 4, 3]),
    "Select": lambda x: raw.Select(condition=x > 0, x=tf.sin(x), y=2 * x),
    "SelectV2": lambda x: tf.where(x[:, :1] > 0, tf.sin(x), 2 * x) + tf.where(_OTHER > 0, x, 0.0),
    "Selu": lambda x: tf.nn.selu(x),
    "Sigmoid": lambda x: tf.sigmoid(x),
    "Sign": lambda x: tf.sign(x),
    "Sin": lambda x: tf.sin(x),
    "Sinh": lambda x: tf.sinh(x),
    "Slice": lambda x: tf.slice(x, [0, 1, 0], [3, 2, 3]),
    "Softmax": lambda x: tf.nn.softmax(5 * x),
    "Softplus": lambda x: tf.nn.softplus(x),
    "Softsign": lambda x: tf.nn.softsign(x),
    "SpaceToBatchND": lambda x: tf.space_to_batch(x, [2], [[1, 1]]),
    "Split": lambda x: tf.split(x, 2, 1)[1],
    "SplitV": lambda x: tf.split(x, [1, 3], 1)[1],
    "Sqrt": lambda x: tf.sqrt(x + 6),
    "Square": lambda x: tf.square(x),
    "SquaredDifference": lambda x: tf.math.squared_difference(x, tf.sin(x[:, :1])),
    "Squeeze": lambda x: tf.squeeze(x[:, :1], 1),
    "StridedSlice": lambda x: x[:, 1::2, -1],
    "Sub": lambda x: x - tf.sin(x[:, :1]),
    "Sum": lambda x: tf.reduce_sum(x, [1, 2]),
    "Tanh": lambda x: tf.tanh(x),
    "TensorScatterAdd": lambda x: tf.tensor_scatter_nd_add(x, [[0], [1]], tf.sin(x[1:])),
    "TensorScatterUpdate": lambda x: tf.tensor_scatter_nd_update(x, [[0], [1]], tf.sin(x[1:])),
    "Tile": lambda x: tf.tile(x, [1, 2, 1]),
    "Transpose": lambda x: tf.transpose(x, [0, 2, 1]),
    "Unpack": lambda x: tf.unstack(x, axis=1)[2],
    "UnsortedSegmentSum": lambda x: tf.math.unsorted_segment_sum(x, [1, 0, 1], 2),
}

OPERATIONS |= ROWS


SINGLE_ONLY = ("AvgPool3D", "MaxPool3D", "ResizeBilinear")  # TensorFlow has no kernels for doubles


def test_every_row_of_the_table_is_here():
    assert set(OPERATIONS) == set(RULES)


class Weighted(tf.Module):
    """One number per model: an operation's output, weighted at random so that nothing cancels by symmetry."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def __call__(self, x):
        out = self.operation(x)
        weights = np.random.default_rng(7).normal(size=out.shape).astype(np.float32)
        return tf.reduce_sum(out * tf.cast(weights, out.dtype))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_complete(name):
    """All samples go into one number, for no rule may assume an axis of samples."""
    model = Weighted(OPERATIONS[name])
    test, base = draw(3, 4, 3, seed=1), draw(3, 4, 3, seed=2)
    target = [Target(0, (), "sum")]
    for precision, bound in (("float32", 2e-6), ("float64", 1e-13)):  # measured: at most 5e-7 and 2e-15
        runner = runner_of(model, [test], precision=precision, sample_axes=(None,))
        types = {node.type for node in runner._captured.program.nodes}
        assert name in types
        if precision == "float64" and name in SINGLE_ONLY:
            with pytest.raises(CaptureError, match="double precision"):
                runner.attribute([test], [base], target, gates=False, embeddings=False)
            return
        found = runner.attribute([test], [base], target, gates=False, embeddings=False)
        change = found.prediction - found.baseline_prediction
        gap = abs(found.attributions[0].sum(dtype=float) - float(change[0, 0]))
        assert gap <= bound * np.abs(found.attributions[0]).sum()
        same = runner.attribute([test], [test], target, gates=False, embeddings=False)
        np.testing.assert_array_equal(same.attributions[0], 0)
    np.testing.assert_allclose(found.prediction[0], model(tf.constant(test)), rtol=1e-4, atol=1e-5)


STEPS = {
    "All",
    "Any",
    "AsString",
    "Bucketize",
    "Cast",
    "Ceil",
    "Equal",
    "Floor",
    "FloorDiv",
    "FloorMod",
    "GatherV2",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LookupTableFindV2",
    "StringToHashBucketFast",
}
STEPS |= {"LogicalAnd", "LogicalNot", "LogicalOr", "NotEqual", "OneHot", "Rint", "Round", "Sign"}
SMOOTH = [name for name in OPERATIONS if name not in STEPS and name not in SINGLE_ONLY]


@pytest.mark.parametrize("name", SMOOTH)
def test_operation_tends_to_its_derivative(name):
    """With a baseline next to the input, multipliers are TensorFlow's own gradient."""
    model = Weighted(OPERATIONS[name])
    test = draw(3, 4, 3, seed=1).astype(np.float64)
    base = test + 1e-9 * draw(3, 4, 3, seed=2)
    runner = runner_of(model, [test], precision="float64", sample_axes=(None,))
    found = runner.attribute([test], [base], [Target(0, (), "sum")], gates=False, embeddings=False)
    x = tf.constant(test, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x)
    gradient = tf.convert_to_tensor(tape.gradient(y, x)).numpy()
    np.testing.assert_allclose(found.attributions[0][0, 0] / (test - base), gradient, rtol=2e-4, atol=2e-4)


def test_two_players_share_by_shapley_values():
    """Binary operations against the definition, with broadcasting on either side."""
    a, b, a_, b_ = (tf.constant(np.abs(draw(4, 3, seed=s)) + 0.1, tf.float64) for s in range(4))
    b, b_ = b[:1], b_[:1]
    truth = [lambda a, b, decide=decide: tf.cast(decide(a, b), a.dtype) for decide in (tf.greater, tf.less_equal)]
    products = tf.multiply, tf.divide, tf.maximum, tf.minimum, tf.math.squared_difference, tf.pow
    for operation in (*products, *truth):
        model = Pairwise(operation)
        runner = runner_of(model, [a.numpy(), b.numpy()], precision="float64", sample_axes=(None, None))
        rows = [t.numpy() for t in (a, b)], [t.numpy() for t in (a_, b_)]
        found = runner.attribute(*rows, [Target(0, (), "sum")], gates=False, embeddings=False).attributions
        share = (operation(a, b) - operation(a_, b) + operation(a, b_) - operation(a_, b_)) / 2
        other = (operation(a, b) - operation(a, b_) + operation(a_, b) - operation(a_, b_)) / 2
        if operation in truth:  # one that stays moves nothing: a mask that is the same is no part of the pair
            stays = operation(a, b) == operation(a_, b_)
            share, other = (tf.where(stays, tf.zeros_like(part), part) for part in (share, other))
        np.testing.assert_allclose(found[0][0, 0], share, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found[1][0, 0, 0], tf.reduce_sum(other, 0), rtol=1e-9, atol=1e-12)


def test_matrix_products_share_by_shapley_values():
    a, a_, b, b_ = (tf.constant(draw(2, 3, 3, seed=s), tf.float64) for s in range(4))
    runner = runner_of(Pairwise(tf.matmul), [a.numpy(), b.numpy()], precision="float64", sample_axes=(None, None))
    rows = [t.numpy() for t in (a, b)], [t.numpy() for t in (a_, b_)]
    found = runner.attribute(*rows, [Target(0, (), "sum")], gates=False, embeddings=False).attributions
    of_a = (a - a_) * tf.reduce_sum(b + b_, -1)[:, None] / 2
    of_b = (b - b_) * tf.reduce_sum(a + a_, -2)[..., None] / 2
    np.testing.assert_allclose(found[0][0, 0], of_a, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1][0, 0], of_b, rtol=1e-9, atol=1e-12)


class Pairwise(tf.Module):
    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def __call__(self, a, b):
        return tf.reduce_sum(self.operation(a, b))


# --- What is not in the table
# ----------------------------------------------------------------------------------


def test_unknown_operation_says_what_where_and_how_to_go_on():
    model = Weighted(lambda x: tf.math.bessel_i0e(x))
    test, base = draw(3, 4, 3, seed=1), draw(3, 4, 3, seed=2)
    runner = runner_of(model, [test], sample_axes=(None,))
    with pytest.raises(UnsupportedOperation, match="'BesselI0e'") as caught:
        runner.attribute([test], [base], [Target(0, (), "sum")], gates=False, embeddings=False)
    assert "register_rule('BesselI0e', rule)" in caught.value.hint


def test_a_rule_can_be_registered(monkeypatch):
    monkeypatch.setitem(RULES, "BesselI0e", None)  # so that it is taken out again
    model = Weighted(tf.math.bessel_i0e)
    test, base = draw(3, 4, 3, seed=1), draw(3, 4, 3, seed=2)
    register_rule("BesselI0e", elementwise(lambda a, b: (tf.math.bessel_i0e(a) - tf.math.bessel_i0e(b)) / (a - b)))
    runner = runner_of(model, [test], precision="float64", sample_axes=(None,))
    found = runner.attribute([test], [base], [Target(0, (), "sum")], gates=False, embeddings=False)
    gap = found.attributions[0].sum() - (found.prediction - found.baseline_prediction)
    assert abs(gap[0, 0]) <= 1e-13


def test_pair_where_a_rule_has_none_is_refused():
    """A scale that depends on the input makes batch normalisation something else than a linear map."""
    model = Weighted(
        lambda x: (
            raw.FusedBatchNormV3(
                x=x[:, None],
                scale=x[0, 0],
                offset=[0.0, 1, 2],
                mean=[0.1, 0.2, 0.3],
                variance=[1.0, 2, 3],
                is_training=False,
            ).y
        )
    )
    test, base = draw(3, 4, 3, seed=1), draw(3, 4, 3, seed=2)
    with pytest.raises(UnsupportedOperation, match="its input number 1"):
        runner_of(model, [test], sample_axes=(None,)).attribute(
            [test], [base], [Target(0, (), "sum")], gates=False, embeddings=False
        )


def test_training_mode_normalisation_is_refused():
    model = Weighted(
        lambda x: (
            raw.FusedBatchNormV3(
                x=x[:, None], scale=[1.0, 2, 3], offset=[0.0, 1, 2], mean=[], variance=[], is_training=True
            ).y
        )
    )
    test, base = draw(3, 4, 3, seed=1), draw(3, 4, 3, seed=2)
    with pytest.raises(UnsupportedOperation, match="as in training"):
        runner_of(model, [test], sample_axes=(None,)).attribute(
            [test], [base], [Target(0, (), "sum")], gates=False, embeddings=False
        )
