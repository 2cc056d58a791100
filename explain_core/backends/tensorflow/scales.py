"""What a value may be divided by: a statistic made by reducing over an axis, or the inverse of one.

`rules.statistics` has the multipliers of a quotient by one. Keras writes its normalisations as products with ``Rsqrt``,
whose terms are then centred; a pair carries whether it is a statistic, or the inverse of one, so that they come to the
same as a quotient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import wraps

import numpy as np
import tensorflow as tf

from ..divisors import NEXT_TO_NOTHING, WorstDivisors
from ..protocol import Divisor
from ..provenance import INVERSE, NEUTRAL, OTHER, STATISTIC, carried, divided, reduced, upside_down
from .formulas import statistics
from .graph import Node
from .kinds import Rule, binary, carries
from .pairs import Discrete, Pair, Value, is_paired, of_kind

_REDUCTIONS = frozenset(
    (
        *("AvgPool", "AvgPool3D", "CumulativeLogsumexp", "Cumprod", "Cumsum", "EuclideanNorm", "Max", "MaxPool"),
        *("MaxPool3D", "Mean", "Min", "NthElement", "Prod", "SegmentMax", "SegmentMean", "SegmentMin", "SegmentProd"),
        *("SegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN", "SparseSegmentSum", "Sum", "TopKV2"),
        *("UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd", "UnsortedSegmentSum"),
    )
)
_PRODUCTS = frozenset(
    ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv3D", "Cross", "Einsum")
)
_UPSIDE_DOWN = frozenset(("Rsqrt", "Inv", "Reciprocal"))
_DIVISIONS = frozenset(("RealDiv", "Div", "DivNoNan"))
_OF_STATISTICS = frozenset(
    (
        *("Cast", "FloorDiv", "FloorMod", "FusedBatchNorm", "FusedBatchNormV3", "Gather", "GatherV2", "LogSoftmax"),
        *("Select", "SelectV2", "Softmax", "TensorScatterMax", "TensorScatterMin"),
    )
)
"""What makes a statistic of one besides the rules that move values, and those that go element by element."""


def _of_denominator(a: tf.Tensor, a_base: tf.Tensor, b: tf.Tensor, b_base: tf.Tensor) -> tf.Tensor:
    y, y_base = tf.math.divide_no_nan(a, b), tf.math.divide_no_nan(a_base, b_base)
    return statistics.denominator(y, y_base, b, b_base)


_by_statistic = binary(lambda a, a_, b, b_: statistics.numerator(b, b_), _of_denominator)
_times_inverse = binary(lambda a, a_, r, r_: statistics.factor(r, r_), statistics.inverse)
_inverse_times = binary(
    lambda r, r_, a, a_: statistics.inverse(a, a_, r, r_), lambda r, r_, a, a_: statistics.factor(r, r_)
)


def finite(plain: Rule) -> Rule:
    """``Rsqrt`` with the smallest number in place of 0, where Keras cuts off the infinity afterwards.

    A secant to infinity is infinite and that of the cut is 0; between finite numbers their product is right.
    """

    @wraps(plain)
    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        (value,) = values
        if isinstance(value, Pair) and value.test.dtype.is_floating:
            kind = value.test.dtype
            least = tf.constant(4 * float(np.finfo(kind.as_numpy_dtype).tiny), kind)
            test, base = (tf.where(member == 0, member + least, member) for member in (value.test, value.base))
            value = replace(value, test=test, base=base)
        return plain(node, [value])

    return rule


def product(plain: Rule) -> Rule:
    """A product, which is a quotient where one factor is the inverse of a statistic."""

    @wraps(plain)
    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        inverse = [_is(value, INVERSE) for value in values]
        if sum(inverse) != 1 or not all(isinstance(value, Pair) for value in values):
            return plain(node, values)
        return (_inverse_times if inverse[0] else _times_inverse)(node, values)

    return rule


def quotient(plain: Rule) -> Rule:
    """A quotient, which may be one by a statistic."""

    @wraps(plain)
    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        by_statistic = isinstance(values[0], Pair) and _is(values[1], STATISTIC)
        return (_by_statistic if by_statistic else plain)(node, values)

    return rule


def _is(value: Value, kind: str) -> bool:
    return isinstance(value, Pair) and value.kind == kind


def mark(node: Node, rule: Rule, values: Sequence[Value], results: list[Value]) -> list[Value]:
    """The results, on which it is noted whether they are a statistic, or the inverse of one."""
    return of_kind(_kind(node, rule, values), results)


def _kind(node: Node, rule: Rule, values: Sequence[Value]) -> str:
    if node.type in ("Gather", "GatherV2") and isinstance(values[1], Discrete):
        return OTHER  # the rows of ids
    paired = [value for value in values if is_paired(value)]
    kinds = [value.kind for value in paired]
    if node.type in _REDUCTIONS:
        return reduced(kinds)
    if node.type in _PRODUCTS:
        is_sum = node.type == "Einsum" and len(values) == 1
        return STATISTIC if len(paired) > 1 or is_sum else OTHER
    if node.type in _UPSIDE_DOWN or _is_negative_power(node, values):
        return upside_down(carried(kinds))
    if node.type in _DIVISIONS:
        return divided(*(value.kind if is_paired(value) else NEUTRAL for value in values))
    return carried(kinds) if carries(rule) or node.type in _OF_STATISTICS else OTHER


def _is_negative_power(node: Node, values: Sequence[Value]) -> bool:
    return node.type == "Pow" and isinstance(values[1], tf.Tensor) and bool(tf.reduce_all(values[1] < 0))


class Divisors(WorstDivisors):
    """Where the baseline is divided by next to nothing, beside what the input is divided by."""

    def look(self, node: Node, values: Sequence[Value]) -> None:
        """Look at what an operation divides by."""
        negative = _is_negative_power(node, values)
        place = 1 if node.type in _DIVISIONS else 0 if node.type in _UPSIDE_DOWN or negative else None
        by = None if place is None else values[place]
        if not isinstance(by, Pair):
            return
        test, base = (np.abs(member.numpy().astype(float)).ravel() for member in (by.test, by.base))
        power = 0.5 if node.type == "Rsqrt" else float(abs(tf.reduce_max(values[1]))) if negative else 1.0
        ratio = np.divide(base, test, out=np.full(test.shape, np.inf), where=test > 0)
        if not (ratio**power < NEXT_TO_NOTHING).any():
            return
        least = int(ratio.argmin())
        numbers = float(test[least] ** power), float(base[least] ** power)
        self.add(Divisor(node.place, node.type, *numbers, by.kind == STATISTIC))
