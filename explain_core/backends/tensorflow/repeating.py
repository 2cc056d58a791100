"""Finding out whether a model answers the same each time.

A graph says itself where it draws random numbers. Only then is it run twice, on copies of what the draws keep between
calls (the counters of their generators), so that nothing of the model moves on.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ...errors import UnsupportedOperation
from .graph import DRAWS, Node, Program
from .interpreter import Interpreter


def first_draw(program: Program) -> Node | None:
    """The first operation that draws random numbers, here or in a function that is called; None for most models."""
    nodes = (node for each in program.everything() for node in each.nodes)
    return next((node for node in nodes if DRAWS.fullmatch(node.type)), None)


def require_same_answer(program: Program, draw: Node, arguments: Sequence[tf.Tensor]) -> None:
    """Run the program twice, with the generators going on in between.

    Args:
        draw: the operation that draws.
        arguments: inputs of one member, and what the graph takes from outside.

    Raises:
        UnsupportedOperation: the two answers differ; names the operation.
    """
    first = Interpreter(program, {})
    before = first.run(arguments)
    second = Interpreter(program, {})
    second.carry_on(first)
    after = second.run(arguments)
    if all(bool(tf.reduce_all(tf.equal(a, b))) for a, b in zip(before, after, strict=True)):
        return
    raise UnsupportedOperation(
        f"TensorFlow operation {draw.type!r} draws random numbers, so the model answers differently each time",
        where=draw.place or draw.operation.name,
        hint="Take the randomness out of the model: dropout and noise layers are to be called without training=True.",
    )
