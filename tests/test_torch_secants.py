"""Every difference quotient against 50 digits, and every elementwise row of the rule table against a definition here.

The error is in units of rounding (``eps``) of the true quotient. Where a quotient passes through zero while its terms
do not (a gated activation near its minimum), it is in units of rounding of the function's own scale, given beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from reference.quotients import Real, exact

from explain_core.backends.torch.kinds import Rescale, TwoPlayers
from explain_core.backends.torch.rules import RULES

DTYPES = {"float32": torch.float32, "float64": torch.float64}
DIFFERENCES = (0.0, 1e-30, 1e-20, 1e-10, 1e-7, 1e-3, 0.1, 1.0, 10.0, 100.0, 1e6)
TINY = {torch.float32: 1e-40, torch.float64: 1e-310}  # denormal

HALF = (1e-30, 1e-10, 1e-3, 0.1, 0.5, 1.3, 3.0, 6.0, 19.5, 40.0)
REAL = (0.0, -0.0, *HALF, *(-x for x in HALF))
POSITIVE = (1e-30, 1e-10, 1e-3, 0.1, 1.0, 1.3, 3.0, 40.0, 1e6)
ANGLES = (0.0, -0.0, *HALF[:7], *(-x for x in HALF[:7]))
NEAR = (0.0, -0.0, *HALF[:8], *(-x for x in HALF[:8]))

UNIT = (0.0, -0.0, 1e-30, 1e-10, 1e-3, 0.1, 0.5, 0.875, -0.3, -1e-10, -0.75, 0.99, 0.9990234375, -0.99, 0.9)
ABOVE_ONE = (1.0, 1.0009765625, 1.125, 1.3, 2.0, 3.0, 19.5, 40.0, 1e6)
SHARES = (1e-30, 1e-10, 1e-3, 0.1, 0.25, 0.5, 0.75, 0.875, 0.9990234375)


@dataclass(frozen=True)
class Definition:
    """A function in many digits, and how near its quotient must come.

    Measured: at most 2.1; the bounds leave about a factor of two for other processors.

    Attributes:
        f: the function; further arguments as the operation's own.
        bound: in roundings.
        args: further arguments of the operation.
        points: base points within the domain; denormals are added.
        scale: the function's own scale where its quotient passes through zero, of (a, b, quotient).
        kinks: where the derivative is any slope between both sides.
    """

    f: Real
    bound: float
    args: tuple = ()
    points: tuple[float, ...] = REAL
    scale: Callable[[mpf, mpf, mpf], mpf] | None = None
    kinks: tuple[float, ...] = ()
    kwargs: dict = field(default_factory=dict)


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def normal(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def softplus(x, beta=1.0, threshold=20.0):
    """PyTorch's, which is the identity above its threshold."""
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


def either(gate):
    """A gated activation passes through zero; its scale is the gate's, and the gate's own condition."""
    return lambda a, b, q: max(gate(a), gate(b), abs(q))


def tail(gate):
    """In the tails of ``exp(-x²)`` the rounding of ``x²`` is as good as it gets; PyTorch's own values have it too."""
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


def logit_within(x, eps):
    x = clamp(x, mpf(eps), 1 - mpf(eps))
    return mpmath.log(x / (1 - x))


def around(f):
    """Where two values are nearly the same far apart, their own rounding is as good as it gets."""
    return lambda a, b, q: max(abs(q), max(abs(f(a)), abs(f(b))) / abs(a - b) if a != b else mpf(0), mpf("0.1"))


SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)
gated = {
    "silu": Definition(lambda x: x * sigmoid(x), 4, scale=either(sigmoid)),
    "mish": Definition(lambda x: x * mish_gate(x), 6, scale=either(mish_gate)),
    "hardswish": Definition(lambda x: x * hardsigmoid(x), 4, scale=either(hardsigmoid), kinks=(-3.0, 3.0)),
}

