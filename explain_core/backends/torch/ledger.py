"""The error ledger of one run: what every operation's multipliers leave of the difference that it makes.

The defect of a node is ``d = m_out·Δout - Σ m_in·Δin``. Added over all nodes it is what a method's attributions miss of
the prediction difference. That of a linear operation is rounding; views of a tensor have none and are not written down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from explain_core.backends.loop_book import LoopBook, Place
from explain_core.backends.torch.kinds import Given, Linear, Lookup, Recurrent, Same
from explain_core.backends.torch.pairs import Pair, attach, is_pair


class Ledger:
    """Defects of the operations outside recurrent layers, in float64, summed over all rows.

    Attributes:
        target: the output that is being explained.
        nodes: by (module path, operation): the defect by output.
        loops: the same of what is called for every timestep.
        overwrites: whether the model writes into tensors that it has made, which then cannot be read on the way back.
    """

    def __init__(self) -> None:
        self.target = 0
        self.nodes: dict[tuple[str, str], dict[int, float]] = {}
        self.loops = LoopBook()
        self.overwrites = False
        self._inside = False

    @staticmethod
    def books(rule: Any, op: torch._ops.OpOverload) -> bool:
        """Whether an operation has an entry: not if it only moves values, or keeps a book as recurrent layers do."""
        if isinstance(rule, (Given, Lookup, Recurrent, Same)):
            return False
        return not isinstance(rule, Linear) or not any(result.alias_info for result in op._schema.returns)

    def measure(
        self, rule: Any, name: str, where: str | Place, apply: Callable[[tuple, dict], Any], args: tuple, kwargs: dict
    ) -> Any:
        """Apply a rule, and write down its defect when multipliers come back.

        Operations that the rule itself is composed of are part of it.
        """
        if self._inside:
            return apply(args, kwargs)
        if isinstance(where, Place):
            found = self.loops.entry(where)
        else:
            found = self.nodes.setdefault((where, name), defaultdict(float))
        self._inside = True
        try:
            args, kwargs = _map(lambda p: self._watch(p, found, -1), (args, kwargs))
            return _map(lambda p: self._watch(p, found, +1), apply(args, kwargs))
        finally:
            self._inside = False

    def _watch(self, pair: Pair, found: dict[int, float], sign: int) -> Pair:
        """The same pair, which adds ``sign · m·Δ`` on the way back."""
        if not pair.is_float and pair.flow is None:
            return pair
        wide = torch.complex128 if pair.test.is_complex() else torch.float64
        tape, difference = pair.tape, pair.test.detach().to(wide) - pair.base.to(wide)

        def back(m: Tensor) -> Tensor:
            found[self.target] += sign * float((m.to(wide).conj() * difference).real.sum())
            return m

        watched = attach([tape.detach()], back, tape)
        return replace(pair, test=watched) if pair.is_float else replace(pair, flow=watched)

    def of_constant(self, pair: Pair, where: str, inputs: Sequence[Pair]) -> Pair:
        """The pair of a constant that the model writes into; without a difference it has no part in a ledger."""
        return pair

    def layer_record(self) -> Any:
        """What stands in for the record of a recurrent layer, where this book has one of its own; else None."""
        return None

    def constant(self, output: Tensor) -> None:
        """Of an explained output that depends on no input: it has no difference, and so no defect."""

    def hand_on(self, value: Any, place: Place) -> Any:
        """A state that a call of a loop hands on: the same, which writes down the multipliers that come back to it.

        Those of values that do not differ lead nowhere and are not counted.
        """
        if not isinstance(value, Pair) or not value.is_float:
            return value
        states = self.loops.handed_on(place.loop, place.step)
        difference = value.difference
        states.change += float(difference.abs().double().square().sum())

        def back(m: Tensor) -> Tensor:
            states.multiplier[self.target] += float(m.abs().double()[difference != 0].square().sum())
            return m

        return Pair(attach([value.test.detach()], back, value.test), value.base, scale=value.scale)


def _map(change: Callable[[Pair], Pair], values: Any) -> Any:
    return pytree.tree_map(lambda v: change(v) if isinstance(v, Pair) else v, values, is_leaf=is_pair)
