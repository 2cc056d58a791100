"""What one direction of one recurrent layer needs, and small helpers that all cells share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


def both(pair: Pair) -> Tensor:
    """Both members along a new first axis, the test first, off the tape."""
    return torch.stack([pair.test.detach(), pair.base])


def difference(members: Tensor) -> Tensor:
    """(2, ...) to test minus baseline."""
    return members[0] - members[1]


def previous(states: Tensor, first: Tensor) -> Tensor:
    """States before each step: (2, T, N, H) and the initial (2, N, H) to (2, T, N, H)."""
    return torch.cat([first.unsqueeze(1), states[:, :-1]], 1)


def project(x: Tensor, weight: Tensor, bias: Tensor | None, onto: Tensor | None = None) -> Tensor:
    """``x · Wᵀ + b`` of all timesteps, (2, T, N, I) to (2, T, N, G·H), added to ``onto`` in place where given.

    One product for each member: equal members then give equal results to the last bit, which rows of one larger
    product need not.
    """
    out = x.new_empty(*x.shape[:-1], len(weight)) if onto is None else onto
    for member, result in zip(x, out, strict=True):
        flat, rows = result.flatten(0, 1), member.flatten(0, 1)
        if onto is not None:
            flat.addmm_(rows, weight.t())
        elif bias is None:
            torch.mm(rows, weight.t(), out=flat)
        else:
            torch.addmm(bias, rows, weight.t(), out=flat)
    return out


def run_kernel(kernel: Callable, x: Tensor, first: Callable[[int], Any], w: Weights) -> Tensor:
    """Hidden states (2, T, N, P) by PyTorch's own one-layer kernel, each member by itself as in `project`.

    ``first(member)`` gives the kernel's initial state.
    """
    arguments = (w.flat, w.has_bias, 1, 0.0, False, False, False)
    return torch.stack([kernel(x[i], first(i), *arguments)[0] for i in (0, 1)])
