"""Complex numbers: what is linear or a product goes as for real ones, some functions have quotients, a few are parts.

The multiplier of a complex tensor is PyTorch's gradient of it, ``∂/∂Re + i ∂/∂Im``, so that a contribution is
``Re(conj(m)·Δz)``. A holomorphic function has one quotient ``Δy/Δz``, the mean of its derivative along the straight
line between the members, and ``m_z = m_y · conj(Δy/Δz)``. The size of a number has
``Δ|z| = Re(conj(z + z')·Δz) / (|z| + |z'|)``, which turns with the plane; its angle is that of its two parts (`atan2`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.torch.formulas import secants
from explain_core.backends.torch.kinds import (
    Bilinear,
    Composed,
    Linear,
    Lookup,
    Pick,
    Product,
    Recurrent,
    Refused,
    Rescale,
    Rule,
    Same,
)
from explain_core.backends.torch.pairs import Pair, apply_linear, attach

aten = torch.ops.aten


# --- quotients -----------------------------------------------------------------------------------------------------


def _over(f: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    """``f(u) / u`` for a function that is ``u`` itself near 0."""
    small = u.abs() < torch.finfo(u.real.dtype).tiny
    return torch.where(small, 1.0, f(u) / torch.where(small, 1.0, u))


def _expm1(z: Tensor) -> Tensor:
    real = torch.expm1(z.real) * torch.cos(z.imag) - 2 * torch.sin(z.imag / 2).square()
    return torch.complex(real, torch.exp(z.real) * torch.sin(z.imag))


def exp(a: Tensor, b: Tensor) -> Tensor:
    """``exp(high) · (1 - exp(-u))/u`` with ``u = high - low``, by their real parts."""
    rises = a.real >= b.real
    high, low = torch.where(rises, a, b), torch.where(rises, b, a)
    return torch.exp(high) * _over(lambda u: -_expm1(-u), high - low)


def log(a: Tensor, b: Tensor) -> Tensor:
    """``log1p((a - b)/b) / (a - b)``; the plain quotient far apart and across the cut, where nothing cancels."""
    ratio = (a - b) / b
    plain, direct = torch.log(a) - torch.log(b), torch.log1p(ratio)
    near = (ratio.abs() < 0.5) & ((plain - direct).abs() < 1)
    return torch.where(a == b, 1 / a, torch.where(near, direct, plain) / torch.where(a == b, 1.0, a - b))


def sin(a: Tensor, b: Tensor) -> Tensor:
    """``cos((a + b)/2) · sinc((a - b)/2)``."""
    return torch.cos((a + b) / 2) * _over(torch.sin, (a - b) / 2)


def cos(a: Tensor, b: Tensor) -> Tensor:
    """``-sin((a + b)/2) · sinc((a - b)/2)``."""
    return -torch.sin((a + b) / 2) * _over(torch.sin, (a - b) / 2)


def tanh(a: Tensor, b: Tensor) -> Tensor:
    """``sinh(a - b) / ((a - b) · cosh a · cosh b)``."""
    return _over(torch.sinh, a - b) / torch.cosh(a) / torch.cosh(b)


def sigmoid(a: Tensor, b: Tensor) -> Tensor:
    """``σ(a) = (1 + tanh(a/2)) / 2``."""
    return tanh(a / 2, b / 2) / 4


def sqrt(a: Tensor, b: Tensor) -> Tensor:
    """``1 / (√a + √b)``; 0 where both are 0."""
    total = torch.sqrt(a) + torch.sqrt(b)
    return torch.where(total == 0, 0.0, 1 / torch.where(total == 0, 1.0, total))


# --- parts ---------------------------------------------------------------------------------------------------------


def absolute(ops, z: Pair) -> Pair:
    """``|z|``: ``m_z = m · (z + z') / (|z| + |z'|)``, and 0 where both are 0."""
    with torch.no_grad():
        test, base = z.test.detach().abs(), z.base.abs()
        total = test + base
        slope = torch.where(total == 0, 0.0, (z.test.detach() + z.base) / torch.where(total == 0, 1.0, total))
    return Pair(attach([test], lambda m: m * slope, z.test), base)


def angle(ops, z: Pair) -> Pair:
    """The angle in the plane, a function of both parts."""
    return ops(aten.atan2.default, apply_linear(torch.imag, z), apply_linear(torch.real, z))


def sign(ops, z: Pair) -> Pair:
    """``z / |z|``."""
    return ops(aten.div.Tensor, z, absolute(ops, z))


def polar(ops, size: Any, turn: Any) -> Pair:
    """``size · (cos + i sin)`` of a turn."""
    parts = (ops(aten.mul.Tensor, size, ops(f, turn)) for f in (aten.cos.default, aten.sin.default))
    return ops(aten.complex.default, *parts)


def whole_power(ops, z: Pair, exponent: float) -> Any:
    """``z ** n`` for whole numbers up to 16, as a sum of products."""
    if not float(exponent).is_integer() or abs(exponent) > 16:
        return Refused(f"the power {exponent} of complex numbers has no rule")(ops, aten.pow.Tensor_Scalar, (), {})
    return Rescale(secants.power)(ops, aten.pow.Tensor_Scalar, (z, int(exponent)), {})


_RULES: dict[str, Rule] = {
    "abs": Composed(absolute),
    "absolute": Composed(absolute),
    "angle": Composed(angle),
    "sgn": Composed(sign),
    "pow.Tensor_Scalar": Composed(whole_power),
    "exp": Rescale(exp),
    "log": Rescale(log),
    "sin": Rescale(sin),
    "cos": Rescale(cos),
    "tanh": Rescale(tanh),
    "sigmoid": Rescale(sigmoid),
    "sqrt": Rescale(sqrt),
    "square": Rescale(secants.square),
    "reciprocal": Rescale(secants.reciprocal),
}
_AS_THEY_ARE = (Linear, Bilinear, Lookup, Pick, Product, Same, Recurrent)
_COMPOSED = (
    "to",
    "_to_copy",
    "type_as",
    "detach",
    "data",
    "copy",
    "fill",
    "zero",
    "linalg_vector_norm",
    "lerp",
    "addcmul",
    "addcdiv",
    "prod",
    "cumprod",
    "complex",
    "dropout",
)


def rule_for(name: str, overload: str, rule: Rule, own: Rule | None) -> Rule:
    """The rule of an operation on complex numbers.

    Args:
        rule: what the method goes by; ``own`` is that of the table, for real numbers.
    """
    if isinstance(rule, _AS_THEY_ARE) or name in _COMPOSED:
        return rule
    found = _RULES.get(f"{name}.{overload}") or _RULES.get(name)
    if found is None or rule is not own:
        return Refused(f"{name} of complex numbers has no rule")
    return found
