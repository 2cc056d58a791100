"""Which axis of each input is time and which is the feature, as far as the traced graph says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from .. import axis_flow
from ..axis_flow import Votes
from .axis_carrying import (
    CARRYING,
    CONVOLUTIONS,
    ELEMENTWISE,
    LINEAR,
    OPEN,
    PRODUCTS,
    SEVERAL,
    TABLES,
    Flows,
    Known,
    einsum_terms,
    factors,
    shape_of,
)
from .graph import Node, Program
from .layers import mark_of


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
        return {node.outputs[0]: np.array([axis_flow.size(axis) for axis in given[0].axes], np.int32)}
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
    if node.type in SEVERAL:
        return SEVERAL[node.type](node, given, known)
    if node.type in ELEMENTWISE or node.type in LINEAR:
        shape = shape_of(node, given)
        found = axis_flow.aligned([flow for flow in given if flow], shape)
        if node.type in ELEMENTWISE:
            votes.combined(found)
        return [found]
    carry = CARRYING.get(node.type)
    return [None if carry is None else carry(node, given, known)]


def _recurrent(given: Flows, votes: Votes) -> Flows:
    """A Keras layer: gives its last output, all of them, and its states."""
    x = given[0]
    if x is None:
        return []
    votes.say(x.axes[1], "time")
    votes.say(x.axes[2], "feature")
    return [None, x]


def _say_convolution(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    """A convolution over one axis is one over two, of which one was put in for it."""
    x = given[0]
    if x is None or x.rank != 4:
        return
    is_last = node.attribute("data_format") == b"NHWC"
    spatial, channels = ((1, 2), 3) if is_last else ((2, 3), 1)
    new = [axis for axis in spatial if not axis_flow.sources(x.axes[axis])]
    if len(new) == 1 and axis_flow.size(x.axes[new[0]]) == 1:
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
    a, b = factors(node, given)
    if a is not None and b is not None:
        votes.say_scores(a, b)


def _say_einsum(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    terms = einsum_terms(node)
    flows = [flow for flow in given if flow]
    if terms is not None and not node.parts and len(given) == len(flows) == 2:
        votes.say_contracted(*terms, flows)


def _say_table(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    if node.type == "OneHot" and given[0] is not None:
        votes.say_ids(given[0])
    elif given[0] is None and given[1] is not None:
        votes.say_ids(given[1])


def _say_running(node: Node, given: Flows, known: Known, votes: Votes) -> None:
    axis = known[1]
    if given[0] is not None and axis is not None:
        votes.say(given[0].axes[int(axis)], "time", sure=False)


_SAYING: dict[str, Callable[[Node, Flows, Known, Votes], None]] = {
    **dict.fromkeys(CONVOLUTIONS, _say_convolution),
    **dict.fromkeys(PRODUCTS, _say_product),
    **dict.fromkeys(TABLES, _say_table),
    **dict.fromkeys(("Cumsum", "Cumprod"), _say_running),
    "Einsum": _say_einsum,
    "TensorListFromTensor": _say_loop,
}
"""What says which axis is which; recurrent Keras layers are `_recurrent`."""
