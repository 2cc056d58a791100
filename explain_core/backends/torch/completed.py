"""Models whose ``forward`` wants an initial state: called without one, they start from zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Zeros:
    """A state of zeros; None in ``shape`` stands for the number of samples."""

    shape: tuple[int | None, ...]
    dtype: torch.dtype = torch.float32

    def like(self, samples: int, device: torch.device) -> torch.Tensor:
        shape = [samples if size is None else size for size in self.shape]
        return torch.zeros(shape, dtype=self.dtype, device=device)


class Completed(nn.Module):
    """A model that is given the arguments it was called without.

    Args:
        inner: the model.
        names: of the parameters of its ``forward``, in order.
        states: for those that are states, what they start from: `Zeros`, or a tuple of them such as ``(h, c)``.
        sample_axis: of the first argument.
    """

    def __init__(
        self,
        inner: nn.Module,
        names: tuple[str, ...],
        states: Mapping[str, Zeros | tuple[Zeros, ...]],
        sample_axis: int = 0,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.names = names
        self.states = dict(states)
        self.sample_axis = sample_axis

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self.complete(args, kwargs)
        return self.inner(*args, **kwargs)

    def complete(self, args: tuple, kwargs: Mapping[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The arguments with every state that is missing, by position as far as names allow."""
        wanted = [name for name in self.names if name not in self.states]
        if len(args) <= len(wanted):  # the states are left out, wherever they stand
            given = dict(zip(wanted, args, strict=False)) | dict(kwargs)
        else:
            given = dict(zip(self.names, args, strict=False)) | dict(kwargs)
        first = next(value for value in given.values() if isinstance(value, torch.Tensor))
        samples = first.shape[self.sample_axis] if first.ndim > 1 else 1
        for name, state in self.states.items():
            if name not in given:
                parts = state if isinstance(state, tuple) else (state,)
                made = tuple(part.like(samples, first.device) for part in parts)
                given[name] = made if isinstance(state, tuple) else made[0]
        positional = []
        for name in self.names:
            if name not in given:
                break
            positional.append(given.pop(name))
        return tuple(positional), given
