"""Division by a scale: what a normalisation divides by, a statistic made by reducing over an axis.

Two-player Shapley values of ``y = a/b`` weigh the two orders, numerator first and denominator first, alike. With a
denominator that is near zero in one member, one of the orders passes through ``a/b'``, which no input gives and nothing
bounds. Here an order weighs as much as the scale that the numerator moves under, ``|b| : |b'|``:

    m_a = 2 / (b + b'),    m_b = -(y + y') / (b + b')      for b, b' of one sign

which is ``Δy = (Δa - mean(y)·Δb) / mean(b)``: the midpoint rule of the product ``a = y·b`` solved for ``Δy``. It is
complete, within a few times Δy of it everywhere, and nearer to the exact Shapley values of a normalisation's inputs at
ordinary baselines as well; docs/normalisation.md has the figures.

A pair carries whether it is such a *statistic*, or the inverse of one (``rsqrt``), through what is done to it element
by element, so that all ways of writing a normalisation come to the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from explain_core.backends.divisors import NEXT_TO_NOTHING, WorstDivisors
from explain_core.backends.protocol import Divisor
from explain_core.backends.torch.kinds import Bilinear, Linear, Product, Rescale, Rule, TwoPlayers
from explain_core.backends.torch.pairs import Pair, is_pair, pairs_in

STATISTIC, INVERSE = "statistic", "inverse of a statistic"

_REDUCTIONS = {
    *("sum", "mean", "nansum", "amax", "amin", "max", "min", "max.dim", "min.dim", "logsumexp", "norm", "cumsum"),
    *("var", "var.correction", "std", "std.correction", "linalg_vector_norm", "einsum", "linalg_vecdot", "dot"),
    *("avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "median", "quantile", "sort"),
}
_UPSIDE_DOWN = {"rsqrt", "reciprocal"}
_DIVISIONS = {"div", "divide", "true_divide"}
_CASTS = {"to", "_to_copy", "type_as", "clone"}
_ELEMENT_BY_ELEMENT = (Linear, Rescale, TwoPlayers, Product)


def weights(b: Tensor, b_base: Tensor) -> tuple[Tensor, Tensor]:
    """``|b|`` and ``|b'|`` as shares of their sum; one half each where both are zero."""
    least = torch.finfo(b.dtype).tiny
    one, other = b.abs() / 2 + least, b_base.abs() / 2 + least
    return one / (one + other), other / (one + other)


def of_quotient(a: Pair, b: Pair, y: Tensor, y_base: Tensor) -> tuple[Tensor, Tensor]:
    """The multipliers of a and b for that of ``y = a/b``, b a statistic."""
    under, under_base = weights(b.test.detach(), b.base)
    first, second = under / b.test.detach(), under_base / b.base
    return first + second, -(first * y_base + second * y)


def of_product(a: Pair, r: Pair) -> tuple[Tensor, Tensor]:
    """The multipliers of a and r for that of ``a·r``, r the inverse of a statistic."""
    under_base, under = weights(r.test.detach(), r.base)
    a_test = a.test.detach()
    return under * r.test.detach() + under_base * r.base, under * a.base + under_base * a_test


def is_scale(value: Any, kind: str) -> bool:
    """Whether a value is a pair of real floats that is a statistic, or the inverse of one."""
    return is_pair(value) and value.scale == kind and value.test.is_floating_point()


def mark(rule: Rule | None, name: str, args: tuple, kwargs: dict, result: Any) -> None:
    """Note on the pairs of a result whether they are a statistic, or the inverse of one.

    Args:
        name: the operation, such as ``"var.correction"``.
    """
    kind = _kind(rule, name, args, kwargs)
    if kind:
        for pair in pairs_in(result):
            pair.scale = kind


def _kind(rule: Rule | None, name: str, args: tuple, kwargs: dict) -> str:
    short = name.partition(".")[0]
    before = {pair.scale for pair in pairs_in(args[:1] if short.endswith("_as") else (args, kwargs))}
    if name in _REDUCTIONS or (short in _REDUCTIONS and "." in name and short not in ("max", "min")):
        return INVERSE if before == {INVERSE} else STATISTIC
    if isinstance(rule, Bilinear) and len(pairs_in((args, kwargs))) > 1:  # x·x, or a query and the sum of keys
        return STATISTIC
    if len(before) != 1 or "" in before:
        return ""
    (kind,) = before
    if short in _UPSIDE_DOWN or (short == "pow" and isinstance(args[1], (int, float)) and args[1] < 0):
        return INVERSE if kind == STATISTIC else STATISTIC
    if short in _DIVISIONS and is_pair(args[1]):
        return "" if is_pair(args[0]) else INVERSE if kind == STATISTIC else STATISTIC
    if short in _CASTS or (isinstance(rule, _ELEMENT_BY_ELEMENT)):
        return kind
    return ""


class Divisors(WorstDivisors):
    """Where the baseline is divided by next to nothing, beside what the input is divided by."""

    @torch.no_grad()
    def look(self, name: str, where: str, operation: str, args: tuple) -> None:
        """Look at what an operation divides by.

        Args:
            name: the operation that is applied, such as ``"rsqrt"``.
            where, operation: the module, and the operation as the model has it, such as ``"layer_norm"``.
        """
        short = name.partition(".")[0]
        negative = short == "pow" and isinstance(args[1], (int, float)) and args[1] < 0
        place = 1 if short in _DIVISIONS else 0 if short in _UPSIDE_DOWN or negative else None
        by = None if place is None or len(args) <= place else args[place]
        if not is_pair(by) or not by.test.is_floating_point() or not by.test.numel():
            return
        test, base = by.test.detach().abs(), by.base.abs()
        ratio = torch.where(test > 0, base / test, torch.inf).flatten()
        least = int(ratio.argmin())
        power = 0.5 if short == "rsqrt" else abs(args[1]) if negative else 1.0
        if not float(ratio[least]) ** power < NEXT_TO_NOTHING:
            return
        self.add(
            Divisor(
                where,
                operation.partition(".")[0],
                float(test.flatten()[least].double() ** power),
                float(base.flatten()[least].double() ** power),
                by.scale == STATISTIC,
            )
        )
