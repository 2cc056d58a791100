"""The backend's side of the protocol: rows of numpy in, multipliers times differences out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from ...errors import BackendError, CaptureError, InputError, NonFiniteError, TargetError
from ..protocol import LedgerTrace, ModelOutput, PairAttribution, Target, constant_input_notes
from .axes import axis_names
from .capture import Arguments, capture
from .graph import LOW_PRECISION, Precision
from .ids import are_ids
from .interpreter import Interpreter
from .ledger import Ledger
from .methods import METHODS, Method
from .pairs import CREDIT, Discrete, Leaf, Pair, Value, base, is_paired, test
from .recurrent import FusedLayer
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
    return TensorFlowRunner(model, arguments, sample_axes, _device(device), Precision(precision), fuse)


class _Input:
    """One leaf on its way in: its value for the interpreter, and the tensor that it is explained by."""

    def __init__(self, given: np.ndarray, baseline: np.ndarray, explained: bool, precision: Precision) -> None:
        self.leaf = Leaf()
        self.source: tf.Tensor | None = None  # its gradient is a multiplier, or for ids a contribution
        here, there = (precision.cast(tf.constant(array)) for array in (given, baseline))
        self.difference: tf.Tensor | float = 1.0
        self.value: Value = here  # what is not explained is the same for both members
        if explained and here.dtype.is_floating:
            self.source, self.difference = here, here - there
            self.value = Pair(here, there, self.leaf)
        elif explained:
            self.source = tf.zeros(here.shape, CREDIT)
            self.value = Discrete(here, there, self.source, self.leaf)


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
        self._model_name = getattr(model, "name", "")
        self._own_names = {layer.name for layer in getattr(model, "layers", ())}
        leaves = [np.asarray(leaf) for leaf in arguments.leaves]
        self._captured = capture(model, arguments, leaves, sample_axes, precision)
        self._draw = first_draw(self._captured.program)
        self.explained = tuple(
            bool(np.issubdtype(leaf.dtype, np.floating))
            or bool(np.issubdtype(leaf.dtype, np.integer) and are_ids(self._captured.program, number))
            for number, leaf in enumerate(leaves)
        )
        if not any(self.explained):
            raise InputError("no input can be explained: there is no floating input and no ids")
        rows = 1 if sample_axes[0] is None else leaves[0].shape[sample_axes[0]]
        self._rows = self._captured.rows  # the number of samples that the model is fixed to
        self._output_axes = [self._sample_axis(shape, rows) for _, shape, _ in self._captured.outputs]
        self.outputs = tuple(
            ModelOutput(name, tuple(size for axis, size in enumerate(shape) if axis != sample))
            for (name, shape, _), sample in zip(self._captured.outputs, self._output_axes, strict=True)
        )
        types = [kind for _, _, kind in self._captured.outputs]
        given = [tf.as_dtype(leaf.dtype) for leaf in leaves]
        floats = [precision(kind) for kind in (*types, *given) if kind.is_floating]
        self.device = "cuda" + device.removeprefix("/GPU") if "GPU" in device else "cpu"
        # A model of doubles that takes singles gives their multipliers in single precision.
        self.dtype = min((kind.name for kind in floats), default="float32")
        self.notes = (*constant_input_notes(arguments.names, self.explained), *_half_precision(types))

    def _sample_axis(self, shape: tf.TensorShape, rows: int) -> int | None:
        """The axis of an output whose size was left open when tracing, or is the number of samples."""
        if self._sample_axes[0] is None or (shape.rank == 0 and rows == 1):
            return None
        if None in list(shape):
            return list(shape).index(None)
        if rows in list(shape):  # a fixed number of samples, as in a stateful layer
            self._rows = rows
            return list(shape).index(rows)
        raise CaptureError(
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
        ledger: str | None = None,
    ) -> PairAttribution:
        """Explain N rows: see `protocol`."""
        self._check_rows(test)
        with tf.device(self._place), _full_precision():
            inputs = [_Input(*given, self._precision) for given in zip(test, baseline, self.explained, strict=True)]
            self._check_answer(inputs)
            method, book = METHODS[ledger or "paired"], Ledger() if ledger else None
            layers = {mark: FusedLayer(layer, self._precision, method) for mark, layer in self._captured.layers.items()}
            with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                tape.watch([i.source for i in inputs if i.source is not None])
                results = self._run(inputs, layers if self._fuse else {}, method, book)
            ran = [layer for layer in layers.values() if layer.sweep]
            explained = []
            for number, target in enumerate(targets):
                if book is not None:
                    book.target = number
                explained.append(self._explain(tape, results, target, inputs))
                for layer in ran:
                    layer.end_pass(number)
            names = self._names(ran)
            return PairAttribution(
                prediction=_finite(np.stack([e.prediction for e in explained]), "prediction"),
                baseline_prediction=_finite(np.stack([e.baseline for e in explained]), "prediction for the baseline"),
                attributions=[
                    _finite(self._by_sample([e.inputs[i] for e in explained], i), "attribution") if flag else None
                    for i, flag in enumerate(self.explained)
                ],
                gates=dict(zip(names, [f.trace() for f in ran], strict=True)) if gates else {},
                embeddings={
                    i: self._by_sample([e.embeddings[i] for e in explained], i)
                    for i, given in enumerate(inputs)
                    if embeddings and given.leaf.embedded
                },
                ledger=self._ledger(book, dict(zip(names, ran, strict=True)), len(targets)),
            )

    def _ledger(self, book: Ledger | None, layers: dict[str, FusedLayer], targets: int) -> LedgerTrace | None:
        if book is None:
            return None
        nodes: dict[tuple[str, str], np.ndarray] = {}
        for (place, operation), defect in book.nodes(targets).items():
            key = self._path(place), operation
            nodes[key] = nodes.get(key, 0.0) + defect
        known = {name: layer.defects() for name, layer in layers.items()}
        loops = book.loops.layers(dict.fromkeys(book.loops.names, False), targets)
        return LedgerTrace(nodes, known | {self._path(name): layer for name, layer in loops.items()})

    def _check_rows(self, test: Sequence[np.ndarray]) -> None:
        needed = self._rows
        rows = needed if needed is None else test[0].shape[self._sample_axes[0]]
        if needed != rows:
            raise InputError(
                f"{rows} samples were given to a model that works on {needed} at a time only",
                hint=f"Explain {needed} samples at a time, or open a runner for {rows}.",
            )

    def _check_answer(self, inputs: Sequence[_Input]) -> None:
        if self._draw is not None:
            captured = [self._precision.cast(t) for t in self._captured.captured]
            arguments = [test(i.value) for i in inputs]
            require_same_answer(self._captured.program, self._draw, [*arguments, *captured])

    def _path(self, place: str) -> str:
        """A name scope as the path of a layer: without the model, and the numbers of scopes that were there before."""
        first, *path = place.split("/")
        if not re.fullmatch(rf"{re.escape(self._model_name)}(_\d+)?", first):
            path = [first, *path]
        return "/".join(part if part in self._own_names else re.sub(r"_\d+$", "", part) for part in path)

    def _run(
        self, inputs: Sequence[_Input], layers: dict[str, FusedLayer], method: Method, ledger: Ledger | None
    ) -> list[Value]:
        captured = [self._precision.cast(t) for t in self._captured.captured]
        try:
            return Interpreter(self._captured.program, layers, method, ledger).run(
                [*(i.value for i in inputs), *captured]
            )
        except tf.errors.OpError as error:
            raise CaptureError(
                f"the model fails on these rows: {error.message}",
                hint="Rows must have the shapes that the runner was opened with. An operation that knows no "
                "double precision runs with precision='float32' only.",
            ) from error

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
            [_product(m, change) for m, (_, change) in zip(ms, i.leaf.embedded, strict=True)]
            for ms, i in zip(at_vectors, inputs, strict=True)
        ]
        return _Explained(
            prediction=_difference([test(out) for out in parts], places),
            baseline=_difference([base(out) for out in parts], places),
            inputs=[
                _product(m[0], tf.broadcast_to(i.difference, i.source.shape)) if m else None
                for m, i in zip(multipliers, inputs, strict=True)
            ],
            embeddings=[np.concatenate(parts, -1) if parts else None for parts in embeddings],
        )

    def _by_sample(self, arrays: Sequence[np.ndarray], leaf: int) -> np.ndarray:
        stacked, axis = np.stack(arrays).astype(self.dtype), self._sample_axes[leaf]
        return stacked[:, None] if axis is None else np.moveaxis(stacked, axis + 1, 1)

    def _names(self, layers: Iterable[FusedLayer]) -> list[str]:
        """Paths inside the model; a layer that is called again gets a number."""
        names: list[str] = []
        for layer in layers:
            name = layer.layer.name.removeprefix(f"{self._model_name}/")
            again = sum(1 for other in names if other.partition("#")[0] == name)
            names.append(f"{name}#{again + 1}" if again else name)
        return names


def _difference(outputs: Sequence[tf.Tensor], places: Sequence[tuple]) -> np.ndarray:
    """One scalar per sample, (N,), less the second where there are two."""
    first, *second = (np.atleast_1d(out.numpy()[place]) for out, place in zip(outputs, places, strict=True))
    return first - second[0] if second else first


def _product(multiplier: tf.Tensor | None, difference: tf.Tensor) -> np.ndarray:
    if multiplier is None:
        return np.zeros(difference.shape, difference.dtype.as_numpy_dtype)
    return (multiplier * tf.cast(difference, multiplier.dtype)).numpy()


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"the {what} has a NaN or an infinity",
            hint="A weight may be one, or the inputs too large for the model; look at its own predictions.",
        )
    return values


def _half_precision(types: Sequence[tf.DType]) -> list[str]:
    half = [kind.name for kind in types if kind in LOW_PRECISION]
    return [f"The model computes in {half[0]}; it is explained in float32."] if half else []


def _device(name: str) -> str:
    gpus = tf.config.list_logical_devices("GPU")
    if name == "cpu" or (name == "auto" and not gpus):
        return "/CPU:0"
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cuda") or not (number or "0").isdigit():
        raise BackendError(f"unknown device {name!r}", hint="Use 'auto', 'cpu', 'cuda' or 'cuda:1'.")
    place = int(number or 0)
    if place >= len(gpus):
        raise BackendError(
            f"device {name!r} is not there: TensorFlow sees {len(gpus)} GPUs",
            hint="Use device='cpu', or install a TensorFlow build that finds your GPU.",
        )
    return f"/GPU:{place}"


@contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in the full precision of their type: TensorFloat-32 rounds to three digits."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
