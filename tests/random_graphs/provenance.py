"""Which streams of a recipe are statistics, as docs/normalisation.md defines them, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from random_graphs.recipe import Step

REDUCING = ("attention", "average", "cumsum", "pool")
"""Over time or windows of it; attention is a matrix product of two explained tensors, like a product's last way."""

MIXING = ("conv", "layer", "linear", "loop", "packed")
"""By weights: what comes of it is no statistic, whatever went in. All other steps move values, or change each."""


def is_statistic(step: Step, taken: Sequence[bool]) -> bool:
    """Whether a step makes a statistic.

    Args:
        taken: whether each of the streams that it takes is one.
    """
    if step.op in REDUCING or (step.op == "product" and step.way == 2):
        return True
    if step.op in MIXING:
        return False
    if step.op == "compared":  # what only decides does not count
        return all(taken[2:] if step.way == 3 else taken[1:])
    return all(taken)
