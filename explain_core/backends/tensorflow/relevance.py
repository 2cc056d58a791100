"""Layer-wise relevance propagation on TensorFlow's operations; `explain_core.rules.relevance` has the rules.

It runs on pairs of which both members are the same, so that nothing differs that a model decides or masks by, and its
multipliers are multiplied by the values themselves. What there is no rule for is taken by its slope.

A graph has one operation for a product and another for its bias, where the rules know one sum. So sums that only go
into additions are held by ε there.
"""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import numpy as np
import tensorflow as tf

from ...errors import UnsupportedOperation
from ...rules.relevance import BIASES, SLOPES, STABILIZER, Relevance, is_constant_signal
from ..protocol import LedgerTrace
from ..provenance import GATE, INVERSE
from . import arrays, lists
from .arrays import weighed
from .graph import Node, Program
from .interpreter import ALIASES
from .kinds import Rule, marked, refuse
from .ledger import Ledger
from .methods import Method, derivative
from .pairs import Discrete, Elements, Pair, Value, attach, base, detach, is_paired, of_kind, test, unbroadcast
from .recurrent import Fused, FusedLayer
from .rules import OF_SHAPE, RULES

_ADDITIONS = frozenset(("Add", "AddN", "AddV2", "BiasAdd", "Sub"))
_SUMS = _ADDITIONS | frozenset((
    "AvgPool", "AvgPool3D", "Cumsum", "FusedBatchNorm", "FusedBatchNormV3", "Mean", "SegmentMean", "SegmentSum",
    "SparseSegmentMean", "SparseSegmentSqrtN", "SparseSegmentSum", "Sum", "TensorScatterAdd", "TensorScatterSub",
    "UnsortedSegmentSum",
))  # fmt: skip
"""Linear operations that add; all others only move, scale or turn values, which no ε has to hold."""

_SUMS_OF_PRODUCTS = frozenset((
    "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2",
    "Cross", "DepthwiseConv2dNative", "Einsum", "MatMul",
))  # fmt: skip
_PRODUCTS = frozenset(("Mul", "MulNoNan"))
_QUOTIENTS = frozenset(("DivNoNan", "RealDiv", "Xdivy"))

_GATES = frozenset(("Sigmoid", "Softmax"))
"""What gives a share between 0 and 1, besides a clip between them."""

_LETTING_THROUGH = (GATE, INVERSE)
"""Factors that say how much of another is let through: shares, and one over statistics."""

_BY_SLOPE = frozenset((
    "Ceil", "CumulativeLogsumexp", "Cumprod", "EuclideanNorm", "Floor", "FloorDiv", "FloorMod", "LogSoftmax", "Max",
    "MaxPool", "MaxPool3D", "Min", "NthElement", "Prod", "Rint", "Round", "SegmentMax", "SegmentMin", "SegmentProd",
    "Sign", "Softmax", "TensorScatterMax", "TensorScatterMin", "TopKV2", "UnsortedSegmentMax", "UnsortedSegmentMin",
    "UnsortedSegmentProd",
))  # fmt: skip
"""What is taken by its slope, which for those that choose a value is that the chosen has all."""

_AS_NUMBERS = "token ids are used as numbers here, which have no relevance of their own"


