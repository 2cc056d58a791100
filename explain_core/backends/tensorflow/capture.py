"""Tracing: from a model and the shapes of its inputs to a program that the interpreter can walk.

A trace is kept for as long as its model lives, so the second explanation of the same model and shapes
traces nothing.
"""

from __future__ import annotations

import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ...errors import CaptureError
from .graph import Precision, Program, compile_graph
from .layers import Layer, marking

SIGNATURE = "serving_default"


class Arguments(Protocol):
    """The model's arguments as a flat list of arrays, and how to put them back together."""

    names: Sequence[str]
    leaves: Sequence[Any]

    def rebuild(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]: ...


@dataclass(frozen=True)
class Captured:
    """A traced model.

    Attributes:
        program: its graph; the arguments are the leaves, and then what it captured.
        captured: variables and constants that the graph takes from outside.
        layers: the recurrent layers by the mark that their loop was traced under.
        outputs: name and static shape of each tensor that the model returns.
        rows: the number of samples that it was traced for; None for any.
    """

    program: Program
    captured: list[tf.Tensor]
    layers: dict[str, Layer]
    outputs: list[tuple[str, tf.TensorShape]]
    rows: int | None = None


_kept: weakref.WeakKeyDictionary[Any, dict[Any, Captured]] = weakref.WeakKeyDictionary()
_tracing = threading.RLock()


_TRACE_ERRORS = (ValueError, TypeError, AttributeError, NotImplementedError, RuntimeError, tf.errors.OpError)


def capture(
    model: Any,
    arguments: Arguments,
    leaves: Sequence[np.ndarray],
    sample_axes: Sequence[int],
    precision: Precision,
) -> Captured:
    """The model traced on such inputs, from memory if it has been before."""
    structure = repr(arguments.rebuild([f"leaf {number}" for number in range(len(leaves))]))
    shapes = tuple(
        (leaf.shape[:axis], leaf.shape[axis + 1 :]) for leaf, axis in zip(leaves, sample_axes, strict=True)
    )
    key = (structure, shapes, tuple(str(leaf.dtype) for leaf in leaves), tuple(sample_axes), precision)
    with _tracing:
        traces = _kept.setdefault(model, {})
        if key not in traces:
            traces[key] = _try(model, arguments, leaves, sample_axes, precision)
        return traces[key]


def _try(
    model: Any,
    arguments: Arguments,
    leaves: Sequence[np.ndarray],
    sample_axes: Sequence[int],
    precision: Precision,
) -> Captured:
    """Trace with any number of samples, or with this number if the model needs to know it.

    Numpy's doubles go in as they are, or as singles into a model that does not cast its inputs itself.
    """
    failure: Exception | None = None
    for single, open_batch in ((False, True), (True, True), (False, False), (True, False)):
        specs = []
        for leaf, axis in zip(leaves, sample_axes, strict=True):
            shape = [None if open_batch and i == axis else size for i, size in enumerate(leaf.shape)]
            specs.append(
                tf.TensorSpec(shape, tf.float32 if single and leaf.dtype == np.float64 else leaf.dtype)
            )
        try:
            traced = _trace(model, arguments, specs, precision)
            return traced if open_batch else replace(traced, rows=leaves[0].shape[sample_axes[0]])
        except _TRACE_ERRORS as error:
            failure = failure or error
    raise CaptureError(
        f"the model cannot be traced on inputs of shapes {[leaf.shape for leaf in leaves]}: {failure}",
        where=type(model).__name__,
        hint="Call the model once on the same inputs; what it raises then says more.",
    ) from failure


def _trace(
    model: Any, arguments: Arguments, specs: Sequence[tf.TensorSpec], precision: Precision
) -> Captured:
    names: list[str] = []

    def call(*leaves):
        args, kwargs = arguments.rebuild(list(leaves))
        named = _named(_entry(model)(*args, **kwargs))
        names[:] = [name for name, _ in named]
        return [tensor for _, tensor in named]

    with marking() if "keras" in sys.modules else nullcontext({}) as layers:
        graph_function = tf.function(call, autograph=False).get_concrete_function(*specs)
    graph = graph_function.graph
    outputs = [(name, t.shape) for name, t in zip(names, graph.outputs, strict=True)]
    return Captured(
        compile_graph(graph, precision), list(graph_function.captured_inputs), dict(layers), outputs
    )


def _entry(model: Any) -> Callable[..., Any]:
    """What to call: a SavedModel without a ``__call__`` has signatures, which take tensors by name."""
    if not callable(model):
        model = model.signatures[SIGNATURE]
    if isinstance(model, tf.types.experimental.ConcreteFunction):
        return _by_name(model)
    return partial(model, training=False) if _takes_training(model) else model


def _takes_training(model: Any) -> bool:
    call = getattr(model, "call", None) or type(model).__call__
    return "training" in inspect.signature(call).parameters


def _by_name(signature: Any) -> Callable[..., Any]:
    specs = signature.structured_input_signature[1]

    def call(*args, **kwargs):
        if len(args) == 1 and isinstance(args[0], dict):
            args, kwargs = (), {**args[0], **kwargs}
        free = [name for name in specs if name not in kwargs]
        given = {**kwargs, **dict(zip(free, args, strict=False))}
        return signature(**{name: tf.cast(value, specs[name].dtype) for name, value in given.items()})

    return call


def _named(results: Any, path: str = "") -> list[tuple[str, tf.Tensor]]:
    """The tensors in nested results, each with the way to it."""
    if isinstance(results, Mapping):
        parts = [(str(key), results[key]) for key in sorted(results)]
    elif isinstance(results, (list, tuple)):
        parts = [(str(number), part) for number, part in enumerate(results)]
    else:
        return [(path or "output", tf.convert_to_tensor(results))] if results is not None else []
    return [item for key, part in parts for item in _named(part, f"{path}.{key}" if path else key)]
