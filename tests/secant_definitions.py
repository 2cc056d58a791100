"""Every secant against 50 digits: one table and one set of bounds for the arrays of both frameworks.

The error is in units of rounding (``eps``) of the true quotient. Where a quotient passes through zero while its terms
do not (a gated activation near its minimum), it is in units of rounding of the function's own scale, given beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import mpmath
import numpy as np
from mpmath import mp, mpf
from reference.quotients import Real, exact

DTYPES = {"float32": np.float32, "float64": np.float64}
DIFFERENCES = (0.0, 1e-30, 1e-7, 1e-3, 0.1, 0.499, 0.501, 1.0, 10.0, 100.0, 1e6)
FEW = (0.0, 1e-7, 1e-3, 0.12)

HALF = (1e-30, 1e-10, 1e-3, 0.5, 1.3, 3.0, 6.0, 19.5, 40.0)
REAL = (0.0, -0.0, *HALF, *(-x for x in HALF))
POSITIVE = (1e-34, 1e-30, 1e-10, 1e-3, 0.1, 1.0, 1.3, 3.0, 40.0, 1e6)
ANGLES = (0.0, -0.0, *HALF[:6], *(-x for x in HALF[:6]))
NEAR = (0.0, -0.0, *HALF[:7], *(-x for x in HALF[:7]))
WAVES = (*REAL, 999.7, -999.7, 1e4)
UNIT = (0.0, -0.0, 1e-30, 1e-10, 1e-3, 0.1, 0.5, 0.875, -0.3, -1e-10, -0.75, 0.99, 0.9990234375, -0.99, 0.9)
ABOVE_ONE = (1.0, 1.0 + 1e-6, 1.0009765625, 1.125, 1.3, 2.0, 3.0, 19.5, 40.0, 1e6, 1e20)
SHARES = (1e-30, 1e-10, 1e-3, 0.1, 0.25, 0.5, 0.75, 0.875, 0.9990234375)
BETWEEN_POLES = (1e-10, 1e-3, 0.1, 1.3, 3.0, 40.0, 1e6, -0.5, -2.25, -2.6)
JUMPS = tuple(np.arange(-240, 240) / 2)  # whole numbers and halves


@dataclass(frozen=True)
class Definition:
    """A function in many digits, and how near its quotient must come.

    Measured: at most half of each bound, which leaves a factor of two for other processors.

    Attributes:
        f: the function; further arguments as the secant's own.
        bound: in roundings.
        args, kwargs: further arguments of the secant.
        points: base points within the domain; denormals are added.
        scale: the function's own scale where its quotient passes through zero, of (a, b, quotient).
        kinks: where the derivative is any slope between both sides.
        differences: between the two points.
        of: the array function that the secant is of, for one that takes it first.
    """

    f: Real
    bound: float
    args: tuple = ()
    points: tuple[float, ...] = REAL
    scale: Callable[[mpf, mpf, mpf], mpf] | None = None
    kinks: tuple[float, ...] = ()
    differences: tuple[float, ...] = DIFFERENCES
    kwargs: dict = field(default_factory=dict)
    of: str | None = None


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def normal(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def softplus(x, beta=1.0, threshold=mp.inf):
    return x if x * beta > threshold else mpmath.log1p(mpmath.exp(beta * x)) / beta


def gelu_tanh_gate(x):
    return sigmoid(2 * mpmath.sqrt(2 / mp.pi) * (x + mpf(0.044715) * x**3))


def mish_gate(x):
    return mpmath.tanh(mpmath.log1p(mpmath.exp(x)))


def clamp(x, low=-mp.inf, high=mp.inf):
    return min(max(x, low), high)


def hardsigmoid(x):
    return clamp(x + 3, 0, 6) / 6


def elu(x, alpha=1.0, scale=1.0, input_scale=1.0):
    return mpf(scale) * (x if x > 0 else mpf(alpha) * mpmath.expm1(mpf(input_scale) * x))


def leaky(x, slope=0.01):
    return x if x > 0 else mpf(slope) * x


def rounded(x):
    """To the nearest whole number, halves to the even one."""
    below = mpmath.floor(x)
    up = x - below > mpf(1) / 2 or (x - below == mpf(1) / 2 and below % 2)
    return below + up


def logit_within(x, eps):
    x = clamp(x, mpf(eps), 1 - mpf(eps))
    return mpmath.log(x / (1 - x))


def ndtri(x):
    return mpmath.sqrt(2) * mpmath.erfinv(2 * x - 1)


def log_gamma(x):
    return mpmath.re(mpmath.loggamma(x))


def either(gate):
    """A gated activation passes through zero; its scale is the gate's, and the gate's own condition."""
    return lambda a, b, q: max(gate(a), gate(b), abs(q))


def tail(gate):
    """In the tails of ``exp(-x²)`` the rounding of ``x²`` is as good as it gets; frameworks' own values have it too."""
    return lambda a, b, q: max(gate(a, b), abs(q)) * (1 + (min(a * a, b * b) if a * b > 0 else 0))


