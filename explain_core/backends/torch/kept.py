"""What opening a model has found, kept for the next explanation of the same model and as many rows.

A recording is kept once a batch has been explained by it, and for as long as its model lives. It is used again where
the model's own call does the same as then (`trace`), on weights at the same place in memory, whose values it shares,
with the same inputs that are not explained, and under the same switches of PyTorch. Else the model is recorded anew.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from explain_core.backends.torch.capture import Captured
from explain_core.backends.torch.output_axes import OutputAxes
from explain_core.backends.torch.trace import content

MOST = 16
"""So many recordings are kept, of all models; the one that was used longest ago goes first."""


@dataclass
class Opened:
    """What was found when a model was opened.

    Attributes:
        digest: of what its own call did, see `trace.Trace`.
        weights: where they are, see `places`.
        constants: the inputs that are not explained.
        explained: per input, whether it is.
        zeroed: see `recordings.Recordings`.
        axes: where the samples are in what it returns.
        compared: digests of rows and weights for which no row's answer depended on the others.
    """

    digest: int
    weights: Hashable
    constants: list[np.ndarray]
    captured: Captured
    explained: tuple[bool, ...]
    zeroed: list[str]
    axes: OutputAxes
    compared: set[int] = field(default_factory=set)

    def is_of(self, digest: int | None, module: nn.Module, leaves: Sequence[np.ndarray]) -> bool:
        """Whether a model that did this, called with these arrays, would be opened with the same result."""
        constants = [leaf for leaf, explained in zip(leaves, self.explained, strict=True) if not explained]
        return (
            digest == self.digest
            and places(module) == self.weights
            and all(map(np.array_equal, constants, self.constants))
        )


class Kept:
    """The place of one model's recording among those that are kept.

    Args:
        model: as it was given.
        arguments: what it is called with (`explain_core.preparation.inputs.Arguments`).
        options: how it was opened otherwise.
    """

    _all: ClassVar[OrderedDict[Hashable, tuple[weakref.ref, Opened]]] = OrderedDict()
    _lock = threading.RLock()

    def __init__(self, model: Any, arguments: Any, options: tuple) -> None:
        structure = repr(arguments.rebuild([f"leaf {number}" for number in range(len(arguments.leaves))]))
        arrays = tuple((leaf.shape, leaf.dtype.str) for leaf in arguments.leaves)
        self._model = weakref.ref(model)
        self._key = id(model), structure, *arguments.names, arrays, options, *_switches()

    def get(self) -> Opened | None:
        with self._lock:
            model, opened = self._all.get(self._key, (None, None))
            if model is None or model() is not self._model():
                return None
            self._all.move_to_end(self._key)
            return opened

    def put(self, opened: Opened) -> None:
        model = self._model()
        if model is None:
            return
        with self._lock:
            self._all[self._key] = weakref.ref(model, self._leave), opened
            self._all.move_to_end(self._key)
            while len(self._all) > MOST:
                self._all.popitem(last=False)

    def remove(self) -> None:
        self._all.pop(self._key, None)

    def _leave(self, _: weakref.ref) -> None:
        self.remove()


def places(module: nn.Module) -> Hashable:
    """Where the weights of a private copy are in memory: those of the model that it is a copy of."""
    return tuple(
        (name, w.data_ptr(), tuple(w.shape), w.stride() if w.layout is torch.strided else None, w.dtype)
        for name, w in module.named_parameters()
    )


def contents(module: nn.Module) -> int:
    """A digest of what is in the weights."""
    return hash(tuple(content(weight) for weight in module.parameters() if weight.layout is torch.strided))


def _switches() -> tuple:
    """What recordings depend on beside the model."""
    return (
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.mkldnn.enabled,
        torch.backends.cudnn.enabled,
    )
