"""Which axis of each input is time and which is the feature, as far as the traced graph says.

Operations that only carry axes along are in a table; of one that is not there, what comes out is not followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from .. import axis_flow
from ..axis_flow import Atom, Flow, Votes
from .graph import Node, Program
from .layers import mark_of

OPEN = 10_007  # stands for the number of samples, where the graph leaves it open; small, for sizes are multiplied

Flows = list[Flow | None]
Known = list[np.ndarray | None]
Carry = Callable[[Node, Flows, Known], Flow | None]


def axis_names(
    program: Program,
    explained: Sequence[bool],
    shapes: Sequence[Sequence[int | None]],
    sample_axes: Sequence[int | None],
) -> tuple[tuple[str | None, ...], ...]:
    """Names of the axes of each input, in the layout of the model; see `Votes.names`.

    Args:
        program: of the captured model; its first arguments are the inputs.
        explained: which inputs are.
        shapes: of all inputs; None for a number of samples that is left open.
    """
    known = [[OPEN if size is None else size for size in shape] for shape in shapes]
    votes = Votes(known, sample_axes)
    starts: Flows = [
        axis_flow.start(leaf, shape) if is_explained else None
        for leaf, (shape, is_explained) in enumerate(zip(known, explained, strict=True))
    ]
    _follow(program, starts, votes)
    return votes.names()


def _follow(program: Program, starts: Flows, votes: Votes) -> Flows:
    """What comes out of a program, or of a function that it calls."""
    flows = dict(zip(program.arguments, starts, strict=False))
    numbers: dict[int, np.ndarray] = {}  # whole numbers that are written into the graph, or computed from shapes
    for node in program.nodes:
        given = [flows.get(slot) for slot in node.inputs]
        known = [numbers.get(slot) for slot in node.inputs]
        numbers |= _computed(node, given, known)
        if any(given):
            flows |= zip(node.outputs, _carried(program, node, given, known, votes), strict=False)
    return [flows.get(slot) for slot in program.results]


def _computed(node: Node, given: Flows, known: Known) -> dict[int, np.ndarray]:
    """The result of an operation on shapes, where it is one."""
    if len(node.outputs) != 1 or node.operation.outputs[0].dtype not in (tf.int32, tf.int64):
        return {}
    if node.type == "Shape" and given[0] is not None:
        return {node.outputs[0]: np.array([_size(axis) for axis in given[0].axes], np.int32)}
    if node.type not in _ON_SHAPES or any(value is None for value in known):
        return {}
    return {node.outputs[0]: node.run([tf.constant(value) for value in known])[0].numpy()}


_ON_SHAPES = ("Const", "GatherV2", "Prod", "Pack", "ConcatV2", "StridedSlice", "Mul", "Identity", "Maximum", "FloorDiv")


def _carried(program: Program, node: Node, given: Flows, known: Known, votes: Votes) -> Flows:
    if node.type in ("PartitionedCall", "StatefulPartitionedCall"):
        name = node.attribute("f").name
        if mark_of(name) is None:
            return _follow(program.function(name), given, votes)
        return _recurrent(given, votes)
    if node.type in _SAYING:
        _SAYING[node.type](node, given, known, votes)
    if node.type in _SEVERAL:
        return _SEVERAL[node.type](node, given, known)
    if node.type in _ELEMENTWISE or node.type in _LINEAR:
        shape = _shape(node, given)
        found = axis_flow.aligned([flow for flow in given if flow], shape)
        if node.type in _ELEMENTWISE:
            votes.combined(found)
        return [found]
    carry = _CARRYING.get(node.type)
    return [None if carry is None else carry(node, given, known)]


def _size(axis: axis_flow.Axis) -> int:
    return int(np.prod([atom.size for atom in axis]))


def _static(node: Node, output: int = 0) -> list[int | None] | None:
    shape = node.operation.outputs[output].shape
    return None if shape.rank is None else list(shape)


def _shape(node: Node, given: Flows) -> list[int]:
    """The shape of an elementwise result; an open size is that of what is followed."""
    shape = _static(node)
    if shape is None:
        shape = [None] * max(flow.rank for flow in given if flow)
    for at, size in enumerate(shape):
        back = len(shape) - at
        if size is None:
            shape[at] = max((_size(f.axes[-back]) for f in given if f and f.rank >= back), default=OPEN)
    return shape


def _recurrent(given: Flows, votes: Votes) -> Flows:
    """A Keras layer: gives its last output, all of them, and its states."""
    x = given[0]
    if x is None:
        return []
    votes.say(x.axes[1], "time")
    votes.say(x.axes[2], "feature")
    return [None, x]


def _kept(node: Node, given: Flows, known: Known) -> Flow | None:
    """Axes that stay where they are, with other sizes."""
    x, shape = given[0], _static(node)
    if x is None or (shape is not None and len(shape) != x.rank):
        return None
    sizes = [_size(axis) if size is None else size for axis, size in zip(x.axes, shape or [None] * x.rank, strict=True)]
    return Flow(axis_flow.sized(x.axes, sizes), x.picked)


def _reshaped(node: Node, given: Flows, known: Known) -> Flow | None:
    x, shape = given[0], _static(node)
    if known[1] is not None:
        shape = [None if size < 0 else int(size) for size in known[1]]
    if x is None or shape is None or shape.count(None) > 1:
        return None
    rest = int(np.prod([size for size in shape if size is not None]))
    total = int(np.prod([_size(axis) for axis in x.axes], dtype=object))
    return axis_flow.regrouped(x, [total // rest if size is None else size for size in shape])


def _permuted(node: Node, given: Flows, known: Known) -> Flow | None:
    x, order = given[0], known[1]
    return None if x is None or order is None else Flow(tuple(x.axes[axis] for axis in order), x.picked)


def _expanded(node: Node, given: Flows, known: Known) -> Flow | None:
    x, axis = given[0], known[1]
    return None if x is None or axis is None else axis_flow.with_new(x, int(axis))


def _squeezed(node: Node, given: Flows, known: Known) -> Flow | None:
    x = given[0]
    gone = [axis % x.rank for axis in node.attribute("squeeze_dims")] or [
        axis for axis in range(x.rank) if _size(x.axes[axis]) == 1
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
            found = axis_flow.picked(found, at, int(first[i]) % _size(found.axes[at]))
        else:
            size = _size(found.axes[at])
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
        return axis_flow.picked(table, int(axis), int(position) % _size(table.axes[int(axis)]))
    return _kept(node, given, known) if position.ndim == 1 else None


def _one_hot(node: Node, given: Flows, known: Known) -> Flow | None:
    shape = _static(node)
    return axis_flow.with_new(given[0], given[0].rank, Atom(shape[-1] or 1)) if given[0] and shape else None


def _stacked(node: Node, given: Flows, known: Known) -> Flow | None:
    known = next(flow for flow in given if flow)
    axis = node.attribute("axis") % (known.rank + 1)
    sizes = [_size(a) for a in known.axes]
    return axis_flow.stacked(given, axis, [*sizes[:axis], len(given), *sizes[axis:]])


def _joined(node: Node, given: Flows, known: Known) -> Flow | None:
    parts, axis = given[:-1], known[len(given) - 1]
    flows = [flow for flow in parts if flow]
    if axis is None or any(flow.rank != flows[0].rank for flow in flows):
        return None
    axis = int(axis) % flows[0].rank
    sizes = [_size(a) for a in flows[0].axes]
    static = _static(node)
    sizes[axis] = (static[axis] if static else None) or sizes[axis]
    if len(flows) == len(parts) > 1 and all(_size(flow.axes[axis]) == 1 for flow in flows):
        return axis_flow.stacked([axis_flow.without(flow, axis) for flow in flows], axis, sizes)
    return axis_flow.aligned(flows, sizes)


def _turned(flow: Flow | None, is_turned: bool) -> Flow | None:
    if flow is None or not is_turned:
        return flow
    return Flow((*flow.axes[:-2], flow.axes[-1], flow.axes[-2]), flow.picked)


def _factors(node: Node, given: Flows) -> list[Flow | None]:
    flags = ("transpose_a", "transpose_b") if node.type == "MatMul" else ("adj_x", "adj_y")
    return [_turned(flow, node.attribute(flag)) for flow, flag in zip(given, flags, strict=False)]


def _matmul(node: Node, given: Flows, known: Known) -> Flow | None:
    a, b = _factors(node, given)
    if a is not None and b is not None:
        rank = max(a.rank, b.rank)
        batch = _static(node) or [None] * rank
        of = [f for f in (a, b) if f.rank == rank]
        sizes = [size or max(_size(f.axes[i]) for f in of) for i, size in enumerate(batch[:-2])]
        return axis_flow.product(a, b, [*sizes, _size(a.axes[-2]), _size(b.axes[-1])])
    return _kept(node, [a or b], known)


def _terms(node: Node) -> tuple[list[str], str] | None:
    equation = node.attribute("equation").decode()
    left, _, result = equation.partition("->")
    return None if "." in equation else (left.split(","), result)


def _einsum(node: Node, given: Flows, known: Known) -> Flow | None:
    terms = _terms(node)
    if terms is None:
        return None
    where: dict[str, list[Flow]] = {}
    for term, flow in zip(terms[0], given, strict=True):
        for letter, axis in zip(term, flow.axes if flow else (), strict=False):
            where.setdefault(letter, []).append(Flow((axis,)))
    flows = [flow for flow in given if flow]
    gone = frozenset().union(
        *(axis_flow.sources(f.axes[0]) for letter, found in where.items() if letter not in terms[1] for f in found)
    )
    static = _static(node) or [None] * len(terms[1])
    axes = []
    for letter, size in zip(terms[1], static, strict=True):
        found = where.get(letter)
        if found:
            axes.append(axis_flow.aligned(found, [size or _size(found[0].axes[0])]).axes[0])
        else:  # the weight's own axis, in place of what was summed over
            axes.append((Atom(size or 1, gone if len(flows) == 1 else frozenset()),))
    return Flow(tuple(axes), axis_flow.merged(*(flow.picked for flow in flows)))


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
    return [axis_flow.picked(given[0], node.attribute("axis"), i) for i in range(len(node.outputs))]


def _say_convolution(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    """A convolution over one axis is one over two, of which one was put in for it."""
    x = given[0]
    if x is None or x.rank != 4:
        return
    is_last = node.attribute("data_format") == b"NHWC"
    spatial, channels = ((1, 2), 3) if is_last else ((2, 3), 1)
    new = [axis for axis in spatial if not axis_flow.sources(x.axes[axis])]
    if len(new) == 1 and _size(x.axes[new[0]]) == 1:
        votes.say(x.axes[next(axis for axis in spatial if axis != new[0])], "time")
        votes.say(x.axes[channels], "feature")


def _say_loop(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    """A tensor taken apart for a loop over its first axis."""
    x = given[0]
    if x is not None and x.rank > 1 and not votes.is_sample(x.axes[0]):
        votes.say(x.axes[0], "time")
        if x.rank == 3:
            votes.say(x.axes[-1], "feature")


def _say_product(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    """Scores of every position with every other of one axis: attention."""
    a, b = _factors(node, given)
    if a is not None and b is not None:
        rows = axis_flow.sources(a.axes[-2])
        if rows and rows == axis_flow.sources(b.axes[-1]):
            votes.say_pairwise(a.axes[-2], a.axes[-1])


def _say_einsum(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    terms = _terms(node)
    if terms is None or len(given) != 2 or not all(given):
        return
    own = [dict(zip(term, flow.axes, strict=True)) for term, flow in zip(terms[0], given, strict=True)]
    summed = [c for c in own[0] if c in own[1] and c not in terms[1]]
    for row in (c for c in own[0] if c not in own[1]):
        for column in (c for c in own[1] if c not in own[0]):
            same = axis_flow.sources(own[0][row])
            if summed and same and same == axis_flow.sources(own[1][column]):
                votes.say_pairwise(own[0][row], own[0][summed[-1]])


def _say_table(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    """Ids in a row are steps; a table of one axis after that of the samples."""
    ids = given[0] if node.type == "OneHot" else given[1]
    is_table = node.type == "OneHot" or given[0] is None
    if ids is not None and is_table and not ids.picked:
        others = [axis for axis in ids.axes if axis_flow.sources(axis) and not votes.is_sample(axis)]
        if len(others) == 1:
            votes.say(others[0], "time", sure=False)


def _say_running(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    axis = known[1]
    if given[0] is not None and axis is not None:
        votes.say(given[0].axes[int(axis)], "time", sure=False)


_LINEAR = frozenset(("Add", "AddV2", "AddN", "Sub", "Neg", "Cast", "Identity", "StopGradient", "BiasAdd", "ZerosLike"))
_ELEMENTWISE = frozenset(
    (
        *("Mul", "RealDiv", "Div", "DivNoNan", "Maximum", "Minimum", "Pow", "SquaredDifference", "Mod", "FloorMod"),
        *("Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Erfc"),
        *("Exp", "Expm1", "Log", "Log1p", "Sqrt", "Rsqrt", "Square", "Abs", "Sign", "Sin", "Cos", "Sinh", "Cosh"),
        *("Select", "SelectV2", "ClipByValue", "Floor", "Ceil", "Round", "Rint", "Reciprocal", "Xdivy", "Xlogy"),
        *("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual"),
        *("LogicalAnd", "LogicalOr", "LogicalNot", "IsNan", "IsFinite", "Asinh", "Acosh", "Atan", "Tan"),
    )
)

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "Any", "All", "EuclideanNorm")
_TABLES = ("Gather", "GatherV2", "ResourceGather", "OneHot")

_SAYING: dict[str, Callable[[Node, Flows, Known, Votes], None]] = {
    **dict.fromkeys(_CONVOLUTIONS, _say_convolution),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _say_product),
    **dict.fromkeys(_TABLES, _say_table),
    **dict.fromkeys(("Cumsum", "Cumprod"), _say_running),
    "Einsum": _say_einsum,
    "TensorListFromTensor": _say_loop,
}
"""What says which axis is which; recurrent Keras layers are `_recurrent`."""

_CARRYING: dict[str, Carry] = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "Cumsum", "Cumprod", "ReverseV2", "Pad", "PadV2", "MirrorPad"), _kept),
    **dict.fromkeys(("Slice", "Tile", "BroadcastTo", "FusedBatchNormV3", "CheckNumerics", "Roll"), _kept),
    **dict.fromkeys((*_CONVOLUTIONS, "Conv3D", "MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"), _kept),
    **dict.fromkeys(("SpaceToBatchND", "BatchToSpaceND", "EnsureShape", "PreventGradient"), _kept),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matmul),
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

_SEVERAL: dict[str, Callable[[Node, Flows, Known], Flows]] = {
    **dict.fromkeys(("Split", "SplitV"), _parts),
    "Unpack": _unstacked,
    "IdentityN": lambda node, given, known: given,
}
"""The same for operations with several results."""