def either_normal(a, b):
    return max(normal(a), normal(b))


def either_tanh_gate(a, b):
    """Its argument is a cubic, whose rounding counts as much as the argument is large."""
    size = 1 if max(a, b) >= 0 else 1 + mpf(0.2) * abs(max(a, b)) ** 3
    return max(gelu_tanh_gate(a), gelu_tanh_gate(b)) * size


def wave(a, b, _):
    """The quotient of sine is at most one, and at most two over the difference."""
    return min(mpf(1), 2 / abs(a - b)) if a != b else mpf(1)


def tan_scale(a, b, q):
    """Equal tangents of different periods have the quotient zero."""
    return abs(q) if abs(a - b) <= 1 else max(abs(mpmath.tan(a)), abs(mpmath.tan(b))) / abs(a - b)


def inverse_scale(inverse):
    """The slope of an inverse of `erf` is that of exp(y²), for which the rounding of y² counts."""
    return lambda a, b, q: abs(q) * (1 + 2 * max(inverse(a) ** 2, inverse(b) ** 2))


def between_poles(a, b, q):
    """Values on both sides of a pole may be nearly the same; within, the function's own scale is one."""
    of_values = max(abs(log_gamma(a)), abs(log_gamma(b))) / abs(a - b) if min(a, b) < 0 < max(a, b) else 0
    return max(abs(q), mpf(1), of_values)


def at_least(least):
    return lambda a, b, q: max(abs(q), mpf(least))


SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)

