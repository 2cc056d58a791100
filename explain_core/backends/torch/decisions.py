"""What a model read out of its tensors while it was recorded, and whether both members of a pair still read it.

An ``if``, a loop count or ``.item()`` takes a plain value from a tensor, and what the model then does is recorded for
that value only. Where the tensor does not depend on the explained inputs, the value is the same in both runs. Where it
does, the read stays in the graph as a *guard*: both members of every row must read what was read at capture. Then the
test and the baseline run took the same way, and what was recorded is what the model computes for both.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Container
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import (
    disable_proxy_modes_tracing,
    get_innermost_proxy_mode,
    get_proxy_slot,
)
from torch.utils._python_dispatch import _disable_current_modes

from explain_core.backends.torch.aliasing import dependent
from explain_core.backends.torch.pairs import Pair, base_of, is_pair, pairs_in, test_of
from explain_core.backends.torch.vmapped import is_inside
from explain_core.backends.torch.watching import WeightsAreKept
from explain_core.errors import CaptureError

PACKED = "pack_padded_sequence"
DRAWN = "draw"

_READ = "read"


def kept(values: Tensor, how: str) -> Tensor:
    """In a graph: a guard on all values of a tensor, read at capture by ``how``."""
    return values


class Decisions(WeightsAreKept):
    """While a model is recorded, writes beside each node that reads a plain value what the value was."""

    def __init__(self, model: nn.Module, owned: Container[str]) -> None:
        super().__init__(model, owned)
        self.tracer: Any = None
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def begin(self) -> None:
        """To be called inside the recording."""
        self.tracer = get_innermost_proxy_mode().tracer

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.is_mutable and args and isinstance(args[0], Tensor) and has_memory(args[0]):
            memory = args[0].untyped_storage()  # kept, so that no other has its address
            if memory.data_ptr() not in self._before:
                with torch._C.DisableTorchFunction(), _disable_current_modes():
                    self._before[memory.data_ptr()] = memory, memory.clone()
        if is_inside() and _reads(func):
            raise _inside()
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if _reads(func) and self.tracer is not None:
            node = next(reversed(self.tracer.graph.nodes))
            if _reads(node.target):
                node.meta.setdefault(_READ, result)
        return result

    def put_back(self, graph: fx.GraphModule) -> None:
        """Give the constants of a recorded graph the values that they had before the recording wrote to them."""
        for target in {node.target for node in graph.graph.find_nodes(op="get_attr")}:
            value = getattr(graph, target)
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and has_memory(value):
                _, before = self._before.get(value.untyped_storage().data_ptr(), (None, None))
                if before is not None:
                    own = torch.empty(0, dtype=value.dtype, device=value.device)
                    setattr(graph, target, own.set_(before, value.storage_offset(), value.shape, value.stride()))


def has_memory(value: Tensor) -> bool:
    """Whether a tensor is what its memory holds, and no wrapper around another."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(value)
    return value.layout is torch.strided and not value.is_quantized and not wrapped


def keep(values: Tensor, how: str, before: Tensor | None = None) -> None:
    """While a model is recorded: note that all of ``values`` leave for plain Python, by ``how``.

    The note stands before the operation that ``before`` is a result of, if that is given.
    """
    if is_inside():
        raise _inside()
    mode = get_innermost_proxy_mode()
    proxy = None if mode is None else get_proxy_slot(values, mode.tracer, None, lambda slot: slot.proxy)
    if proxy is None:  # made outside the graph
        return
    with disable_proxy_modes_tracing():
        read = values.detach().clone()
    guard = mode.tracer.create_proxy("call_function", kept, (proxy, how), {}).node
    guard.meta[_READ] = read
    if before is not None:
        made = get_proxy_slot(before, mode.tracer, None, lambda slot: slot.proxy.node)
        (made.args[0] if made.target is operator.getitem else made).prepend(guard)


def _inside() -> CaptureError:
    return CaptureError(
        "the model reads values out of tensors inside torch.vmap, which cannot be followed",
        hint="Read them before, or write this part with operations on whole batches.",
    )


