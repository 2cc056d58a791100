"""Methods of attribution as sets of rules: this engine's, and those that it is compared with.

A method says of every operation how its multiplier goes back. A plain gradient takes the derivative in one of the two
runs; an exact method takes the secant and the mean over both. Recurrent layers ask `RuleSet.slope` and `RuleSet.middle`
for the factors inside them, all other operations get the rule that `Method.rule` picks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.kinds import (
    Bilinear,
    Given,
    Linear,
    Lookup,
    Product,
    Recurrent,
    Rule,
    Same,
    TwoPlayers,
)
from explain_core.backends.torch.pairs import Pair, attach, base_of, discrete, pairs_in, pick, test_of
from explain_core.backends.torch.rules import find_rule
from explain_core.errors import UnsupportedOperation
from explain_core.rules.rule_set import BASE, GRADIENT, PAIRED, RESCALE_ONLY, RuleSet

EXACT = (Given, Linear, Lookup, Recurrent, Same)
"""Kinds that are the same for every method: linear, the start at token ids, nothing to attribute, or asking itself."""

PRODUCTS = (Bilinear, Product, TwoPlayers)


@dataclass(frozen=True)
class Method(RuleSet):
    """A set of rules, which also picks those of operations."""

    def rule(self, op: torch._ops.OpOverload, where: str) -> Rule | None:
        """The rule of an operation in the module ``where``; None where it is to be taken apart."""
        own = find_rule(op)
        if self.point is None or isinstance(own, EXACT):
            return own
        if self.secants and not isinstance(own, PRODUCTS):
            return own
        return Derivative(self.point)

    @staticmethod
    def of_input(pair: Pair) -> Pair:
        """The pair of an input, as this method starts from it."""
        return pair

    @staticmethod
    def counted(pair: Pair) -> Tensor:
        """What the multiplier of a pair is multiplied by, to be its contribution."""
        return pair.difference

    @staticmethod
    def mark(op: torch._ops.OpOverload, result: Any) -> None:
        """Note on the pairs of an operation's result what only this method asks for."""


METHODS = {rules.name: Method(*astuple(rules)) for rules in (PAIRED, GRADIENT, RESCALE_ONLY)}


@dataclass(frozen=True)
class Derivative:
    """Any operation by PyTorch's own derivative in one of the two runs, which is no rule for a finite difference."""

    point: int

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        with torch.no_grad():
            test, base = op(*test_of(args), **test_of(kwargs)), op(*base_of(args), **base_of(kwargs))
        back, tapes = vector_jacobian(op, args, kwargs, self.point)
        tests, bases = (list(v) if isinstance(v, (tuple, list)) else [v] for v in (test, base))
        results: list[Any] = []
        for i, (t, b) in enumerate(zip(tests, bases, strict=True)):
            value = t if t.is_floating_point() else t.double()
            on_tape = attach([value], lambda m, i=i: back(i, m), *tapes)
            results.append(Pair(on_tape, b) if t.is_floating_point() else discrete(t, b, on_tape))
        return results[0] if isinstance(test, Tensor) else tuple(results)


def vector_jacobian(op: Any, args: tuple, kwargs: dict, point: int) -> tuple[Callable, list[Tensor]]:
    """The derivative of an operation in one of the two runs.

    Returns:
        ``back(i, m)``, which takes the multiplier of the ``i``-th result to those of the pairs; and their tapes.
    """
    paired = [p for p in pairs_in((args, kwargs)) if p.is_float or p.flow is not None]
    points = {id(p): (p.base if point == BASE else p.test).detach().clone() for p in pairs_in((args, kwargs))}
    sources = [points[id(p)].requires_grad_() if p.is_float else points[id(p)] for p in paired]
    with torch.enable_grad():
        given, named = pick((args, kwargs), lambda p: points[id(p)])
        outcome = op(*given, **named)
    outcomes = list(outcome) if isinstance(outcome, (tuple, list)) else [outcome]
    tapes = [p.tape for p in paired]

    def back(i: int, m: Tensor) -> tuple[Tensor, ...]:
        grads: list[Tensor | None] = [None] * len(sources)
        floats = [k for k, source in enumerate(sources) if source.requires_grad]
        if outcomes[i].requires_grad:
            chosen = [sources[k] for k in floats]
            try:
                found = torch.autograd.grad(outcomes[i], chosen, m, retain_graph=True, allow_unused=True)
            except RuntimeError as error:
                raise UnsupportedOperation(f"PyTorch has no derivative here: {str(error).splitlines()[0]}") from error
            for k, grad in zip(floats, found, strict=True):
                grads[k] = grad
        return tuple(torch.zeros_like(t) if g is None else g for g, t in zip(grads, tapes, strict=True))

    return back, tapes