DEFINITIONS: dict[str, Definition | list[Definition]] = {
    "tanh": Definition(mpmath.tanh, 4),
    "sigmoid": Definition(sigmoid, 4),
    "relu": Definition(lambda x: max(x, mpf(0)), 2, kinks=(0.0,)),
    "relu6": Definition(lambda x: clamp(x, 0, 6), 2, kinks=(0.0, 6.0)),
    "leaky_relu": [
        Definition(leaky, 3, kinks=(0.0,)),
        Definition(leaky, 3, args=(0.3,), kinks=(0.0,)),
    ],
    "prelu": Definition(lambda x, w: leaky(x, w.item()), 3, args=(torch.tensor([0.25]),), kinks=(0.0,)),
    "elu": [Definition(elu, 5, kinks=(0.0,)), Definition(elu, 5, args=(0.5, 2.0, 0.5), kinks=(0.0,))],
    "selu": Definition(lambda x: elu(x, *SELU), 5, kinks=(0.0,)),
    "celu": Definition(lambda x, a: elu(x, a, 1.0, 1 / a), 5, args=(0.5,), kinks=(0.0,)),
    "gelu": [
        Definition(lambda x: x * normal(x), 4, points=NEAR, scale=tail(either_normal)),
        Definition(
            lambda x, approximate: x * gelu_tanh_gate(x),
            4,
            kwargs={"approximate": "tanh"},
            scale=tail(either_tanh_gate),
        ),
    ],
    **gated,
    "softplus": [Definition(softplus, 4), Definition(softplus, 4, args=(4.0, 10.0))],
    "log_sigmoid": Definition(lambda x: mpmath.log(sigmoid(x)), 4),
    "hardtanh": [
        Definition(lambda x: clamp(x, -1, 1), 2, kinks=(-1.0, 1.0)),
        Definition(clamp, 2, args=(-0.5, 3.0), kinks=(-0.5, 3.0)),
    ],
    "hardsigmoid": Definition(hardsigmoid, 3, kinks=(-3.0, 3.0)),
    "hardshrink": Definition(lambda x, w: x if abs(x) > w else mpf(0), 2, args=(0.25,)),
    "softshrink": Definition(lambda x, w: x - clamp(x, -w, w), 2, args=(0.5,), kinks=(-0.5, 0.5)),
    "threshold": Definition(lambda x, at, v: x if x > at else mpf(v), 2, args=(0.25, -2.0)),
    "abs": Definition(abs, 2, kinks=(0.0,)),
    "clamp": [
        Definition(clamp, 2, args=(-0.5, 3.0), kinks=(-0.5, 3.0)),
        Definition(lambda x, low, high: min(x, mpf(high)), 2, args=(None, 0.5), kinks=(0.5,)),
    ],
    "clamp_min": Definition(lambda x, low: max(x, mpf(low)), 2, args=(0.5,), kinks=(0.5,)),
    "clamp_max": Definition(lambda x, high: min(x, mpf(high)), 2, args=(0.5,), kinks=(0.5,)),
    "exp": Definition(mpmath.exp, 4),
    "exp2": Definition(lambda x: mpf(2) ** x, 4),
    "expm1": Definition(mpmath.expm1, 4),
    "log": Definition(mpmath.log, 4, points=POSITIVE),
    "special_entr": Definition(lambda x: -x * mpmath.log(x), 4, points=POSITIVE, scale=lambda a, b, q: max(abs(q), 1)),
    "log2": Definition(lambda x: mpmath.log(x) / mpmath.log(2), 4, points=POSITIVE),
    "log10": Definition(mpmath.log10, 4, points=POSITIVE),
    "log1p": Definition(mpmath.log1p, 4, points=(*REAL[:12], -1e-30, -1e-10, -1e-3, -0.5, -0.99)),
    "sqrt": Definition(mpmath.sqrt, 3, points=POSITIVE),
    "rsqrt": Definition(lambda x: 1 / mpmath.sqrt(x), 4, points=POSITIVE),
    "square": Definition(lambda x: x * x, 2),
    "reciprocal": Definition(lambda x: 1 / x, 2, points=tuple(x for x in REAL if x)),
    "sin": Definition(mpmath.sin, 3, scale=wave),
    "cos": Definition(mpmath.cos, 3, scale=wave),
    "tan": Definition(mpmath.tan, 4, points=ANGLES, scale=tan_scale),
    "atan": Definition(mpmath.atan, 4),
    "sinh": Definition(mpmath.sinh, 4),
    "cosh": Definition(mpmath.cosh, 4),
    "asinh": Definition(mpmath.asinh, 4),
    "erf": Definition(mpmath.erf, 4, points=NEAR, scale=tail(lambda a, b: 0)),
    "erfc": Definition(mpmath.erfc, 4, points=NEAR, scale=tail(lambda a, b: 0)),
    "pow.Tensor_Scalar": [
        Definition(lambda x, k: x**k, 5, args=(2,), scale=lambda a, b, _: abs(a) + abs(b)),
        Definition(lambda x, k: x**k, 5, args=(3,)),
        Definition(lambda x, k: x**k, 5, args=(-2.0,), points=POSITIVE),
        Definition(lambda x, k: x ** mpf(k), 6, args=(0.5,), points=(0.0, *POSITIVE)),
        Definition(lambda x, k: x ** mpf(k), 6, args=(2.75,), points=(0.0, *POSITIVE)),
        Definition(lambda x, k: x ** mpf(k), 6, args=(-1.25,), points=POSITIVE),
    ],
    "asin": Definition(mpmath.asin, 4, points=UNIT),
    "acos": Definition(mpmath.acos, 4, points=UNIT),
    "acosh": Definition(mpmath.acosh, 4, points=ABOVE_ONE),
    "atanh": Definition(mpmath.atanh, 4, points=UNIT),
    "logit": [
        Definition(lambda x: mpmath.log(x / (1 - x)), 6, points=SHARES),
        Definition(lambda x, e: logit_within(x, e), 6, args=(0.25,), points=SHARES, kinks=(0.25, 0.75)),
    ],
    "sinc": Definition(lambda x: mpmath.sincpi(x), 8, points=NEAR, scale=lambda a, b, q: max(abs(q), wave(a, b, q))),
    "pow.Scalar": [
        Definition(lambda base, x: mpf(base) ** x, 4, args=(2.5,)),
        Definition(lambda base, x: mpf(base) ** x, 4, args=(0.375,)),
    ],
}
SAME = {
    "absolute": "abs",
    "clip": "clamp",
    "_prelu_kernel": "prelu",
    "arctan": "atan",
    "special_erf": "erf",
    "special_expit": "sigmoid",
    "special_expm1": "expm1",
    "arcsin": "asin",
    "arccos": "acos",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "arcsinh": "asinh",
    "special_logit": "logit",
    "special_sinc": "sinc",
    "special_exp2": "exp2",
    "special_erfc": "erfc",
    "special_log1p": "log1p",
}