def guards(graph: fx.Graph) -> list[fx.Node]:
    """Leave only those reads in a recorded graph that depend on its inputs, and say which they are.

    Raises:
        CaptureError: what was read there is not known.
    """
    reads = [
        node for node in graph.nodes if node.op == "call_function" and (node.target is kept or _reads(node.target))
    ]
    if not reads:
        return []
    reached = dependent(graph)
    found = []
    for node in reads:
        if node not in reached:
            graph.erase_node(node)
        elif _READ not in node.meta:
            raise CaptureError(
                f"the model decides by the values of its input what to compute, in a way that cannot be followed "
                f"({described(node)})",
                where=_module(node),
                hint=_HINT,
            )
        else:
            found.append(node)
    return found


def sidelined(graph: fx.Graph) -> set[fx.Node]:
    """What only guards are computed from: such operations need no rule, as nothing is attributed through them."""
    found = {node for node in graph.nodes if is_guard(node)}
    if not found:
        return found
    for node in reversed(graph.nodes):
        is_operation = node.op == "call_function" and not is_guard(node)
        if is_operation and node.users and all(user in found for user in node.users) and not _writes(node):
            found.add(node)
    return {node for node in found if not is_guard(node)}


def memberwise(op: Callable, args: tuple, kwargs: dict) -> Any:
    """An operation on both members of its pairs, each by itself, with nothing to attribute."""
    with torch.no_grad():
        test, base = op(*test_of(args), **test_of(kwargs)), op(*base_of(args), **base_of(kwargs))
    if isinstance(test, Tensor):
        return Pair(test, base)
    if isinstance(test, (tuple, list)):
        return tuple(Pair(t, b) if isinstance(t, Tensor) else t for t, b in zip(test, base, strict=True))
    return test


def is_guard(node: fx.Node) -> bool:
    return _READ in node.meta


class DecidedOtherwiseError(Exception):
    """Both members agree on another value than was read at capture: the model must be recorded anew."""

    def __init__(self, node: fx.Node, value: Any) -> None:
        super().__init__(described(node))
        self.node, self.value = node, value

    def error(self) -> CaptureError:
        """What to say where recording anew did not help."""
        return CaptureError(
            f"the model decides by {described(self.node)}, which is {_shown(self.node.meta[_READ])} where the model "
            f"itself runs and {_shown(self.value)} followed step by step: rounding decides it",
            where=_module(self.node),
            hint="In more digits it is another number. Leave out precision=..., or give it in double: model.double().",
        )


class DisagreeError(CaptureError):
    """The members of a pair decide differently.

    Attributes:
        source: what the decision was taken from; ``differing``: where its members differ. None where that is not known.
    """

    source: fx.Node | None = None
    differing: Tensor | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return CaptureError.__reduce__(CaptureError(self.what, where=self.where, hint=self.hint, fixes=self.fixes))


def check(node: fx.Node, args: tuple, kwargs: dict, source: Any) -> None:
    """Hold a guard against the members of a row.

    Args:
        node: the guard.
        args, kwargs: its arguments, with pairs in them.
        source: what it was reduced from (see `source_of`).

    Raises:
        DisagreeError: they differ.
        DecidedOtherwiseError: they agree on something else than what was recorded.
    """
    if node.target is kept:
        value = args[0]
        test, base = (value.test, value.base) if is_pair(value) else (value, value)
    else:
        with torch.no_grad():
            test = node.target(*test_of(args), **test_of(kwargs))
            base = node.target(*base_of(args), **base_of(kwargs)) if pairs_in((args, kwargs)) else test
    if not _same(test, base):
        error = DisagreeError(
            f"{_what(node)}: {_both(test, base)}",
            where=_module(node),
            hint=_next(node),
        )
        if is_pair(source) and source.test.shape == source.base.shape:
            error.source, error.differing = source_of(node), source.test != source.base
        raise error
    if not _same(test, node.meta[_READ]):
        raise DecidedOtherwiseError(node, test)


def in_sample(error: DisagreeError, axis: int | None, count: int) -> DisagreeError:
    """The same error, with the first of ``count`` samples for which the members differ where that can be told.

    It can where every value on the way from the inputs has the samples along ``axis``.
    """
    source, differing = error.source, error.differing
    if axis is None or count < 2 or source is None or differing is None or not _has_rows(source, axis, count):
        return error
    rows = differing.movedim(axis, 0).reshape(count, -1).any(1).nonzero()
    if not len(rows):
        return error
    return DisagreeError(f"{error.what}; first in sample {int(rows[0])} of these", where=error.where, hint=error.hint)


