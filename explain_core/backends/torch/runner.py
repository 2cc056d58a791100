"""The torch `Runner`: a captured model, ready to explain rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from explain_core.backends.ids import OutsideTableError
from explain_core.backends.protocol import ModelOutput, PairAttribution, Target, constant_input_notes
from explain_core.backends.torch.axes import axis_names
from explain_core.backends.torch.capture import (
    Captured,
    capture,
    model_device,
    model_dtype,
    private_copy,
    run,
    token_inputs,
    trains,
)
from explain_core.backends.torch.completed import Completed
from explain_core.backends.torch.decisions import DecidedOtherwiseError, DisagreeError, in_sample
from explain_core.backends.torch.draws import Draws
from explain_core.backends.torch.fastpath import encoders, padding_zeroed, zeroed_calls
from explain_core.backends.torch.ids import cuts_of_ids
from explain_core.backends.torch.interpreter import HALF, PairOps, Place, module_path, run_graph
from explain_core.backends.torch.ledger import Ledger
from explain_core.backends.torch.methods import GRADIENT, PAIRED, RESCALE_ONLY, Method
from explain_core.backends.torch.own_answers import OwnAnswers, coarsest
from explain_core.backends.torch.pairs import Pair, dtype_of, is_pair
from explain_core.backends.torch.recorder import Recorder
from explain_core.backends.torch.repeating import Start, draws_numbers, require_same_answers
from explain_core.backends.torch.shap_hooks import OTHER_LEDGERS, doubled, second_half, shap_fallback
from explain_core.backends.torch.watching import ChangesWeightError, WeightsAreKept
from explain_core.errors import (
    BackendError,
    CaptureError,
    CompletenessError,
    InputError,
    NonFiniteError,
    UnsupportedOperation,
)

_METHODS = {method.name: method for method in (PAIRED, GRADIENT, RESCALE_ONLY)}


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
        arguments: names, arrays and how to call the model with them (`explain_core.inputs.Arguments`).
        sample_axes: the sample axis of each array.
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1".
        precision: "float32", "float64" or None for the model's own.
    """
    with torch.inference_mode(False):  # the tape is needed, wherever explain() is called
        return TorchRunner(model, arguments, tuple(sample_axes), _device(device), precision)


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
        module = model.module() if isinstance(model, torch.export.ExportedProgram) else model
        module = getattr(module, "_orig_mod", module)  # what torch.compile was given
        self._completed = module if isinstance(module, Completed) else None
        module = module.inner if isinstance(module, Completed) else module
        self._model = private_copy(module)
        _check_weights(self._model)
        self._halves = {model_dtype(self._model)} if _is_half(self._model) else set()
        if self._halves:
            self._model.float()
        self._arguments = arguments
        self._sample_axes = sample_axes
        self._start_state = Start(self._model)
        floats = [leaf.dtype for leaf in arguments.leaves if leaf.dtype.kind == "f"]
        double_input = bool(floats) and all(dtype == np.float64 for dtype in floats)
        self._own_dtype = own = model_dtype(self._model, otherwise=torch.float64 if double_input else torch.float32)
        wanted = None if precision is None else getattr(torch, precision)
        self._place = Place(device, wanted)
        self._dtype = wanted or (torch.float32 if own in HALF else own)
        self.device, self.dtype = str(device), str(self._dtype).removeprefix("torch.")

        leaves = self._leaves(arguments.leaves)
        try:
            tokens, first_answers = self._first_run(leaves)
        except OutsideTableError as error:
            raise error.of({"input": arguments.leaves}, arguments.names) from None
        self.explained = tuple(leaf.is_floating_point() or i in tokens for i, leaf in enumerate(leaves))
        if not any(self.explained):
            raise InputError("no input can be explained: there is no floating input and no token ids")
        self._constants: list[np.ndarray] | None = None
        self._zeroed: list[str] = []
        self._captured: Captured | None = None
        captured = self._capture(arguments.leaves)
        require_same_answers(first_answers, captured.values, captured.graph)
        self._is_single_in_part = self._dtype is torch.float64 and torch.float32 in _dtypes(captured.graph)
        if self._is_single_in_part:  # its rounding is larger than what a sum in float64 may be off by
            self._place = Place(device, torch.float64)
        self._output_axes = self._find_output_axes(captured.values, leaves)
        self._answers = OwnAnswers(
            lambda arrays: self._run(self._leaves(arrays)),
            self._column,
            self._sample_axes,
            arguments.leaves,
            captured.values,
            alone=all(self.explained),
        )
        self.outputs = tuple(
            ModelOutput(name, tuple(np.delete(value.shape, axis)) if axis is not None else tuple(value.shape))
            for name, value, axis in zip(captured.outputs, captured.values, self._output_axes, strict=True)
        )
        self._notes = (
            *constant_input_notes(arguments.names, self.explained),
            *_notes(module, list(self._start_state.carried)),
            *self._half_notes(),
            *_zeroed_notes(self._zeroed),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """See `explain_core.backends.protocol`; grows with what running the model shows."""
        return (*self._notes, *self._answers.notes)

    def _first_run(self, leaves: Sequence[Tensor]) -> tuple[set[int], list[Tensor]]:
        """Which inputs are token ids, and the model's answers; also shows what it keeps or changes between calls."""
        tokens = self._owning(lambda: token_inputs(self._model, self._call, leaves))
        answers = self._run(leaves)
        self._start_state.restore()
        return tokens, answers

    def _run(self, leaves: Sequence[Tensor]) -> list[Tensor]:
        """The model's own answers."""
        return self._owning(lambda: run(self._call, leaves))

    def _owning(self, action: Callable[[], Any]) -> Any:
        """What runs the model; before the first write to one of its weights, that becomes a copy and it runs again.

        Raises:
            ChangesWeightError: what it writes is not what was there.
        """
        while True:
            try:
                with WeightsAreKept(self._model, self._start_state.weights):
                    result = action()
                changed = self._start_state.changed_weight
                if changed is not None:
                    raise ChangesWeightError(changed)
                return result
            except ChangesWeightError as found:
                if found.name in self._start_state.weights or found.name == self._start_state.changed_weight:
                    raise
                self._start_state.own(found.name)

    def _call(self, *leaves: Tensor) -> Any:
        args, kwargs = self._arguments.rebuild(list(leaves))
        if self._completed is not None:
            args, kwargs = self._completed.complete(args, kwargs)
        self._start_state.restore()
        return self._model(*args, **kwargs)

    def _leaves(self, arrays: Sequence[np.ndarray]) -> list[Tensor]:
        """Arrays as the model takes them, where the model is."""
        dtype, device = self._own_dtype, model_device(self._model)
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        return [t.to(device=device, dtype=dtype if t.is_floating_point() else None) for t in tensors]

    def _capture(self, arrays: Sequence[np.ndarray]) -> Captured:
        """The recorded model; recorded anew when an input that is not explained has changed."""
        constants = [np.asarray(a) for a, explained in zip(arrays, self.explained, strict=True) if not explained]
        shapes = [a.shape for a in arrays]
        same = self._constants is not None and all(map(np.array_equal, constants, self._constants))
        if not same or shapes != self._shapes:
            leaves = self._leaves(arrays)
            traced = [leaf for leaf, explained in zip(leaves, self.explained, strict=True) if explained]

            def call(*tensors: Tensor) -> Any:
                given = iter(tensors)
                return self._call(*(next(given) if e else leaf for leaf, e in zip(leaves, self.explained, strict=True)))

            zeroed = zeroed_calls(self._model, lambda: self._run(leaves)) if encoders(self._model) else frozenset()
            if zeroed:
                self._zeroed = sorted({path for path, _ in zeroed})

            def record(draws: Sequence[bytes] = ()) -> Captured:
                with padding_zeroed(self._model, zeroed):
                    return capture(self._model, call, traced, self._start_state.weights, draws)

            self._captured = self._owning(record)
            if draws_numbers(self._captured.graph):
                with Draws() as draws:
                    self._run(leaves)
                self._captured = self._owning(lambda: record(draws.states))
            self._start_state.restore()  # weights in the graph that the recording changed
            self._constants, self._shapes = constants, shapes
        return self._captured

    def _find_output_axes(self, values: Sequence[Tensor], leaves: list[Tensor]) -> list[int | None]:
        """The sample axis of each output: the one whose size is the number of samples.

        Where two axes have that size, the model is run on one sample more to see which one grows.
        """
        if self._sample_axes[0] is None:
            return [None] * len(values)
        n = leaves[0].shape[self._sample_axes[0]]
        choices = [[axis for axis, size in enumerate(v.shape) if size == n] for v in values]
        if all(len(axes) == 1 for axes in choices):
            return [axes[0] for axes in choices]
        more = [
            torch.cat([leaf, leaf.narrow(axis, 0, 1)], axis)
            for leaf, axis in zip(leaves, self._sample_axes, strict=True)
        ]
        try:
            grown = self._run(more)
        except CaptureError:  # the model takes one batch size only
            grown = None
        found: list[int | None] = []
        for i, (value, axes) in enumerate(zip(values, choices, strict=True)):
            if grown is not None and grown[i].ndim == value.ndim:
                axes = [a for a in range(value.ndim) if grown[i].shape[a] != value.shape[a]]
            sizes = [value.shape[axis] for axis in axes] or [size for size in value.shape if n > 1 and size % n == 0]
            if sizes and n not in sizes:
                raise CaptureError(
                    f"the output has shape {tuple(value.shape)}: it has samples and timesteps in one axis",
                    hint="Leave out the view or reshape at the end of forward; it is to return (sample, time, unit).",
                )
            if not axes and n == 1:
                found.append(None)  # the sample axis of a single sample was squeezed away
            elif not axes:
                raise CaptureError(
                    f"the output has shape {tuple(value.shape)}, in which no axis has the {n} samples of the input",
                    hint="Tell the sample axis of the inputs with sample_axis= (None for input without one).",
                )
            else:
                found.append(axes[0])
        return found

    def _cuts(self) -> dict[fx.Node, str]:
        """Where floats of an input become ids, with the input's name."""
        names = [name for name, explained in zip(self._arguments.names, self.explained, strict=True) if explained]
        return {node: names[place] for node, place in cuts_of_ids(self._captured.graph.graph).items()}

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
        return axis_names(self._captured.graph.graph, explained, self._shapes, self._sample_axes)

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
        """Explain N rows: see `explain_core.backends.protocol`."""
        with torch.inference_mode(False):

            def recorder() -> Recorder:
                return Recorder(gates=gates, embeddings=embeddings, ledger=Ledger() if ledger else None)

            method = shap_fallback(self._model) if ledger == "shap" else _METHODS[ledger or "paired"]
            if ledger != "shap" or not method.hooked:
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
        """Explain by a recording in which the model decided as it does for these rows."""
        try:
            try:
                return self._explain(test, baseline, targets, recorder(), method)
            except DecidedOtherwiseError:
                self._constants = None  # recorded anew, from these rows
                return self._explain(test, baseline, targets, recorder(), method)
        except DecidedOtherwiseError as decided:
            raise decided.error() from None
        except OutsideTableError as error:
            members = {"input": test, "baseline": baseline}
            raise error.of(members, self._arguments.names, self.explained) from error
        except DisagreeError as error:
            axis = self._sample_axes[0]
            raise in_sample(error, axis, 1 if axis is None else test[0].shape[axis]) from None

    def _explain(
        self,
        test: Sequence[np.ndarray],
        baseline: Sequence[np.ndarray],
        targets: Sequence[Target],
        recorder: Recorder,
        method: Method,
    ) -> PairAttribution:
        captured = self._capture(test)
        starts = [
            self._start(t, b) for t, b, explained in zip(test, baseline, self.explained, strict=True) if explained
        ]
        names = self._layer_names(captured)
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            inputs = [Pair(pair.test.view_as(pair.test), pair.base, pair.flow) for pair, _ in starts]
            recorder.loops = captured.loops
            ops = PairOps(recorder, names, captured.packed_orders, method)
            ops.cuts = self._cuts()
            outputs = run_graph(captured.graph, inputs, ops, self._place)
            prediction, base_prediction, columns = [], [], []
            for target in targets:
                column = self._column(outputs, target)
                columns.append(column.test if is_pair(column) else column)
                prediction.append(_array(columns[-1]))
                base_prediction.append(_array(column.base if is_pair(column) else column))
            multipliers = self._multipliers(columns, [leaf for _, leaf in starts], recorder)
        prediction, base_prediction = np.stack(prediction), np.stack(base_prediction)
        _check_finite(prediction, "the prediction", self._model)
        _check_finite(base_prediction, "the prediction for the baseline", self._model)

        attributions: list[np.ndarray | None] = []
        at = iter(range(len(starts)))
        for explained, axis in zip(self.explained, self._sample_axes, strict=True):
            if not explained:
                attributions.append(None)
                continue
            i = next(at)
            change = starts[i][0].difference
            per_target = [
                torch.where(change == 0, 0.0, m[i].to(change.dtype) * change).to(self._dtype) for m in multipliers
            ]
            stacked = torch.stack(per_target)
            _check_multipliers(stacked)
            attributions.append(_array(stacked.unsqueeze(1) if axis is None else stacked.movedim(axis + 1, 1)))
        result = PairAttribution(
            prediction=prediction,
            baseline_prediction=base_prediction,
            attributions=attributions,
            gates=recorder.traces(len(targets)),
            embeddings=self._embeddings(recorder.lookups, len(targets)),
            ledger=recorder.defects(len(targets)),
            divisors=list(ops.divisors.found.values()),
        )
        dtype = coarsest(captured.graph, self._dtype)
        self._answers.require(test, baseline, result, targets, dtype, self._follow)
        return result

    def _layer_names(self, captured: Captured) -> dict[int, str]:
        """Module paths by the identity of the weights as the run uses them."""
        names = {}
        for node in captured.graph.graph.find_nodes(op="get_attr"):
            weight = getattr(captured.graph, node.target)
            if not isinstance(weight, Tensor):
                raise UnsupportedOperation(
                    f"the model computes with an object of its own kind, {type(weight).__name__}",
                    where=module_path(next(iter(node.users), node)),
                    hint="If its weights are quantized, explain the model as it was before.",
                )
            if torch._C._functorch.is_functorch_wrapped_tensor(weight):
                raise CaptureError(
                    "functions of torch.func that differentiate (grad, jacrev, jvp) cannot be followed",
                    where=module_path(next(iter(node.users), node)),
                    hint="Write this part with operations on whole batches.",
                )
            if isinstance(weight, Tensor) and weight.data_ptr() in captured.weight_names:
                path = captured.weight_names[weight.data_ptr()].rpartition(".")[0]
                names[id(self._place.constant(weight))] = path
        return {key: path for key, path in names.items() if path}

    def _half_notes(self) -> list[str]:
        """That the model, or a part of it, computes in fewer digits than it is explained in."""
        what = "The model" if self._halves else "A part of the model"
        coarse = (*HALF, torch.float32) if self._is_single_in_part else HALF
        halves = self._halves or {dtype for dtype in _dtypes(self._captured.graph) if dtype in coarse}
        names = sorted(str(dtype).removeprefix("torch.") for dtype in halves)
        return [f"{what} computes in {name}; it is explained in {self.dtype}." for name in names]

    def _follow(self, arrays: Sequence[np.ndarray], dtype: torch.dtype) -> list[Tensor]:
        """What the recorded model gives in a floating type, without a baseline."""
        captured, place = self._capture(arrays), Place(self._place.device, dtype)
        given = [leaf for leaf, explained in zip(self._leaves(arrays), self.explained, strict=True) if explained]
        given = [x.to(place.device, dtype if x.is_floating_point() else None) for x in given]
        ops = PairOps(Recorder(gates=False, embeddings=False), {}, captured.packed_orders)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            return run_graph(captured.graph, given, ops, place)

    def _start(self, test: np.ndarray, base: np.ndarray) -> tuple[Pair, Tensor]:
        """The pair of an input, and the leaf of the tape at which its multiplier arrives."""
        test, base = (torch.from_numpy(np.array(v)).to(self._place.device) for v in (test, base))
        if test.is_floating_point():
            leaf = test.to(self._dtype).requires_grad_()
            return Pair(leaf, base.to(self._dtype)), leaf
        flow = test.double().requires_grad_()
        return Pair(test, base, flow), flow

    def _column(self, outputs: Sequence[Any], target: Target) -> Any:
        """One explained scalar per sample, (N,): an output, or the difference of two."""
        parts = [self._pick(outputs[part.output], part) for part in target.parts]
        if len(parts) == 1:
            return parts[0]
        tests, bases = ([getattr(p, member) if is_pair(p) else p for p in parts] for member in ("test", "base"))
        difference = tests[0] - tests[1]
        return Pair(difference, bases[0] - bases[1]) if any(map(is_pair, parts)) else difference

    def _pick(self, output: Any, target: Target) -> Any:
        if dtype_of(output).is_complex:
            raise CaptureError(
                "the chosen output is complex, and has no single size that attributions could add up to",
                hint="Return its real part, its size or its angle: .real, .abs(), .angle().",
            )
        axis = self._output_axes[target.output]

        def pick(value: Tensor) -> Tensor:
            place = target.place(None if axis is None else 0)
            return value[place].unsqueeze(0) if axis is None else value.movedim(axis, 0)[place]

        if is_pair(output):
            if not output.is_float:
                raise CaptureError("the chosen output is a whole number or truth value, which has no attribution")
            return Pair(pick(output.test), pick(output.base))
        return pick(output)

    def _multipliers(self, columns: list[Tensor], leaves: list[Tensor], recorder: Recorder) -> list[list[Tensor]]:
        """For each output, the multiplier of each explained input."""
        found = []
        for k, column in enumerate(columns):
            recorder.explain(k)
            grads = [None] * len(leaves)
            if column.requires_grad:
                grads = torch.autograd.grad(column.sum(), leaves, retain_graph=k + 1 < len(columns), allow_unused=True)
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


def _dtypes(graph: fx.GraphModule) -> set[torch.dtype]:
    """Which types of numbers there are in a captured graph."""
    values = (node.meta.get("val") for node in graph.graph.nodes)
    return {leaf.dtype for leaf in pytree.tree_leaves(list(values)) if isinstance(leaf, Tensor)}


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def _is_half(model: nn.Module) -> bool:
    """Whether all of a model is in half precision, and not a part of it."""
    weights = [*model.parameters()] or [*model.buffers()]
    floats = [weight.dtype for weight in weights if weight.is_floating_point()]
    return bool(floats) and all(dtype in HALF for dtype in floats)


def _check_weights(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if "quantized" in type(module).__module__.split("."):
            raise UnsupportedOperation(
                f"the layer {type(module).__name__} is quantized: its weights are whole numbers in a form of its own",
                where=name,
                hint="Explain the model as it was before it was quantized.",
            )
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            kind = "NaN" if torch.isnan(weight).any() else "infinity"
            raise NonFiniteError(f"the weight {name!r} contains {kind}", where=name, hint="Was training diverging?")


def _check_finite(values: np.ndarray, what: str, model: nn.Module) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        k, n = (int(v) for v in np.argwhere(bad)[0])
        floats = {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}
        odd = [name for name, buffer in floats.items() if not torch.isfinite(buffer).all()]
        raise NonFiniteError(
            f"{what} of sample {n}, output {k} is {values[k, n]}",
            where=f"sample {n}",
            hint=f"The buffer {odd[0]!r} contains NaN or infinity." if odd else "",
        )


def _check_multipliers(attributions: Tensor) -> None:
    if not torch.isfinite(attributions).all():
        raise CompletenessError(
            "an attribution is not finite: a multiplier overflowed, as for a function with an infinite slope",
            hint='Try precision="float64".',
        )


def _zeroed_notes(encoders: Sequence[str]) -> list[str]:
    return [
        f"In evaluation without gradients PyTorch puts zeros in place of padded timesteps ({path or 'the encoder'}); "
        "that is what is explained."
        for path in encoders
    ]


def _notes(model: nn.Module, carried: list[str]) -> tuple[str, ...]:
    notes = []
    if carried:
        listed = ", ".join(carried[:4]) + (", ..." if len(carried) > 4 else "")
        notes.append(f"The model keeps values between calls ({listed}); every run starts from those it was given with.")
    if isinstance(model, nn.Module) and any(trains(part) for part in model.modules()):
        notes.append("The model was in training mode; it was explained as in evaluation (no dropout).")
    return tuple(notes)
