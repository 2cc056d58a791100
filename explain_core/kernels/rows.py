"""What every kernel does with rows besides its equations."""

from __future__ import annotations

from explain_core.kernels.compiling import loop


@loop
def copy(to, what):
    for j in range(len(to)):
        to[j] = what[j]


@loop
def add(to, what):
    for j in range(len(to)):
        to[j] += what[j]


@loop
def seen(new, passed, count):
    """Divide multipliers ``passed``, of a state after a mask, into those of the new state and of the state before.

    ``new`` holds the same at first. ``count`` is the mean of the mask over the pair.
    """
    rest = type(count)(1) - count
    for j in range(len(new)):
        new[j] = count * new[j]
        passed[j] = rest * passed[j]