def _has_rows(source: fx.Node, axis: int, count: int) -> bool:
    reached = dependent(source.graph)
    waiting, seen = [source], {source}
    while waiting:
        node = waiting.pop()
        shape = getattr(node.meta.get("val"), "shape", ())
        if isinstance(node.meta.get("val"), Tensor) and (len(shape) <= axis or shape[axis] != count):
            return False
        more = {n for n in node.all_input_nodes if n in reached} - seen
        seen |= more
        waiting += more
    return True


def source_of(guard: fx.Node) -> fx.Node | None:
    """The last tensor with axes that a guard's value was reduced from."""
    node = next(iter(guard.all_input_nodes), None)
    while node is not None:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.ndim:
            return node
        node = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
    return None


def described(node: fx.Node, depth: int = 3) -> str:
    """The expression that a node is the value of, such as ``all(add == 0.0)``; views are left out."""
    if node.op == "placeholder":
        return "the input"
    if node.op == "get_attr":
        return "a constant"
    schema = getattr(node.target, "_schema", None)
    name = node.target.__name__ if schema is None else schema.name.rpartition(":")[2]
    sources = node.all_input_nodes
    # bool(x) is recorded as x != 0, which says nothing more.
    is_truth = name == "ne" and node.args[1:] == (0,) and _is_truth(node.args[0])
    if len(sources) == 1 and (is_guard(node) or is_truth or schema is None or name in _COPIES or _is_view(schema)):
        return described(sources[0], depth)
    shown = [a for a in node.args if isinstance(a, (fx.Node, int, float))]
    if depth == 0 and sources:
        return name
    if name in _SIGNS and len(shown) == 2:
        left, right = (described(a, depth - 1) if isinstance(a, fx.Node) else str(a) for a in shown)
        return f"{left} {_SIGNS[name]} {right}"
    return f"{name}({', '.join(described(source, depth - 1) for source in sources)})"


_COPIES = ("detach", "to", "_to_copy", "clone", "contiguous", "resolve_conj", "resolve_neg")
_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">="}

_HINT = (
    "The two runs would then compute different things. Choose a baseline for which it is the same, or write it with "
    "torch.where, or as masks and lengths that are given as inputs of their own."
)


def _next(node: fx.Node) -> str:
    if node.target is kept and node.args[1] == PACKED:
        return f"{_HINT} Lengths that are given as floats are explained as all floats are: give whole numbers."
    return _HINT


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _is_truth(node: Any) -> bool:
    return isinstance(node, fx.Node) and getattr(node.meta.get("val"), "dtype", None) is torch.bool


def _is_view(schema: Any) -> bool:
    alias = schema.arguments[0].alias_info if schema.arguments else None
    return alias is not None and not alias.is_write


def _what(node: fx.Node) -> str:
    if node.target is not kept:
        return f"the model decides by {described(node)} what to compute"
    if node.args[1] == PACKED:
        return f"the lengths of packed sequences are computed from the explained input ({described(node)})"
    if node.args[1] == DRAWN:
        return f"the chances of random numbers are computed from the explained input ({described(node)})"
    return (
        f"the model takes the values of {described(node)} out of PyTorch with {node.args[1]}, and what it then does "
        "with them cannot be followed"
    )


def _both(test: Any, base: Any) -> str:
    shown = _shown(test), _shown(base)
    if max(map(len, shown)) > 40 and isinstance(test, Tensor) and test.shape == base.shape:
        return f"{int((test != base).sum())} of {test.numel()} values differ between the input and the baseline"
    return f"{shown[0]} for the input and {shown[1]} for the baseline"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        value = value.tolist()
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _same(a: Any, b: Any) -> bool:
    a, b = (np.asarray(v.detach().cpu() if isinstance(v, Tensor) else v) for v in (a, b))
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def _reads(op: Callable) -> bool:
    return isinstance(op, torch._ops.OpOverload) and torch.Tag.data_dependent_output in op.tags


def _module(node: fx.Node) -> str:
    return (node.meta.get("custom") or {}).get("module", "")
