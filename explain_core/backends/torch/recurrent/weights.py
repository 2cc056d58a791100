"""What one direction of one recurrent layer needs, and small helpers that all cells share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explain_core.backends.torch.pairs import Pair
from explain_core.errors import UnsupportedOperation


@dataclass(frozen=True)
class Weights:
    """One direction of one layer, in PyTorch's layout (gates stacked along the first axis).

    Shapes: ``w_ih`` (G·H, I), ``w_hh`` (G·H, P), biases (G·H,) or None, ``w_hr`` (P, H) or None, with P the size of
    the hidden state (H unless projected).
    """

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    w_hr: Tensor | None = None

    @property
    def flat(self) -> list[Tensor]:
        """In the order of PyTorch's kernels."""
        parts = (self.w_ih, self.w_hh, self.b_ih, self.b_hh, self.w_hr)
        return [w for w in parts if w is not None]

    @property
    def has_bias(self) -> bool:
        return self.b_ih is not None


def as_pair(value: Pair | Tensor) -> Pair:
    """A constant as a pair without difference."""
    return value if isinstance(value, Pair) else Pair(value, value)


def require_constant(parameters: list) -> None:
    """Weights computed from the input have no rule."""
    if any(isinstance(p, Pair) for p in parameters):
        raise UnsupportedOperation("the weights of a recurrent layer depend on the explained input")


def side_by_side(pair: Pair, axis: int) -> Tensor:
    """Both members in one batch, test rows first, off the tape."""
    return torch.cat([pair.test.detach(), pair.base], axis)


def means(both: Tensor) -> Tensor:
    """(T, 2, N, ...) to the mean over the pair, (T, N, ...)."""
    return both.mean(1)


def difference(both: Tensor) -> Tensor:
    """(T, 2, N, ...) to test minus baseline, (T, N, ...)."""
    return both[:, 0] - both[:, 1]


def previous(states: Tensor, first: Tensor) -> Tensor:
    """States before each step: (T, N, H) and the initial (N, H) to (T, N, H)."""
    return torch.cat([first[None], states[:-1]])
