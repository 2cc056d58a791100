"""A reverse-mode tape over pairs (test, baseline): DeepLIFT's Rescale rule and Shapley values of products.

Every value is a pair ``a, a'`` with ``Δa = a - a'``. Multipliers go backward over the tape, and the
contribution of a leaf is its multiplier times its difference.

* Linear operations pass multipliers on by the transposed map (Shrikumar et al. 2017, "linear rule").
* ``y = σ(a)``: ``m_a = m_y·(σ(a) - σ(a'))/(a - a')``, and ``σ'(a)`` only where ``a`` equals ``a'`` (ibid.,
  "Rescale rule").
* ``y = f(a, b)``: each argument gets its two-player Shapley value,
  ``m_a·Δa = ½[f(a, b) - f(a', b) + f(a, b') - f(a', b')]`` (Lundberg & Lee 2017). A product is the simplest.
* The maximum over any number of elements gives each its exact Shapley value, see `shapley_max`.

Difference quotients are evaluated literally, with as many digits as it takes for cancellation not to matter.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence

import mpmath
import numpy as np

Scalar = Callable[[mpmath.mpf], mpmath.mpf]

_creation = itertools.count()


class PairedArray:
    """One array for the test input and one for the baseline, and how multipliers reach their parents.

    Args:
        test, base: arrays of one shape.
        parents: (parent, function from this node's multiplier to its share of the parent's multiplier).
    """

    __array_ufunc__ = None  # so that `ndarray @ pair` is ours

    def __init__(self, test, base, parents=()) -> None:
        self.test = np.asarray(test, dtype=np.float64)
        self.base = np.asarray(base, dtype=np.float64)
        if self.test.shape != self.base.shape:
            raise ValueError(f"test has shape {self.test.shape}, base {self.base.shape}")
        self.parents = tuple(parents)
        self.created = next(_creation)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.test.shape

    @property
    def delta(self) -> np.ndarray:
        return self.test - self.base

    @property
    def mean(self) -> np.ndarray:
        """The mean over the pair, which the papers write with a bar."""
        return (self.test + self.base) / 2

    def __add__(self, other):
        other = as_pair(other)
        return PairedArray(
            self.test + other.test,
            self.base + other.base,
            [
                (self, lambda m: unbroadcast(m, self.shape)),
                (other, lambda m: unbroadcast(m, other.shape)),
            ],
        )

    __radd__ = __add__

    def __neg__(self):
        return PairedArray(-self.test, -self.base, [(self, lambda m: -m)])

    def __sub__(self, other):
        return self + (-as_pair(other))

    def __rsub__(self, other):
        return as_pair(other) - self

    def __mul__(self, other):
        other = as_pair(other)
        return PairedArray(
            self.test * other.test,
            self.base * other.base,
            [
                (self, lambda m: unbroadcast(m * other.mean, self.shape)),
                (other, lambda m: unbroadcast(m * self.mean, other.shape)),
            ],
        )

    __rmul__ = __mul__

    def __truediv__(self, other):
        # Two-player Shapley values of a/b are those of the product a·(1/b).
        return self * elementwise(as_pair(other), reciprocal)

    def __rtruediv__(self, other):
        return as_pair(other) / self

    def __matmul__(self, other):
        """Each of its products is a two-player game; at least two axes on both sides."""
        other = as_pair(other)
        return PairedArray(
            self.test @ other.test,
            self.base @ other.base,
            [
                (self, lambda m: unbroadcast(m @ np.swapaxes(other.mean, -1, -2), self.shape)),
                (other, lambda m: unbroadcast(np.swapaxes(self.mean, -1, -2) @ m, other.shape)),
            ],
        )

    def __rmatmul__(self, other):
        return as_pair(other) @ self

    def __getitem__(self, index):
        def scatter(m):
            full = np.zeros(self.shape)
            np.add.at(full, index, m)
            return full

        return PairedArray(self.test[index], self.base[index], [(self, scatter)])

    def reshape(self, *shape):
        return PairedArray(
            self.test.reshape(*shape), self.base.reshape(*shape), [(self, lambda m: m.reshape(self.shape))]
        )

    def transpose(self, *axes):
        order = axes or tuple(reversed(range(len(self.shape))))
        back = np.argsort(order)
        return PairedArray(
            self.test.transpose(order), self.base.transpose(order), [(self, lambda m: m.transpose(back))]
        )

    def sum(self, axis=None, keepdims=False):
        def spread(m):
            if axis is not None and not keepdims:
                m = np.expand_dims(m, axis)
            return np.broadcast_to(m, self.shape)

        return PairedArray(
            self.test.sum(axis=axis, keepdims=keepdims),
            self.base.sum(axis=axis, keepdims=keepdims),
            [(self, spread)],
        )

    def average(self, axis=None, keepdims=False):
        count = self.test.size if axis is None else np.prod(np.take(self.shape, axis))
        return self.sum(axis, keepdims) * (1.0 / count)


def as_pair(value) -> PairedArray:
    """A constant is a pair of equal members."""
    return value if isinstance(value, PairedArray) else PairedArray(value, value)


def unbroadcast(m: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `m` over the axes along which an array of `shape` was broadcast."""
    m = m.sum(axis=tuple(range(m.ndim - len(shape))))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and m.shape[axis] != 1)
    return m.sum(axis=stretched, keepdims=True) if stretched else m


