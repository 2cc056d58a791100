"""The part of an error ledger about loops over time that a model writes out itself, the same for both frameworks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from explain_core.backends.protocol import LayerDefects


@dataclass(frozen=True)
class Place:
    """Where in a loop an operation is."""

    loop: str
    step: int  # timestep of the input
    part: str


@dataclass
class HandedOn:
    """Squared norms over the states that a step hands on: of their multipliers, by output, and of their difference."""

    multiplier: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    change: float = 0.0


class LoopBook:
    """Entries and states of the loops of one run, summed over all rows."""

    def __init__(self) -> None:
        self._entries: dict[Place, dict[int, float]] = {}
        self._states: dict[tuple[str, int], HandedOn] = defaultdict(HandedOn)

    @property
    def names(self) -> list[str]:
        """The loops that have entries."""
        return list(dict.fromkeys(place.loop for place in self._entries))

    def entry(self, place: Place) -> dict[int, float]:
        """The defect of an operation by output, to be added to."""
        return self._entries.setdefault(place, defaultdict(float))

    def handed_on(self, loop: str, step: int) -> HandedOn:
        """The states after a step, to be added to."""
        return self._states[loop, step]

    def layers(self, backwards: Mapping[str, bool], targets: int) -> dict[str, LayerDefects]:
        """Loops that have entries as layers, of one row since everything is summed over the rows.

        Args:
            backwards: of each loop, whether it reads the last timestep first.
        """
        return {
            loop: self._layer(loop, is_backwards, targets)
            for loop, is_backwards in backwards.items()
            if loop in self.names
        }

    def _layer(self, loop: str, backwards: bool, targets: int) -> LayerDefects:
        entries = {place: entry for place, entry in self._entries.items() if place.loop == loop}
        parts = tuple(dict.fromkeys(place.part for place in entries))
        steps = 1 + max(step for name, step in (*self._states, *((p.loop, p.step) for p in entries)) if name == loop)
        states = [self._states[loop, step] for step in range(steps)]
        defect = np.zeros((targets, 1, steps, len(parts)))
        for place, by_target in entries.items():
            defect[:, 0, place.step, parts.index(place.part)] = [by_target[k] for k in range(targets)]
        multipliers = [[[state.multiplier[k] for state in states]] for k in range(targets)]
        return LayerDefects(
            kind="loop",
            parts=parts,
            defect=defect,
            multiplier=np.sqrt(multipliers),
            change=np.sqrt([[[state.change for state in states]]] * targets),
            backwards=backwards,
        )
