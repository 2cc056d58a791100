"""Tracing: from a model and the shapes of its inputs to a program that the interpreter can walk.

A trace is kept for as long as its model lives, so the second explanation of the same model and shapes
traces nothing; of one model as many as `MOST`.
"""

from __future__ import annotations

import re
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ...errors import CaptureError
from ..answers import AGREEMENT
from .calling import cause, entry, named_outputs
from .graph import LOW_PRECISION, Precision, Program, compile_graph
from .layers import Layer, marking

# What a model may raise when it is called or traced: it is the user's code, and anything from a wrong shape on.
MODEL_ERRORS = (ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, tf.errors.OpError)


class Arguments(Protocol):
    """The model's arguments as a flat list of arrays, and how to put them back together."""

    names: Sequence[str]
    leaves: Sequence[Any]

    def rebuild(self, leaves: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]: ...


@dataclass(frozen=True)
class Captured:
    """A traced model.

    Attributes:
        program: its graph; the arguments are the leaves, and then what it captured.
        captured: variables and constants that the graph takes from outside.
        variables: the model's that the graph reads or writes; kept, as a graph forgets those that the model replaces.
        layers: the recurrent layers by the mark that their loop was traced under.
        outputs: name, static shape and type of each tensor that the model returns.
        types: of its arguments.
        rows: the number of samples that it was traced for; None for any.
        coarsest: the floating type of the fewest digits that it computes in.
        compared: digests of rows and weights for which no row's answer depended on the others.
    """

    program: Program
    captured: list[tf.Tensor]
    variables: list[tf.Variable]
    layers: dict[str, Layer]
    outputs: list[tuple[str, tf.TensorShape, tf.DType]]
    types: list[tf.DType]
    rows: int | None
    coarsest: str
    compared: set[int] = field(default_factory=set)


MOST = 16

_kept: weakref.WeakKeyDictionary[Any, dict[Any, Captured]] = weakref.WeakKeyDictionary()
_tracing = threading.RLock()


def capture(
    model: Any,
    arguments: Arguments,
    leaves: Sequence[np.ndarray],
    axes: Sequence[int | None],
    precision: Precision,
    is_current: Callable[[Captured], bool],
) -> Captured:
    """The model traced on such inputs, from memory if it has been before and is the same since.

    It is traced for any number of samples or, if it needs to know it, for this number. Numpy's doubles go in
    as they are, or as singles into a model that does not cast its inputs itself.
    """
    structure = repr(arguments.rebuild([f"leaf {number}" for number in range(len(leaves))]))
    types = tuple(leaf.dtype for leaf in leaves)
    failure: Exception | None = None
    for single, any_rows in ((False, True), (True, True), (False, False), (True, False)):
        shapes = tuple(
            tuple(None if any_rows and i == axis else size for i, size in enumerate(leaf.shape))
            for leaf, axis in zip(leaves, axes, strict=True)
        )
        specs = [
            tf.TensorSpec(shape, tf.float32 if single and kind == np.float64 else kind)
            for shape, kind in zip(shapes, types, strict=True)
        ]
        rows = None if any_rows or axes[0] is None else leaves[0].shape[axes[0]]
        key = (structure, shapes, types, single, precision)
        with _tracing:
            traces = _kept.setdefault(model, {})
            try:
                known = traces.pop(key, None)
                if known is None or not is_current(known):
                    known = _trace(model, arguments, specs, precision, rows)
                traces[key] = known  # the last one used is the last to go
                for oldest in list(traces)[:-MOST]:
                    del traces[oldest]
            except MODEL_ERRORS as error:
                failure = failure or error
            else:
                return known
    assert failure is not None  # each of the four has failed
    raise _untraceable(model, leaves, failure) from failure


def _untraceable(model: Any, leaves: Sequence[np.ndarray], failure: Exception) -> CaptureError:
    shapes, name, said = [leaf.shape for leaf in leaves], type(model).__name__, cause(failure)
    if re.search(r"symbolic.*Tensor|SymbolicTensor", said):
        return CaptureError(
            f"the model's Python code asks for the numbers of a tensor, which a trace does not have: {said}",
            where=name,
            hint="An if or a loop on a tensor, float(), .numpy() or a function of NumPy does that; tf.where, tf.cond "
            "and other operations of TensorFlow do not, nor an if or a loop in a @tf.function. Sizes are in x.shape.",
        )
    expected = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    fits = len(expected) == len(shapes) and all(
        len(a) == len(b) and all(n in (None, m) for n, m in zip(a, b, strict=True))
        for a, b in zip(expected, shapes, strict=True)
    )
    wanted = f", and it was made for {expected}" if expected and not fits else ""
    return CaptureError(
        f"the model cannot be traced on inputs of shapes {shapes}{wanted}: {said}",
        where=name,
        hint="Call tf.function(model) once on the same inputs; what it raises then says more.",
    )


def _trace(
    model: Any, arguments: Arguments, specs: list[tf.TensorSpec], precision: Precision, rows: int | None
) -> Captured:
    names: list[str] = []

    def call(*leaves):
        args, kwargs = arguments.rebuild(list(leaves))
        named = named_outputs(model, entry(model)(*args, **kwargs))
        names[:] = [name for name, _ in named]
        return [tensor for _, tensor in named]

    with marking() if "keras" in sys.modules else nullcontext({}) as layers:
        concrete = tf.function(call, autograph=False).get_concrete_function(*specs)
    if not names:
        raise CaptureError(
            "the model returns no tensor",
            where=type(model).__name__,
            hint="What it computes must be returned: does its call end in return?",
        )
    graph = concrete.graph
    outputs = [(name, t.shape, t.dtype) for name, t in zip(names, graph.outputs, strict=True)]
    program, types = compile_graph(graph, precision), [spec.dtype for spec in specs]
    taken, variables = list(concrete.captured_inputs), list(graph.variables)
    return Captured(program, taken, variables, dict(layers), outputs, types, rows, _coarsest(program, types))


def _coarsest(program: Program, types: Sequence[tf.DType]) -> str:
    """By what is computed: constants, weights and inputs of few digits that are cast to more lose none."""
    nodes = [node for each in program.everything() for node in each.nodes]
    operations = [node.operation for node in nodes if node.type not in ("Const", "Placeholder", "ReadVariableOp")]
    kinds = {tensor.dtype for operation in operations for tensor in operation.outputs}
    kinds |= {kind for kind in types if kind not in LOW_PRECISION}
    floats = [kind.name for kind in kinds if kind.is_floating and kind.name in AGREEMENT]
    return max(floats, key=AGREEMENT.__getitem__, default="float32")
