"""Methods of attribution as sets of rules: this engine's, and those that it is compared with.

`Method.rules` picks those of an operation; fused recurrent layers ask `RuleSet.slope` and `RuleSet.middle` for the
factors inside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import ClassVar

import tensorflow as tf

from ...rules.rule_set import GRADIENT, PAIRED, RESCALE_ONLY, RuleSet
from .graph import Node, Program
from .kinds import Rule
from .pairs import CREDIT, Pair, Value, attach, base, detach, difference, settle, test
from .rules import RULES

# The same for every method: token ids turn into vectors here, or into other numbers for the same thing.
_STARTS = frozenset(("Cast", "Gather", "GatherV2", "OneHot", "ResourceGather"))
_PRODUCTS = frozenset(
    (
        *("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv2DBackpropInput", "Conv3D"),
        *("Conv3DBackpropInputV2", "DepthwiseConv2dNative", "DivNoNan", "Einsum", "MatMul", "Maximum", "Minimum"),
        *("Atan2", "FloorDiv", "FloorMod", "Mul", "Pow", "RealDiv", "Select", "SelectV2", "SquaredDifference"),
        *("Cross", "Cumprod", "MulNoNan", "Prod", "SegmentProd", "UnsortedSegmentProd"),
        *("Xdivy", "Xlog1py", "Xlogy"),
    )
)


def is_exact(kind: str) -> bool:
    """Whether an operation of this type goes the same way for every method, and has no defect."""
    return kind in _STARTS or getattr(RULES.get(kind), "is_linear", False)


@dataclass(frozen=True)
class Method(RuleSet):
    """A set of rules, which also picks those of operations."""

    is_single: ClassVar[bool] = False
    """Whether it knows one run alone, and both members are the same."""

    def rules(self, program: Program, node: Node, values: Sequence[Value]) -> Sequence[Rule]:
        """Those of an operation, of which each takes what the one before gives; none where there is no rule.

        Args:
            program: which the node is of.
        """
        own = RULES.get(node.type)
        if own is None:
            return ()
        if self.point is None or is_exact(node.type) or (self.secants and node.type not in _PRODUCTS):
            return (own,)
        return (derivative,)

    @staticmethod
    def counted(test_member: tf.Tensor, base_member: tf.Tensor) -> tf.Tensor:
        """What the multiplier of a floating value is multiplied by, to be its contribution."""
        return difference(test_member, base_member)

    @staticmethod
    def mark(node: Node, results: list[Value]) -> list[Value]:
        """The results of an operation, on which is noted what only this method asks for."""
        return results


METHODS = {rules.name: Method(*astuple(rules)) for rules in (PAIRED, GRADIENT, RESCALE_ONLY)}


def derivative(node: Node, values: Sequence[Value]) -> list[Value]:
    """Any operation by TensorFlow's own derivative in the test run, which is no rule for a finite difference."""
    points = [detach(test(value)) for value in values]
    sources = [i for i, value in enumerate(values) if isinstance(value, Pair)]
    bases = node.run([base(value) for value in values])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([points[i] for i in sources])
        tests = node.run(points)

    def back(k: int, m: tf.Tensor) -> list[tf.Tensor]:
        chosen = [points[i] for i in sources]
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(tests[k], chosen, output_gradients=m, unconnected_gradients=zero)

    inputs = [values[i].test for i in sources]
    results: list[Value] = []
    for k, (t, b) in enumerate(zip(tests, bases, strict=True)):
        if not t.dtype.is_floating:
            results.append(settle(t, b, tf.zeros(t.shape, CREDIT)))
        elif sources:
            results.append(Pair(attach(inputs, t, lambda m, k=k: back(k, m)), b))
        else:
            results.append(Pair(t, b))
    return results
