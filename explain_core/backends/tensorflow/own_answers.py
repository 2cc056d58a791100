"""The model's own call beside what was followed step by step, for both members of every batch.

A trace holds the structure that a model had, and what its Python computed then. The model's own call, eagerly and in
its own types, is what people see: where it differs, the trace is outdated or the model answers differently each time.
Only the loops inside known recurrent layers are compiled for it, anew for each explanation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from ...errors import CaptureError
from ..answers import AGREEMENT, Noise, attribution_size, other_mates, require_own_answer, require_same_among_others
from ..protocol import PairAttribution, Target
from .calling import cause, entry, named_outputs
from .capture import MODEL_ERRORS, Arguments, Captured
from .graph import Precision, compile_graph
from .interpreter import Interpreter
from .layers import compiling
from .recurrent import FusedLayer

Arrays = Sequence[np.ndarray]


def _irregular(arrays: Arrays) -> list[np.ndarray]:
    """Floats moved by numbers of their own size; ids, lengths and masks as they are."""
    draw = np.random.default_rng(0)
    return [
        (a + draw.normal(size=a.shape) * (np.abs(a).max(initial=0.0) or 1.0)).astype(a.dtype)
        if a.dtype.kind == "f"
        else a
        for a in arrays
    ]


class OwnAnswers:
    """What a model says of the rows that are explained. It is left as it was.

    Args:
        model, arguments, sample_axes: as the runner has them.
    """

    def __init__(self, model: Any, arguments: Arguments, sample_axes: Sequence[int | None]) -> None:
        self._model, self._arguments, self._axes = model, arguments, sample_axes
        self._known: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
        self._tried_others = False
        self._loops: dict[Hashable, Callable] = {}

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
        except MODEL_ERRORS as error:
            raise CaptureError(
                f"the model can be traced, and called by itself it raises {type(error).__name__}: {cause(error)}",
                where=type(self._model).__name__,
                hint="Call the model once on the same inputs; what it raises then says more.",
            ) from error
        return [tensor.numpy() for _, tensor in results]

    def _compiled(self, captured: Captured) -> AbstractContextManager[None]:
        any_rows = captured.rows is None and self._axes[0] is not None
        return compiling(self._loops, any_rows) if "keras" in sys.modules else nullcontext()

    def answer(self, arrays: Arrays, captured: Captured, targets: Sequence[Target], column: Any) -> np.ndarray | None:
        """The model's predictions (K, N) for any number of rows; None where it does not take that many."""
        rows = next(a.shape[axis] for a, axis in zip(arrays, self._axes, strict=True) if axis is not None)
        try:
            outputs = self.call(arrays, captured)
            found = [column(outputs, target) for target in targets]
        except (CaptureError, IndexError):
            return None
        return np.stack(found) if all(len(own) == rows for own in found) else None

    def is_current(self, captured: Captured) -> bool:
        """Whether a trace that was kept says what the model says now: of one row, and of one of no regularity.

        On values that are equal, such as a constant sequence, models that are not the same may agree.
        """
        arrays = [np.asarray(leaf) for leaf in self._arguments.leaves]
        if captured.rows is None:
            arrays = [a if axis is None else np.take(a, [0], axis) for a, axis in zip(arrays, self._axes, strict=True)]
        return self._is_answer(arrays, captured) and self._is_answer(_irregular(arrays), captured)

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

    def require(
        self,
        test: Arrays,
        baseline: Arrays,
        result: PairAttribution,
        targets: Sequence[Target],
        captured: Captured,
        column: Any,
        coarsest: str,
    ) -> None:
        """Compare both members of a batch and, once, each row among other rows.

        Args:
            column: the explained number of each row, (N,), from what a model returned and a target.
            coarsest: the floating type of the fewest digits on the way, in the model's call or as it was followed.

        Raises:
            CaptureError, CompletenessError: see `answers`.
        """
        size = attribution_size(result)
        members = [(baseline, result.baseline_prediction, "the baseline"), (test, result.prediction, "the input")]
        for arrays, followed, member in members:
            outputs = self._of(arrays, member, captured)
            if [value.shape[1:] for value in outputs] != [tuple(s[1:]) for s in _shapes(outputs, captured)]:
                raise CaptureError(
                    f"the model returns tensors of shapes {[value.shape for value in outputs]}, and those of its trace "
                    f"have {[str(shape) for _, shape, _ in captured.outputs]}",
                    hint="The model was changed while it was explained; explain it again.",
                )
            for k, target in enumerate(targets):
                noise = _noise(captured, arrays, target, column, coarsest)
                require_own_answer(column(outputs, target), followed[k], size[k], coarsest, member, noise)
        if not self._tried_others and self._axes[0] is not None and size.shape[1] > 1:
            self._tried_others = True
            for mixed, of_baseline in other_mates(test, baseline, self._axes):
                self._require_same_among_others(mixed, of_baseline, test, baseline, targets, size, captured, column)

    def _require_same_among_others(self, arrays, of_baseline, test, baseline, targets, size, captured, column) -> None:
        of_test, of_base = (self._known[member][1] for member in ("the input", "the baseline"))
        try:
            outputs = self.call(arrays, captured)
        except CaptureError:  # it takes rows of the input, or of the baseline, but not both in one batch
            return

        def followed() -> tuple[list[np.ndarray], ...] | None:
            try:
                return tuple(follow(captured, given, Precision("float64")) for given in (arrays, test, baseline))
            except tf.errors.OpError:  # an operation without double precision
                return None

        require_same_among_others((outputs, of_test, of_base), of_baseline, column, followed, targets, size)

    def _of(self, arrays: Arrays, member: str, captured: Captured) -> list[np.ndarray]:
        """The model's outputs; those of the last batch where it was the same, as with one baseline for all."""
        before = self._known.get(member)
        if before is None or not all(map(np.array_equal, arrays, before[0])):
            self._known[member] = before = list(arrays), self.call(arrays, captured)
        return before[1]

    def forget(self) -> None:
        """Ask again, also for rows that were asked for."""
        self._known.clear()


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


def _noise(captured: Captured, arrays: Arrays, target: Target, column: Any, dtype: str) -> Noise | None:
    """How far rounding moves each prediction, measured by following it in single and in double precision."""
    if dtype not in ("float32", "float64"):
        return None

    def measure() -> np.ndarray:
        try:
            single, double = (
                column(follow(captured, arrays, Precision(name)), target).astype(float)
                for name in ("float32", "float64")
            )
        except tf.errors.OpError:  # an operation without double precision: nobody knows
            return np.zeros(1)
        return np.abs(single - double) * (np.finfo(dtype).eps / np.finfo(np.float32).eps)

    return measure


@contextmanager
def unchanged(model: Any, captured: Captured) -> Iterator[None]:
    """Put back what a call changes in the model's variables: states, counters of generators, statistics."""
    variables = {v.ref(): v for v in captured.variables}
    for variable in getattr(model, "variables", ()) or ():
        variable = getattr(variable, "value", variable)  # Keras wraps TensorFlow's
        if isinstance(variable, tf.Variable):
            variables[variable.ref()] = variable
    before = [(variable, variable.read_value()) for variable in variables.values()]
    try:
        yield
    finally:
        for variable, value in before:
            if not bool(tf.reduce_all(variable == value)):
                variable.assign(value)
