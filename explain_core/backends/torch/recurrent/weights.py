"""What one direction of one recurrent layer needs, in PyTorch's layout and in that of the equations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from explain_core.backends.torch.pairs import Pair
from explain_core.errors import UnsupportedOperation
from explain_core.rules.cells import Cell
from explain_core.rules.cells import Weights as CellWeights


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
        return [w for w in (self.w_ih, self.w_hh, self.b_ih, self.b_hh, self.w_hr) if w is not None]

    def of(self, cell: Cell) -> tuple[CellWeights, Tensor | None]:
        """What the recurrence of a cell takes, and the bias of the input's part of the pre-activations."""
        units = len(self.w_hh) // len(cell.gates)
        bias, new_bias = None, None
        if self.b_ih is not None and self.b_hh is not None:
            bias = self.b_ih + self.b_hh
            if cell.kind == "GRU":  # the reset gate multiplies the recurrent bias of the new gate
                new_bias = self.b_hh[2 * units :]
                bias[2 * units :] = self.b_ih[2 * units :]
        projection = None if self.w_hr is None else self.w_hr.t()
        return CellWeights(self.w_hh.t(), new_bias, projection), bias


def as_pair(value: Pair | Tensor) -> Pair:
    """A constant as a pair without difference."""
    return value if isinstance(value, Pair) else Pair(value, value)


def require_constant(parameters: list) -> None:
    """Weights computed from the input have no rule."""
    if any(isinstance(p, Pair) for p in parameters):
        raise UnsupportedOperation("the weights of a recurrent layer depend on the explained input")
