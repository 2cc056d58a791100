"""How often one of many elements decides which is the k-th largest: the shares that rules of order are made of."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from explain_core.rules import counting
from explain_core.rules.counting import deciding_share


def exact_share(p: int, q: int, r: int) -> Fraction:
    """How often a rising player decides: over who of the others came before it."""
    total = Fraction(0)
    for a in range(p):
        b = a + q + 1 - r
        if 0 <= b <= q:
            total += Fraction(math.comb(p - 1, a) * math.comb(q, b), math.comb(p + q - 1, a + b) * (p + q))
    return total


@pytest.mark.parametrize("table", [True, False], ids=["table", "terms"])
def test_shares_are_exact(table, monkeypatch):
    monkeypatch.setattr(counting, "_TABLE", 2**24 if table else 0)
    cases = [(p, q, r) for p in range(8) for q in range(8) for r in range(-1, 10)]
    cases += [(31, 40, 7), (60, 2, 59), (90, 75, 80), (1, 120, 60), (120, 1, 60), (40, 40, 40)]
    found = deciding_share(*np.array(cases).T)
    expected = [float(exact_share(*case)) if case[2] > 0 else 0.0 for case in cases]
    np.testing.assert_allclose(found, expected, rtol=2e-14)  # measured: 4e-15


def test_shares_of_many_are_those_of_the_rest():
    """Somebody decides: what all that rise have less what all that fall have is the change of the game."""
    p, q, r = np.array([(700, 300, 350), (300, 700, 350), (500, 500, 501)]).T
    decided = p * deciding_share(p, q, r) - q * deciding_share(q, p, r)
    np.testing.assert_allclose(decided, (p >= r).astype(float) - (q >= r), atol=1e-12)
