"""How often a random order of players makes one of them decide: probabilities that keep their digits for any number.

Factorials of a thousand have logarithms of thousands, whose rounding would be seen in the shares. In the saddle-point
form of binomial probabilities (Loader 2000, *Fast and accurate computation of binomial probabilities*) they cancel
beforehand, and hypergeometric probabilities are three of those.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMALL = [
    0.0 if n == 0 else math.lgamma(n + 1) - ((n + 0.5) * math.log(n) - n + 0.5 * math.log(2 * math.pi))
    for n in range(16)
]


def _stirling_error(n: Tensor) -> Tensor:
    """``log n! - log(√(2πn) (n/e)^n)``; 0 for 0, where the form is not used."""
    inverse = 1 / n.clamp(min=1)
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    table = torch.tensor(_SMALL, dtype=n.dtype, device=n.device)
    return torch.where(n < 16, table[n.clamp(0, 15).long()], series)


def _deviance(x: Tensor, mean: Tensor) -> Tensor:
    """``x log(x/mean) + mean - x``, by its series in ``(x - mean)/(x + mean)`` where that is small."""
    v = (x - mean) / (x + mean)
    square = v * v
    total, power = torch.zeros_like(v), torch.ones_like(v)
    for j in range(12):  # |v| < 0.1, so the next term is below 1e-24
        total = total + power / (2 * j + 3)
        power = power * square
    near = (x - mean) * v + 2 * x * v * square * total
    far = torch.xlogy(x, x / mean) + mean - x
    return torch.where(v.abs() < 0.1, near, far)


def _log_binomial(x: Tensor, n: Tensor, share: Tensor) -> Tensor:
    """The logarithm of the binomial probability of ``x`` among ``n``, each with probability ``share`` in (0, 1)."""
    rest = n - x
    inner = torch.where((x > 0) & (rest > 0), x, 1.0), torch.where((x > 0) & (rest > 0), n, 2.0)
    x_in, n_in = inner
    rest_in = n_in - x_in
    middle = (
        _stirling_error(n_in) - _stirling_error(x_in) - _stirling_error(rest_in)
        - _deviance(x_in, n_in * share) - _deviance(rest_in, n_in * (1 - share))
        + 0.5 * torch.log(n_in / (2 * math.pi * x_in * rest_in))
    )  # fmt: skip
    none, all_of = torch.xlogy(n, 1 - share), torch.xlogy(n, share)
    return torch.where(x == 0, torch.where(n == 0, 0.0, none), torch.where(rest == 0, all_of, middle))


def _hypergeometric(a: Tensor, first: Tensor, b: Tensor, second: Tensor) -> Tensor:
    """``C(first, a)·C(second, b) / C(first + second, a + b)``; 0 outside ``0 <= a <= first``, ``0 <= b <= second``."""
    possible = (a >= 0) & (a <= first) & (b >= 0) & (b <= second)
    a, first, b, second = (torch.where(possible, v, 0.0) for v in (a, first, b, second))
    drawn, all_of = a + b, first + second
    certain = (drawn == 0) | (drawn == all_of)
    share = torch.where(certain, 0.5, drawn / all_of.clamp(min=1))
    value = torch.exp(
        _log_binomial(a, first, share) + _log_binomial(b, second, share) - _log_binomial(drawn, all_of, share)
    )
    return torch.where(possible, torch.where(certain, 1.0, value), 0.0)


def deciding_share(rising: Tensor, falling: Tensor, needed: Tensor) -> Tensor:
    """How often a rising player decides, in a random order of all players, that enough are above a threshold.

    Of the players that lie above the threshold in one run only, ``rising`` do after they move and ``falling`` did
    before; ``needed`` of them must be above. A player decides when those before it leave one too few: ``a`` of the
    other rising ones have come and ``b`` of the falling ones have left, with ``a - b = needed - falling - 1``. For the
    maximum (``needed`` is 1) that leaves one term, ``falling!·(rising - 1)!/(rising + falling)!``.

    Args:
        rising, falling, needed: whole numbers in float64, of one shape. The share of a falling player is that of a
            rising one with the two numbers exchanged.

    Returns:
        the Shapley value of one rising player; 0 where there is none.
    """
    played = (rising >= 1) & (needed >= 1) & (needed <= rising + falling)
    p, q, r = (torch.where(played, v, 0.0) for v in (rising, falling, needed))
    most = [int(v.amax()) if v.numel() else 0 for v in (p, q, r)]
    if math.prod(n + 1 for n in most) <= _TABLE:
        return _table(*most, like=p)[p.long(), q.long(), r.long()]
    distinct, which = torch.unique(torch.stack([p, q, r], -1).reshape(-1, 3), dim=0, return_inverse=True)
    return _by_terms(*distinct.unbind(-1))[which].view(rising.shape)


_TABLE = 2**24  # entries of the largest table


def _table(p_most: int, q_most: int, r_most: int, like: Tensor) -> Tensor:
    """`deciding_share` for all numbers up to these, by who comes last: the player itself, a rising or a falling one."""
    table = like.new_zeros(p_most + 1, q_most + 1, r_most + 1)
    needed = torch.arange(r_most + 1, device=like.device)
    for players in range(1, p_most + q_most + 1):
        p = torch.arange(max(players - q_most, 1), min(players, p_most) + 1, device=like.device)
        q = players - p
        itself = (p.unsqueeze(-1) == needed).to(like.dtype)
        rising = (p - 1).unsqueeze(-1) * table[p - 1, q]
        falling = q.unsqueeze(-1) * torch.nn.functional.pad(table[p, (q - 1).clamp(min=0), :-1], (1, 0))
        table[p, q] = (itself + rising + falling) / players
    table[:, :, 0] = 0.0
    return table


def _by_terms(p: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """`deciding_share` as a sum over how many of the rising players have come, for any numbers."""
    least = (r - q - 1).clamp(min=0)
    most = torch.minimum(p, r) - 1
    total = torch.zeros_like(p)
    for more in range(int((most - least).amax().clamp(min=-1)) + 1 if len(p) else 0):
        a = least + more
        total += torch.where(a <= most, _hypergeometric(a, p - 1, a + q + 1 - r, q), 0.0)
    return torch.where(p >= 1, total / (p + q).clamp(min=1), 0.0)
