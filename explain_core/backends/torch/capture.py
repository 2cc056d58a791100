"""Records what a model computes, above autograd, without changing the model.

At that level (``make_fx(..., pre_dispatch=True)``) ``nn.LSTM`` is one node, ``nn.LSTMCell`` another, attention a third,
and functional calls, reused modules, exported programs and TorchScript all look alike.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

import torch
import torch.fx.traceback as fx_traceback
from torch import Tensor, fx, nn
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from explain_core.backends.ids import OutsideTableError
from explain_core.backends.torch.aliasing import mutated_roots
from explain_core.backends.torch.calls import CallsMode
from explain_core.backends.torch.decisions import Decisions, guards, has_memory
from explain_core.backends.torch.draws import Repeated
from explain_core.backends.torch.failures import failure
from explain_core.backends.torch.ids import cuts_of_ids
from explain_core.backends.torch.loops import Loops, find_loops
from explain_core.backends.torch.room import is_no_room
from explain_core.backends.torch.vmapped import vmap_unfolded
from explain_core.backends.torch.watching import ChangesWeightError, Taint, memories
from explain_core.errors import CaptureError, ExplainError

aten = torch.ops.aten


@dataclass(frozen=True)
class Captured:
    """A recorded model.

    Attributes:
        graph: takes the traced inputs, gives the tensors that the model returned.
        outputs: the name of each of them.
        values: what they were.
        weight_names: for weights by memory address, their full names.
        packed_orders: for packed sequences by batch sizes, which sample each row is.
        loops: over time, that the model writes out itself.
    """

    graph: fx.GraphModule
    outputs: tuple[str, ...]
    values: tuple[Tensor, ...]
    weight_names: dict[int, str]
    packed_orders: dict[tuple[int, ...], tuple[int, ...]]
    loops: Loops

    @cached_property
    def dtypes(self) -> frozenset[torch.dtype]:
        """Which types of numbers there are on the way."""
        values = pytree.tree_leaves([node.meta.get("val") for node in self.graph.graph.nodes])
        return frozenset(value.dtype for value in values if isinstance(value, Tensor))

    @cached_property
    def cuts(self) -> dict[fx.Node, int]:
        """Where floats of an input become ids: see `ids.cuts_of_ids`."""
        return cuts_of_ids(self.graph.graph)

    @property
    def used_weights(self) -> set[str]:
        """Names of the weights that something is computed from."""
        values = (getattr(self.graph, node.target) for node in self.graph.graph.find_nodes(op="get_attr") if node.users)
        found = (
            self.weight_names.get(value.data_ptr())
            for value in values
            if isinstance(value, Tensor) and has_memory(value)
        )
        return {name for name in found if name}


def private_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode to run and hook at will; it shares the weights' memory and nothing else.

    The user's model is never run, so neither its flags nor state that its ``forward`` keeps can change.
    """
    shared: dict[int, Any] = {}
    for name, parameter in model.named_parameters():
        if is_lazy(parameter) or parameter.is_meta:
            raise CaptureError(
                f"the weight {name!r} has no values yet",
                where=name.rpartition(".")[0],
                hint="Load the model's weights, or run it once if its layers find their sizes themselves.",
            )
        own = parameter.detach()
        # Those made under torch.inference_mode() cannot be part of a tape.
        shared[id(parameter)] = nn.Parameter(own.clone() if own.is_inference() else own, requires_grad=False)
    for module in model.modules():
        for value in pytree.tree_leaves(list(vars(module).values())):
            if isinstance(value, Tensor) and not value.is_leaf:  # deepcopy refuses these, kept by stateful models
                shared[id(value)] = value.detach().clone()
    try:
        # Copies of TorchScript modules record history otherwise; PyTorch's own tree specs warn of their future.
        with torch.no_grad(), warnings.catch_warnings(action="ignore", category=FutureWarning):
            own = copy.deepcopy(model, shared)
    except Exception as error:
        raise CaptureError(
            f"the model cannot be copied: {type(error).__name__}: {error}",
            hint="Export it with torch.export.export and explain the exported program.",
        ) from error
    if isinstance(model, fx.GraphModule):
        # A copy of an exported program has lost the check of its inputs' sizes, and without it reads beyond the end of
        # states that were made for another number of samples.
        for key, hook in model._forward_pre_hooks.items():
            with_kwargs = key in model._forward_pre_hooks_with_kwargs
            own.register_forward_pre_hook(_as_of(model, hook), with_kwargs=with_kwargs)
    for parameter in own.parameters():
        parameter.requires_grad_(False)
    if any(trains(module) for module in own.modules()):
        _eval(own)
    return own