def alias(pair: PairedArray) -> PairedArray:
    """The same value as a node of its own, to tell the paths that use it apart."""
    return PairedArray(pair.test, pair.base, [(pair, lambda m: m)])


def concat(pairs: Sequence[PairedArray], axis: int = 0) -> PairedArray:
    ends = np.cumsum([pair.shape[axis] for pair in pairs])

    def part(end, size):
        return lambda m: np.take(m, np.arange(end - size, end), axis=axis)

    return PairedArray(
        np.concatenate([pair.test for pair in pairs], axis),
        np.concatenate([pair.base for pair in pairs], axis),
        [(pair, part(end, pair.shape[axis])) for pair, end in zip(pairs, ends, strict=True)],
    )


def stack(pairs: Sequence[PairedArray]) -> PairedArray:
    """Along a new first axis."""
    return PairedArray(
        np.stack([pair.test for pair in pairs]),
        np.stack([pair.base for pair in pairs]),
        [(pair, lambda m, row=row: m[row]) for row, pair in enumerate(pairs)],
    )


def where(condition: np.ndarray, a, b) -> PairedArray:
    """Select by a condition that is the same for both members of the pair."""
    keep = np.asarray(condition, dtype=np.float64)
    return as_pair(a) * keep + as_pair(b) * (1 - keep)


class Multipliers:
    """How much `output` moves per unit of difference in any node it was made from.

    Args:
        output: a pair that holds one number.
    """

    def __init__(self, output: PairedArray) -> None:
        if output.test.size != 1:
            raise ValueError(f"only a single number has multipliers, not shape {output.shape}")
        self._of = {output.created: np.ones(output.shape)}
        # A node is older than everything made from it: newest first, each is complete when its turn comes.
        waiting = [(-output.created, output)]
        while waiting:
            _, node = heapq.heappop(waiting)
            for parent, share in node.parents:
                if parent.created not in self._of:
                    self._of[parent.created] = np.zeros(parent.shape)
                    heapq.heappush(waiting, (-parent.created, parent))
                self._of[parent.created] = self._of[parent.created] + share(self._of[node.created])

    def __getitem__(self, node: PairedArray) -> np.ndarray:
        """Shaped as the node; zero where the output does not depend on it."""
        return self._of.get(node.created, np.zeros(node.shape))

    def contributions(self, node: PairedArray) -> np.ndarray:
        return self[node] * node.delta


# --- Scalar functions, in mpmath so that the number of digits is free ---------------------------------------


def sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def tanh(x):
    return mpmath.tanh(x)


def relu(x):
    return max(x, mpmath.mpf(0))


def relu6(x):
    return min(relu(x), mpmath.mpf(6))


def leaky_relu(slope: float = 0.01) -> Scalar:
    return lambda x: x if x > 0 else mpmath.mpf(slope) * x


def elu(x):
    return x if x > 0 else mpmath.expm1(x)


def celu(alpha: float = 1.0) -> Scalar:
    return lambda x: x if x > 0 else alpha * mpmath.expm1(x / alpha)


def selu(x):
    scale, alpha = (
        mpmath.mpf("1.0507009873554804934193349852946"),
        mpmath.mpf("1.6732632423543772848170429916717"),
    )
    return scale * (x if x > 0 else alpha * mpmath.expm1(x))


def gelu(x):
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def gelu_tanh(x):
    inner = mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)
    return x * (1 + mpmath.tanh(inner)) / 2


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return relu(x) + mpmath.log1p(mpmath.exp(-abs(x)))


def mish(x):
    return x * mpmath.tanh(softplus(x))


def logsigmoid(x):
    return -softplus(-x)


def softsign(x):
    return x / (1 + abs(x))


def tanhshrink(x):
    return x - mpmath.tanh(x)


def hardtanh(x):
    return min(max(x, mpmath.mpf(-1)), mpmath.mpf(1))


def hardsigmoid(x):
    return min(max(x / 6 + mpmath.mpf(1) / 2, mpmath.mpf(0)), mpmath.mpf(1))


def hardswish(x):
    return x * hardsigmoid(x)


def softshrink(x):
    return max(x - mpmath.mpf(0.5), mpmath.mpf(0)) + min(x + mpmath.mpf(0.5), mpmath.mpf(0))


