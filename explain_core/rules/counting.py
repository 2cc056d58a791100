"""How often a random order of players makes one of them decide: probabilities that keep their digits for any number.

Factorials of a thousand have logarithms of thousands, whose rounding would be seen in the shares. In the saddle-point
form of binomial probabilities (Loader 2000, *Fast and accurate computation of binomial probabilities*) they cancel
beforehand, and hypergeometric probabilities are three of those.
"""

from __future__ import annotations

import math

import numpy as np

_SMALL = np.array(
    [
        0.0 if n == 0 else math.lgamma(n + 1) - ((n + 0.5) * math.log(n) - n + 0.5 * math.log(2 * math.pi))
        for n in range(16)
    ]
)


def _stirling_error(n: np.ndarray) -> np.ndarray:
    """``log n! - log(√(2πn) (n/e)^n)``; 0 for 0, where the form is not used."""
    inverse = 1 / np.maximum(n, 1)
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    return np.where(n < 16, _SMALL[np.clip(n, 0, 15).astype(int)], series)


def _x_log(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``x log(y)``, 0 for ``x = 0``."""
    return x * np.log(np.where(x == 0, 1.0, y))


def _deviance(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """``x log(x/mean) + mean - x``, by its series in ``(x - mean)/(x + mean)`` where that is small."""
    v = (x - mean) / (x + mean)
    square = v * v
    total, power = np.zeros_like(v), np.ones_like(v)
    for j in range(12):  # |v| < 0.1, so the next term is below 1e-24
        total = total + power / (2 * j + 3)
        power = power * square
    near = (x - mean) * v + 2 * x * v * square * total
    far = _x_log(x, x / mean) + mean - x
    return np.where(np.abs(v) < 0.1, near, far)


def _log_binomial(x: np.ndarray, n: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The logarithm of the binomial probability of ``x`` among ``n``, each with probability ``share`` in (0, 1)."""
    rest = n - x
    is_inner = (x > 0) & (rest > 0)
    x_in, n_in = np.where(is_inner, x, 1.0), np.where(is_inner, n, 2.0)
    rest_in = n_in - x_in
    middle = (
        _stirling_error(n_in) - _stirling_error(x_in) - _stirling_error(rest_in)
        - _deviance(x_in, n_in * share) - _deviance(rest_in, n_in * (1 - share))
        + 0.5 * np.log(n_in / (2 * math.pi * x_in * rest_in))
    )  # fmt: skip
    none, all_of = _x_log(n, 1 - share), _x_log(n, share)
    return np.where(x == 0, np.where(n == 0, 0.0, none), np.where(rest == 0, all_of, middle))


def _hypergeometric(a: np.ndarray, first: np.ndarray, b: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``C(first, a)·C(second, b) / C(first + second, a + b)``; 0 outside ``0 <= a <= first``, ``0 <= b <= second``."""
    possible = (a >= 0) & (a <= first) & (b >= 0) & (b <= second)
    a, first, b, second = (np.where(possible, v, 0.0) for v in (a, first, b, second))
    drawn, all_of = a + b, first + second
    certain = (drawn == 0) | (drawn == all_of)
    share = np.where(certain, 0.5, drawn / np.maximum(all_of, 1))
    value = np.exp(
        _log_binomial(a, first, share) + _log_binomial(b, second, share) - _log_binomial(drawn, all_of, share)
    )
    return np.where(possible, np.where(certain, 1.0, value), 0.0)


def deciding_share(rising: np.ndarray, falling: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """How often a rising player decides, in a random order of all players, that enough are above a threshold.

    Of the players that lie above the threshold in one run only, ``rising`` do after they move and ``falling`` did
    before; ``needed`` of them must be above. A player decides when those before it leave one too few: ``a`` of the
    other rising ones have come and ``b`` of the falling ones have left, with ``a - b = needed - falling - 1``. For the
    maximum (``needed`` is 1) that leaves one term, ``falling!·(rising - 1)!/(rising + falling)!``.

    Args:
        rising, falling, needed: whole numbers of one shape. The share of a falling player is that of a rising one with
            the two numbers exchanged.

    Returns:
        the Shapley value of one rising player; 0 where there is none.
    """
    played = (rising >= 1) & (needed >= 1) & (needed <= rising + falling)
    p, q, r = (np.where(played, v, 0) for v in (rising, falling, needed))
    most = [int(v.max(initial=0)) for v in (p, q, r)]
    if math.prod(n + 1 for n in most) <= _TABLE:
        return _table(*most)[p, q, r]
    distinct, which = np.unique(np.stack([p, q, r], -1).reshape(-1, 3), axis=0, return_inverse=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # forms that are not chosen
        return _by_terms(*distinct.astype(float).T)[which].reshape(p.shape)


_TABLE = 2**24  # entries of the largest table


def _table(p_most: int, q_most: int, r_most: int) -> np.ndarray:
    """`deciding_share` for all numbers up to these, by who comes last: the player itself, a rising or a falling one."""
    table = np.zeros((p_most + 1, q_most + 1, r_most + 1))
    needed = np.arange(r_most + 1)
    for players in range(1, p_most + q_most + 1):
        p = np.arange(max(players - q_most, 1), min(players, p_most) + 1)
        q = players - p
        itself = p[:, None] == needed
        rising = (p - 1)[:, None] * table[p - 1, q]
        falling = q[:, None] * np.pad(table[p, np.maximum(q - 1, 0), :-1], ((0, 0), (1, 0)))
        table[p, q] = (itself + rising + falling) / players
    table[:, :, 0] = 0.0
    return table


def _by_terms(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
    """`deciding_share` as a sum over how many of the rising players have come, for any numbers."""
    least = np.maximum(r - q - 1, 0)
    most = np.minimum(p, r) - 1
    total = np.zeros_like(p)
    for more in range(int((most - least).max(initial=-1)) + 1):
        a = least + more
        total += np.where(a <= most, _hypergeometric(a, p - 1, a + q + 1 - r, q), 0.0)
    return np.where(p >= 1, total / np.maximum(p + q, 1), 0.0)
