"""Masks that a model makes of its input: steps that hold one value throughout are left out, as by Keras's `Masking`."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from ..protocol import OwnMask
from .graph import Node, Program

# What a value may go through and still be the value that was given, step by step.
_UNCHANGED = frozenset(("Cast", "Identity", "IdentityN", "StopGradient"))
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def own_mask(program: Program, argument: int, are_ids: bool) -> OwnMask | None:
    """The mask that the model makes of its argument of that number; None where it makes none.

    `Masking` compares numbers (sample, time, feature) with one value and takes any that differs along the last axis;
    ``Embedding(mask_zero=True)`` compares ids (sample, time) with 0.
    """
    own = {program.arguments[argument]}
    found = list(dict.fromkeys(_masks(program, own, own, are_ids)))
    if not found:
        return None
    return OwnMask(found[0] if len(found) == 1 else None)


def _masks(program: Program, same: set[int], made: set[int], are_ids: bool) -> Iterator[float | None]:
    """The value of the steps that each mask leaves out; None for a mask of what was computed.

    Args:
        same: slots that hold the argument itself.
        made: slots that hold anything made of it.
    """
    same, made = set(same), set(made)
    any_of = {node.inputs[0] for node in program.nodes if node.type == "Any" and _is_along_the_last(node)}
    for node in program.nodes:
        hits = [position for position, slot in enumerate(node.inputs) if slot in made]
        if not hits:
            continue
        if node.type == "NotEqual" and hits == [0]:
            value = tf.get_static_value(node.operation.inputs[1])
            is_mask = node.operation.inputs[0].shape.rank == 2 if are_ids else node.outputs[0] in any_of
            if is_mask and value is not None and value.size == 1:
                yield float(value.item()) if node.inputs[0] in same else None
        if node.type in _CALLS:
            inner = program.function(node.attribute("f").name)
            yield from _masks(
                inner,
                {inner.arguments[p] for p in hits if node.inputs[p] in same},
                {inner.arguments[p] for p in hits},
                are_ids,
            )
        if node.type in _UNCHANGED and node.inputs[0] in same:
            same.update(node.outputs)
        made.update(node.outputs)


def _is_along_the_last(node: Node) -> bool:
    values, axes = node.operation.inputs
    axes = tf.get_static_value(axes)
    return values.shape.rank == 3 and axes is not None and axes.reshape(-1).tolist() in ([-1], [2])