@dataclass(frozen=True)
class RelevanceMethod(Relevance, Method):
    """The rules of relevance propagation, and those of operations."""

    is_single: ClassVar[bool] = True
    _added: dict[int, frozenset[int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def rules(self, program: Program, node: Node, values: Sequence[Value]) -> Sequence[Rule]:
        """See `Method.rules`."""
        kind, own = node.type, RULES.get(node.type)
        if own is None:
            return ()
        if any(isinstance(value, Discrete) for value in values):
            if any(isinstance(value, Pair) for value in values):
                raise refuse(node, _AS_NUMBERS)
            return (own,)
        if kind in _BY_SLOPE:
            return (_by_slope,)
        is_sum, is_product = kind in _SUMS, kind in _SUMS_OF_PRODUCTS
        if is_sum or is_product:
            summed = _product if is_product else own
            return (summed,) if self._is_held_later(program, node) else (summed, _held(self))
        if kind in _PRODUCTS or (kind in _QUOTIENTS and isinstance(values[0], Pair)):
            return (_product if kind in _PRODUCTS else _quotient,)
        if getattr(own, "by_element", False):
            return (_passed(self) if sum(map(is_paired, values)) == 1 else _by_slope,)
        return (own,)

    @staticmethod
    def counted(test_member: tf.Tensor, base_member: tf.Tensor) -> tf.Tensor:
        """See `Method.counted`."""
        return test_member

    @staticmethod
    def mark(node: Node, results: list[Value]) -> list[Value]:
        """Note on the results that they are gates."""
        is_gate = node.type in _GATES or _is_clip_to_shares(node.operation)
        return of_kind(GATE, results) if is_gate else results

    def _is_held_later(self, program: Program, node: Node) -> bool:
        """Whether all that reads a sum adds it to something, so that ε holds the whole of it there."""
        if id(program) not in self._added:
            self._added[id(program)] = _only_added(program)
        return self._added[id(program)].issuperset(node.outputs)


# --- rules -----------------------------------------------------------------------------------------------------------
# What one does not pass on is ``absorbed_by`` biases and constants, where it is not marked with something else.


def _held(rules: Relevance) -> Rule:
    """Sums, of whose relevance ε has its part."""

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        sums = [detach(test(value)) for value in values]
        return [_weighted(value, rules.share(arrays, y, y)) for value, y in zip(values, sums, strict=True)]

    return marked(rule, absorbed_by=STABILIZER)


def _passed(rules: Relevance) -> Rule:
    """A function of one value hands its relevance on; see `Relevance.through`."""

    def rule(node: Node, values: Sequence[Value]) -> list[Value]:
        (at,) = (number for number, value in enumerate(values) if is_paired(value))
        pair, a = values[at], detach(values[at].test)
        from_zero = [*values[:at], Pair(pair.test, tf.zeros_like(a)), *values[at + 1 :]]
        (risen,), (at_zero,) = RULES[node.type](node, from_zero), node.run([base(value) for value in from_zero])
        is_finite, y = tf.math.is_finite(at_zero), detach(risen.test)
        held = rules.share(arrays, tf.where(is_finite, at_zero, y), a)

        def back(m: tf.Tensor) -> list[tf.Tensor]:
            return [tf.where(is_finite, m, tf.zeros_like(m)), unbroadcast(weighed(m, held), a.shape)]

        return [Pair(attach([risen.test, pair.test], y, back), y)]

    return marked(rule, absorbed_by=STABILIZER)


def _by_slope(node: Node, values: Sequence[Value]) -> list[Value]:
    """By TensorFlow's own derivative, which is no share of the value."""
    return derivative(node, values)


marked(_by_slope, absorbed_by=SLOPES)


def _product(node: Node, values: Sequence[Value]) -> list[Value]:
    """Of a gate and a signal the signal has all; of several of one kind each has the same part."""
    factors = [number for number, value in enumerate(values) if is_paired(value)]
    if node.type in _PRODUCTS and _is_gate_of_constant(values):
        return node.run([detach(test(value)) for value in values])
    signals = [number for number in factors if values[number].kind not in _LETTING_THROUGH]
    return _of_signals(node, values, signals or factors)


def _is_gate_of_constant(values: Sequence[Value]) -> bool:
    """Whether a gate lets a constant signal through, so that nothing goes on."""
    gates, constants = ([v for v in values if is_paired(v) == paired] for paired in (True, False))
    if len(gates) != 1 or gates[0].kind not in _LETTING_THROUGH:
        return False
    return is_constant_signal(arrays, gates[0].test, constants[0])


def _quotient(node: Node, values: Sequence[Value]) -> list[Value]:
    """The numerator has all."""
    return _of_signals(node, values, [0])


def _of_signals(node: Node, values: Sequence[Value], signals: Sequence[int]) -> list[Value]:
    """An operation that is linear in each of its signals, given by position; what else is explained gets nothing."""
    given = [value if number in signals else detach(test(value)) for number, value in enumerate(values)]
    return [_weighted(value, 1 / len(signals)) for value in derivative(node, given)]


def _weighted(pair: Pair, weight: tf.Tensor | float) -> Pair:
    """The same pair, whose multipliers are weighted on their way back."""
    return Pair(attach([pair.test], detach(pair.test), lambda m: weighed(m, weight)), pair.base)


# --- what the graph says ---------------------------------------------------------------------------------------------


def _only_added(program: Program) -> frozenset[int]:
    """The slots that are read by additions alone, at once or from where they are moved to."""
    readers = defaultdict(list)
    for node in program.nodes:
        if node.type not in OF_SHAPE:
            for slot in node.inputs:
                readers[slot].append(node)
    found: set[int] = set()

    def adds(node: Node) -> bool:
        moves = node.type in ALIASES or (getattr(RULES.get(node.type), "is_linear", False) and node.type not in _SUMS)
        return node.type in _ADDITIONS or (moves and found.issuperset(node.outputs))

    for node in reversed(program.nodes):
        found.update(slot for slot in node.outputs if slot not in program.results and all(map(adds, readers[slot])))
    return frozenset(found)


def _is_clip_to_shares(operation: tf.Operation) -> bool:
    """Whether an operation is the last of a clip between 0 and 1, which is how hard sigmoids are written."""
    low, high = _bounds(operation)
    return low == 0 and math.isclose(high, 1, rel_tol=1e-6)


def _bounds(operation: tf.Operation) -> tuple[float, float]:
    """Between which numbers the result of a clip is, which may have been scaled; infinite for any other operation."""
    match operation.type:
        case "Relu":
            return 0.0, math.inf
        case "Relu6":
            return 0.0, 6.0
        case "ClipByValue":
            low, high = map(_number, operation.inputs[1:])
            return (-math.inf if low is None else low), (math.inf if high is None else high)
        case "Maximum" | "Minimum" | "Mul" | "RealDiv":
            first, second = operation.inputs
            if operation.type != "RealDiv" and _number(second) is None:
                first, second = second, first
            by = _number(second)
            if by is not None:
                low, high = (_APPLIED[operation.type](end, by) for end in _bounds(first.op))
                return low, high
    return -math.inf, math.inf


_APPLIED = {"Maximum": max, "Minimum": min, "Mul": operator.mul, "RealDiv": operator.truediv}


def _number(tensor: tf.Tensor) -> float | None:
    """The one number that a tensor of the graph is, or None."""
    value = tf.get_static_value(tensor)
    return None if value is None or value.size != 1 else float(value.item())


# --- the book --------------------------------------------------------------------------------------------------------


class Absorbed(Ledger):
    """The relevance that layers absorbed: what came to an operation's results, less what went on to its arguments."""

    def __init__(self, path: Callable[[str], str]) -> None:
        super().__init__(path)
        self._inside: dict[FusedLayer, dict[int, float]] = {}

    def trace(self, layers: Mapping[str, FusedLayer], targets: int) -> LedgerTrace:
        """See `Ledger.trace`: nodes are by (path, `BIASES`, `STABILIZER` or `SLOPES`).

        Outside layers the operation stands for the path.
        """
        nodes = self._by_output(targets)
        for name, layer in layers.items():
            lost, inside = layer.stabilized(), self._inside[layer]
            rest = np.array([inside[k] for k in range(targets)]) - lost
            for by, part in ((STABILIZER, lost), (BIASES, rest)):
                nodes[name, by] = nodes.get((name, by), 0.0) + part
        return LedgerTrace(nodes, {})

    def layer(self, layer: FusedLayer) -> Fused:
        """See `Ledger.layer`."""

        def run(values: list[Value]) -> list[Value]:
            if any(isinstance(value, Discrete) for value in values):
                raise UnsupportedOperation(_AS_NUMBERS, where=layer.layer.name)
            results = layer(values)
            assert results is not None  # that is of masks that differ alone
            return results

        return partial(self._watched, self._inside.setdefault(layer, defaultdict(float)), run)

    @staticmethod
    def books(kind: str) -> bool:
        """See `Ledger.books`: all that gives tensors."""
        return kind not in lists.OPERATIONS or kind in ("TensorListGather", "TensorListStack")

    def hand_on(self, state: Pair, loop: str, step: int) -> Pair:
        """See `Ledger.hand_on`; nothing is noted of states."""
        return state

    def _entry(self, node: Node, rule: Rule) -> dict[int, float]:
        place = self.around.get(node)
        path = self._path(node.place if place is None else place.loop)
        return self._of((path or node.type, getattr(rule, "absorbed_by", BIASES)))

    def _watch(self, value: Value, found: dict[int, float], sign: int) -> Value:
        if isinstance(value, Elements):
            items = (None if item is None else self._watch(item, found, sign) for item in value.items)
            return replace(value, items=tuple(items))
        return super()._watch(value, found, sign)

    @staticmethod
    def _counted(pair: Pair) -> tf.Tensor:
        return tf.cast(detach(pair.test), tf.float64)
