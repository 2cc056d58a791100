"""What one call of a model did, operation by operation, so that two calls can be told apart.

A recording is what a model did once. It is used again for a model that does the same now: the same operations in the
same order, wired the same way, on the same weights and with the same plain values among their arguments. Numbers that
a model reads from its own attributes, from globals or from NumPy show as such arguments or as constants; what they
decided shows as other operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

_NUMBERS = (bool, int, float, complex)
_PLAIN = (str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


class Trace:
    """Notes of one call.

    Args:
        model: what is called; its weights go by their names.
        leaves: what it is called with; they go by their places, so that other rows have the same trace.

    Attributes:
        tells: False where something in the call cannot be compared with that of another.
    """

    def __init__(self, model: nn.Module, leaves: Sequence[Tensor]) -> None:
        self.tells = True
        self._noted = 0
        self._made = 0
        weights = dict(model.named_parameters())
        self._known: dict[int, Any] = {id(leaf): i for i, leaf in enumerate(leaves)}
        self._known |= {id(weight): name for name, weight in weights.items()}
        self._alive: list[Tensor] = [*leaves, *weights.values()]  # so that no id is used twice

    @property
    def digest(self) -> int | None:
        """Equal for calls that did the same; None where nobody can tell."""
        return self._noted if self.tells else None

    def given(self, what: Any, *arguments: Any) -> None:
        """An operation is about to run."""
        if self.tells:
            self._noted = hash((self._noted, what, self._key(arguments)))

    def made(self, result: Any) -> None:
        """What the operation gave."""
        if self.tells:
            self._add(result)

    def end(self) -> None:
        """Let go of what was made on the way."""
        self._alive.clear()
        self._known.clear()

    def _add(self, result: Any) -> None:
        if isinstance(result, Tensor):
            self._made += 1
            self._known[id(result)] = "made", self._made
            self._alive.append(result)
        elif isinstance(result, (tuple, list)):
            for part in result:
                self._add(part)

    def _key(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            known = self._known.get(id(value))
            return self._content(value) if known is None else known
        if isinstance(value, (tuple, list)):
            return tuple([self._key(part) for part in value])
        if isinstance(value, dict):
            return tuple([(name, self._key(part)) for name, part in value.items()])
        if isinstance(value, _NUMBERS):
            return type(value), repr(value)  # not the number: -1 and -2 have the same hash
        if isinstance(value, _PLAIN):
            return type(value), value
        self.tells = False
        return None

    def _content(self, value: Tensor) -> Any:
        """A constant, by what is in it."""
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            if value.layout is not torch.strided or value.is_quantized or value.is_meta or type(value) is not Tensor:
                self.tells = False
                return None
            return value.dtype, tuple(value.shape), content(value)


def content(value: Tensor) -> int:
    """A digest of the numbers in a dense tensor."""
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return hash(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
