"""The model's own call beside what was followed step by step, for both members of every batch.

A trace holds the structure that a model had, and what its Python computed then. The model's own call, eagerly and in
its own types, is what people see: where it differs, the trace is outdated or the model answers differently each time.
Only the loops inside known recurrent layers are compiled for it, anew when one of their options changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from ...errors import CaptureError
from ..answers import AGREEMENT, Arrays, OwnAnswers, require_rows
from ..protocol import Target
from .calling import cause, entry, named_outputs
from .capture import MODEL_ERRORS, Arguments, Captured
from .devices import coarse_as_given
from .graph import Precision, compile_graph
from .interpreter import Interpreter
from .layers import Loops, compiling
from .recurrent import FusedLayer

Column = Callable[[Arrays, Target], np.ndarray]


def _irregular(arrays: Arrays) -> list[np.ndarray]:
    """Floats moved by numbers of their own size; ids, lengths and masks as they are."""
    draw = np.random.default_rng(0)
    return [
        (a + draw.normal(size=a.shape) * (np.abs(a).max(initial=0.0) or 1.0)).astype(a.dtype)
        if a.dtype.kind == "f"
        else a
        for a in arrays
    ]


class TensorFlowAnswers(OwnAnswers):
    """What a model says of the rows that are explained. It is left as it was.

    Args:
        model, arguments, sample_axes: as the runner has them.
        column: the explained number of each row, (N,), from what a model returned and a target.
        output_axes: gives the sample axis of each tensor that the model returns.
    """

    _captured: Captured

    def __init__(
        self,
        model: Any,
        arguments: Arguments,
        sample_axes: Sequence[int | None],
        column: Column,
        output_axes: Callable[[], Sequence[int | None]],
    ) -> None:
        super().__init__(sample_axes)
        self._model, self._arguments, self._column, self._output_axes = model, arguments, column, output_axes
        self._loops = Loops.of(model) if "keras" in sys.modules else None

    def use(self, captured: Captured) -> None:
        """Compare with this trace from now on, also for rows that were asked for before."""
        self._captured = captured
        self._known.clear()

    def _weights(self) -> int:
        return hash(tuple(value.numpy().tobytes() for value in variables_of(self._model, self._captured)))

    @property
    def _compared(self) -> set[int]:
        return self._captured.compared

    def _call(self, arrays: Arrays) -> list[np.ndarray]:
        return self.call(arrays, self._captured)

    def _number(self, outputs: Arrays, target: Target) -> np.ndarray:
        return self._column(outputs, target).astype(float)

    def _spread(self, outputs: Arrays, rows: int, places: np.ndarray) -> list[np.ndarray]:
        axes = self._output_axes()
        require_rows([value.shape for value in outputs], axes, rows)
        return [v if axis is None else np.take(v, places, axis) for v, axis in zip(outputs, axes, strict=True)]

    def _follow(self, arrays: Arrays, dtype: str) -> list[np.ndarray] | None:
        try:
            return follow(self._captured, arrays, Precision(dtype))
        except tf.errors.OpError:  # an operation without double precision
            return None

    def _as_set(self, arrays: Arrays) -> tuple[list[np.ndarray], str] | None:
        with coarse_as_given() as is_coarse:
            return (self._call(arrays), "TF32 in matrix products and convolutions") if is_coarse else None

    def _of(self, arrays: Arrays, member: str) -> Arrays:
        outputs = super()._of(arrays, member)
        if [value.shape[1:] for value in outputs] != [tuple(s[1:]) for s in _shapes(outputs, self._captured)]:
            raise CaptureError(
                f"the model returns tensors of shapes {[value.shape for value in outputs]}, and those of its trace "
                f"have {[str(shape) for _, shape, _ in self._captured.outputs]}",
                hint="The model was changed while it was explained; explain it again.",
            )
        return outputs

    def call(self, arrays: Arrays, captured: Captured) -> list[np.ndarray]:
        """What the model returns, called as it is.

        Raises:
            CaptureError: it fails.
        """
        given = [tf.constant(array, kind) for array, kind in zip(arrays, captured.types, strict=True)]
        args, kwargs = self._arguments.rebuild(given)
        try:
            with self._compiled(captured), unchanged(self._model, captured):
                results = named_outputs(self._model, entry(self._model)(*args, **kwargs))
        except tf.errors.ResourceExhaustedError:  # smaller batches may fit
            raise
        except MODEL_ERRORS as error:
            raise CaptureError(
                f"the model can be traced, and called by itself it raises {type(error).__name__}: {cause(error)}",
                where=type(self._model).__name__,
                hint="Call the model once on the same inputs; what it raises then says more.",
            ) from error
        return [tensor.numpy() for _, tensor in results]

    def _compiled(self, captured: Captured) -> AbstractContextManager[None]:
        any_rows = captured.rows is None and self._sample_axes[0] is not None
        return nullcontext() if self._loops is None else compiling(self._loops, any_rows)

    def is_current(self, captured: Captured) -> bool:
        """Whether a trace that was kept says what the model says now, of a row of no regularity.

        On values that are equal, such as a constant sequence, models that are not the same may agree. The rows
        themselves are compared when they are explained.
        """
        arrays = [np.asarray(leaf) for leaf in self._arguments.leaves]
        if captured.rows is None:
            arrays = [a if axis is None else np.take(a, [0], axis) for a, axis in self._with_axes(arrays)]
        return self._is_answer(_irregular(arrays), captured)

    def _is_answer(self, arrays: Arrays, captured: Captured) -> bool:
        try:
            own, traced = self.call(arrays, captured), follow(captured, arrays, captured.program.precision)
        except (CaptureError, tf.errors.OpError):
            return False
        if [value.shape for value in own] != [value.shape for value in traced]:
            return False
        usual = AGREEMENT[captured.coarsest]
        return all(
            np.allclose(a, b, rtol=usual, atol=usual * np.abs(a).max(initial=0.0), equal_nan=True)
            for a, b in zip(own, traced, strict=True)
        )


def _shapes(outputs: Arrays, captured: Captured) -> list[Sequence[int]]:
    """The traced shapes, open sizes as they came; none where their number or rank is another."""
    traced = [shape for _, shape, _ in captured.outputs]
    if len(traced) != len(outputs) or any(s.rank != o.ndim for s, o in zip(traced, outputs, strict=True)):
        return []
    return [
        [size if size is not None else came for size, came in zip(shape, value.shape, strict=True)]
        for shape, value in zip(traced, outputs, strict=True)
    ]


def follow(captured: Captured, arrays: Arrays, precision: Precision) -> list[np.ndarray]:
    """What a trace gives in a floating type, without a baseline."""
    program = captured.program
    if precision != program.precision:
        program = compile_graph(program.graph, precision)
    given = [precision.cast(tf.constant(array)) for array in arrays]
    taken = [precision.cast(tensor) for tensor in captured.captured]
    layers = {mark: FusedLayer(layer, precision) for mark, layer in captured.layers.items()}
    return [value.numpy() for value in Interpreter(program, layers).run([*given, *taken])]


def variables_of(model: Any, captured: Captured) -> list[tf.Variable]:
    """Those of a model, and those that its trace reads."""
    variables = {v.ref(): v for v in captured.variables}
    for variable in getattr(model, "variables", ()) or ():
        variable = getattr(variable, "value", variable)  # Keras wraps TensorFlow's
        if isinstance(variable, tf.Variable):
            variables[variable.ref()] = variable
    return list(variables.values())


@contextmanager
def unchanged(model: Any, captured: Captured) -> Generator[None]:
    """Put back what a call changes in the model's variables: states, counters of generators, statistics."""
    before = [(variable, variable.read_value()) for variable in variables_of(model, captured)]
    try:
        yield
    finally:
        for variable, value in before:
            if not bool(tf.reduce_all(variable == value)):
                variable.assign(value)
