"""The exact Shapley value of a maximum over many elements.

The players are the elements, each of which is at its test or at its baseline value, and the game is their maximum
("Max SHAP", Lundberg & Lee 2017, section 4.2, for one-sided moves; here for moves in both directions). Written as
``max = ∫ [some element > t] dt``, each threshold is a simple game: of the elements that lie above ``t`` in one run
only, ``p`` do in the test and ``q`` in the baseline. Ordering arguments give each of the ``p`` the share
``q!(p-1)!/(p+q)!`` and each of the ``q`` the share ``-p!(q-1)!/(p+q)!``. Sorting makes the integral a sum.
"""

from __future__ import annotations

import torch
from torch import Tensor


def max_multipliers(test: Tensor, base: Tensor) -> Tensor:
    """Multiplier of each element for the maximum over the last axis.

    Args:
        test, base: (..., n).

    Returns:
        (..., n): between 0 and 1, with ``sum(m · (test - base)) = max(test) - max(base)``. Where an element does not
        differ, the limit for one that hardly does; elements that tie and do not differ share it alike.
    """
    dtype, test, base = test.dtype, test.double().contiguous(), base.double().contiguous()
    high, order = torch.sort(torch.maximum(test, base), dim=-1, descending=True)
    always = torch.minimum(test, base).amax(-1, keepdim=True)  # below this some element is above t in both runs
    rises = (test > base).gather(-1, order)
    p = rises.cumsum(-1).double()
    q = (~rises).cumsum(-1).double()
    top = torch.maximum(high, always)
    width = top - torch.cat([top[..., 1:], always], -1)
    players = torch.lgamma(p + q + 1)
    share_up = torch.exp(torch.lgamma(q + 1) + torch.lgamma(p) - players)  # lgamma(0) is inf: no such player
    share_down = torch.exp(torch.lgamma(p + 1) + torch.lgamma(q) - players)
    up, down = (torch.where(width > 0, width * share, 0.0) for share in (share_up, share_down))
    from_below = torch.where(rises, _reverse_cumsum(up), -_reverse_cumsum(down))
    contribution = torch.empty_like(test).scatter_(-1, order, from_below)
    still = test == base
    slopes = torch.where(still, 0.0, contribution / (test - base))
    return torch.where(still & test.isfinite(), _limit(test, base, always), slopes).to(dtype)


def _limit(test: Tensor, base: Tensor, always: Tensor) -> Tensor:
    """Of elements that do not differ: ``p!·q!/(p+q+1)!`` by those above, and shared among those that tie."""
    still = torch.where(test == base, test, torch.inf).sort(-1).values
    ties = torch.searchsorted(still, test, right=True) - torch.searchsorted(still, test)
    p, q = (
        test.shape[-1] - torch.searchsorted(member.sort(-1).values, test, right=True).double()
        for member in (test, base)
    )
    share = torch.exp(torch.lgamma(p + 1) + torch.lgamma(q + 1) - torch.lgamma(p + q + 2)) / ties
    return torch.where(test >= always, share, 0.0)


def _reverse_cumsum(x: Tensor) -> Tensor:
    return x.flip(-1).cumsum(-1).flip(-1)
