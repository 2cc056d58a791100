"""Softmax and log-sum-exp of a pair, in closed forms that cannot overflow.

With ``M = max(x, x')``, ``L`` and ``L'`` the members' log-sum-exps and ``φ(u) = (1 - exp(-u))/u``, the rules for
``exp``, the sum and ``log`` multiply out to

    share[i] = Δ logsumexp / Δx[i] = exp(M[i] - max(L, L')) · φ(|Δx[i]|) / φ(|L - L'|)

whatever shift the members share. Softmax is taken as ``exp(x - logsumexp(x))``, not as ``exp(x) / Σ exp(x)``. Both are
complete, but when all logits move together by ``D``, which moves no probability, the multipliers of the second grow as
``sinh(D)/D``, and the sum of its contributions drowns in their rounding. See docs/torch.md.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from explain_core.backends.torch.formulas import secants


def logsumexp_slope(x: Tensor, x_base: Tensor) -> Tensor:
    """``Δ logsumexp / Δx[i]`` over the last axis, as the composed rules share it out; between 0 and 1."""
    shift = torch.maximum(x, x_base).amax(-1, keepdim=True)  # near zero, differences of logits keep their digits
    x, x_base = x - shift, x_base - shift
    total, total_base = torch.logsumexp(x, -1, keepdim=True), torch.logsumexp(x_base, -1, keepdim=True)
    weight = torch.exp(torch.maximum(x, x_base) - torch.maximum(total, total_base))
    return weight * secants.decay(secants.gap(x, x_base)) / secants.decay(secants.gap(total, total_base))


def softmax_rule(x: Tensor, x_base: Tensor) -> Callable[[Tensor], Tensor]:
    """The multiplier of ``x`` given that of its softmax over the last axis."""
    share = logsumexp_slope(x, x_base)
    slope = secants.exp(torch.log_softmax(x, -1), torch.log_softmax(x_base, -1))

    def back(m: Tensor) -> Tensor:
        m = m * slope
        return m - m.sum(-1, keepdim=True) * share

    return back
