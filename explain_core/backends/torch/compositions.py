"""Operations written as other operations on pairs, each a few lines of its own definition."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.provenance import INVERSE, STATISTIC
from explain_core.backends.torch import scales
from explain_core.backends.torch.arrays import weighed
from explain_core.backends.torch.formulas import secants, statistics
from explain_core.backends.torch.formulas import softmax as softmaxes
from explain_core.backends.torch.kinds import Comparison
from explain_core.backends.torch.normalisations import by_channel
from explain_core.backends.torch.pairs import (
    Pair,
    apply_linear,
    apply_multilinear,
    apply_or_call,
    attach,
    base_of,
    discrete,
    dtype_of,
    is_pair,
    is_whole,
    onto,
    pairs_in,
    shape_of,
    test_of,
)
from explain_core.backends.torch.writes import place
from explain_core.errors import UnsupportedOperation

aten = torch.ops.aten


# --- products and choices ----------------------------------------------------------------------------------------


def multiply(ops, a: Any, b: Any) -> Pair:
    """``a·b``: ``m_a = m·mean(b)`` and ``m_b = m·mean(a)`` where both are paired, else linear.

    Times the inverse of a statistic it is the quotient that `rules.statistics` is about.
    """
    if len(pairs_in((a, b))) < 2:
        return divide_or_multiply_linear(aten.mul.Tensor, a, b)
    if scales.is_scale(a, INVERSE) and not scales.is_scale(b, INVERSE):
        return multiply(ops, b, a)
    dtype = torch.result_type(a.test, b.test)
    with torch.no_grad():
        test, base = a.test.detach() * b.test.detach(), a.base * b.base
        if scales.is_scale(b, INVERSE) and a.is_float and not scales.is_scale(a, INVERSE):
            r, r_base = b.test.detach(), b.base
            mean_b = statistics.factor(r, r_base).to(dtype)
            mean_a = statistics.inverse(a.test.detach(), a.base, r, r_base).to(dtype)
        else:
            mean_a, mean_b = a.mean.to(dtype), b.mean.to(dtype)
    tape_a, tape_b = a.tape, b.tape

    def back(m: Tensor) -> tuple[Tensor, Tensor]:
        return onto(weighed(m, mean_b.conj()), tape_a), onto(weighed(m, mean_a.conj()), tape_b)

    return Pair(attach([test], back, tape_a, tape_b), base)


def divide_or_multiply_linear(op, a: Any, b: Any) -> Pair:
    """A product or quotient with one constant operand; a paired whole number joins as a float."""
    dtype = op(test_of(a), test_of(b)).dtype
    if not is_whole(dtype):
        a, b = (v.as_float(dtype) if is_pair(v) and not v.is_float else v for v in (a, b))
    return apply_linear(op, a, b)


def divide(ops, a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    """``a / b`` as ``a · (1/b)``, with the quotient itself as its value; by a statistic as in `rules.statistics`."""
    if rounding_mode is not None:
        return Comparison()(ops, aten.div.Tensor_mode, (a, b), {"rounding_mode": rounding_mode})
    if not is_pair(b):
        return divide_or_multiply_linear(aten.div.Tensor, a, b)
    with torch.no_grad():
        test, base = test_of(a) / test_of(b), base_of(a) / base_of(b)
        b_test, b_base = b.test.detach().to(test.dtype), b.base.to(test.dtype)
        if is_pair(a) and scales.is_scale(b, STATISTIC):
            of_a = statistics.numerator(b_test, b_base)
            of_b = statistics.denominator(test, base, b_test, b_base)
        else:
            of_a = (1 / b_test + 1 / b_base) / 2
            of_b = (a.mean.to(test.dtype) if is_pair(a) else a) * secants.reciprocal(b_test, b_base)
        if not ops.infinities.absent(test, base):
            inverse = ops.infinities.rescaled(torch.reciprocal, b_test, b_base, secants.reciprocal(b_test, b_base))
            r_test, r_base, of_r, far = inverse
            if far is not None:
                test, base = torch.where(far, test_of(a) * r_test, test), torch.where(far, base_of(a) * r_base, base)
                of_a = torch.where(far, r_test / 2 + r_base / 2, of_a)
                of_b = torch.where(far, (a.mean.to(test.dtype) if is_pair(a) else a) * of_r, of_b)
    slopes = [of_a, of_b] if is_pair(a) else [of_b]
    tapes = [p.tape for p in pairs_in((a, b))]
    back = lambda m: tuple(onto(weighed(m, torch.conj(s)), t) for s, t in zip(slopes, tapes, strict=True))  # noqa: E731
    return Pair(attach([test], back, *tapes), base)


def where(ops, condition: Any, a: Any, b: Any) -> Pair | Tensor:
    """``c·a + (1 - c)·b``; where the condition differs in the pair it gets ``mean(a) - mean(b)``.

    Where a value that is not taken is none (``where(x > 0, log(x), 0)``) there is no mean, and only the two values that
    are taken can be compared: all of their difference is the condition's.
    """
    if not is_pair(condition):
        dtype = torch.result_type(*(v.test if is_pair(v) else v for v in (a, b)))
        a, b = (v.as_float(dtype) if is_pair(v) and not is_whole(dtype) and not v.is_float else v for v in (a, b))
        like = next(p.test for p in pairs_in((a, b)))
        a, b = (v if is_pair(v) else torch.as_tensor(v, dtype=dtype, device=like.device) for v in (a, b))
        return apply_linear(lambda x, y: torch.where(condition, x, y), a, b)
    with torch.no_grad():
        test = torch.where(condition.test, test_of(a), test_of(b))
        base = torch.where(condition.base, base_of(a), base_of(b))
        number = torch.float64 if is_whole(test.dtype) else test.dtype
        apart = condition.test != condition.base
        restored = ops.infinities.restored

        def middle(v: Any) -> Tensor:
            if not is_pair(v):
                return torch.as_tensor(v, dtype=number, device=test.device)
            return Pair(restored(v.test.detach()), restored(v.base)).mean

        mean_a, mean_b = middle(a), middle(b)
        jump = torch.where(apart, mean_a - mean_b, 0.0)
        of_a = condition.mean.to(number)
        of_b = 1 - of_a
        untaken = ~torch.isfinite(jump)
        if untaken.any():
            test, base, _ = ops.infinities.stood_in(test, base) or (test, base, None)
            change = torch.where(test == base, 0.0, test - base)
            jump = torch.where(untaken, torch.where(condition.test, change, -change), jump)
            of_a, of_b = (torch.where(untaken, 0.0, share) for share in (of_a, of_b))
        if not torch.isfinite(jump).all():
            raise UnsupportedOperation(
                "a mask that writes NaN differs between the input and the baseline",
                hint="Choose a baseline with the same mask.",
            )
    slopes = [
        jump if jump.is_complex() else jump.double(),
        *([of_a] if is_pair(a) else []),
        *([of_b] if is_pair(b) else []),
    ]
    tapes = [p.tape for p in pairs_in((condition, a, b))]

    def back(m: Tensor) -> tuple[Tensor, ...]:
        return tuple(onto(weighed(m, s.conj()), t) for s, t in zip(slopes, tapes, strict=True))

    if not is_whole(test.dtype):
        return Pair(attach([test], back, *tapes), base)
    return discrete(test, base, attach([test.to(number)], back, *tapes))


def masked_fill(ops, x: Any, mask: Any, value: Any) -> Pair | Tensor:
    """`where` with the value on the mask."""
    return where(ops, mask, value, x)


def index_put(ops, x: Any, indices: list, values: Any, accumulate: bool = False) -> Any:
    """``x[mask] = value`` is `where`; positions must be the same in both members."""
    mask = indices[0] if len(indices) == 1 else None
    if not is_pair(mask) or mask.test.dtype is not torch.bool or accumulate or shape_of(values).numel() != 1:
        return place(ops, aten.index_put.default, (x, indices, values, accumulate), {})
    added = shape_of(x)[mask.test.ndim :]
    mask = apply_linear(lambda m: m.reshape(*m.shape, *[1] * len(added)), mask)
    value = apply_or_call(lambda v: v.reshape(()), values)
    return where(ops, mask, value, x) if is_pair(mask) else ops(aten.where.self, mask, value, x)


def cast(ops, x: Pair, dtype: torch.dtype) -> Pair:
    """To another dtype: linear, except that floats are cut to whole numbers in steps."""
    if x.is_float and is_whole(dtype):
        if x.test.is_complex():
            raise UnsupportedOperation("complex numbers are cut to whole ones", hint="Take .real or .abs() first.")
        return _cut(x, dtype)
    if not x.is_float and not is_whole(dtype):
        return x.as_float(dtype)
    if x.test.is_complex() and not dtype.is_complex:
        x = apply_linear(torch.real, x)  # what PyTorch takes, with a warning
    return apply_linear(lambda v: v.to(dtype), x) if x.is_float else _recode(x, dtype)


def _cut(x: Pair, dtype: torch.dtype) -> Any:
    test, base = x.test.detach().to(dtype), x.base.to(dtype)
    if torch.equal(test, base):
        return test
    slope = torch.where(test == base, 0.0, (test.double() - base.double()) / x.difference.double())
    flow = attach([test.double()], lambda m: (m * slope).to(x.test.dtype), x.tape)
    return Pair(test, base, flow)


def _recode(x: Pair, dtype: torch.dtype) -> Any:
    if dtype is torch.bool:
        return _cut(Pair(x.tape, x.base.double()), dtype)
    flow = x.flow if x.flow is None or dtype is x.test.dtype else x.flow.clone()  # a copy like its values
    return Pair(x.test.to(dtype), x.base.to(dtype), flow)


# --- softmax ----------------------------------------------------------------------------------------------------------


def softmax(ops, x: Pair, dim: int, dtype: torch.dtype | None = None) -> Pair:
    """Softmax over ``dim``; the composed rules in closed form (see `rules.softmax`)."""
    x = cast(ops, x, dtype or x.test.dtype)
    x = apply_linear(lambda v: v.movedim(dim, -1), x)
    with torch.no_grad():
        rule = softmaxes.softmax_rule(x.test.detach(), x.base)
        test, base = torch.softmax(x.test.detach(), -1), torch.softmax(x.base, -1)
        if ops.infinities.met:
            test, base, rule = _where_all_are_masked(x, ops.infinities.restored, test, base, rule)
    y = Pair(attach([test], rule, x.tape), base)
    return apply_linear(lambda v: v.movedim(-1, dim), y)


def _where_all_are_masked(x: Pair, restored, test: Tensor, base: Tensor, rule) -> tuple[Tensor, Tensor, Any]:
    """Softmax of minus infinity alone is no number; the masks that move share in what a model puts in its place."""
    none_test, none_base = (torch.isneginf(restored(v)).all(-1, keepdim=True) for v in (x.test.detach(), x.base))
    test, base = test.masked_fill(none_test, torch.nan), base.masked_fill(none_base, torch.nan)
    apart, change = none_test != none_base, x.difference
    moved = x.test.detach() != x.base
    step = none_test.to(test.dtype) - none_base.to(test.dtype)

    def back(m: Tensor) -> Tensor:
        share = (m * step).sum(-1, keepdim=True) / moved.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(apart, torch.where(moved, share / change, 0.0), rule(m))

    return test, base, back


def logsumexp(ops, x: Pair, dim: Any, keepdim: bool = False) -> Pair:
    """``log Σ exp(x)`` over ``dim``."""
    axes = [d % x.test.ndim for d in ([dim] if isinstance(dim, int) else dim)]
    kept = [i for i in range(x.test.ndim) if i not in axes]
    flat = apply_linear(lambda v: v.permute(*kept, *axes).flatten(len(kept)), x)
    with torch.no_grad():
        slope = softmaxes.logsumexp_multipliers(flat.test.detach(), flat.base)
        test, base = torch.logsumexp(flat.test.detach(), -1), torch.logsumexp(flat.base, -1)
    y = Pair(attach([test], lambda m: m.unsqueeze(-1) * slope, flat.tape), base)
    shape = [1 if i in axes else n for i, n in enumerate(x.test.shape)]
    return apply_linear(lambda v: v.reshape(shape), y) if keepdim else y


def log_softmax(ops, x: Pair, dim: int, dtype: torch.dtype | None = None) -> Pair:
    """``x - logsumexp(x)``."""
    x = cast(ops, x, dtype or x.test.dtype)
    return ops(aten.sub.Tensor, x, logsumexp(ops, x, dim, keepdim=True))


# --- gating, interpolation ------------------------------------------------------------------------------------------


def glu(ops, x, dim=-1) -> Pair:
    """``a · σ(b)`` of the two halves (Dauphin et al. 2017)."""
    a, b = apply_linear(lambda v: v.chunk(2, dim), x)
    return ops(aten.mul.Tensor, a, ops(aten.sigmoid.default, b))


def lerp(ops, start, end, weight) -> Any:
    """``start + weight·(end - start)``."""
    return ops(aten.add.Tensor, start, ops(aten.mul.Tensor, ops(aten.sub.Tensor, end, start), weight))


def addcmul(ops, x, a, b, *, value=1) -> Any:
    """``x + value·a·b``."""
    return ops(aten.add.Tensor, x, ops(aten.mul.Tensor, a, b), alpha=value)


def addcdiv(ops, x, a, b, *, value=1) -> Any:
    """``x + value·a/b``."""
    return ops(aten.add.Tensor, x, ops(aten.div.Tensor, a, b), alpha=value)


def logaddexp(ops, a, b) -> Any:
    """``log(exp(a) + exp(b))``: the log-sum-exp of two."""
    shape = torch.broadcast_shapes(shape_of(a), shape_of(b))
    a, b = (apply_or_call(lambda v: v.expand(shape), v) for v in (a, b))
    return logsumexp(ops, ops(aten.stack.default, [a, b]), 0)


def logaddexp2(ops, a, b) -> Any:
    """`logaddexp` in base 2."""
    a, b = (ops(aten.mul.Tensor, v, math.log(2)) for v in (a, b))
    return ops(aten.mul.Tensor, logaddexp(ops, a, b), 1 / math.log(2))


def ldexp(ops, x, exponent) -> Any:
    """``x · 2^exponent``."""
    return ops(aten.mul.Tensor, x, ops(aten.exp2.default, exponent))


def clamp_tensor(ops, x, low=None, high=None) -> Any:
    """``min(max(x, low), high)`` with bounds that may be paired."""
    x = x if low is None else ops(aten.maximum.default, x, low)
    return x if high is None else ops(aten.minimum.default, x, high)


def prelu(ops, x, weight) -> Any:
    """``max(x, 0) + weight·min(x, 0)`` with a weight that is explained, one or one for each channel (axis 1)."""
    if shape_of(weight).numel() > 1 and len(shape_of(weight)) == 1:
        weight = by_channel(weight, max(len(shape_of(x)), 2))
    negative = ops(aten.mul.Tensor, weight, ops(aten.relu.default, ops(aten.neg.default, x)))
    return ops(aten.sub.Tensor, ops(aten.relu.default, x), negative)


def prelu_secant(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """`secants.leaky_relu` with a constant weight, one or one for each channel (axis 1)."""
    return secants.leaky_relu(a, b, by_channel(weight, max(a.ndim, 2)) if weight.numel() > 1 else weight)


def rrelu(ops, x, lower=1 / 8, upper=1 / 3, training=False, generator=None) -> Any:
    """Leaky ReLU with the mean slope in evaluation; random in training."""
    if training:
        raise UnsupportedOperation("rrelu in training mode draws random numbers")
    return ops(aten.leaky_relu.default, x, (lower + upper) / 2)


def dropout(ops, x, p, train) -> Any:
    """Nothing in evaluation; an error where it was left on."""
    if train and p > 0:
        raise UnsupportedOperation(
            "dropout is left on, so the model answers differently each time",
            hint="Call F.dropout with training=self.training, or use nn.Dropout.",
        )
    return x


# --- dtypes and einsum -----------------------------------------------------------------------------------------------


def to(ops, x, *args, **kwargs) -> Any:
    """A conversion, whatever form its arguments have; the device is already the right one."""
    if not is_pair(x):
        return x.to(*args, **kwargs)
    given = [*args, *kwargs.values()]
    dtypes = [v for v in given if isinstance(v, torch.dtype)] + [dtype_of(v) for v in given if is_pair(v)]
    dtypes += [v.dtype for v in given if isinstance(v, Tensor)]
    return cast(ops, x, dtypes[0]) if dtypes else x


def type_as(ops, x, other) -> Any:
    """To the dtype of another tensor."""
    return cast(ops, x, dtype_of(other)) if is_pair(x) else x.to(dtype_of(other))


def einsum(ops, equation: str, operands: list, *, path=None) -> Pair:
    """A product of its operands: linear in one, and Shapley values of as many players as are explained."""
    contract = lambda values: torch.einsum(equation, *values)  # noqa: E731
    degree = len(pairs_in(operands))
    return apply_linear(contract, operands) if degree == 1 else apply_multilinear(contract, operands, degree=degree)