# mpmath takes minutes for these at as many digits as cancel; at fewer points below.
SLOW = {
    "lgamma": (mpmath.loggamma, (1e-10, 0.1, 1.3, 3.0, 40.0, 1e6, -0.5, -2.25)),
    "digamma": (mpmath.digamma, (1e-10, 0.1, 1.3, 3.0, 40.0, 1e6, -0.5, -2.25)),
    "erfinv": (mpmath.erfinv, (1e-10, 0.1, 0.5, 0.875, -0.3, -0.75)),
}
SLOW_SAME = {
    "special_gammaln": "lgamma",
    "special_digamma": "digamma",
    "special_psi": "digamma",
    "special_erfinv": "erfinv",
}

ROWS = {
    name: rule
    for name, rule in RULES.items()
    if isinstance(rule, Rescale) and name not in SLOW and name not in SLOW_SAME
}


def definitions(row: str) -> list[Definition]:
    found = DEFINITIONS.get(SAME.get(row, row), [])
    return found if isinstance(found, list) else [found]


def pairs(points: tuple[float, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Base points and points away from them by each difference, and by one rounding."""
    points = (*points, TINY[dtype], -TINY[dtype]) if min(points) < 0 else (*points, TINY[dtype])
    b = torch.tensor(points, dtype=dtype)
    a = [b + d for d in DIFFERENCES] + [torch.nextafter(b, torch.full_like(b, torch.inf))]
    if min(points) < 0:
        a.append(-b)
    return torch.cat(a), b.repeat(len(a))


def errors(definition: Definition, secant, dtype: torch.dtype) -> list[tuple[float, float, float, float, mpf]]:
    """(roundings, a, b, found, expected), worst first."""
    a, b = pairs(definition.points, dtype)
    found = secant(a, b)
    assert found.shape == a.shape
    assert found.dtype == dtype
    mirrored = secant(b, a)
    info = torch.finfo(dtype)
    result = []
    for x, y, got, other in zip(*(v.tolist() for v in (a, b, found, mirrored)), strict=True):
        try:
            slopes = exact(definition.f, x, y, definition.kinks)
            values = [definition.f(mpf(v)) for v in (x, y)]
        except ZeroDivisionError:
            continue  # outside the domain, as are complex values
        if any(isinstance(v, mpmath.mpc) or abs(v) > info.max for v in (*slopes, *values)):
            continue
        nearest = min(max(mpf(got), slopes[0]), slopes[-1]) if np.isfinite(got) else slopes[0]
        scale = abs(nearest) if definition.scale is None else definition.scale(mpf(x), mpf(y), nearest)
        scale = max(scale, mpf(info.smallest_normal))
        for value in (got, other):
            wrong = abs(mpf(value) - nearest) / scale / mpf(info.eps) if np.isfinite(value) else mp.inf
            result.append((float(wrong), x, y, value, nearest))
    return sorted(result, key=lambda row: -row[0])


def test_every_elementwise_row_has_a_definition():
    assert not [row for row in ROWS if not definitions(row)]
    assert all(ROWS[row].secant is ROWS[same].secant for row, same in SAME.items())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("row", "number"), [(row, i) for row in ROWS if row not in SAME for i in range(len(definitions(row)))]
)
def test_quotient_is_exact_to_roundings(row, number, dtype):
    rule, definition = ROWS[row], definitions(row)[number]
    given = [v.to(DTYPES[dtype]) if isinstance(v, torch.Tensor) else v for v in definition.args]
    f = lambda x: definition.f(*given[: rule.argument], x, *given[rule.argument :], **definition.kwargs)  # noqa: E731
    secant = lambda a, b: rule.secant(a, b, *given, **definition.kwargs)  # noqa: E731
    bare = Definition(f, definition.bound, points=definition.points, scale=definition.scale, kinks=definition.kinks)
    worst = errors(bare, secant, DTYPES[dtype])
    assert len(worst) > 50
    assert worst[0][0] <= definition.bound, worst[:5]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", SLOW)
def test_quotient_of_a_slow_function_is_exact_to_roundings(row, dtype):
    f, points = SLOW[row]
    b = torch.tensor([p for p in points for _ in range(5)], dtype=DTYPES[dtype])
    a = b + torch.tensor([0.0, 1e-7, 1e-3, 0.03, 0.12] * len(points), dtype=DTYPES[dtype])
    found, eps = RULES[row].secant(a, b), torch.finfo(DTYPES[dtype]).eps
    with mp.workdps(50):
        for x, y, got in zip(a.tolist(), b.tolist(), found.tolist(), strict=True):
            expected = mpmath.re(mpmath.diff(f, x) if x == y else (f(mpf(x)) - f(mpf(y))) / (mpf(x) - mpf(y)))
            scale = max(abs(expected), 1 if row == "lgamma" else 0)
            assert abs(mpf(got) - expected) <= 20 * eps * scale, (x, y)


def test_the_same_slow_functions():
    assert all(RULES[row].secant is RULES[same].secant for row, same in SLOW_SAME.items())


# --- Two arguments, the other one held ---------------------------------------------------------------------

OTHERS = (0.0, 1e-30, 0.5, -3.0)


def angle(y, x):
    return mpmath.atan2(y, x)


def larger(x, y):
    return max(x, y)


def smaller(x, y):
    return min(x, y)


def turn(a, b, q):
    """Half a turn over the difference is the most that an angle changes."""
    return abs(q) + (mpf(1) / 2 / abs(a - b) if a != b else 0)


DIVIDED = (0.1, 0.7, 1.3, 2.9, 4.1, 7.7)

TWO = {
    # row: (function, bound, points of the first and of the second argument); measured beside each
    "maximum": (larger, 2, REAL, OTHERS),  # 0.8
    "minimum": (smaller, 2, REAL, OTHERS),
    "atan2": (angle, 6, (0.0, -0.0, 1e-30, 0.1, 3.0, 40.0, -1e-30, -0.1, -3.0), OTHERS),
    "pow": (lambda x, k: x**k, 6, POSITIVE, (0.5, 2.0, -1.0, 2.75)),
    "remainder": (lambda x, d: x - d * mpmath.floor(x / d), 4, DIVIDED, (0.5, 3.0)),
    "fmod": (lambda x, d: x - d * mpmath.sign(x / d) * mpmath.floor(abs(x / d)), 4, DIVIDED, (0.5, 3.0)),
    "copysign": (lambda x, s: abs(x) * (1 if s >= 0 else -1), 2, (0.1, 3.0, 1e-30, -0.2, -4.0), (0.5, -3.0)),
    "xlogy": (lambda x, y: x * mpmath.log(y), 6, POSITIVE, (0.5, 2.0, 3.0)),
    "special_xlog1py": (lambda x, y: x * mpmath.log1p(y), 6, POSITIVE, (0.5, 2.0, 3.0)),
}
TWO_SAME = {
    "max.other": "maximum",
    "fmax": "maximum",
    "min.other": "minimum",
    "fmin": "minimum",
    "arctan2": "atan2",
    "special_xlogy": "xlogy",
}
TWO_ROWS = {name: rule for name, rule in RULES.items() if isinstance(rule, TwoPlayers)}


def test_every_row_of_two_arguments_has_a_definition():
    assert {TWO_SAME.get(row, row) for row in TWO_ROWS} == set(TWO)
    assert all(TWO_ROWS[row] == TWO_ROWS[same] for row, same in TWO_SAME.items())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", TWO)
def test_quotient_in_one_of_two_arguments_is_exact_to_roundings(row, dtype):
    f, bound, points, others = TWO[row]
    scale = turn if f is angle else None
    for other in others:
        held = torch.tensor(other, dtype=DTYPES[dtype])
        value = held.item()
        kinks = (value,) if f in (larger, smaller) else ()
        # At the origin and across its cut the angle jumps, so that no slope is given there.
        first = [p for p in points if not (f is angle and value <= 0 and p <= 0)]
        in_first = Definition(lambda x, v=value: f(x, mpf(v)), bound, points=tuple(first), scale=scale, kinks=kinks)
        secant = lambda a, b, held=held: TWO_ROWS[row].first(held.expand(a.shape), a, b)  # noqa: E731
        worst = errors(in_first, secant, DTYPES[dtype])
        assert worst[0][0] <= bound, (other, worst[:3])
        if (f is angle and value == 0) or row in ("remainder", "fmod"):  # a divisor near 0 has no digits left
            continue
        positive = f(mpf(2), mpf(3)) == 8
        second = REAL if positive else points
        held = abs(held) if positive else held
        value = held.item()
        in_second = Definition(lambda x, v=value: f(mpf(v), x), bound, points=second, scale=scale, kinks=kinks)
        secant = lambda a, b, held=held: TWO_ROWS[row].second(held.expand(a.shape), a, b)  # noqa: E731
        worst = errors(in_second, secant, DTYPES[dtype])
        assert worst[0][0] <= bound, (other, worst[:3])
