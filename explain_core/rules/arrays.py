"""The array functions that formulas are written on, and formulas of one backend.

What Python's operators do on arrays (``+``, ``abs``, ``**``, ``<``, ``&``, ``~``, ``x[..., 1:]``) is not named here.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any, Protocol

Array = Any
"""A tensor of PyTorch or TensorFlow; where nothing else is said, of real floats."""


class Arrays(Protocol):
    """What a backend supplies, as functions of a module. Axes are the last one; reductions keep it, with length 1."""

    def array(
        self, value: float | Array, like: Array
    ) -> Array: ...  # a number in the dtype and on the device of `like`
    def cast(self, x: Array, like: Array) -> Array: ...  # to the dtype of `like`; truth values become 0 and 1
    def double(self, x: Array) -> Array: ...  # to float64
    def tiny(self, x: Array) -> float: ...  # the smallest normal number of its dtype
    def eps(self, x: Array) -> float: ...  # the difference of 1 to the next number of its dtype

    def where(self, condition: Array, a: Array | float, b: Array | float) -> Array: ...  # one of the two is an array
    def is_still(self, a: Array, b: Array) -> Array: ...  # no difference: equal, or what the framework takes for it
    def signbit(self, x: Array) -> Array: ...  # below zero, or -0
    def isfinite(self, x: Array) -> Array: ...  # neither infinite nor NaN
    def isinf(self, x: Array) -> Array: ...  # infinite
    def maximum(self, a: Array, b: Array) -> Array: ...
    def minimum(self, a: Array, b: Array) -> Array: ...
    def clip(self, x: Array, low: float, high: float) -> Array: ...  # min(max(x, low), high); bounds may be infinite
    def floor(self, x: Array) -> Array: ...
    def round(self, x: Array) -> Array: ...  # halves to even
    def remainder(self, x: Array, d: Array) -> Array: ...  # x - d·floor(x/d)
    def fmod(self, x: Array, d: Array) -> Array: ...  # x - d·trunc(x/d)

    def exp(self, x: Array) -> Array: ...
    def exp2(self, x: Array) -> Array: ...
    def expm1(self, x: Array) -> Array: ...
    def log(self, x: Array) -> Array: ...
    def log1p(self, x: Array) -> Array: ...
    def sqrt(self, x: Array) -> Array: ...
    def hypot(self, a: Array, b: Array) -> Array: ...  # √(a² + b²), without overflow
    def sigmoid(self, x: Array) -> Array: ...
    def softplus(self, x: Array) -> Array: ...  # log(1 + exp(x))
    def tanh(self, x: Array) -> Array: ...
    def sin(self, x: Array) -> Array: ...
    def cos(self, x: Array) -> Array: ...
    def tan(self, x: Array) -> Array: ...
    def asin(self, x: Array) -> Array: ...
    def atan(self, x: Array) -> Array: ...
    def atan2(self, y: Array, x: Array) -> Array: ...
    def asinh(self, x: Array) -> Array: ...
    def erfc(self, x: Array) -> Array: ...  # 2/√π ∫ exp(-t²) from x on
    def erfinv(self, x: Array) -> Array: ...
    def ndtri(self, x: Array) -> Array: ...  # the inverse of the normal distribution
    def lgamma(self, x: Array) -> Array: ...  # log |Γ(x)|
    def digamma(self, x: Array) -> Array: ...  # Γ'(x) / Γ(x)
    def zeta(self, s: float, x: Array) -> Array: ...  # Hurwitz: Σ (x + k)^-s over k = 0, 1, ...

    def sum(self, x: Array) -> Array: ...
    def max(self, x: Array) -> Array: ...
    def logsumexp(self, x: Array) -> Array: ...
    def log_softmax(self, x: Array) -> Array: ...
    def cumsum(self, x: Array) -> Array: ...
    def cumulative_logsumexp(self, x: Array) -> Array: ...
    def flip(self, x: Array) -> Array: ...
    def sort(self, x: Array) -> Array: ...  # ascending
    def argsort(self, x: Array) -> Array: ...  # ascending; (..., n) whole numbers
    def take_along(self, x: Array, order: Array) -> Array: ...  # x[..., order[..., i]]
    def unsort(self, x: Array, order: Array) -> Array: ...  # undoes `take_along`
    def count_below(self, ordered: Array, x: Array, equal: bool) -> Array: ...  # of ascending rows; or equal; as floats
    def concat(self, parts: list[Array]) -> Array: ...
    def stack(self, parts: list[Array]) -> Array: ...  # along a new last axis
    def unstack(self, x: Array) -> list[Array]: ...  # undoes `stack`


class Bound:
    """Formulas of some modules with the arrays of one backend put in: ``bound.tanh(a, b)`` is ``tanh(xp, a, b)``.

    Args:
        xp: the backend's arrays.
        modules: whose functions these are, the first that has one of a name.
    """

    def __init__(self, xp: Arrays, *modules: ModuleType) -> None:
        self._xp = xp
        self._modules = modules

    def __getattr__(self, name: str) -> partial:
        owner = None if name.startswith("_") else next((m for m in self._modules if hasattr(m, name)), None)
        if owner is None:
            raise AttributeError(f"no formula is named {name!r}")
        formula = partial(getattr(owner, name), self._xp)
        setattr(self, name, formula)  # one object for each name
        return formula

    def __dir__(self) -> list[str]:
        return sorted({name for module in self._modules for name in vars(module) if not name.startswith("_")})
