"""How operations carry the axes of their inputs to those of their results.

Of an operation that is not in these tables, what comes out is not followed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import axis_flow
from ..axis_flow import Atom, Flow
from .graph import Node

OPEN = 10_007  # stands for the number of samples, where the graph leaves it open; small, for sizes are multiplied

Flows = list[Flow | None]
Known = list[np.ndarray | None]
"""The whole numbers that an input is, where they are known when the graph is made."""

Carry = Callable[[Node, Flows, Known], Flow | None]

LINEAR = frozenset(("Add", "AddV2", "AddN", "Sub", "Neg", "Cast", "Identity", "StopGradient", "BiasAdd", "ZerosLike"))
ELEMENTWISE = frozenset(
    (
        *("Mul", "RealDiv", "Div", "DivNoNan", "Maximum", "Minimum", "Pow", "SquaredDifference", "Mod", "FloorMod"),
        *("Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Erfc"),
        *("Exp", "Expm1", "Log", "Log1p", "Sqrt", "Rsqrt", "Square", "Abs", "Sign", "Sin", "Cos", "Sinh", "Cosh"),
        *("Select", "SelectV2", "ClipByValue", "Floor", "Ceil", "Round", "Rint", "Reciprocal", "Xdivy", "Xlogy"),
        *("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual"),
        *("LogicalAnd", "LogicalOr", "LogicalNot", "IsNan", "IsFinite", "Asinh", "Acosh", "Atan", "Tan", "MulNoNan"),
    )
)

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "Any", "All", "EuclideanNorm")
TABLES = ("Gather", "GatherV2", "ResourceGather", "OneHot")
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")


def _static(node: Node, output: int = 0) -> list[int | None] | None:
    shape = node.operation.outputs[output].shape
    return None if shape.rank is None else list(shape)


def shape_of(node: Node, given: Flows) -> list[int]:
    """The shape of an elementwise result; an open size is that of what is followed."""
    shape = _static(node)
    if shape is None:
        shape = [None] * max(flow.rank for flow in given if flow)
    backs = range(len(shape), 0, -1)
    of_given = (
        max((axis_flow.size(f.axes[-back]) for f in given if f and f.rank >= back), default=OPEN) for back in backs
    )
    return [own if size is None else size for size, own in zip(shape, of_given, strict=True)]


def _kept(node: Node, given: Flows, known: Known) -> Flow | None:
    """Axes that stay where they are, with other sizes."""
    x, shape = given[0], _static(node)
    if x is None or (shape is not None and len(shape) != x.rank):
        return None
    sizes = [
        axis_flow.size(axis) if size is None else size
        for axis, size in zip(x.axes, shape or [None] * x.rank, strict=True)
    ]
    return Flow(axis_flow.sized(x.axes, sizes), x.picked)


def _reshaped(node: Node, given: Flows, known: Known) -> Flow | None:
    x, shape = given[0], _static(node)
    if known[1] is not None:
        shape = [None if size < 0 else int(size) for size in known[1]]
    if x is None or shape is None or shape.count(None) > 1:
        return None
    rest = int(np.prod([size for size in shape if size is not None]))
    total = int(np.prod([axis_flow.size(axis) for axis in x.axes], dtype=object))
    return axis_flow.regrouped(x, [total // rest if size is None else size for size in shape])


def _permuted(node: Node, given: Flows, known: Known) -> Flow | None:
    x, order = given[0], known[1]
    return None if x is None or order is None else Flow(tuple(x.axes[axis] for axis in order), x.picked)


def _expanded(node: Node, given: Flows, known: Known) -> Flow | None:
    x, axis = given[0], known[1]
    return None if x is None or axis is None else axis_flow.with_new(x, int(axis))


def _squeezed(node: Node, given: Flows, known: Known) -> Flow | None:
    x = given[0]
    assert x is not None  # its one input
    gone = [axis % x.rank for axis in node.attribute("squeeze_dims")] or [
        axis for axis in range(x.rank) if axis_flow.size(x.axes[axis]) == 1
    ]
    return Flow(tuple(axis for a, axis in enumerate(x.axes) if a not in gone), x.picked)


def _reduced(node: Node, given: Flows, known: Known) -> Flow | None:
    x, over = given[0], known[1]
    if x is None or over is None:
        return None
    if node.attribute("keep_dims"):
        return _kept(node, given, known)
    gone = [int(axis) % x.rank for axis in np.ravel(over)]
    return Flow(tuple(axis for a, axis in enumerate(x.axes) if a not in gone), x.picked)


def _sliced(node: Node, given: Flows, known: Known) -> Flow | None:
    """``x[:, 3]`` and every other slice."""
    x = given[0]
    first, last, steps = (known[number] for number in (1, 2, 3))
    if x is None or first is None or last is None or steps is None:
        return None
    has = {
        name: [bool(node.attribute(f"{name}_mask") >> i & 1) for i in range(len(first))]
        for name in ("begin", "ellipsis", "new_axis", "shrink_axis")
    }
    spared = sum(not new for new, rest in zip(has["new_axis"], has["ellipsis"], strict=True) if not rest)
    at, found = 0, x
    for i in range(len(first)):
        if has["ellipsis"][i]:
            at += x.rank - spared
        elif has["new_axis"][i]:
            found, at = axis_flow.with_new(found, at), at + 1
        elif has["shrink_axis"][i]:
            found = axis_flow.picked(found, at, int(first[i]) % axis_flow.size(found.axes[at]))
        else:
            size = axis_flow.size(found.axes[at])
            is_one = not has["begin"][i] and last[i] - first[i] == 1 and size > 1
            found, at = axis_flow.picked(found, at, int(first[i]) % size, keep=True) if is_one else found, at + 1
    return _kept(node, [found], known)


def _gathered(node: Node, given: Flows, known: Known) -> Flow | None:
    """Rows of a table by ids, or positions of an axis."""
    table, ids = given[0], given[1]
    shape = _static(node)
    if ids is not None and table is None:
        return axis_flow.with_new(ids, ids.rank, Atom(shape[-1] if shape and shape[-1] else 1))
    position = known[1]
    axis = known[2] if node.type == "GatherV2" else 0
    if table is None or position is None or axis is None:
        return None
    if position.ndim == 0:
        return axis_flow.picked(table, int(axis), int(position) % axis_flow.size(table.axes[int(axis)]))
    return _kept(node, given, known) if position.ndim == 1 else None


def _one_hot(node: Node, given: Flows, known: Known) -> Flow | None:
    shape = _static(node)
    return axis_flow.with_new(given[0], given[0].rank, Atom(shape[-1] or 1)) if given[0] and shape else None


def _stacked(node: Node, given: Flows, known: Known) -> Flow | None:
    like = next(flow for flow in given if flow)
    axis = node.attribute("axis") % (like.rank + 1)
    sizes = [axis_flow.size(a) for a in like.axes]
    return axis_flow.stacked(given, axis, [*sizes[:axis], len(given), *sizes[axis:]])


def _joined(node: Node, given: Flows, known: Known) -> Flow | None:
    parts, axis = given[:-1], known[len(given) - 1]
    flows = [flow for flow in parts if flow]
    if axis is None or any(flow.rank != flows[0].rank for flow in flows):
        return None
    axis = int(axis) % flows[0].rank
    sizes = [axis_flow.size(a) for a in flows[0].axes]
    static = _static(node)
    sizes[axis] = (static[axis] if static else None) or sizes[axis]
    if len(flows) == len(parts) > 1 and all(axis_flow.size(flow.axes[axis]) == 1 for flow in flows):
        return axis_flow.stacked([axis_flow.without(flow, axis) for flow in flows], axis, sizes)
    return axis_flow.aligned(flows, sizes)


def factors(node: Node, given: Flows) -> list[Flow | None]:
    flags = ("transpose_a", "transpose_b") if node.type == "MatMul" else ("adj_x", "adj_y")
    return [
        axis_flow.turned(flow) if flow and node.attribute(flag) else flow
        for flow, flag in zip(given, flags, strict=False)
    ]


def _matmul(node: Node, given: Flows, known: Known) -> Flow | None:
    a, b = factors(node, given)
    if a is not None and b is not None:
        rank = max(a.rank, b.rank)
        batch = _static(node) or [None] * rank
        of = [f for f in (a, b) if f.rank == rank]
        sizes = [size or max(axis_flow.size(f.axes[i]) for f in of) for i, size in enumerate(batch[:-2])]
        return axis_flow.product(a, b, [*sizes, axis_flow.size(a.axes[-2]), axis_flow.size(b.axes[-1])])
    return _kept(node, [a or b], known)


def einsum_terms(node: Node) -> tuple[list[str], str] | None:
    equation = node.attribute("equation").decode()
    left, _, result = equation.partition("->")
    return None if "." in equation else (left.split(","), result)


def _einsum(node: Node, given: Flows, known: Known) -> Flow | None:
    if not any(given):
        return None
    flows = dict(zip(node.inputs, given, strict=True))
    for part in node.parts:  # of several operands, one product after another
        flows[part.outputs[0]] = _einsum(part, [flows[slot] for slot in part.inputs], known)
    if node.parts:
        return flows[node.outputs[0]]
    terms = einsum_terms(node)
    if terms is None:
        return None
    return axis_flow.contracted(*terms, given, _static(node) or [None] * len(terms[1]))


def _parts(node: Node, given: Flows, known: Known) -> Flows:
    """``tf.split``: parts of one axis."""
    of_axis = {"Split": 0, "SplitV": 2}[node.type]
    x, axis = given[1 if node.type == "Split" else 0], known[of_axis]
    if x is None or axis is None:
        return []
    axis, count = int(axis) % x.rank, len(node.outputs)
    sizes = [(_static(node, i) or [None] * x.rank)[axis] for i in range(count)]
    if all(size == 1 for size in sizes) and count > 1:
        return [axis_flow.picked(x, axis, i, keep=True) for i in range(count)]
    changed = [(*x.axes[:axis], (Atom(s or 1, axis_flow.sources(x.axes[axis])),), *x.axes[axis + 1 :]) for s in sizes]
    return [Flow(axes, x.picked) for axes in changed]


def _unstacked(node: Node, given: Flows, known: Known) -> Flows:
    x = given[0]
    assert x is not None  # its one input
    return [axis_flow.picked(x, node.attribute("axis"), i) for i in range(len(node.outputs))]


CARRYING: dict[str, Carry] = {
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "Cumsum", "Cumprod", "ReverseV2", "CumulativeLogsumexp", "Pad", "PadV2", "MirrorPad"),
        _kept,
    ),
    **dict.fromkeys(("Slice", "Tile", "BroadcastTo", "FusedBatchNormV3", "CheckNumerics", "Roll"), _kept),
    **dict.fromkeys((*CONVOLUTIONS, "Conv3D", "MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"), _kept),
    **dict.fromkeys(("SpaceToBatchND", "BatchToSpaceND", "EnsureShape", "PreventGradient"), _kept),
    **dict.fromkeys(REDUCTIONS, _reduced),
    **dict.fromkeys(PRODUCTS, _matmul),
    **dict.fromkeys(("Gather", "GatherV2", "ResourceGather"), _gathered),
    "OneHot": _one_hot,
    "Reshape": _reshaped,
    "Transpose": _permuted,
    "ExpandDims": _expanded,
    "Squeeze": _squeezed,
    "StridedSlice": _sliced,
    "Pack": _stacked,
    "ConcatV2": _joined,
    "Einsum": _einsum,
}
"""By operation, how the axes of its inputs become those of its result."""

SEVERAL: dict[str, Callable[[Node, Flows, Known], Flows]] = {
    **dict.fromkeys(("Split", "SplitV"), _parts),
    "Unpack": _unstacked,
    "IdentityN": lambda node, given, known: given,
}
"""The same for operations with several results."""
