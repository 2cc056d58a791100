"""Softmax and log-sum-exp of a pair, in closed forms that cannot overflow.

With ``M = max(x, x')``, ``L`` and ``L'`` the members' log-sum-exps and ``φ(u) = (1 - exp(-u))/u``, the rules for
``exp``, the sum and ``log`` multiply out to

    share[i] = Δ logsumexp / Δx[i] = exp(M[i] - max(L, L')) · φ(|Δx[i]|) / φ(|L - L'|)

whatever shift the members share. Log-softmax is ``x - logsumexp(x)``, with ``m_x = m - (Σ m)·share``. Softmax is taken
as its exponential, not as ``exp(x) / Σ exp(x)``. Both are complete, but when all logits move together by ``D``, which
moves no probability, the multipliers of the second grow as ``sinh(D)/D``, and the sum of its contributions drowns in
their rounding. See docs/torch.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from explain_core.rules.arrays import Array, Arrays
from explain_core.rules.quotients import decay, gap
from explain_core.rules.secants import exp


def logsumexp_multipliers(xp: Arrays, x: Array, x_base: Array) -> Array:
    """``Δ logsumexp / Δx[i]`` over the last axis, as the composed rules share it out; between 0 and 1."""
    shift = xp.max(xp.maximum(x, x_base))  # near zero, differences of logits keep their digits
    x, x_base = x - shift, x_base - shift
    total, total_base = xp.logsumexp(x), xp.logsumexp(x_base)
    weight = xp.exp(xp.maximum(x, x_base) - xp.maximum(total, total_base))
    return weight * decay(xp, gap(xp, x, x_base)) / decay(xp, gap(xp, total, total_base))


def log_softmax_rule(xp: Arrays, x: Array, x_base: Array) -> Callable[[Array], Array]:
    """The multipliers of ``x`` for those of its log-softmax over the last axis."""
    share = logsumexp_multipliers(xp, x, x_base)
    return lambda m: m - xp.weighed(xp.sum(m), share)


def softmax_rule(xp: Arrays, x: Array, x_base: Array) -> Callable[[Array], Array]:
    """The multipliers of ``x`` for those of its softmax over the last axis."""
    slope, further = exp(xp, xp.log_softmax(x), xp.log_softmax(x_base)), log_softmax_rule(xp, x, x_base)
    return lambda m: further(xp.weighed(m, slope))


def cumulative_logsumexp_rule(xp: Arrays, x: Array, x_base: Array) -> Callable[[Array], Array]:
    """The multipliers of ``x`` for those of ``log Σ exp`` of each beginning of the last axis, each by the rule above.

    With ``L`` the larger of the members' running values, element ``i`` has ``exp(M[i] - L[t])·φ(|Δx[i]|)/φ(|ΔL[t]|)``
    of step ``t``. The sum over later steps goes backward by ``exp(L[t] - L[t+1])``, which is at most 1.
    """
    a, b = xp.double(x), xp.double(x_base)
    total, total_base = xp.cumulative_logsumexp(a), xp.cumulative_logsumexp(b)
    top = xp.maximum(total, total_base)
    of_element = xp.exp(_below(xp, xp.maximum(a, b), top)) * decay(xp, gap(xp, a, b))
    of_step = 1 / decay(xp, gap(xp, total, total_base))
    falls = xp.unstack(xp.exp(_below(xp, top[..., :-1], top[..., 1:])))

    def back(m: Array) -> Array:
        steps = xp.unstack(xp.double(m) * of_step)
        for t in range(len(steps) - 2, -1, -1):
            steps[t] = steps[t] + falls[t] * steps[t + 1]
        return xp.cast(xp.stack(steps) * of_element, m) if steps else m

    return back


def _below(xp: Arrays, a: Array, b: Array) -> Array:
    """``a - b``, and minus infinity below the same infinity."""
    return xp.where(a == -math.inf, a, a - b)