def hardshrink(x):
    return x if abs(x) > 0.5 else mpmath.mpf(0)


def reciprocal(x):
    return 1 / x


def square(x):
    return x * x


def reciprocal_sqrt(x):
    return 1 / mpmath.sqrt(x)


def power(exponent: float) -> Scalar:
    return lambda x: x ** mpmath.mpf(exponent)


exp, log, sqrt, sin, cos, erf = mpmath.exp, mpmath.log, mpmath.sqrt, mpmath.sin, mpmath.cos, mpmath.erf
expm1, log1p, absolute = mpmath.expm1, mpmath.log1p, abs

DIGITS = (50, 100, 200, 400)  # 400 resolve any difference of float64 values, subnormal ones included


def value(function: Scalar, a: float) -> float:
    with mpmath.workdps(DIGITS[0]):
        return float(function(mpmath.mpf(a)))


def secant(function: Scalar, a: float, b: float) -> float:
    """``(f(a) - f(b))/(a - b)``, or the derivative where ``a`` equals ``b``; from the left at a kink."""
    if a == b:
        return _settled(lambda: mpmath.diff(function, mpmath.mpf(a), direction=-1))
    return _settled(lambda: (function(mpmath.mpf(a)) - function(mpmath.mpf(b))) / (mpmath.mpf(a) - mpmath.mpf(b)))


def _settled(compute: Callable[[], mpmath.mpf]) -> float:
    """The value once twice the digits do not change it; a zero may be cancellation, and needs all digits."""
    before = None
    for digits in DIGITS:
        with mpmath.workdps(digits):
            now = compute()
            if before is not None and now != 0 and abs(now - before) <= abs(now) * mpmath.mpf("1e-20"):
                break
            before = now
    return float(now)


