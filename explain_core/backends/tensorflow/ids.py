"""Which inputs are ids, those that end up as rows to look up in a table of floats; and ids that have no row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from ..ids import OutsideTableError, require_in_type, require_whole
from .graph import Node, Program
from .pairs import Value, base, is_paired, test

# What an id may go through and still be one. Comparisons make masks of it, and most arithmetic a number.
_ON_THE_WAY = frozenset(
    (
        "AddV2",
        "AsString",
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
        "StringToHashBucketFast",
        "Tile",
        "Transpose",
        "Unpack",
    )
)
_LOOK_UPS = {"Gather": 1, "GatherV2": 1, "LookupTableFindV2": 1, "OneHot": 0, "ResourceGather": 1}
_FUNCTIONS = {
    "PartitionedCall": "f",
    "StatefulPartitionedCall": "f",
    "While": "body",
    "StatelessWhile": "body",
}


# What a float may go through and still be the value that was given.
_ROUNDING = frozenset(("Ceil", "Floor", "Rint", "Round"))
_UNCHANGED = (_ON_THE_WAY - {"AddV2", "AsString", "Select", "SelectV2", "StringToHashBucketFast"}) | _ROUNDING


def are_ids(program: Program, argument: int) -> bool:
    """Whether the program's argument of that number is looked up in a table, here or in a function it calls."""
    return _are_looked_up(program, {program.arguments[argument]})


def _are_looked_up(program: Program, slots: set[int]) -> bool:
    reached = set(slots)
    for node in program.nodes:
        hits = [position for position, slot in enumerate(node.inputs) if slot in reached]
        if not hits:
            continue
        is_look_up = _LOOK_UPS.get(node.type) in hits
        if is_look_up and node.operation.outputs[0].dtype.is_floating:
            return True
        if node.type in _FUNCTIONS and any(are_ids(_called(program, node), position) for position in hits):
            return True
        if node.type in _ON_THE_WAY or is_look_up:  # a table of integers may give ids of other ids
            reached.update(node.outputs)
    return False


def cuts_of_ids(program: Program, argument: int) -> set[tf.Operation]:
    """Where the numbers of an argument become those of a type of whole numbers, which are then looked up."""
    reached, found, rounding = {program.arguments[argument]}, set(), set()
    for node in program.nodes:
        hits = [position for position, slot in enumerate(node.inputs) if slot in reached]
        if not hits:
            continue
        if node.type in _FUNCTIONS:
            for position in hits:
                found |= cuts_of_ids(_called(program, node), position)
        elif node.type == "Cast" and node.operation.outputs[0].dtype.is_integer:
            if _are_looked_up(program, set(node.outputs)):
                found.add(node.operation)
        elif node.type in _UNCHANGED:
            reached.update(node.outputs)
            rounding |= {node.operation} if node.type in _ROUNDING else set()
    return found | rounding if found else found


def counts_from_the_end(program: Program) -> set[tf.Operation]:
    """Where negative ids are read as Python reads indices, ``where(i < 0, i + rows, i)``, as Keras does."""
    return set(_from_the_end(program))


def _from_the_end(program: Program) -> Iterator[tf.Operation]:
    made = {slot: node for node in program.nodes for slot in node.outputs}
    for node in program.nodes:
        if node.type in _FUNCTIONS:
            yield from _from_the_end(_called(program, node))
        if node.type not in ("Select", "SelectV2") or not node.operation.outputs[0].dtype.is_integer:
            continue
        condition, moved = (made.get(slot) for slot in node.inputs[:2])
        if condition is None or moved is None or (condition.type, moved.type) != ("Less", "AddV2"):
            continue
        if condition.inputs[0] == moved.inputs[0] == node.inputs[2]:
            yield node.operation


def require_in_table(node: Node, values: Sequence[Value]) -> None:
    """Before a look-up: every id has a row, in both members. A GPU would take zeros for it.

    Raises:
        OutsideTableError: one has none.
    """
    table, ids, *axis = values
    if not test(table).dtype.is_floating:
        return
    first = int(axis[0]) if axis else 0
    batch = node.operation.get_attr("batch_dims") if "batch_dims" in node.operation.node_def.attr else 0
    if not batch:
        _require_rows(ids, int(test(table).shape[first]))


def require_not_negative(values: Sequence[Value]) -> None:
    """Before ids are counted from the end: none is negative, since there is no such row.

    Raises:
        OutsideTableError: one is.
    """
    _, moved, ids = values
    for of in (test, base):
        rows = np.max(of(moved) - of(ids), initial=0)
        _require_rows(of(ids), int(rows), negative=True)


def _require_rows(ids: Value, rows: int, negative: bool = False) -> None:
    for of in (test, base) if is_paired(ids) else (test,):
        values = np.asarray(of(ids))
        if values.size and (values.min() < 0 or (values.max() >= rows and not negative)):
            raise OutsideTableError(int(values.min() if values.min() < 0 else values.max()), rows)


def require_kept(node: Node, value: Value, name: str) -> None:
    """Before an input is cut to ids: they are the numbers that were given, in both members.

    Raises:
        InputError: one has a fraction, or there is no such number in the type of the ids.
    """
    kind = node.operation.outputs[0].dtype
    for member, of in (("input", test), ("baseline", base)):
        values = np.asarray(of(value))
        require_whole(values, name, member)
        if kind.is_integer:
            require_in_type(values, np.dtype(kind.as_numpy_dtype), name, member)


def _called(program: Program, node: Node) -> Program:
    return program.function(node.attribute(_FUNCTIONS[node.type]).name)