DEFINITIONS: dict[str, Definition | list[Definition]] = {
    # straight pieces
    "identity": Definition(lambda x: x, 0),
    "relu": Definition(lambda x: max(x, mpf(0)), 2, kinks=(0.0,)),
    "relu6": Definition(lambda x: clamp(x, 0, 6), 2, kinks=(0.0, 6.0)),
    "leaky_relu": [Definition(leaky, 3, kinks=(0.0,)), Definition(leaky, 3, args=(0.3,), kinks=(0.0,))],
    "absolute": Definition(abs, 2, kinks=(0.0,)),
    "clamp": [
        Definition(clamp, 2, args=(-0.5, 3.0), kinks=(-0.5, 3.0)),
        Definition(lambda x, low, high: min(x, mpf(high)), 2, args=(None, 0.5), kinks=(0.5,)),
        Definition(lambda x, low: max(x, mpf(low)), 2, args=(0.5,), kinks=(0.5,)),
    ],
    "threshold": Definition(lambda x, at, v: x if x > at else mpf(v), 2, args=(0.25, -2.0)),
    "hardshrink": Definition(lambda x, w: x if abs(x) > w else mpf(0), 2, args=(0.25,)),
    "softshrink": Definition(lambda x, w: x - clamp(x, -w, w), 2, args=(0.5,), kinks=(-0.5, 0.5)),
    "step": [
        Definition(mpmath.floor, 2, kinks=JUMPS, of="floor"),
        Definition(rounded, 2, kinks=JUMPS, of="round"),
    ],
    # exponentials and logarithms
    "exp": Definition(mpmath.exp, 4),
    "exp2": Definition(lambda x: mpf(2) ** x, 4),
    "sigmoid": Definition(sigmoid, 4),
    "tanh": Definition(mpmath.tanh, 4),
    "softplus": [Definition(softplus, 4), Definition(softplus, 4, args=(1.0, 20.0)),
                 Definition(softplus, 4, args=(4.0, 10.0))],
    "log": Definition(mpmath.log, 4, points=POSITIVE),
    "log2": Definition(lambda x: mpmath.log(x) / mpmath.log(2), 4, points=POSITIVE),
    "log10": Definition(mpmath.log10, 4, points=POSITIVE),
    "log1p": Definition(mpmath.log1p, 4, points=(*REAL[:11], -1e-30, -1e-10, -1e-3, -0.5, -0.99)),
    "entropy": Definition(lambda x: -x * mpmath.log(x), 4, points=POSITIVE, scale=at_least(1)),
    # powers
    "square": Definition(lambda x: x * x, 2),
    "sqrt": Definition(mpmath.sqrt, 3, points=POSITIVE),
    "rsqrt": Definition(lambda x: 1 / mpmath.sqrt(x), 4, points=POSITIVE),
    "reciprocal": Definition(lambda x: 1 / x, 2, points=tuple(x for x in REAL if x)),
    "power": [
        Definition(lambda x, k: x**k, 5, args=(2,), scale=lambda a, b, _: abs(a) + abs(b)),
        Definition(lambda x, k: x**k, 5, args=(3.0,)),
        Definition(lambda x, k: x**k, 5, args=(-2.0,), points=POSITIVE),
        Definition(lambda x, k: x ** mpf(k), 6, args=(0.5,), points=(0.0, *POSITIVE)),
        Definition(lambda x, k: x ** mpf(k), 6, args=(2.75,), points=(0.0, *POSITIVE)),
        Definition(lambda x, k: x ** mpf(k), 6, args=(-1.25,), points=POSITIVE),
        Definition(lambda x, k: x**30, 6, args=(30.0,), points=(*POSITIVE[2:], -1.3, -0.5)),
    ],
    "exponential": [
        Definition(lambda x, base: mpf(base) ** x, 4, args=(2.5,)),
        Definition(lambda x, base: mpf(base) ** x, 4, args=(0.375,)),
    ],
    # circular and hyperbolic functions
    "sin": Definition(mpmath.sin, 3, points=WAVES, scale=wave),
    "cos": Definition(mpmath.cos, 3, points=WAVES[::3], scale=wave),
    "tan": Definition(mpmath.tan, 4, points=ANGLES, scale=tan_scale),
    "atan": Definition(mpmath.atan, 4),
    "sinh": Definition(mpmath.sinh, 4),
    "cosh": Definition(mpmath.cosh, 4),
    "asin": Definition(mpmath.asin, 4, points=UNIT),
    "acos": Definition(mpmath.acos, 4, points=UNIT),
    "asinh": Definition(mpmath.asinh, 4),
    "acosh": Definition(mpmath.acosh, 4, points=ABOVE_ONE),
    "atanh": Definition(mpmath.atanh, 4, points=UNIT),
    # special functions
    "erf": Definition(mpmath.erf, 4, points=NEAR, scale=tail(lambda a, b: 0)),
    "erfc": Definition(mpmath.erfc, 4, points=NEAR, scale=tail(lambda a, b: 0)),
    "logit": [
        Definition(lambda x: mpmath.log(x / (1 - x)), 6, points=SHARES),
        Definition(logit_within, 6, args=(0.25,), points=(0.1, 0.25, 0.3, 0.75), kinks=(0.25, 0.75), differences=FEW),
    ],
    "sinc": Definition(lambda x: mpmath.sincpi(x), 8, points=NEAR, scale=lambda a, b, q: max(abs(q), wave(a, b, q))),
    # mpmath takes minutes for these at as many digits as cancel
    "erfinv": Definition(
        mpmath.erfinv, 16, points=UNIT[4:9], scale=inverse_scale(mpmath.erfinv), differences=FEW
    ),
    "ndtri": Definition(ndtri, 16, points=(1e-10, 1e-3, 0.3, 0.5, 0.875), scale=inverse_scale(ndtri), differences=FEW),
    "lgamma": Definition(log_gamma, 20, points=BETWEEN_POLES, scale=between_poles, differences=FEW),
    "digamma": Definition(mpmath.digamma, 20, points=BETWEEN_POLES, differences=FEW),
    # activations
    "hardsigmoid": Definition(hardsigmoid, 3, kinks=(-3.0, 3.0)),
    "softsign": Definition(lambda x: x / (1 + abs(x)), 4),
    "log_sigmoid": Definition(lambda x: mpmath.log(sigmoid(x)), 4),
    "elu": [Definition(elu, 5, kinks=(0.0,)), Definition(elu, 5, args=(0.5, 2.0, 0.5), kinks=(0.0,))],
    "selu": Definition(lambda x: elu(x, *SELU), 5, kinks=(0.0,)),
    "celu": Definition(lambda x, a: elu(x, a, 1.0, 1 / a), 5, args=(0.5,), kinks=(0.0,)),
    "silu": Definition(lambda x: x * sigmoid(x), 4, scale=either(sigmoid)),
    "hardswish": Definition(lambda x: x * hardsigmoid(x), 4, scale=either(hardsigmoid), kinks=(-3.0, 3.0)),
    "mish": Definition(lambda x: x * mish_gate(x), 6, scale=either(mish_gate)),
    "gelu": [
        Definition(lambda x: x * normal(x), 4, points=NEAR, scale=tail(either_normal)),
        Definition(
            lambda x, approximate: x * gelu_tanh_gate(x), 4, kwargs={"approximate": "tanh"},
            scale=tail(either_tanh_gate),
        ),
    ],
}  # fmt: skip