def _as_of(model: nn.Module, hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook of another module, which it looks at for what it needs to know.

    Inputs that are given by name come in the order of the program's parameters; the check of one that was exported with
    positions knows no names.
    """

    def as_positions(copied: nn.Module, args: tuple, kwargs: Mapping[str, Any] | None = None) -> Any:
        if kwargs is None:
            return hook(model, args)
        layout: Any = model._in_spec
        named = layout.child(1).context
        return hook(model, args, kwargs) if named else hook(model, (*args, *kwargs.values()), {})

    return as_positions


def trains(module: nn.Module) -> bool:
    """Whether a module is in training mode; a frozen TorchScript module no longer knows the difference."""
    return getattr(module, "training", False)


def _eval(module: nn.Module) -> None:
    """``module.eval()``, which exported programs refuse."""
    for part in module.modules():
        if trains(part):
            part.training = False


def model_dtype(model: nn.Module, otherwise: torch.dtype = torch.float32) -> torch.dtype:
    """The dtype of the first floating weight."""
    weights = (*model.parameters(), *model.buffers())
    return next((w.dtype for w in weights if w.is_floating_point()), otherwise)


def model_device(model: nn.Module) -> torch.device:
    """The device of the first weight."""
    return next((w.device for w in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def capture(
    model: nn.Module,
    call: Callable[..., Any],
    traced: Sequence[Tensor],
    owned: Container[str] = (),
    draws: Sequence[bytes] = (),
) -> Captured:
    """Record ``call(*traced)``.

    Args:
        model: a private copy, which ``call`` runs.
        traced: the inputs that may differ between the test and the baseline run.
        owned: names of the weights that the call may change.
        draws: the states of random generators in a run before, see `draws`.

    Raises:
        CaptureError: the model fails on these inputs, or decides by their values what to compute.
    """
    names: list[str] = []
    values: list[Tensor] = []

    def flat(*tensors: Tensor) -> list[Tensor]:
        decisions.begin()
        outputs, found = tensors_of(call(*tensors))
        names[:], values[:] = found, outputs
        return outputs

    calls, decisions = CallsMode(Repeated(draws)), Decisions(model, owned)
    with _recording(model) as running, calls, decisions, vmap_unfolded(), torch.no_grad(), _as_written():
        try:
            # What is read from tensors is not an error here but a guard, see `decisions`.
            with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):  # one for all nodes
                graph = make_fx(flat, pre_dispatch=True, _error_on_data_dependent_ops=False)(*traced)
        except ExplainError:
            raise
        except Exception as error:
            if is_no_room(error):
                raise
            raise failure(error, model, where=running[-1][0] if running else "") from error
    weights = {w.data_ptr(): name for name, w in (*model.named_parameters(), *model.named_buffers()) if w.numel()}
    _name_constants_once(graph.graph)
    for node in graph.graph.nodes:
        node.target = _SHAPED_IN_PLACE.get(node.target, node.target)
    decisions.put_back(graph)
    guards(graph.graph)
    _require_constant_weights(graph, weights)
    return Captured(graph, tuple(names), tuple(values), weights, calls.orders, find_loops(graph.graph))


# These write to no memory; what comes after them is recorded with what they give.
_SHAPED_IN_PLACE = {
    aten.squeeze_.default: aten.squeeze.default,
    aten.squeeze_.dim: aten.squeeze.dim,
    aten.squeeze_.dims: aten.squeeze.dims,
    aten.unsqueeze_.default: aten.unsqueeze.default,
    aten.transpose_.default: aten.transpose.int,
    aten.swapaxes_.default: aten.swapaxes.default,
    aten.swapdims_.default: aten.swapdims.default,
    aten.t_.default: aten.t.default,
}


def _name_constants_once(graph: fx.Graph) -> None:
    """One node for each constant, so that what is written to it is seen wherever it is read."""
    first: dict[str, fx.Node] = {}
    for node in graph.find_nodes(op="get_attr"):
        if first.setdefault(node.target, node) is not node:
            node.replace_all_uses_with(first[node.target])
            graph.erase_node(node)


def _require_constant_weights(graph: fx.GraphModule, names: Mapping[int, str]) -> None:
    """What is written to a weight must not depend on the input, or it would be two models."""
    roots = mutated_roots(graph.graph, [True] * len(graph.graph.find_nodes(op="placeholder")))
    for node in graph.graph.find_nodes(op="get_attr"):
        value = getattr(graph, node.target)
        if node in roots.paired and isinstance(value, nn.Parameter) and value.data_ptr() in names:
            raise ChangesWeightError(names[value.data_ptr()])


def run(call: Callable[..., Any], tensors: Sequence[Tensor], model: nn.Module, names: Sequence[str]) -> list[Tensor]:
    """Run ``call(*tensors)`` without recording: what ``model`` returns; ``names`` are those of the inputs."""
    with torch.no_grad(), _as_written():
        try:
            return tensors_of(call(*tensors))[0]
        except (ExplainError, OutsideTableError):
            raise
        except Exception as error:
            if is_no_room(error):
                raise
            raise failure(error, model, given=dict(zip(names, tensors, strict=True))) from error


@contextmanager
def _as_written() -> Generator[None]:
    """What ``torch.compile`` has wrapped inside a model runs as it was written, and so does TorchScript.

    What PyTorch makes of a script to run it faster takes longer than the run or two that it would be for, and recurses
    once for each of the operations in a row: a script of 15,000 ends the process.
    """
    with torch.jit.optimized_execution(False):
        if "torch._dynamo" not in sys.modules:
            yield
            return
        with torch._dynamo.config.patch(error_on_nested_fx_trace=False):
            yield


def tensors_of(output: Any) -> tuple[list[Tensor], list[str]]:
    """The tensors that a model returned, and their names: the way to each."""
    paths, _ = pytree.tree_flatten_with_path(_plain(output))
    found = [(_path_name(path), value) for path, value in paths if isinstance(value, Tensor)]
    if not found:
        raise CaptureError(f"the model returned {type(output).__name__}, in which there is no tensor")
    return [value for _, value in found], [name for name, _ in found]


def _plain(output: Any) -> Any:
    """Data classes and mappings of the model's own kind as dicts, which PyTorch knows how to look into."""
    if isinstance(output, PackedSequence):
        raise CaptureError(
            "the model returns a PackedSequence, in which samples and timesteps share one axis",
            hint="Return padded sequences: pad_packed_sequence(output, batch_first=True)[0] at the end of forward.",
        )
    if isinstance(output, Mapping):
        return {key: _plain(value) for key, value in output.items()}
    if is_dataclass(output) and not isinstance(output, type):
        return {item.name: _plain(getattr(output, item.name)) for item in fields(output)}
    if isinstance(output, (list, tuple)) and not hasattr(output, "_fields"):
        return [_plain(value) for value in output]
    return output


def _path_name(path: tuple) -> str:
    """``(1, 0)`` to "1.0", as one would index the output."""
    return ".".join(pytree.keystr((part,)).strip("[].'\"") for part in path) or "output"


@contextmanager
def _recording(model: nn.Module) -> Generator[list[tuple[str, Any]]]:
    """Label nodes with their module's path and the calls that they are in (see `loops`), keep transformers off their
    fast path, and put all of it back.

    Yields the modules that are running, outermost first.
    """
    handles = []
    open_modules: list[tuple[str, Any]] = []
    open_calls: list[tuple[str, int]] = []
    called: Counter[str] = Counter()

    def enter(name: str) -> Callable:
        def hook(module: nn.Module, args: Any) -> None:
            open_calls.append((name, called[name]))
            called[name] += 1
            context = fx_traceback.annotate({"module": name, "calls": tuple(open_calls)})
            context.__enter__()
            open_modules.append((name, context))

        return hook

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        open_calls.pop()
        open_modules.pop()[1].__exit__(None, None, None)

    for name, module in model.named_modules():
        if name and not isinstance(module, torch.jit.ScriptModule):
            handles.append(module.register_forward_pre_hook(enter(name), prepend=True))
            handles.append(module.register_forward_hook(leave))
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with fx_traceback.preserve_node_meta(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            try:
                yield open_modules
            finally:
                while open_modules:
                    open_modules.pop()[1].__exit__(None, None, None)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for handle in handles:
            handle.remove()


def token_inputs(
    model: nn.Module, call: Callable[..., Any], leaves: Sequence[Tensor], names: Sequence[str]
) -> set[int]:
    """Which whole-number inputs are token ids, that is, are looked up in a table; lengths and masks are not."""
    whole = {i: leaf for i, leaf in enumerate(leaves) if not leaf.is_floating_point()}
    if not whole:
        return set()
    with Taint(whole, memories(model)) as taint:
        run(call, leaves, model, names)
    return taint.tokens
