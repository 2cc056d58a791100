"""The exact Shapley value of a maximum over many elements.

The players are the elements, each of which is at its test or at its baseline value, and the game is their maximum
("Max SHAP", Lundberg & Lee 2017, section 4.2, for one-sided moves; here for moves in both directions). Written as
``max = ∫ [some element > t] dt``, each threshold is a simple game: of the elements that lie above ``t`` in one run
only, ``p`` do in the test and ``q`` in the baseline. Ordering arguments give each of the ``p`` the share
``q!(p-1)!/(p+q)!`` and each of the ``q`` the share ``-p!(q-1)!/(p+q)!``. Sorting makes the integral a sum.
"""

from __future__ import annotations

import math

from explain_core.rules.arrays import Array, Arrays


def max_multipliers(xp: Arrays, test: Array, base: Array) -> Array:
    """Multiplier of each element for the maximum over the last axis.

    Args:
        test, base: (..., n).

    Returns:
        (..., n): between 0 and 1, with ``sum(m · (test - base)) = max(test) - max(base)``. Where an element does not
        differ, the limit for one that hardly does; elements that tie and do not differ share it alike.
    """
    like, test, base = test, xp.double(test), xp.double(base)
    high = xp.maximum(test, base)
    order = xp.argsort(-high)
    high = xp.take_along(high, order)
    always = xp.max(xp.minimum(test, base))  # below this some element is above t in both runs
    rises = xp.take_along(xp.cast(test > base, test), order)
    p, q = xp.cumsum(rises), xp.cumsum(1 - rises)
    top = xp.maximum(high, always)
    width = top - xp.concat([top[..., 1:], always])
    players = xp.lgamma(p + q + 1)
    share_up = xp.exp(xp.lgamma(q + 1) + xp.lgamma(p) - players)  # lgamma(0) is inf: no such player
    share_down = xp.exp(xp.lgamma(p + 1) + xp.lgamma(q) - players)
    up, down = (_from_below(xp, xp.where(width > 0, width * share, 0.0)) for share in (share_up, share_down))
    contribution = xp.unsort(xp.where(rises > 0, up, -down), order)
    still = xp.is_still(test, base)
    slopes = xp.where(still, 0.0, contribution / (test - base))
    return xp.cast(xp.where(still & xp.isfinite(test), _limit(xp, test, base, always), slopes), like)


def min_multipliers(xp: Arrays, test: Array, base: Array) -> Array:
    """`max_multipliers` for the minimum, which is minus the maximum of minus its elements."""
    return max_multipliers(xp, -test, -base)


def _limit(xp: Arrays, test: Array, base: Array, always: Array) -> Array:
    """Of elements that do not differ: ``p!·q!/(p+q+1)!`` by those above, and shared among those that tie."""
    still = xp.sort(xp.where(test == base, test, math.inf))
    ties = xp.count_below(still, test, equal=True) - xp.count_below(still, test, equal=False)
    p, q = (test.shape[-1] - xp.count_below(xp.sort(member), test, equal=True) for member in (test, base))
    share = xp.exp(xp.lgamma(p + 1) + xp.lgamma(q + 1) - xp.lgamma(p + q + 2)) / ties
    return xp.where(test >= always, share, 0.0)


def _from_below(xp: Arrays, x: Array) -> Array:
    """Of descending order, the sums that begin with the last."""
    return xp.flip(xp.cumsum(xp.flip(x)))
