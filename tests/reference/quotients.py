"""Difference quotients of a function of real numbers, with as many digits as they take."""

from __future__ import annotations

from collections.abc import Callable

from mpmath import mp, mpf

Real = Callable[..., mpf]


def exact(f: Real, a: float, b: float, kinks: tuple[float, ...] = ()) -> list[mpf]:
    """The quotient; at equal points the derivative, or the slopes on both sides of a kink."""
    x, y = mpf(a), mpf(b)
    if a != b:
        return [quotient(f, x, y)]
    with mp.workdps(60 if x else 450):  # else a step this small would be none
        near = mpf(10) ** -30 * abs(x) or mpf(10) ** -400
        above, below = x + near, x - near
    if a in kinks:
        return sorted((quotient(f, above, x), quotient(f, x, below)))
    return [quotient(f, above, below)]


def quotient(f: Real, x: mpf, y: mpf) -> mpf:
    """With as many more digits as cancel."""
    digits = 60
    while True:
        with mp.workdps(digits):
            high, low = f(x), f(y)
            change, size = high - low, max(abs(high), abs(low))
            if size == 0 or digits > 1000 or abs(change) > size * mpf(10) ** (50 - digits):
                return change / (x - y)
        digits *= 2
