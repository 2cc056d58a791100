"""The backend's side of the protocol: rows of numpy in, multipliers times differences out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from ...errors import CaptureError, InputError, SampleAxisError, TargetError
from ...rules.relevance import Relevance
from ..answers import AGREEMENT, OtherAnswerError
from ..ids import OutsideTableError
from ..protocol import ModelOutput, PairAttribution, Target, constant_input_notes
from ..room import in_room
from .axes import axis_names
from .calling import cause, rows_of_states
from .capture import Arguments, capture
from .devices import device_of, full_precision, is_no_room
from .graph import LOW_PRECISION, Precision
from .ids import are_ids, counts_from_the_end, cuts_of_ids
from .interpreter import Interpreter
from .ledger import Ledger
from .masks import own_mask
from .methods import METHODS, Method
from .nonfinite import why_not_finite
from .own_answers import TensorFlowAnswers
from .pairs import CREDIT, Discrete, Leaf, Pair, Value, base, is_paired, test
from .recurrent import Fused, FusedLayer
from .relevance import Absorbed, RelevanceMethod
from .repeating import first_draw, require_same_answer


def open_runner(
    model: Any,
    arguments: Arguments,
    *,
    sample_axes: tuple[int | None, ...],
    device: str = "auto",
    precision: str | None = None,
    fuse: bool = True,
) -> TensorFlowRunner:
    """Trace ``model`` on inputs of the given shapes and make it ready to explain rows of such shapes.

    Args:
        model: a Keras model or layer, a callable ``tf.Module``, a loaded SavedModel, or a ``tf.function``.
        arguments: what the model is called with: ``names``, ``leaves`` and ``rebuild``.
        sample_axes: the sample axis of each leaf; None for a model that takes one sequence without it.
        device: "auto", "cpu", "cuda" or "cuda:<number>".
        precision: "float32", "float64", or None for the model's own.
        fuse: whether recurrent Keras layers run as one operation each; else as the loops they trace to.
    """
    return TensorFlowRunner(model, arguments, sample_axes, device_of(device), Precision(precision), fuse)


class _Input:
    """One leaf on its way in: its value for the interpreter, and the tensor that it is explained by."""

    def __init__(
        self,
        given: np.ndarray,
        baseline: np.ndarray,
        explained: bool,
        are_float_ids: bool,
        precision: Precision,
        method: Method,
    ) -> None:
        self.leaf = Leaf()
        self.source: Any = None  # its gradient is a multiplier, or for ids a contribution
        here, there = (precision.cast(tf.constant(array)) for array in (given, baseline))
        self.counted: tf.Tensor | float = 1.0
        self.value: Value = here  # what is not explained is the same for both members
        if explained and here.dtype.is_floating and not (are_float_ids and method.is_single):
            self.source, self.counted = here, method.counted(here, there)
            self.value = Pair(here, there, self.leaf)
        elif explained:
            self.source = tf.zeros(here.shape, CREDIT)
            self.value = Discrete(here, here if method.is_single else there, self.source, self.leaf)


@dataclass
class _Explained:
    """One target, in numpy: predictions (N,), and attributions in the shape of each input."""

    prediction: np.ndarray
    baseline: np.ndarray
    inputs: list[np.ndarray | None]
    embeddings: list[np.ndarray | None]


class TensorFlowRunner:
    """See `protocol.Runner`."""

    def __init__(
        self,
        model: Any,
        arguments: Arguments,
        sample_axes: tuple[int | None, ...],
        device: str,
        precision: Precision,
        fuse: bool,
    ) -> None:
        self._sample_axes, self._place, self._precision, self._fuse = sample_axes, device, precision, fuse
        self._own_states = False
        self._model_name = getattr(model, "name", "")
        self._own_names = {layer.name for layer in getattr(model, "layers", ())}
        leaves = [np.asarray(leaf) for leaf in arguments.leaves]
        rows = 1 if sample_axes[0] is None else leaves[0].shape[sample_axes[0]]
        self._states = rows_of_states(model)
        self._require_rows(self._states, rows)
        self._answers = TensorFlowAnswers(model, arguments, sample_axes, self._column, lambda: self._output_axes)
        self._capture = lambda is_current: capture(model, arguments, leaves, sample_axes, self._precision, is_current)
        with tf.device(device), full_precision():
            self._captured = self._capture(self._answers.is_current)
            self._is_coarse_in_part = (
                precision.name is None and self._dtype_of(leaves) == "float64" != self._captured.coarsest
            )
            if self._is_coarse_in_part:  # its rounding is larger than what a sum in float64 may be off by
                self._precision = Precision("float64")
                self._captured = self._capture(self._answers.is_current)
        self._answers.use(self._captured)
        self._draw = first_draw(self._captured.program)
        self.explained = tuple(
            bool(np.issubdtype(leaf.dtype, np.floating))
            or bool(np.issubdtype(leaf.dtype, np.integer) and are_ids(self._captured.program, number))
            for number, leaf in enumerate(leaves)
        )
        self._inputs = tuple(arguments.names)
        self._kinds = [leaf.dtype.kind for leaf in leaves]
        self._find_ids()
        if not any(self.explained):
            raise InputError(
                "no input can be explained: there are no floats, and no whole number is looked up in a table of floats",
                hint="Give counts and other whole numbers that the model computes with as floats: x.astype(float). Of "
                "categories that it counts, explain the model from what it makes of them on.",
            )
        self._rows = self._states or self._captured.rows  # the number of samples that the model is fixed to
        traced = self._traced_shapes(leaves, rows)
        self._output_axes = [self._sample_axis(shape, rows) for shape in traced]
        self.outputs = tuple(
            ModelOutput(name, tuple(size for axis, size in enumerate(shape) if axis != sample and size is not None))
            for (name, _, _), shape, sample in zip(
                self._captured.outputs, self._output_shapes(traced, leaves), self._output_axes, strict=True
            )
        )
        self.device = "cuda" + device.removeprefix("/GPU") if "GPU" in device else "cpu"
        self.dtype = self._dtype_of(leaves)
        self._notes = (*constant_input_notes(arguments.names, self.explained), *self._fewer_digits())

    @property
    def notes(self) -> tuple[str, ...]:
        """See `protocol`; grows with what running the model shows."""
        return (*self._notes, *self._answers.notes)

    def _dtype_of(self, leaves: Sequence[np.ndarray]) -> str:
        """What is explained in: a model of doubles that takes singles gives their multipliers in single precision."""
        types = [*(kind for _, _, kind in self._captured.outputs), *(tf.as_dtype(leaf.dtype) for leaf in leaves)]
        return min((self._precision(kind).name for kind in types if kind.is_floating), default="float32")

    def _fewer_digits(self) -> list[str]:
        """That the model, or a part of it, computes in fewer digits than it is explained in."""
        half = [kind.name for _, _, kind in self._captured.outputs if kind in LOW_PRECISION]
        coarsest = self._captured.coarsest
        if half or self._is_coarse_in_part or tf.as_dtype(coarsest) in LOW_PRECISION:
            what, name = ("The model", half[0]) if half else ("A part of the model", coarsest)
            return [f"{what} computes in {name}; it is explained in {self.dtype}."]
        return []

    def _find_ids(self) -> None:
        """Where numbers of an input are cut to ids, and where ids are counted from the end of a table."""
        program, numbers = self._captured.program, [i for i, kind in enumerate(self._kinds) if kind in "fiu"]
        self._cuts = {op: self._inputs[number] for number in numbers for op in cuts_of_ids(program, number)}
        are_cut = [name in self._cuts.values() for name in self._inputs]
        self.float_ids = tuple(kind == "f" and cut for kind, cut in zip(self._kinds, are_cut, strict=True))
        self._from_the_end = counts_from_the_end(program)
        are_ids = [kind != "f" or cut for kind, cut in zip(self._kinds, are_cut, strict=True)]
        self.own_masks = tuple(own_mask(program, i, flag) for i, flag in enumerate(are_ids))

    def _traced_shapes(self, leaves: Sequence[np.ndarray], rows: int) -> list[tf.TensorShape]:
        """Those of the trace; where it does not even have the number of axes, as the model's own call has them."""
        traced = [shape for _, shape, _ in self._captured.outputs]
        if all(shape.rank is not None for shape in traced):
            return traced
        own = [list(value.shape) for value in self._own_outputs(leaves)]
        left_open = [
            [None if axis == sizes.index(rows) else n for axis, n in enumerate(sizes)] if rows in sizes else sizes
            for sizes in own
        ]
        return [
            tf.TensorShape(sizes) if shape.rank is None else shape
            for shape, sizes in zip(traced, left_open, strict=True)
        ]

    def _output_shapes(self, traced: Sequence[tf.TensorShape], leaves: Sequence[np.ndarray]) -> list[list[int | None]]:
        """Those of the trace; where it leaves open more than the samples, those of the model's own call."""
        shapes = [shape.as_list() for shape in traced]
        kept = [[n for i, n in enumerate(s) if i != a] for s, a in zip(shapes, self._output_axes, strict=True)]
        if not any(None in sizes for sizes in kept):
            return shapes
        return [list(value.shape) for value in self._own_outputs(leaves)]

    def _own_outputs(self, leaves: Sequence[np.ndarray]) -> list[np.ndarray]:
        with tf.device(self._place), full_precision():
            return self._answers.call(leaves, self._captured)

    def _sample_axis(self, shape: tf.TensorShape, rows: int) -> int | None:
        """The axis of an output whose size was left open when tracing, or is the number of samples."""
        if self._sample_axes[0] is None or (shape.rank == 0 and rows == 1):
            return None
        if None in list(shape):
            return list(shape).index(None)
        if rows in list(shape):  # a fixed number of samples, as in a stateful layer
            self._rows = rows
            return list(shape).index(rows)
        raise SampleAxisError(
            f"the output has shape {tuple(shape)}, in which no axis has the samples of the input",
            hint="Tell the sample axis of the inputs with sample_axis= (None for input without one).",
        )

    @property
    def output_axes(self) -> tuple[int | None, ...]:
        """The sample axis of each output; None where it has none."""
        return tuple(self._output_axes)

    @cached_property
    def axis_names(self) -> tuple[tuple[str | None, ...], ...]:
        """What the traced graph says of the axes of each input: see `protocol.Runner`."""
        program, count = self._captured.program, len(self.explained)
        shapes = [list(tensor.shape) for tensor in program.graph.inputs[:count]]
        return axis_names(program, self.explained, shapes, self._sample_axes)

    def attribute(
        self,
        test: Sequence[np.ndarray],
        baseline: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        gates: bool,
        embeddings: bool,
        ledger: str | Relevance | None = None,
    ) -> PairAttribution:
        """Explain N rows: see `protocol`.

        A model that was changed since it was traced is traced anew.

        Raises:
            CaptureError: the model's own call says something else than what was followed.
        """
        axis = self._sample_axes[0]
        self._require_rows(self._rows, 1 if axis is None else test[0].shape[axis])
        options = {"gates": gates, "embeddings": embeddings, "ledger": ledger}

        def held() -> PairAttribution:
            result = self._attribute(test, baseline, targets, **options)
            self._require_own_answers(test, baseline, result, targets)
            return result

        with in_room(1 if axis is None else test[0].shape[axis], is_no_room):
            try:
                return held()
            except OutsideTableError as error:
                members = {"input": test, "baseline": baseline}
                raise error.of(members, self._inputs, self.explained) from error
            except OtherAnswerError:
                self._own_states = True  # the rounding of many steps tells one kernel from another
            except CaptureError:
                self._trace_anew()
            try:
                return held()
            except CaptureError:
                self._trace_anew()
                return held()

    def answer(self, arrays: Sequence[np.ndarray], targets: Sequence[Target]) -> np.ndarray | None:
        """The model's own predictions: see `protocol`."""
        if self._rows is not None:
            return None
        axis = self._sample_axes[0]
        rows = 1 if axis is None else arrays[0].shape[axis]
        with tf.device(self._place), full_precision(), in_room(rows, is_no_room):
            return self._answers.answer(arrays, targets)

    @property
    def coarsest(self) -> str:
        """See `protocol`."""
        return max((self._captured.coarsest, self.dtype), key=lambda name: AGREEMENT[name])

    def _column(self, outputs: Sequence[np.ndarray], target: Target) -> np.ndarray:
        places = [part.place(self._output_axes[part.output]) for part in target.parts]
        return _difference([outputs[part.output] for part in target.parts], places)

    def _require_own_answers(self, test, baseline, result: PairAttribution, targets: Sequence[Target]) -> None:
        with tf.device(self._place), full_precision():
            self._answers.require(test, baseline, result, targets, self.coarsest)

    def _trace_anew(self) -> None:
        before = self._captured.outputs
        self._captured = self._capture(lambda _: False)
        self._draw = first_draw(self._captured.program)
        self._find_ids()
        self._answers.use(self._captured)
        if [(name, shape.as_list()) for name, shape, _ in self._captured.outputs] != [
            (name, shape.as_list()) for name, shape, _ in before
        ]:
            raise CaptureError(
                "the model was changed while it was explained: it returns tensors of other names or shapes now",
                hint="Explain it again, and change it only afterwards.",
            )

    def _attribute(
        self,
        test: Sequence[np.ndarray],
        baseline: Sequence[np.ndarray],
        targets: Sequence[Target],
        *,
        gates: bool,
        embeddings: bool,
        ledger: str | Relevance | None,
    ) -> PairAttribution:
        with tf.device(self._place), full_precision():
            if isinstance(ledger, Relevance):
                method, book = RelevanceMethod(epsilon=ledger.epsilon), Absorbed(self._path)
            else:
                method, book = METHODS[ledger or "paired"], Ledger(self._path) if ledger else None
            inputs = [
                _Input(*given, self._precision, method)
                for given in zip(test, baseline, self.explained, self.float_ids, strict=True)
            ]
            self._check_answer(inputs)
            keep = gates or book is not None
            layers = {
                mark: FusedLayer(layer, self._precision, method, keep, self._own_states)
                for mark, layer in self._captured.layers.items()
            }
            with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                tape.watch([i.source for i in inputs if i.source is not None])
                called = layers if book is None else {mark: book.layer(layer) for mark, layer in layers.items()}
                results = self._run(inputs, called if self._fuse else {}, method, book)
            ran = [layer for layer in layers.values() if layer.has_run]
            explained = []
            for number, target in enumerate(targets):
                if book is not None:
                    book.target = number
                explained.append(self._explain(tape, results, target, inputs))
                for layer in ran:
                    layer.end_pass(number)
            names = self._names(ran)
            return PairAttribution(
                prediction=self._finite(np.stack([e.prediction for e in explained]), inputs, "prediction"),
                baseline_prediction=self._finite(
                    np.stack([e.baseline for e in explained]), inputs, "prediction for the baseline"
                ),
                attributions=[
                    self._finite(self._by_sample([e.inputs[i] for e in explained], i), inputs, "attribution")
                    if flag
                    else None
                    for i, flag in enumerate(self.explained)
                ],
                gates=dict(zip(names, [f.trace() for f in ran], strict=True)) if gates else {},
                embeddings={
                    i: self._by_sample([e.embeddings[i] for e in explained], i)
                    for i, given in enumerate(inputs)
                    if embeddings and given.leaf.embedded
                },
                ledger=None if book is None else book.trace(dict(zip(names, ran, strict=True)), len(targets)),
                divisors=[replace(d, where=self._path(d.where)) for d in self._divisors.found.values()],
            )

    def _finite(self, values: np.ndarray, inputs: Sequence[_Input], what: str) -> np.ndarray:
        if not np.isfinite(values).all():
            captured = [self._precision.cast(t) for t in self._captured.captured]
            raise why_not_finite(self._captured.program, [*(i.value for i in inputs), *captured], what, self._path)
        return values

    def _require_rows(self, needed: int | None, rows: int) -> None:
        """The number of samples that a model is fixed to."""
        if needed is None or needed == rows:
            return
        if self._states:
            raise InputError(
                f"{_count(rows, 'sample')} given to a model that keeps the states of {_count(needed, 'sequence')} "
                "between its calls (stateful=True)",
                hint=f"Give {_count(needed, 'sample')} at a time and as many baselines, without background=; or build "
                "the model with stateful=False, which needs no fixed number.",
            )
        raise InputError(
            f"{_count(rows, 'sample')} given to a model that was traced for {needed} and works on no other number",
            hint=f"Give {_count(needed, 'sample')} at a time and as many baselines, without background=.",
        )

    def _check_answer(self, inputs: Sequence[_Input]) -> None:
        if self._draw is not None:
            captured = [self._precision.cast(t) for t in self._captured.captured]
            arguments = [test(i.value) for i in inputs]
            require_same_answer(self._captured.program, self._draw, [*arguments, *captured])

    def _path(self, place: str) -> str:
        """A name scope as the path of a layer: without the model, and the numbers of scopes that were there before.

        Keras builds a layer in a scope of its name and calls it in the next, which may have the name of another layer.
        """
        first, *path = place.split("/")
        if not re.fullmatch(rf"{re.escape(self._model_name)}(_\d+)?", first):
            path = [first, *path]
        own = self._own_names
        named = ((part, re.sub(r"_\d+$", "", part)) for part in path)
        return "/".join(part if part in own and name not in own else name for part, name in named)

    def _run(
        self, inputs: Sequence[_Input], layers: Mapping[str, Fused], method: Method, ledger: Ledger | None
    ) -> list[Value]:
        captured = [self._precision.cast(t) for t in self._captured.captured]
        try:
            interpreter = Interpreter(
                self._captured.program, layers, method, ledger, cuts=self._cuts, from_the_end=self._from_the_end
            )
            self._divisors = interpreter.divisors
            return interpreter.run([*(i.value for i in inputs), *captured])
        except tf.errors.ResourceExhaustedError:  # smaller batches may fit
            raise
        except tf.errors.OpError as error:
            raise CaptureError(
                f"the model fails on these rows: {cause(error)}",
                hint="Rows must have the shapes that the runner was opened with." + self._of_doubles(),
            ) from error

    def _of_doubles(self) -> str:
        is_double = any(self._precision(tf.as_dtype(kind)) == tf.float64 for kind in (tf.float32, self.dtype))
        return " An operation that knows no double precision runs with precision='float32' only." if is_double else ""

    def _explain(
        self, tape: tf.GradientTape, results: Sequence[Value], target: Target, inputs: Sequence[_Input]
    ) -> _Explained:
        parts = [results[part.output] for part in target.parts]
        places = [part.place(self._output_axes[part.output]) for part in target.parts]
        seeds = []
        for part, out, place, sign in zip(target.parts, parts, places, (1, -1), strict=False):
            if not test(out).dtype.is_floating:
                name = self.outputs[part.output].name
                raise TargetError(f"output {name!r} is not a floating number, so nothing adds up to it")
            seed = np.zeros(test(out).shape, test(out).dtype.as_numpy_dtype)
            seed[place] = sign
            seeds.append(seed)
        sources = [[] if i.source is None else [i.source] for i in inputs]
        vectors = [[tensor for tensor, _ in i.leaf.embedded] for i in inputs]
        multipliers, at_vectors = tf.nest.map_structure(lambda _: None, [sources, vectors])
        paired = [(out.test, tf.constant(seed)) for out, seed in zip(parts, seeds, strict=True) if is_paired(out)]
        if paired:  # else this output does not depend on the explained inputs
            ends, given = map(list, zip(*paired, strict=True))
            multipliers, at_vectors = tape.gradient(ends, [sources, vectors], output_gradients=given)
        embeddings = [
            [
                _product(m, change).reshape(*i.source.shape, -1)  # a table may have numbers for its rows, or matrices
                for m, (_, change) in zip(ms, i.leaf.embedded, strict=True)
            ]
            for ms, i in zip(at_vectors, inputs, strict=True)
        ]
        return _Explained(
            prediction=_difference([test(out) for out in parts], places),
            baseline=_difference([base(out) for out in parts], places),
            inputs=[
                _product(m[0], tf.broadcast_to(i.counted, i.source.shape)) if m else None
                for m, i in zip(multipliers, inputs, strict=True)
            ],
            embeddings=[np.concatenate(parts, -1) if parts else None for parts in embeddings],
        )

    def _by_sample(self, arrays: Sequence[np.ndarray | None], leaf: int) -> np.ndarray:
        stacked = np.stack([array for array in arrays if array is not None]).astype(self.dtype)
        axis = self._sample_axes[leaf]
        return stacked[:, None] if axis is None else np.moveaxis(stacked, axis + 1, 1)

    def _names(self, layers: Iterable[FusedLayer]) -> list[str]:
        """Paths inside the model; a layer that is called again gets a number."""
        names: list[str] = []
        for layer in layers:
            name = layer.layer.name.removeprefix(f"{self._model_name}/")
            again = sum(1 for other in names if other.partition("#")[0] == name)
            names.append(f"{name}#{again + 1}" if again else name)
        return names


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _difference(outputs: Sequence[tf.Tensor | np.ndarray], places: Sequence[tuple]) -> np.ndarray:
    """One scalar per sample, (N,), less the second where there are two."""
    first, *second = (np.atleast_1d(np.asarray(out)[place]) for out, place in zip(outputs, places, strict=True))
    return first - second[0] if second else first


def _product(multiplier: tf.Tensor | None, difference: tf.Tensor) -> np.ndarray:
    if multiplier is None:
        return np.zeros(difference.shape, difference.dtype.as_numpy_dtype)
    return (multiplier * tf.cast(difference, multiplier.dtype)).numpy()
