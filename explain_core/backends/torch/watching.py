"""Modes that watch a model while it runs, operation by operation."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from explain_core.backends.torch.ids import require_in_table
from explain_core.backends.torch.trace import Trace
from explain_core.errors import CaptureError

aten = torch.ops.aten


class Watching(TorchDispatchMode):
    """A mode that remembers the error of an operation, whose words are lost on the way out of TorchScript."""

    failed: Exception | None = None

    def run(self, func: Any, args: tuple, kwargs: dict | None) -> Any:
        try:
            _check_features(func, args)
            return func(*args, **(kwargs or {}))
        except Exception as error:
            self.failed = error
            raise


def _check_features(func: Any, args: tuple) -> None:
    """oneDNN reads beyond the end where a traced LSTM, which has lost its check, is given too many features."""
    if func is aten.mkldnn_rnn_layer.default and args[0].shape[-1] != args[1].shape[1]:
        given, wanted = args[0].shape[-1], args[1].shape[1]
        raise RuntimeError(f"the features of an LSTM's input: expected {wanted}, got {given}")


def failure_seen() -> Exception | None:
    """What the modes that are active saw an operation fail with."""
    watching = (mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Watching))
    return next((mode.failed for mode in watching if mode.failed is not None), None)


class Taint(Watching):
    """Follows whole-number inputs to the tables that turn them into floats."""

    # One-hot codes are made by scattering ones.
    _TABLES = ("embedding", "_embedding_bag", "_embedding_bag_forward_only", "scatter.value", "scatter_.value")
    _PICKS = ("index.Tensor", "index_select")  # of a weight's rows they are a table too

    _SELECTIONS = ("index.Tensor", "index_select", "gather", "_pack_padded_sequence")

    def __init__(self, inputs: dict[int, Tensor], weights: set[int]) -> None:
        super().__init__()
        self.tokens: set[int] = set()
        self._weights = weights
        self._sources: dict[int, frozenset[int]] = {id(t): frozenset((i,)) for i, t in inputs.items()}
        self._alive: list[Tensor] = list(inputs.values())  # so that no id is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = self.run(func, args, kwargs)
        tensors = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
        sources = frozenset().union(*(self._sources.get(id(t), ()) for t in tensors))
        if sources:
            name = str(func).removeprefix("aten.").removesuffix(".default")
            if name in self._SELECTIONS:  # ids in the order of their lengths are still ids, and the lengths are not
                sources = self._sources.get(id(args[0]), sources)
            if name in self._TABLES or (name in self._PICKS and _memory(args[0]) in self._weights):
                self.tokens |= sources
            for value in pytree.tree_leaves(result):
                if isinstance(value, Tensor) and not value.is_floating_point():
                    self._sources[id(value)] = sources | self._sources.get(id(value), frozenset())
                    self._alive.append(value)
        return result


class ChangesWeightError(CaptureError):
    """The model is about to write to one of its weights."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the model changes its weight {name!r} when it is called",
            where=name.rpartition(".")[0],
            hint="Take that out of forward: bounds on weights belong into training, and an embedding with max_norm can "
            "have its rows scaled once and max_norm set to None. If only the first call changes it, call the model "
            "once before.",
        )
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return ChangesWeightError, (self.name,)


class WeightsAreKept(Watching):
    """While active, what would write to the model's weights is an error, before it is done, and so are ids of no row.

    The copy that runs shares their memory with the user's model, but for those that ``owned`` names.

    Args:
        trace: where each operation is noted.
    """

    def __init__(self, model: nn.Module, owned: Container[str] = (), trace: Trace | None = None) -> None:
        super().__init__()
        self._trace = trace
        shared = {name: weight for name, weight in model.named_parameters() if name not in owned and weight.numel()}
        self._names = {_memory(weight): name for name, weight in shared.items()}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for argument, value in zip(func._schema.arguments, args, strict=False) if func._schema.is_mutable else ():
            if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, Tensor):
                name = self._names.get(_memory(value))
                if name is not None:
                    self.failed = ChangesWeightError(name)
                    raise self.failed
        require_in_table(func, args)
        if self._trace is None:
            return self.run(func, args, kwargs)
        self._trace.given(func, args, kwargs)
        result = self.run(func, args, kwargs)
        self._trace.made(result)
        return result


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def memories(model: nn.Module) -> set[int]:
    return {_memory(weight) for weight in (*model.parameters(), *model.buffers()) if weight.numel()}