def definitions(name: str) -> list[Definition]:
    found = DEFINITIONS[name]
    return found if isinstance(found, list) else [found]


CASES = [(name, number) for name in DEFINITIONS for number in range(len(definitions(name)))]


# --- Two arguments, the other one held ---------------------------------------------------------------------


def angle(y, x):
    return mpmath.atan2(y, x)


def remainder(x, d):
    return x - d * mpmath.floor(x / d)


def fmod(x, d):
    return x - d * mpmath.sign(x / d) * mpmath.floor(abs(x / d))


def turn(a, b, q):
    """Half a turn over the difference is the most that an angle changes."""
    return abs(q) + (mpf(1) / 2 / abs(a - b) if a != b else 0)


@dataclass(frozen=True)
class OfTwo:
    """A function of two arguments, and those of its secants that are checked.

    Attributes:
        f: the function.
        bound: in roundings.
        names: of the secants in its first and its second argument.
        points: of the first and of the second; for each, the other is held at one of ``others``.
        kinks: whether the derivative is any slope between both sides where the two arguments are the same.
        scale, differences: as of a `Definition`.
    """

    f: Real
    bound: float
    names: tuple[str | None, str | None]
    points: tuple[tuple[float, ...], tuple[float, ...]]
    others: tuple[float, ...]
    kinks: bool = False
    scale: Callable[[mpf, mpf, mpf], mpf] | None = None
    differences: tuple[float, ...] = DIFFERENCES


ANY = (0.0, 1e-30, 0.5, -3.0)
TURNED = (0.0, -0.0, 1e-30, 0.1, 3.0, 40.0, -1e-30, -0.1, -3.0)
DIVIDED = (0.1, 0.7, 1.3, 2.9, 4.1, 7.7)
SIGNED = (0.1, 3.0, 1e-30, -0.2, -4.0)

TWO = {
    "maximum": OfTwo(max, 2, ("maximum", None), (REAL, ()), ANY, kinks=True),
    "minimum": OfTwo(min, 2, ("minimum", None), (SIGNED, ()), ANY, kinks=True),
    "atan2": OfTwo(angle, 6, ("atan2_numerator", "atan2_denominator"), (TURNED, TURNED), ANY, scale=turn),
    "pow": OfTwo(lambda x, k: x**k, 6, ("power_base", "power_exponent"), (POSITIVE, TURNED), (0.5, 2.0, 2.75)),
    "pow -1": OfTwo(lambda x, k: x**k, 6, ("power_base", None), (POSITIVE, ()), (-1.0,)),
    "remainder": OfTwo(remainder, 4, ("remainder_number", None), (DIVIDED, ()), (0.5, 3.0)),
    "fmod": OfTwo(fmod, 4, ("fmod_number", None), (DIVIDED, ()), (0.5, 3.0)),
    # Far from 0, where a divisor has digits left
    "remainder by": OfTwo(remainder, 4, (None, "remainder_divisor"), ((), DIVIDED), (0.47, 3.3, -5.3), differences=FEW),
    "fmod by": OfTwo(fmod, 4, (None, "fmod_divisor"), ((), DIVIDED), (0.47, 3.3, -5.3), differences=FEW),
    "copysign": OfTwo(
        lambda x, s: abs(x) * (1 if s >= 0 else -1), 2, ("copysign_number", "copysign_sign"), (SIGNED, SIGNED),
        (0.5, -3.0),
    ),
    "xlogy": OfTwo(
        lambda x, y: x * mpmath.log(y), 6, ("xlogy_number", "xlogy_logarithm"), (POSITIVE, POSITIVE[1::2]),
        (0.5, 2.0, 3.0),
    ),
    "xlog1py": OfTwo(
        lambda x, y: x * mpmath.log1p(y), 6, ("xlog1py_number", "xlog1py_logarithm"), (POSITIVE, POSITIVE[::2]),
        (0.5, 2.0, 3.0),
    ),
    "xdivy": OfTwo(lambda x, y: x / y, 6, ("xdivy_number", "xdivy_divisor"), (SIGNED, POSITIVE[::2]), (0.5, -3.0)),
}  # fmt: skip


# --- How it is checked -------------------------------------------------------------------------------------

