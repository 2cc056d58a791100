"""Every difference quotient of the TensorFlow engine against many digits, and every elementwise row of its table.

The error is in units of rounding (``eps``) of the true quotient. Where a quotient passes through zero while its terms
do not, it is in units of rounding of the function's own scale, given beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from reference.quotients import Real, exact

pytest.importorskip("tensorflow")
import tensorflow as tf

from explain_core.backends.tensorflow import circular, secants
from explain_core.backends.tensorflow.cells import ACTIVATIONS
from explain_core.backends.tensorflow.rules import RULES

DTYPES = {"float32": np.float32, "float64": np.float64}
DIFFERENCES = (0.0, 1e-30, 1e-10, 1e-7, 1e-3, 0.3, 0.499, 0.501, 1.0, 10.0, 100.0)

JUMPS = tuple(np.arange(-300, 300) / 2)  # whole numbers and halves
FEW = (0.0, 1e-3, 0.3, 10.0)

HALF = (1e-30, 1e-10, 1e-3, 0.1, 0.5, 1.3, 3.0, 6.0, 19.5, 40.0)
REAL = (0.0, -0.0, *HALF, *(-x for x in HALF))
POSITIVE = (1e-34, 1e-30, 1e-10, 1e-3, 0.1, 1.0, 1.3, 3.0, 40.0, 1e6)
ABOVE_ONE = (1.0, 1.0 + 1e-6, 1.01, 1.3, 3.0, 40.0, 1e6, 1e20)
ANGLES = (0.0, -0.0, *HALF[:7], *(-x for x in HALF[:7]))
NEAR = (0.0, -0.0, *HALF[:8], *(-x for x in HALF[:8]))
WAVES = (*REAL, 999.7, -999.7, 1e4)
INSIDE = (0.0, -0.0, 1e-30, 1e-3, 0.1, 0.5, 0.9, 0.99, -1e-30, -1e-3, -0.1, -0.5, -0.9, -0.99)
PROBABILITIES = (1e-10, 1e-3, 0.3, 0.5, 0.9)
BETWEEN_POLES = (1e-3, 1.3, 40.0, -2.6)


@dataclass(frozen=True)
class Definition:
    """A function in many digits, and how near its quotient must come.

    Attributes:
        f: the function.
        bound: in roundings.
        points: base points within the domain.
        scale: the function's own scale where its quotient passes through zero, of (a, b, quotient).
        kinks: where the derivative is any slope between both sides.
            secant: that of the row, if there is none of this name.
        differences: between the two points.
    """

    f: Real
    bound: float
    points: tuple[float, ...] = REAL
    scale: Callable[[mpf, mpf, mpf], mpf] | None = None
    kinks: tuple[float, ...] = ()
    secant: secants.Secant | None = None
    differences: tuple[float, ...] = DIFFERENCES


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def clip(x, low, high):
    return min(max(x, mpf(low)), mpf(high))


def elu(x, alpha=1.0, scale=1.0):
    return mpf(scale) * (x if x > 0 else mpf(alpha) * mpmath.expm1(x))


def sign(x):
    return mpf((x > 0) - (x < 0))


def rounded(x):
    """To the nearest whole number, halves to the even one."""
    below = mpmath.floor(x)
    up = x - below > mpf(1) / 2 or (x - below == mpf(1) / 2 and below % 2)
    return below + up


def tail(a, b, q):
    """In the tails of ``exp(-x²)`` the rounding of ``x²`` is as good as it gets."""
    return abs(q) * (1 + (min(a * a, b * b) if a * b > 0 else 0))


def wave(a, b, _):
    """The quotient of sine is at most one, and at most two over the difference."""
    return min(mpf(1), 2 / abs(a - b)) if a != b else mpf(1)


def tan_scale(a, b, q):
    """Equal tangents of different periods have the quotient zero."""
    return abs(q) if abs(a - b) <= 1 else max(abs(mpmath.tan(a)), abs(mpmath.tan(b))) / abs(a - b)


def values_scale(f):
    """Of a function whose quotient passes through zero: its values, over their difference; and its slope."""
    return lambda a, b, q: max(abs(q), max(abs(f(a)), abs(f(b)), mpf(1)) / max(abs(a - b), abs(a), mpf(1) / 100))


def inverse_scale(inverse):
    """Its slope is that of exp(y²), for which the rounding of y² counts."""
    return lambda a, b, q: abs(q) * (1 + 2 * max(inverse(a) ** 2, inverse(b) ** 2))


def ndtri(x):
    return mpmath.sqrt(2) * mpmath.erfinv(2 * x - 1)


def log_gamma(x):
    return mpmath.log(abs(mpmath.gamma(x)))


SELU = (1.6732632423543772, 1.0507009873554805)
# Measured beside each bound: the worst of both types, rounded up. Bounds leave a factor of two for other processors.
DEFINITIONS: dict[str, Definition] = {
    "Abs": Definition(abs, 2, kinks=(0.0,)),
    "Acos": Definition(mpmath.acos, 6, INSIDE),
    "Acosh": Definition(mpmath.acosh, 8, ABOVE_ONE),
    "Asin": Definition(mpmath.asin, 6, INSIDE),
    "Asinh": Definition(mpmath.asinh, 8),
    "Atan": Definition(mpmath.atan, 4),
    "Atanh": Definition(mpmath.atanh, 6, INSIDE),
    "Ceil": Definition(mpmath.ceil, 2, kinks=JUMPS),
    "Cos": Definition(mpmath.cos, 3, WAVES, scale=wave),
    "Cosh": Definition(mpmath.cosh, 4),
    "Digamma": Definition(mpmath.digamma, 16, BETWEEN_POLES, values_scale(mpmath.digamma), differences=FEW),
    "Elu": Definition(elu, 5, kinks=(0.0,)),
    "Erf": Definition(mpmath.erf, 4, NEAR, scale=tail),
    "Erfc": Definition(mpmath.erfc, 4, NEAR, scale=tail),
    "Erfinv": Definition(mpmath.erfinv, 16, INSIDE[2::4], scale=inverse_scale(mpmath.erfinv), differences=FEW),
    "Exp": Definition(mpmath.exp, 4),
    "Floor": Definition(mpmath.floor, 2, kinks=JUMPS),
    "Lgamma": Definition(mpmath.loggamma, 16, BETWEEN_POLES, scale=values_scale(log_gamma), differences=FEW),
    "Log": Definition(mpmath.log, 4, POSITIVE),
    "Log1p": Definition(mpmath.log1p, 4, (*REAL[:12], -1e-30, -1e-10, -1e-3, -0.5, -0.99)),
    "Ndtri": Definition(ndtri, 16, PROBABILITIES, scale=inverse_scale(ndtri), differences=FEW),
    "Reciprocal": Definition(lambda x: 1 / x, 2, tuple(x for x in REAL if x)),
    "Relu": Definition(lambda x: max(x, mpf(0)), 2, kinks=(0.0,)),
    "Relu6": Definition(lambda x: clip(x, 0, 6), 2, kinks=(0.0, 6.0)),
    "Rint": Definition(rounded, 2, kinks=JUMPS),
    "Rsqrt": Definition(lambda x: 1 / mpmath.sqrt(x), 4, POSITIVE),
    "Selu": Definition(lambda x: elu(x, *SELU), 5, kinks=(0.0,)),
    "Sigmoid": Definition(sigmoid, 4),
    "Sign": Definition(sign, 2),
    "Sin": Definition(mpmath.sin, 3, WAVES, scale=wave),
    "Sinh": Definition(mpmath.sinh, 4),
    "Softplus": Definition(lambda x: mpmath.log1p(mpmath.exp(x)), 4),
    "Softsign": Definition(lambda x: x / (1 + abs(x)), 4),
    "Sqrt": Definition(mpmath.sqrt, 3, POSITIVE),
    "Square": Definition(lambda x: x * x, 2),
    "Tan": Definition(mpmath.tan, 4, ANGLES, scale=tan_scale),
    "Tanh": Definition(mpmath.tanh, 4),
}
SAME = {"Expm1": "Exp", "Inv": "Reciprocal", "Round": "Rint"}
PARAMETRISED = {"ClipByValue", "LeakyRelu"}


def power(k):
    return lambda a, b: secants.power(tf.constant(k, a.dtype), a, b)


MORE: dict[str, Definition] = {
    "clip": Definition(lambda x: clip(x, -1, 1), 2, kinks=(-1.0, 1.0), secant=secants.clip(-1.0, 1.0)),
    "leaky": Definition(lambda x: x if x > 0 else x / 4, 2, kinks=(0.0,), secant=secants.leaky_relu(0.25)),
    "power 2": Definition(lambda x: x**2, 5, scale=lambda a, b, _: abs(a) + abs(b), secant=power(2.0)),
    "power 3": Definition(lambda x: x**3, 5, secant=power(3.0)),
    "power -2": Definition(lambda x: x**-2, 5, POSITIVE, secant=power(-2.0)),
    "power 0.5": Definition(lambda x: x ** mpf(0.5), 6, (0.0, *POSITIVE), secant=power(0.5)),
    "power 2.75": Definition(lambda x: x ** mpf(2.75), 6, (0.0, *POSITIVE), secant=power(2.75)),
    "power -1.25": Definition(lambda x: x ** mpf(-1.25), 6, POSITIVE, secant=power(-1.25)),
    "power 30": Definition(lambda x: x**30, 6, (*POSITIVE[2:], -1.3, -0.5), secant=power(30.0)),
    **{
        f"base {base}": Definition(
            lambda x, base=base: mpf(base) ** x,
            4,
            secant=lambda a, b, base=base: secants.exponent(tf.constant(base, a.dtype), a, b),
        )
        for base in (2.5, 0.375)
    },
}


def pairs(points: tuple[float, ...], differences: tuple[float, ...], dtype) -> np.ndarray:
    """Base points and points away from them by each difference, and by one rounding, and some two of them."""
    b = np.array(points, dtype)
    found = [(x + dtype(d), x) for x in b for d in differences]
    found += [(np.nextafter(x, dtype(np.inf)), x) for x in b if x != 0]  # not next to zero: that is denormal
    return np.array(found + [(x, y) for x in b[::3] for y in b[2::3]], dtype)


def errors(definition: Definition, secant, dtype) -> list[tuple[float, float, float, float, mpf]]:
    """(roundings, a, b, found, expected), worst first."""
    given = pairs(definition.points, definition.differences, dtype)
    a, b = tf.constant(given[:, 0]), tf.constant(given[:, 1])
    found, mirrored = secant(a, b).numpy(), secant(b, a).numpy()
    info = np.finfo(dtype)
    assert found.shape == given.shape[:1]
    assert found.dtype == dtype
    result, seen = [], {}
    for (x, y), got, other in zip(given.astype(float).tolist(), found.tolist(), mirrored.tolist(), strict=True):
        if (x, y) not in seen:
            try:
                seen[x, y] = exact(definition.f, x, y, definition.kinks), [definition.f(mpf(v)) for v in (x, y)]
            except (ZeroDivisionError, ValueError):
                seen[x, y] = [mp.inf], []
        slopes, values = seen[x, y]
        if any(isinstance(v, mpmath.mpc) or abs(v) > info.max for v in (*slopes, *values)):
            continue  # outside the domain, as are complex values
        nearest = min(max(mpf(got), slopes[0]), slopes[-1]) if np.isfinite(got) else slopes[0]
        scale = abs(nearest) if definition.scale is None else definition.scale(mpf(x), mpf(y), nearest)
        scale = max(scale, mpf(float(info.tiny / info.eps)))  # below, TensorFlow's results are denormal, so zero
        for value in (got, other):
            wrong = abs(mpf(value) - nearest) / scale / mpf(float(info.eps)) if np.isfinite(value) else mp.inf
            result.append((float(wrong), x, y, value, nearest))
    return sorted(result, key=lambda row: -row[0])


ROWS = {name: rule.secant for name, rule in RULES.items() if hasattr(rule, "secant")}


def test_every_elementwise_row_has_a_definition():
    assert set(ROWS) == set(DEFINITIONS) | set(SAME)
    assert all(ROWS[row] is ROWS[same] for row, same in SAME.items() if same != "Rint")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*DEFINITIONS, *MORE])
def test_quotient_is_exact_to_roundings(name, dtype):
    definition = {**DEFINITIONS, **MORE}[name]
    worst = errors(definition, definition.secant or ROWS[name], DTYPES[dtype])
    assert len(worst) > 15
    assert worst[0][0] <= definition.bound, worst[:5]


OTHERS = (0.0, 1e-30, 0.5, -3.0)


def turn(a, b, q):
    """Half a turn over the difference is the most that an angle changes."""
    return abs(q) + (mpf(1) / 2 / abs(a - b) if a != b else 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("other", OTHERS)
def test_quotient_of_an_angle_in_one_of_two_arguments(other, dtype):
    held = DTYPES[dtype](other)
    value = float(held)
    points = (0.0, -0.0, 1e-30, 0.1, 3.0, 40.0, -1e-30, -0.1, -3.0)
    first = tuple(p for p in points if not (value <= 0 and p <= 0))  # at the origin and the cut the angle jumps
    parts = [(circular.atan2_numerator, lambda x: mpmath.atan2(x, mpf(value)), first)]
    if value:
        parts.append((circular.atan2_denominator, lambda x: mpmath.atan2(mpf(value), x), points))
    for secant, f, given in parts:
        one = lambda a, b, secant=secant: secant(tf.fill(a.shape, held), a, b)  # noqa: E731
        worst = errors(Definition(f, 6, given, scale=turn), one, DTYPES[dtype])
        assert worst[0][0] <= 6, worst[:5]


def test_secants_of_cells_go_with_their_functions():
    rng = np.random.default_rng(1)
    a, b = tf.constant(rng.normal(size=50)), tf.constant(3 * rng.normal(size=50))
    for name, (function, secant) in ACTIVATIONS.items():
        expected = (function(a) - function(b)) / (a - b)
        np.testing.assert_allclose(secant(a, b), expected, rtol=1e-9, atol=1e-12, err_msg=name)
