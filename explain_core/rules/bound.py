"""Formulas with the arrays of one backend put in."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import NamedTuple

from explain_core.rules import (
    activations,
    circular,
    maximum,
    quotients,
    reductions,
    secants,
    softmax,
    special,
    statistics,
    two_players,
)
from explain_core.rules.arrays import Arrays


class Bound:
    """The formulas of some modules: ``bound.tanh(a, b)`` is ``tanh(xp, a, b)``.

    Args:
        xp: the backend's arrays.
        modules: whose functions these are, the first that has one of a name.
    """

    def __init__(self, xp: Arrays, *modules: ModuleType) -> None:
        self._xp = xp
        self._modules = modules

    def __getattr__(self, name: str) -> partial:
        owner = None if name.startswith("_") else next((m for m in self._modules if hasattr(m, name)), None)
        if owner is None:
            raise AttributeError(f"no formula is named {name!r}")
        formula = partial(getattr(owner, name), self._xp)
        setattr(self, name, formula)  # one object for each name
        return formula

    def __dir__(self) -> list[str]:
        return sorted({name for module in self._modules for name in vars(module) if not name.startswith("_")})


class Formulas(NamedTuple):
    """All of a backend's formulas, by what they are about."""

    secants: Bound
    two_players: Bound
    maximum: Bound
    softmax: Bound
    reductions: Bound
    statistics: Bound


def bind(xp: Arrays) -> Formulas:
    """The formulas of one backend."""
    return Formulas(
        secants=Bound(xp, secants, activations, circular, special, quotients),
        two_players=Bound(xp, two_players),
        maximum=Bound(xp, maximum),
        softmax=Bound(xp, softmax),
        reductions=Bound(xp, reductions),
        statistics=Bound(xp, statistics),
    )
