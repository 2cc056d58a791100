"""Finding out whether a model answers the same each time.

A graph says itself where it draws random numbers. Only then is it run twice, on copies of what the draws keep between
calls (the counters of their generators), so that nothing of the model moves on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import tensorflow as tf

from ...errors import UnsupportedOperation
from .graph import Node, Program
from .interpreter import Interpreter

_DRAWS = re.compile(
    r"Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|GammaV\d|Poisson|PoissonV2)|TruncatedNormal|Multinomial"
    r"|ParameterizedTruncatedNormal|Stateful(Uniform\w*|StandardNormal\w*|TruncatedNormal|RandomBinomial)"
    r"|Stateless(Random(Uniform|Normal|Gamma|Binomial|Poisson)\w*|TruncatedNormal\w*|Multinomial|ParameterizedTruncated\w*)"
    r"|Rng(ReadAndSkip|Skip)|CudnnRNN\w*Dropout"
)


def first_draw(program: Program) -> Node | None:
    """The first operation that draws random numbers, here or in a function that is called; None for most models."""
    for node in program.nodes:
        if _DRAWS.fullmatch(node.type):
            return node
        for name in _called(node):
            if (found := first_draw(program.function(name))) is not None:
                return found
    return None


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


def _called(node: Node) -> Iterator[str]:
    """Names of the functions that a node calls."""
    for value in node.operation.node_def.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)
