"""Softmax and log-sum-exp of a pair, in closed form.

Both are composed from the rules for ``exp``, ``+``, ``÷`` and ``log`` with one shift shared by both members. Done op
by op that overflows, or cancels, when the members' log-sum-exps ``L`` and ``L'`` are far apart. Multiplied out, the
shift drops out. With ``y``, ``y'`` the softmaxes, ``M = max(x, x')`` and ``φ(u) = (1 - exp(-u))/u``:

    softmax     m_x[i] = ½ φ(|Δx[i]|) · ( exp(M[i] - L') Σ_j (m[i] - m[j]) y[j] + exp(M[i] - L) Σ_j (m[i] - m[j]) y'[j] )
    logsumexp   m_x[i] = m · exp(M[i] - max(L, L')) · φ(|Δx[i]|) / φ(|L - L'|)

In the sums the term ``j = i`` is zero; it is kept from cancelling by measuring all ``m`` from the one at the largest
``y``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from explain_core.backends.torch.secants import decay, gap


def _spread(m: Tensor, y: Tensor) -> Tensor:
    """``Σ_j (m[i] - m[j]) y[j]`` over the last axis."""
    m = m - m.gather(-1, y.argmax(-1, keepdim=True))
    return m - (m * y).sum(-1, keepdim=True)


def softmax_rule(x: Tensor, x_base: Tensor) -> Callable[[Tensor], Tensor]:
    """The multiplier of ``x`` given that of its softmax over the last axis."""
    y, y_base = torch.softmax(x, -1), torch.softmax(x_base, -1)
    total, total_base = torch.logsumexp(x, -1, keepdim=True), torch.logsumexp(x_base, -1, keepdim=True)
    high, shape = torch.maximum(x, x_base), decay(gap(x, x_base)) / 2
    of_test, of_base = torch.exp(high - total_base) * shape, torch.exp(high - total) * shape
    return lambda m: of_test * _spread(m, y) + of_base * _spread(m, y_base)


def logsumexp_slope(x: Tensor, x_base: Tensor) -> Tensor:
    """``Δ logsumexp / Δx[i]`` over the last axis, as the composed rules share it out."""
    total, total_base = torch.logsumexp(x, -1, keepdim=True), torch.logsumexp(x_base, -1, keepdim=True)
    weight = torch.exp(torch.maximum(x, x_base) - torch.maximum(total, total_base))
    return weight * decay(gap(x, x_base)) / decay(gap(total, total_base))
