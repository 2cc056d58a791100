"""The torch `Runner`: a captured model, ready to explain rows."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Container, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from explain_core.backends.answers import OtherAnswerError
from explain_core.backends.ids import OutsideTableError
from explain_core.backends.protocol import ModelOutput, PairAttribution, Target, constant_input_notes
from explain_core.backends.room import in_room
from explain_core.backends.torch.axes import axis_names
from explain_core.backends.torch.checks import check_attributions, check_finite, check_weights, require_fit
from explain_core.backends.torch.columns import column_of
from explain_core.backends.torch.decisions import DecidedOtherwiseError, DisagreeError, in_sample, is_guard
from explain_core.backends.torch.infinities import Infinities, InfinityMetError
from explain_core.backends.torch.interpreter import HALF, PairOps, Place, run_graph
from explain_core.backends.torch.kept import Kept, Opened, contents
from explain_core.backends.torch.layer_names import layer_names
from explain_core.backends.torch.ledger import Ledger
from explain_core.backends.torch.methods import METHODS, Method
from explain_core.backends.torch.nonfinite import Watching
from explain_core.backends.torch.notes import carried_notes, digits_notes, training_notes, zeroed_notes
from explain_core.backends.torch.one_at_a_time import one_at_a_time
from explain_core.backends.torch.output_axes import find_output_axes, layers_of_states
from explain_core.backends.torch.own_answers import TorchAnswers, coarsest
from explain_core.backends.torch.own_model import OwnModel
from explain_core.backends.torch.pairs import Pair, is_pair
from explain_core.backends.torch.recorder import Recorder
from explain_core.backends.torch.recordings import Recordings
from explain_core.backends.torch.relevance import Absorbed, RelevanceMethod
from explain_core.backends.torch.repeating import require_same_answers
from explain_core.backends.torch.room import is_no_room
from explain_core.backends.torch.shap_hooks import OTHER_LEDGERS, doubled, second_half, shap_fallback
from explain_core.errors import BackendError, CaptureError, ExplainError, InputError, UnsupportedOperation
from explain_core.rules.relevance import Relevance


def accepts(model: Any) -> bool:
    """Whether this backend explains ``model``."""
    return isinstance(model, (nn.Module, torch.export.ExportedProgram))


def open_runner(
    model: Any,
    arguments: Any,
    *,
    sample_axes: Sequence[int],
    device: str = "auto",
    precision: str | None = None,
) -> TorchRunner:
    """Make a model ready to explain rows of the shape of ``arguments``.

    Args:
        model: an ``nn.Module``, a TorchScript module or an exported program; it is not changed.
        arguments: names, arrays and how to call the model with them (`explain_core.preparation.inputs.Arguments`).
        sample_axes: the sample axis of each array.
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1".
        precision: "float32", "float64" or None for the model's own.
    """
    with one_at_a_time(), in_room(_rows(arguments.leaves, sample_axes), is_no_room):
        return TorchRunner(model, arguments, tuple(sample_axes), _device(device), precision)


def _rows(arrays: Sequence[np.ndarray], sample_axes: Sequence[int | None]) -> int:
    return 1 if sample_axes[0] is None else arrays[0].shape[sample_axes[0]]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BackendError(f"there is no device {name!r}", hint='Use "auto", "cpu", "cuda" or "cuda:0".') from error
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise BackendError(f"{name!r} was asked for, and PyTorch sees {count} CUDA devices", hint='Use device="cpu".')
    return device


class TorchRunner:
    """See `explain_core.backends.protocol.Runner`."""

    def __init__(
        self,
        model: Any,
        arguments: Any,
        sample_axes: tuple[int, ...],
        device: torch.device,
        precision: str | None,
    ) -> None:
        self._given, self._arguments, self._sample_axes = weakref.ref(model), arguments, sample_axes
        self._wanted = None if precision is None else getattr(torch, precision)
        self._place = Place(device, self._wanted)
        self._kept = Kept(model, arguments, (sample_axes, str(device), precision))
        self._open(model, self._kept.get())

    def _open(self, model: Any, kept: Opened | None) -> None:
        """Find out what the model does, or take it from memory where it does the same as then."""
        arguments, sample_axes, device = self._arguments, self._sample_axes, self._place.device
        self._model = OwnModel(model, arguments)
        own = torch.float32 if self._model.dtype in HALF else self._model.dtype
        self._dtype = self._wanted or own
        self.device, self.dtype = str(device), str(self._dtype).removeprefix("torch.")

        self._own_states = False
        self._narrowest = max(own, self._dtype, key=lambda dtype: torch.finfo(dtype).eps)
        require_fit(arguments.leaves, arguments.names, "input", self._narrowest)
        leaves = self._model.leaves(arguments.leaves)
        shared = [axis is None and sample_axes[0] is not None for axis in sample_axes]
        tokens: Container[int] = ()
        try:
            try:
                answers, digest = self._model.first_run(leaves)
            except CaptureError:
                self._model.tokens(leaves)  # an id that has no row may be what stopped it
                raise
            if kept is None or not kept.is_of(digest, self._model.module, arguments.leaves):
                kept, tokens = None, self._model.tokens(leaves)
        except OutsideTableError as error:
            raise error.of({"input": arguments.leaves}, arguments.names) from None
        self._is_from_memory = kept is not None
        self.explained = (
            kept.explained
            if kept
            else tuple((leaf.is_floating_point() or i in tokens) and not shared[i] for i, leaf in enumerate(leaves))
        )
        if not any(self.explained):
            raise InputError(
                "no input can be explained: there is no floating input and no token ids",
                hint="Give counts and other whole numbers that the model computes with as floats: x.astype(float).",
            )
        self._meets_infinities = False
        self.own_masks = (None,) * len(leaves)  # no module of PyTorch makes one
        self._recorded = Recordings(self._model, self.explained)
        if kept:
            self._recorded.start_from(kept.captured, arguments.leaves, kept.zeroed)
        captured = self._recorded.of(arguments.leaves)
        check_weights(self._model.module, captured.used_weights)
        if not kept:
            require_same_answers(answers, captured.values, captured.graph)
        self._is_single_in_part = self._dtype is torch.float64 and torch.float32 in captured.dtypes
        # Where a part is in single precision, its rounding is larger than what a sum in float64 may be off by.
        self._place = Place(device, torch.float64 if self._is_single_in_part else self._wanted)
        found = kept.axes if kept else find_output_axes(self._model.run, captured.values, leaves, sample_axes)
        self._output_axes = found.axes
        self._opened = kept or self._recorded.opened(digest, found)
        self._answers = TorchAnswers(
            lambda arrays: self._model.run(self._model.leaves(arrays)),
            lambda outputs, target: column_of(outputs, target, self._output_axes),
            self._follow,
            self._sample_axes,
            self._output_axes,
            leaves[0].device.type,
            arguments.leaves,
            answers if kept else captured.values,
            all(self.explained),
            lambda: contents(self._model.module),
            self._opened.compared if self._opened is not None else set(),
        )
        rows = layers_of_states(captured.graph.graph)
        self.outputs = tuple(
            ModelOutput(
                name,
                tuple(np.delete(value.shape, axis)) if axis is not None else tuple(value.shape),
                layers,
                str(found.unexplained.get(i, "")),
            )
            for i, (name, value, axis, layers) in enumerate(
                zip(captured.outputs, captured.values, self._output_axes, rows, strict=True)
            )
        )
        self._notes = (
            *constant_input_notes(arguments.names, self.explained, shared),
            *carried_notes(list(self._model.start.carried)),
            *training_notes(self._model.was_training),
            *self._half_notes(),
            *zeroed_notes(self._recorded.zeroed),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """See `explain_core.backends.protocol`; grows with what running the model shows."""
        return (*self._notes, *self._answers.notes)

    def _cuts(self) -> dict[fx.Node, str]:
        """Where floats of an input become ids, with the input's name."""
        names = [name for name, explained in zip(self._arguments.names, self.explained, strict=True) if explained]
        return {node: names[place] for node, place in self._recorded.last.cuts.items()}

    @property
    def float_ids(self) -> tuple[bool, ...]:
        """Per input, whether the model cuts its floats to ids: see `protocol.Runner`."""
        cut = set(self._cuts().values())
        return tuple(name in cut for name in self._arguments.names)

    @property
    def output_axes(self) -> tuple[int | None, ...]:
        """The sample axis of each output; None where it has none."""
        return tuple(self._output_axes)

    @cached_property
    def axis_names(self) -> tuple[tuple[str | None, ...], ...]:
        """What the captured graph says of the axes of each input: see `protocol.Runner`."""
        explained = [i for i, is_explained in enumerate(self.explained) if is_explained]
        return axis_names(self._recorded.last.graph.graph, explained, self._recorded.shapes, self._sample_axes)

    def answer(self, arrays: Sequence[np.ndarray], targets: Sequence[Target]) -> np.ndarray | None:
        """The model's own predictions: see `explain_core.backends.protocol`."""
        with one_at_a_time(), in_room(_rows(arrays, self._sample_axes), is_no_room):
            return self._answers.answer(arrays, targets)

    @property
    def coarsest(self) -> str:
        """See `explain_core.backends.protocol`."""
        return coarsest({*self._recorded.last.dtypes, self._dtype})

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
        """Explain N rows: see `explain_core.backends.protocol`."""
        with one_at_a_time(), in_room(_rows(test, self._sample_axes), is_no_room):

            def recorder() -> Recorder:
                return Recorder(gates=gates, embeddings=embeddings, ledger=book() if ledger else None)

            book, method = Ledger, METHODS["paired"]
            if isinstance(ledger, Relevance):
                book, method = Absorbed, RelevanceMethod(epsilon=ledger.epsilon)
            elif ledger is not None and ledger != "shap":
                method = METHODS[ledger]
            if ledger != "shap":
                return self._attribute(test, baseline, targets, recorder, method)
            method = shap_fallback(self._model.module)
            if not method.hooked:
                return self._attribute(test, baseline, targets, recorder, method)
            rows = doubled(test, baseline, self._sample_axes)
            both = [*range(len(test[0]))] * 2
            try:
                twice = self._attribute(*rows, [target.of_rows(both) for target in targets], recorder, method)
                return second_half(twice, len(test[0]))
            except CaptureError as error:
                raise UnsupportedOperation(
                    f"shap runs sample and baseline as one batch, which this model does not take: {error.what}",
                    hint=OTHER_LEDGERS,
                ) from error

    def _attribute(
        self,
        test: Sequence[np.ndarray],
        baseline: Sequence[np.ndarray],
        targets: Sequence[Target],
        recorder: Callable[[], Recorder],
        method: Method,
    ) -> PairAttribution:
        """Explain, opened anew where the model is not what it was in memory."""
        try:
            return self._attribute_as_recorded(test, baseline, targets, recorder, method)
        except ExplainError:
            if not self._is_from_memory or self._given() is None:
                raise
            self._open_anew()
            return self._attribute_as_recorded(test, baseline, targets, recorder, method)

    def _open_anew(self) -> None:
        """Forget what was in memory.

        Raises:
            CaptureError: the model returns other tensors now, or reads other inputs.
        """
        model, before = self._given(), (self.explained, self.outputs)
        self._kept.remove()
        self._open(model, None)
        if (self.explained, self.outputs) != before:
            raise CaptureError(
                "the model was changed while it was explained: its inputs or outputs are others now",
                hint="Explain it again, and change it only afterwards.",
            )

    def _attribute_as_recorded(
        self,
        test: Sequence[np.ndarray],
        baseline: Sequence[np.ndarray],
        targets: Sequence[Target],
        recorder: Callable[[], Recorder],
        method: Method,
    ) -> PairAttribution:
        """Explain, recorded anew where the model decides otherwise for these rows, or with its own hidden states."""
        explain = lambda: self._explain_by_limits(test, baseline, targets, recorder, method)  # noqa: E731
        try:
            try:
                return explain()
            except DecidedOtherwiseError:
                self._recorded.forget()  # recorded anew, from these rows
                return explain()
            except OtherAnswerError:
                if self._own_states:
                    raise
                self._own_states = True  # the rounding of many steps tells one kernel from another
                return explain()
        except DecidedOtherwiseError as decided:
            raise decided.error() from None
        except OutsideTableError as error:
            members = {"input": test, "baseline": baseline}
            raise error.of(members, self._arguments.names, self.explained) from error
        except DisagreeError as error:
            axis = self._sample_axes[0]
            raise in_sample(error, axis, 1 if axis is None else test[0].shape[axis]) from None

    def _explain_by_limits(self, test, baseline, targets, recorder: Callable[[], Recorder], method) -> PairAttribution:
        """Explain, and look at every result from the first infinity on."""
        try:
            return self._explain(test, baseline, targets, recorder(), method)
        except InfinityMetError:
            self._meets_infinities = True
            return self._explain(test, baseline, targets, recorder(), method)

    def _explain(
        self,
        test: Sequence[np.ndarray],
        baseline: Sequence[np.ndarray],
        targets: Sequence[Target],
        recorder: Recorder,
        method: Method,
    ) -> PairAttribution:
        for arrays, member in ((test, "input"), (baseline, "baseline")):
            require_fit(arrays, self._arguments.names, member, self._narrowest)
        captured = self._recorded.of(test)
        starts = [
            self._start(t, b) for t, b, explained in zip(test, baseline, self.explained, strict=True) if explained
        ]
        names = layer_names(captured, self._place)
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            inputs = [method.of_input(Pair(pair.test.view_as(pair.test), pair.base, pair.flow)) for pair, _ in starts]
            recorder.loops = captured.loops
            ops = PairOps(recorder, names, captured.packed_orders, method, Infinities(looks=self._meets_infinities))
            ops.cuts = self._cuts()
            ops.own_states = self._own_states
            try:
                outputs = run_graph(captured.graph, inputs, ops, self._place)
            finally:  # what came of an infinity may be what stopped it
                ops.infinities.require_none()
            prediction, base_prediction, columns = [], [], []
            for target in targets:
                column = column_of(outputs, target, self._output_axes)
                columns.append(column.test if is_pair(column) else column)
                prediction.append(_array(columns[-1]))
                base_prediction.append(_array(column.base if is_pair(column) else column))
            multipliers = self._multipliers(columns, [leaf for _, leaf in starts], recorder)
        prediction, base_prediction = np.stack(prediction), np.stack(base_prediction)
        for arrays, found, member in ((test, prediction, ""), (baseline, base_prediction, " for the baseline")):
            # Where a number stood for infinity, the model itself may have made a NaN of it.
            own = self._answers.answer(arrays, targets) if ops.infinities.met else None
            why = partial(self._why_not_finite, arrays, bool(member))
            check_finite(found if own is None else own, f"the prediction{member}", self._model.module, why)

        attributions: list[np.ndarray | None] = []
        at = iter(range(len(starts)))
        for explained, axis in zip(self.explained, self._sample_axes, strict=True):
            if not explained:
                attributions.append(None)
                continue
            i = next(at)
            change = method.counted(starts[i][0])
            per_target = [
                torch.where(change == 0, 0.0, m[i].to(change.dtype) * change).to(self._dtype) for m in multipliers
            ]
            stacked = torch.stack(per_target)
            check_attributions(stacked)
            attributions.append(_array(stacked.unsqueeze(1) if axis is None else stacked.movedim(axis + 1, 1)))
        result = PairAttribution(
            prediction=prediction,
            baseline_prediction=base_prediction,
            attributions=attributions,
            gates=recorder.traces(len(targets)),
            embeddings=self._embeddings(recorder.lookups, len(targets)),
            ledger=recorder.defects(len(targets)),
            divisors=ops.divisors.settle(),
        )
        self._require_own_answers(test, baseline, result, targets)
        return result

    def _require_own_answers(self, test, baseline, result: PairAttribution, targets: Sequence[Target]) -> None:
        """See `answers.OwnAnswers.require`; a recording by which a batch was explained is kept."""
        opened = self._opened if self._opened is not None and self._opened.captured is self._recorded.last else None
        self._answers.require(test, baseline, result, targets, self.coarsest)
        if opened is not None:
            self._kept.put(opened)

    def _half_notes(self) -> list[str]:
        """That the model, or a part of it, computes in fewer digits than it is explained in."""
        halves = self._model.halves
        coarse = (*HALF, torch.float32) if self._is_single_in_part else HALF
        fewer = halves or {dtype for dtype in self._recorded.last.dtypes if dtype in coarse}
        return digits_notes("The model" if halves else "A part of the model", fewer, self.dtype)

    def _why_not_finite(self, arrays: Sequence[np.ndarray], of_baseline: bool, kind: str) -> tuple[str, str]:
        """See `nonfinite.Watching.why`."""
        watching = Watching(Recorder(gates=False, embeddings=False), {}, self._recorded.last.packed_orders)
        self._follow(arrays, self._dtype, watching)
        return watching.why(kind, of_baseline)

    def _follow(
        self, arrays: Sequence[np.ndarray], dtype: torch.dtype, watching: Watching | None = None
    ) -> list[Tensor]:
        """What the model gives in a floating type, without a baseline, deciding as it does for these arrays itself."""
        if any(map(is_guard, self._recorded.last.graph.graph.nodes)):
            self._recorded.forget()  # it may decide otherwise than for the rows before
        captured, place = self._recorded.of(arrays), Place(self._place.device, dtype)
        given = [leaf for leaf, explained in zip(self._model.leaves(arrays), self.explained, strict=True) if explained]
        given = [x.to(place.device, dtype if x.is_floating_point() else None) for x in given]
        ops = watching or PairOps(Recorder(gates=False, embeddings=False), {}, captured.packed_orders)
        ops.judges = False  # what it decided by, it read in its own type and not in this one
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            return run_graph(captured.graph, given, ops, place)

    def _start(self, test: np.ndarray, base: np.ndarray) -> tuple[Pair, Tensor]:
        """The pair of an input, and the leaf of the tape at which its multiplier arrives."""
        here, there = (torch.from_numpy(np.array(v)).to(self._place.device) for v in (test, base))
        if here.is_floating_point():
            leaf = here.to(self._dtype).requires_grad_()
            return Pair(leaf, there.to(self._dtype)), leaf
        flow = here.double().requires_grad_()
        return Pair(here, there, flow), flow

    def _multipliers(self, columns: list[Tensor], leaves: list[Tensor], recorder: Recorder) -> list[list[Tensor]]:
        """For each output, the multiplier of each explained input."""
        found = []
        for k, column in enumerate(columns):
            recorder.explain(k)
            grads = [None] * len(leaves)
            if column.requires_grad:
                grads = torch.autograd.grad(column.sum(), leaves, retain_graph=k + 1 < len(columns), allow_unused=True)
            elif recorder.ledger is not None:
                recorder.ledger.constant(column)
            found.append([torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True)])
        return found

    def _embeddings(self, lookups: list[dict[int, np.ndarray]], targets: int) -> dict[int, np.ndarray]:
        """Unsummed attributions (K, N, ..., E) of the token input.

        Raises:
            InputError: the model looks its ids up more than once, or not one by one.
        """
        lookups = [found for found in lookups if found]
        if not lookups:
            return {}
        leaves = enumerate(self._arguments.leaves)
        tokens = [i for i, leaf in leaves if self.explained[i] and leaf.dtype.kind in "iu"]
        some = next(iter(lookups[0].values()))
        if len(lookups) > 1 or len(tokens) != 1 or some.shape[:-1] != self._arguments.leaves[tokens[0]].shape:
            raise InputError(
                f"attributions before the sum over the embedding are not to be had: {len(lookups)} lookups of shape "
                f"{some.shape} and {len(tokens)} inputs of token ids",
                hint="Leave out keep_embeddings; each token's whole attribution is there without it.",
            )
        return {tokens[0]: np.stack([lookups[0].get(k, np.zeros_like(some)) for k in range(targets)])}


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()
