"""Which integer inputs are ids: those that end up as rows to look up in a table of floats."""

from __future__ import annotations

from .graph import Node, Program

# What an id may go through and still be one. Comparisons make masks of it, and most arithmetic a number.
_ON_THE_WAY = frozenset(
    (
        "AddV2",
        "BroadcastTo",
        "Cast",
        "ConcatV2",
        "ExpandDims",
        "Identity",
        "IdentityN",
        "Pack",
        "Pad",
        "Reshape",
        "ReverseV2",
        "Select",
        "SelectV2",
        "Slice",
        "Split",
        "Squeeze",
        "StopGradient",
        "StridedSlice",
        "Tile",
        "Transpose",
        "Unpack",
    )
)
_LOOK_UPS = {"Gather": 1, "GatherV2": 1, "OneHot": 0, "ResourceGather": 1}
_FUNCTIONS = {
    "PartitionedCall": "f",
    "StatefulPartitionedCall": "f",
    "While": "body",
    "StatelessWhile": "body",
}


def are_ids(program: Program, argument: int) -> bool:
    """Whether the program's argument of that number is looked up in a table, here or in a function it calls."""
    reached = {program.arguments[argument]}
    for node in program.nodes:
        hits = [position for position, slot in enumerate(node.inputs) if slot in reached]
        if not hits:
            continue
        if _LOOK_UPS.get(node.type) in hits and node.operation.outputs[0].dtype.is_floating:
            return True
        if node.type in _FUNCTIONS and any(are_ids(_called(program, node), position) for position in hits):
            return True
        if node.type in _ON_THE_WAY:
            reached.update(node.outputs)
    return False


def _called(program: Program, node: Node) -> Program:
    return program.function(node.attribute(_FUNCTIONS[node.type]).name)
