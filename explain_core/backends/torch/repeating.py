"""Running a model again and again from the same start, and finding out whether it then answers the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.utils import _pytree as pytree

from explain_core.errors import CaptureError, UnsupportedOperation

_OWN = frozenset(vars(nn.Module())) - {"training"}
_MOST_LEAVES = 1000
_PLAIN = (bool, int, float, str, type(None))


class Start:
    """What a model may carry from one call to the next, as it was before the first.

    That is its buffers, and attributes that are tensors, numbers, or containers of these. A weight that it writes to is
    then a copy of its own, and must have the same values afterwards.
    """

    def __init__(self, model: nn.Module) -> None:
        self._given = {name: (weight, weight.data) for name, weight in model.named_parameters()}
        self._weights: dict[str, tuple[nn.Parameter, Tensor]] = {}
        self._saved = {}
        self._names = {}
        self.carried: dict[str, None] = {}  # names of what a call was seen to change, in order
        for path, part in model.named_modules():
            for name, value in _carriers(part):
                kept = value
                if not isinstance(value, _PLAIN):
                    kept = pytree.tree_map(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, value)
                self._saved[path, name] = (part, kept, _fingerprint(value))
            if not isinstance(part, (torch.jit.ScriptModule, fx.GraphModule)):
                self._names[path] = (part, set(vars(part)))

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weights that a call writes to."""
        return tuple(self._weights)

    @property
    def changed_weight(self) -> str | None:
        """The first weight that the last call left with other values."""
        for name, (weight, given) in self._given.items():
            if weight.data_ptr() != given.data_ptr() and not _same(weight.data, given):
                return name
        return None

    def own(self, name: str) -> None:
        """Give the model a copy of one of its weights, to write to."""
        weight, given = self._given[name]
        weight.data = given.clone()
        self._weights[name] = weight, given

    def restore(self) -> None:
        """Put all of it back; also what a call has added is gone."""
        with torch._C.DisableTorchFunction(), disable_proxy_modes_tracing():
            for name, (weight, given) in self._given.items():
                if name not in self._weights and weight.data_ptr() != given.data_ptr():  # it was given other memory
                    self.own(name)
            for weight, given in self._weights.values():
                weight.data.copy_(given)
        for (path, name), (part, kept, before) in self._saved.items():
            if _fingerprint(_get(part, name)) == before:
                continue
            self.carried[f"{path}.{name}".lstrip(".")] = None
            fresh = pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else copy.copy(leaf), kept)
            _set(part, name, fresh)
            self._saved[path, name] = (part, kept, _fingerprint(fresh))
        for path, (part, names) in self._names.items():
            for name in set(vars(part)) - names:
                self.carried[f"{path}.{name}".lstrip(".")] = None
                delattr(part, name)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _carriers(part: nn.Module) -> Iterator[tuple[str, Any]]:
    if isinstance(part, torch.jit.ScriptModule):
        names = {name for name in _named_in_code(part) if part._c.hasattr(name)}
    elif isinstance(part, fx.GraphModule):  # what else it has is about its own code
        names = set(part._buffers)
    else:
        names = (set(vars(part)) - _OWN) | set(part._buffers)
    for name in sorted(names):
        value = _get(part, name)
        if _is_state(value):
            yield name, value


def _named_in_code(part: torch.jit.ScriptModule) -> Iterator[str]:
    for method in part._c._method_names():
        graph = part._c._get_method(method).inlined_graph  # its nodes live as long as it does
        for kind in ("prim::GetAttr", "prim::SetAttr"):
            yield from [node.s("name") for node in graph.findAllNodes(kind)]


def _is_state(value: Any) -> bool:
    if isinstance(value, _PLAIN):
        return True
    leaves = pytree.tree_leaves(value) if isinstance(value, (tuple, list, dict)) else [value]
    return len(leaves) <= _MOST_LEAVES and all(
        isinstance(leaf, _PLAIN) or (isinstance(leaf, Tensor) and not isinstance(leaf, nn.Parameter)) for leaf in leaves
    )


def _fingerprint(value: Any) -> Any:
    """Equal for a value that has not changed, and then only: tensors count their own changes."""
    if isinstance(value, _PLAIN):
        return value
    leaves, shape = pytree.tree_flatten(value)
    return shape, [(id(leaf), leaf._version) if isinstance(leaf, Tensor) else leaf for leaf in leaves]


def _get(part: nn.Module, name: str) -> Any:
    return part._buffers[name] if name in getattr(part, "_buffers", ()) else getattr(part, name, None)


def _set(part: nn.Module, name: str, value: Any) -> None:
    if not isinstance(part, torch.jit.ScriptModule) and name in part._buffers:
        part._buffers[name] = value
    else:
        setattr(part, name, value)


def require_same_answers(first: Sequence[Tensor], second: Sequence[Tensor], graph: fx.GraphModule) -> None:
    """Refuse a model that answers differently each time.

    Args:
        first: its answers.
        second: its answers to the same input.
        graph: the recorded model, in which operations that draw random numbers are looked for.

    Raises:
        UnsupportedOperation: names the operation that is random, and its module.
        CaptureError: the answers differ, and no operation of PyTorch is the cause.
    """
    same = len(first) == len(second) and all(
        a.shape == b.shape and torch.allclose(_wide(a), _wide(b), rtol=1e-3, atol=1e-6, equal_nan=True)
        for a, b in zip(first, second, strict=True)
    )
    if same:
        return
    for node in graph.graph.nodes:
        if _is_random(node):
            name = str(node.target.overloadpacket).removeprefix("aten.")
            raise UnsupportedOperation(
                f"{name} draws random numbers, so the model answers differently each time",
                where=node.meta.get("custom", {}).get("module", ""),
                hint="Take the randomness out of forward: start from zero states, give F.dropout "
                "training=self.training, or seed a torch.Generator in forward.",
            )
    raise CaptureError(
        "the model was run twice on the same input, and answered differently",
        hint="Something in its forward is random outside PyTorch (Python's or numpy's random numbers), or kept between "
        "calls where it cannot be found; only a model that answers the same each time can be explained.",
    )


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.complex128) if values.is_complex() else values.double()


def draws_numbers(graph: fx.GraphModule) -> bool:
    """Whether a recorded model draws random numbers."""
    return any(_is_random(node) for node in graph.graph.nodes)


def _is_random(node: fx.Node) -> bool:
    """Whether an operation draws random numbers; dropout, inside an LSTM too, does so only in training."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    names = [argument.name for argument in node.target._schema.arguments]
    arguments = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    if "dropout_p" in names:
        return arguments.get("dropout_p", 0) != 0
    return arguments.get("train", True) is not False
