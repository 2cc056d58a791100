"""Where a value comes from, as far as division asks: whether it is a statistic, or the inverse of one.

A statistic was made by reducing over an axis, and stays one through what moves it, or changes it element by element.
docs/normalisation.md says what division does with it. Which operations reduce, and which go element by element, is up
to the backends; what follows from that is here.
"""

from __future__ import annotations

from collections.abc import Iterable

STATISTIC, INVERSE = "statistic", "inverse of a statistic"
NEUTRAL = "neutral"
"""Of constants, and of truths and whole numbers that are no statistic: they choose and count, and are no scale.

Where its two members agree such a value is a constant, which may be so by the other samples of a batch alone.
"""
GATE = "gate"
"""Of shares between 0 and 1, which say how much of another value is let through; noted for relevance propagation."""

OTHER = ""


def reduced(kinds: Iterable[str]) -> str:
    """What a reduction makes of values of these kinds."""
    return INVERSE if set(kinds) == {INVERSE} else STATISTIC


def carried(kinds: Iterable[str]) -> str:
    """What moving values of these kinds, or a function of their elements, makes of them.

    Statistics and inverses of them together are what was made by reducing too: the mean over the deviation.
    """
    found = set(kinds) - {NEUTRAL}
    if OTHER in found or (GATE in found and len(found) > 1):
        return OTHER
    return STATISTIC if len(found) > 1 else next(iter(found), NEUTRAL)


def upside_down(kind: str) -> str:
    """What one over a value of this kind is."""
    return {STATISTIC: INVERSE, INVERSE: STATISTIC}.get(kind, kind)


def divided(numerator: str, denominator: str) -> str:
    """What a quotient of values of these kinds is."""
    return carried((numerator, upside_down(denominator)))