Secant = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of two arrays of numpy, through the arrays of a framework."""


def pairs(definition: Definition, dtype: type, denormals: bool) -> np.ndarray:
    """Base points and points away from them by each difference and by one rounding, and mirrored; (n, 2)."""
    points, tiny = definition.points, np.finfo(dtype).tiny
    if denormals and definition.differences is DIFFERENCES:
        points = (*points, float(tiny) / 100, *([-float(tiny) / 100] if min(points) < 0 else []))
    found = []
    for x in np.array(points, dtype):
        found += [(x + dtype(d), x) for d in definition.differences]
        found += [(np.nextafter(x, dtype(np.inf)), x), *([(-x, x)] if min(points) < 0 else [])]
    found = np.array([*{frozenset((x.tobytes(), y.tobytes())): (x, y) for x, y in found}.values()], dtype)
    if denormals:
        return found
    sizes = np.abs(np.concatenate([found, found[:, :1] - found[:, 1:]], 1))
    return found[((sizes == 0) | (sizes >= tiny)).all(1)]


def worst(definition: Definition, secant: Secant, dtype: type, denormals: bool) -> list[tuple]:
    """(roundings, a, b, found, expected), worst first.

    Args:
        denormals: whether the framework computes with denormal numbers, not zeros in their place.
    """
    given, info = pairs(definition, dtype, denormals), np.finfo(dtype)
    a, b = given.T
    found, mirrored = secant(a, b), secant(b, a)
    assert found.shape == a.shape
    assert found.dtype == dtype
    least = mpf(float(info.tiny)) / (1 if denormals else mpf(float(info.eps)))
    result = []
    for x, y, got, other in zip(*(v.tolist() for v in (a, b, found, mirrored)), strict=True):
        try:
            slopes = exact(definition.f, x, y, definition.kinks)
            values = [definition.f(mpf(v)) for v in (x, y)]
        except (ZeroDivisionError, ValueError):
            continue  # outside the domain, as are complex values
        if any(isinstance(v, mpmath.mpc) or abs(v) > info.max for v in (*slopes, *values)):
            continue
        nearest = min(max(mpf(got), slopes[0]), slopes[-1]) if np.isfinite(got) else slopes[0]
        scale = abs(nearest) if definition.scale is None else definition.scale(mpf(x), mpf(y), nearest)
        scale = max(scale, least)
        for value in (got, other):
            wrong = abs(mpf(value) - nearest) / scale / mpf(float(info.eps)) if np.isfinite(value) else mp.inf
            result.append((float(wrong), x, y, value, nearest))
    assert len(result) > 15
    return sorted(result, key=lambda row: -row[0])


def check(name: str, number: int, secants, xp, through: Callable[..., Secant], dtype: type, denormals: bool) -> None:
    """One definition, through one framework.

    Args:
        secants, xp: its formulas and arrays.
        through: makes a `Secant` of one on tensors.
    """
    given = definitions(name)[number]
    first = (getattr(xp, given.of),) if given.of else ()
    bare = Definition(
        lambda x: given.f(x, *given.args, **given.kwargs), given.bound, points=given.points, scale=given.scale,
        kinks=given.kinks, differences=given.differences,
    )  # fmt: skip
    secant = through(lambda a, b: getattr(secants, name)(*first, a, b, *given.args, **given.kwargs))
    found = worst(bare, secant, dtype, denormals)
    assert found[0][0] <= given.bound, found[:5]


def check_two(name: str, two_players, through: Callable[..., Secant], dtype: type, denormals: bool) -> None:
    """One function of two arguments, through one framework: in each argument, the other held at some values."""
    given = TWO[name]
    for other in given.others:
        value = float(dtype(other))
        kinks = (value,) if given.kinks else ()
        for place, secant_name in enumerate(given.names):
            if secant_name is None or (given.f is angle and place == 1 and value == 0):
                continue
            f = (lambda x, v=value: given.f(x, mpf(v))) if place == 0 else (lambda x, v=value: given.f(mpf(v), x))
            points = given.points[place]
            if given.f is angle and place == 0 and value <= 0:  # at the origin and across its cut the angle jumps
                points = tuple(p for p in points if p > 0)
            secant = through(lambda a, b, n=secant_name, v=value: getattr(two_players, n)(0 * a + v, a, b))
            bare = Definition(
                f, given.bound, points=points, scale=given.scale, kinks=kinks, differences=given.differences
            )
            found = worst(bare, secant, dtype, denormals)
            assert found[0][0] <= given.bound, (other, secant_name, found[:3])
