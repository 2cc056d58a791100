"""How amounts become colours: a scale chosen from the numbers, and what it says about itself.

A picture is *readable* where at least half of its timesteps that moved anything have a cell with a tenth of the full
colour, which is about where a tint is told from the page. The plainest readable scale is taken: in proportion to the
amount (linear), else the same with its end at the 99th percentile of the amounts (robust), else by their square root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from explain_core.words import number

KINDS = ("linear", "robust", "root")
_SEEN = 0.1  # of the full colour
_READABLE = 0.5  # of the timesteps
_PERCENTILE = 99.0


@dataclass(frozen=True)
class Contrast:
    """A scale of colours: ``limit`` is the amount of the full colour, larger ones have no stronger."""

    kind: str
    limit: float
    words: str

    def strength(self, amounts: np.ndarray) -> np.ndarray:
        """Signed part of the full colour, -1 to 1, in the shape of ``amounts``."""
        part = np.clip(amounts / self.limit, -1.0, 1.0)
        return np.sign(part) * np.sqrt(np.abs(part)) if self.kind == "root" else part

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": self.kind, "limit": self.limit, "words": self.words}


def limit_of(cells: np.ndarray, kind: str) -> float:
    """The amount of the full colour: the largest, or for ``robust`` the 99th percentile of those that are not zero.

    1 where all are zero. The percentile is that of NumPy's method "lower", which is one of the amounts itself.
    """
    amounts = np.abs(cells[cells != 0])
    if not amounts.size:
        return 1.0
    return float(np.percentile(amounts, _PERCENTILE, method="lower") if kind == "robust" else amounts.max())


def contrast_of(cells: np.ndarray, kind: str, unit: str = "") -> Contrast:
    """The scale of one kind for these cells.

    Args:
        cells: attributions, any shape.
    """
    limit = limit_of(cells, kind)
    end = number(limit, unit)
    if kind == "robust":
        beyond = int((np.abs(cells) > limit).sum())
        cells_are = "1 cell is" if beyond == 1 else f"{beyond:,} cells are"
        words = f"Colours end at ±{end}; {cells_are} stronger than their colour."
    elif kind == "root":
        words = f"A root scale up to ±{end}: half the colour, a quarter of the amount."
    else:
        words = f"Colours are in proportion to the amount, up to ±{end}."
    return Contrast(kind, limit, words)


def contrasts_of(cells: np.ndarray, unit: str = "") -> list[Contrast]:
    """Every kind that makes a difference, in the order of `KINDS`.

    Args:
        cells: (T, F) attributions.
    """
    kinds = [kind for kind in KINDS if kind != "robust" or limit_of(cells, "robust") < limit_of(cells, "linear")]
    return [contrast_of(cells, kind, unit) for kind in kinds]


def chosen(contrasts: list[Contrast], cells: np.ndarray) -> Contrast:
    """The first scale on which the picture is readable; the last where none is.

    Args:
        cells: (T, F) attributions.
    """
    return next((each for each in contrasts if _readable(each, cells)), contrasts[-1])


def _readable(contrast: Contrast, cells: np.ndarray) -> bool:
    strongest = np.abs(cells).max(axis=1) if len(cells) > 1 else np.abs(cells[0])
    moved = strongest[strongest > 0]
    return not moved.size or float((np.abs(contrast.strength(moved)) >= _SEEN).mean()) >= _READABLE
