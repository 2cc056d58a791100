"""Methods of attribution as sets of rules: this engine's, and those that it is compared with.

`Method.rule` picks the rule of an operation; fused recurrent layers ask `RuleSet.slope` and `RuleSet.middle` for the
factors inside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import tensorflow as tf

from ...rules.rule_set import GRADIENT, PAIRED, RESCALE_ONLY, RuleSet
from .graph import Node
from .kinds import Rule
from .pairs import CREDIT, Pair, Value, attach, base, detach, settle, test
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

    def rule(self, kind: str) -> Rule | None:
        """The rule of an operation by its type, or None where there is none."""
        own = RULES.get(kind)
        if self.point is None or is_exact(kind) or (self.secants and kind not in _PRODUCTS):
            return own
        return derivative


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