def _sigmoid_extended(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # 1/(1 + inf) is the right limit
        return 1 / (1 + np.exp(-x))


# The two functions that make up most of a recurrent net, in the processor's extended precision.
EXTENDED = {sigmoid: _sigmoid_extended, tanh: np.tanh}


def elementwise(pair: PairedArray, function: Scalar) -> PairedArray:
    """``y = f(a)`` by the Rescale rule."""
    test, base, slope = (np.zeros(pair.shape) for _ in range(3))
    done = np.zeros(pair.shape, dtype=bool)
    if function in EXTENDED:
        a, b = pair.test.astype(np.longdouble), pair.base.astype(np.longdouble)
        fa, fb = EXTENDED[function](a), EXTENDED[function](b)
        test, base = fa.astype(np.float64), fb.astype(np.float64)
        # Kept where rounding in extended precision cannot reach the 14th digit of the quotient.
        noise = 4 * np.finfo(np.longdouble).eps * (abs(fa) + abs(fb))
        done = (a != b) & (abs(fa - fb) * 1e-14 > noise)
        slope[done] = ((fa - fb)[done] / (a - b)[done]).astype(np.float64)
    for index in np.ndindex(pair.shape):
        if not done[index]:
            a, b = pair.test[index], pair.base[index]
            slope[index] = secant(function, a, b)
            if function not in EXTENDED:
                test[index], base[index] = value(function, a), value(function, b)
    return PairedArray(test, base, [(pair, lambda m: m * slope)])


# --- Functions of two and more paired arguments ------------------------------------------------------------


def two_arguments(a: PairedArray, b: PairedArray, function: Callable) -> PairedArray:
    """``y = f(a, b)`` of equal shapes: a two-player Shapley value for each argument, by the formula."""

    def slopes(first, second, f):
        """½[f(a, b) - f(a', b) + f(a, b') - f(a', b')]/Δa, per element."""
        out = np.zeros(first.shape)
        for index in np.ndindex(first.shape):
            a, a_base = first.test[index], first.base[index]
            out[index] = sum(
                secant(lambda x, held=held: f(x, mpmath.mpf(held)), a, a_base) / 2
                for held in (second.test[index], second.base[index])
            )
        return out

    def values(x, y):
        with mpmath.workdps(DIGITS[0]):
            return np.vectorize(lambda p, q: float(function(mpmath.mpf(p), mpmath.mpf(q))), otypes=[float])(x, y)

    slope_a, slope_b = slopes(a, b, function), slopes(b, a, lambda y, x: function(x, y))
    return PairedArray(
        values(a.test, b.test),
        values(a.base, b.base),
        [(a, lambda m: m * slope_a), (b, lambda m: m * slope_b)],
    )


def maximum(x, y):
    return max(x, y)


def minimum(x, y):
    return min(x, y)


def power_of(x, y):
    return x**y


atan2 = mpmath.atan2


def shapley_max(test: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Multipliers of ``max(z_1 ... z_n)``: each element's exact Shapley value over its difference.

    ``max(z)`` is the integral over t of "some z_i is above t". Between two neighbouring values nothing
    changes, and the game at such a t has p elements that are above it only in the test and q only in the
    baseline. If any element is above t in both, nobody moves the answer. Otherwise a player of the first kind
    turns "no" into "yes" when it comes right after all q of the second kind, in ``q!(p-1)!/(p+q)!`` of all
    orders, and a player of the second kind turns "yes" into "no" when it is the last of its kind and before
    all of the first, in ``p!(q-1)!/(p+q)!``. An element that does not differ gets the limit,
    and those that tie and do not differ share it: they may be one value, taken twice.

    Args:
        test, base: (n,).

    Returns:
        (n,) multipliers.
    """
    share = np.zeros(test.size)
    levels = np.unique(np.concatenate([test, base]))
    for low, high in itertools.pairwise(levels):
        rises = (test >= high) & (base <= low)
        falls = (base >= high) & (test <= low)
        if ((test >= high) & (base >= high)).any():
            continue
        p, q = int(rises.sum()), int(falls.sum())
        orders = math.factorial(p + q)
        share[rises] += (high - low) * math.factorial(q) * math.factorial(p - 1) / orders if p else 0
        share[falls] -= (high - low) * math.factorial(p) * math.factorial(q - 1) / orders if q else 0
    slope = np.zeros(test.size)
    for i in range(test.size):
        if test[i] != base[i]:
            slope[i] = share[i] / (test[i] - base[i])
            continue
        others = np.arange(test.size) != i
        above, above_base = test[others] > test[i], base[others] > test[i]
        p, q = int((above & ~above_base).sum()), int((above_base & ~above).sum())
        if not (above & above_base).any():
            ties = int(((test == base) & (test == test[i])).sum())
            slope[i] = math.factorial(p) * math.factorial(q) / math.factorial(p + q + 1) / ties
    return slope


def max_over(pair: PairedArray, axis: int) -> PairedArray:
    test, base = np.moveaxis(pair.test, axis, -1), np.moveaxis(pair.base, axis, -1)
    slope = np.zeros(test.shape)
    for index in np.ndindex(test.shape[:-1]):
        slope[index] = shapley_max(test[index], base[index])
    slope = np.moveaxis(slope, -1, axis)
    return PairedArray(pair.test.max(axis), pair.base.max(axis), [(pair, lambda m: np.expand_dims(m, axis) * slope)])


# --- Compositions ------------------------------------------------------------------------------------------


def log_softmax(pair: PairedArray, axis: int = -1) -> PairedArray:
    shift = np.maximum(pair.test, pair.base).max(axis=axis, keepdims=True)
    shifted = pair - shift
    return shifted - elementwise(elementwise(shifted, exp).sum(axis=axis, keepdims=True), log)


def softmax(pair: PairedArray, axis: int = -1) -> PairedArray:
    """``exp(a - log Σ exp(a))``, each function by the Rescale rule."""
    return elementwise(log_softmax(pair, axis), exp)


def softmax_by_quotient(pair: PairedArray, axis: int = -1) -> PairedArray:
    """``exp(a - s)/Σ exp(a - s)``, with one shift `s` for both members of the pair.

    By two-player Shapley values of the quotient, not `over_scale`. Complete too, but only sound where the pair's logits
    are near each other: if all of them differ by D, then y does not differ at all, yet the attributions grow as
    ``sinh(D)/D`` and their sum drowns in their rounding.
    """
    shift = np.maximum(pair.test, pair.base).max(axis=axis, keepdims=True)
    raised = elementwise(pair - shift, exp)
    return raised / raised.sum(axis=axis, keepdims=True)


def normalise(pair: PairedArray, axis, eps: float = 1e-5) -> PairedArray:
    """``(a - mean)/sqrt(var + eps)`` over `axis`, as layer norm and group norm do."""
    centred = pair - pair.average(axis, keepdims=True)
    variance = elementwise(centred, square).average(axis, keepdims=True)
    return over_scale(centred, elementwise(variance + eps, sqrt))


def over_scale(a: PairedArray, b: PairedArray) -> PairedArray:
    """``y = a/b`` for a scale b > 0: the midpoint rule of the product ``a = y·b``, solved for Δy.

    ``Δa = mean(b)·Δy + mean(y)·Δb``, so ``Δy = (Δa - mean(y)·Δb) / mean(b)``, bounded where one member of b vanishes.
    """
    y = a.test / b.test, a.base / b.base
    middle = (y[0] + y[1]) / 2
    return PairedArray(
        *y,
        [
            (a, lambda m: unbroadcast(m / b.mean, a.shape)),
            (b, lambda m: unbroadcast(-m * middle / b.mean, b.shape)),
        ],
    )
