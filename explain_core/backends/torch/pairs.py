"""The pair that every explained tensor is: its test and its baseline value.

The test half of a float carries PyTorch's autograd tape, on which every nonlinear operation is an `attach`ed rule;
what the tape calls a gradient is then DeepLIFT's multiplier. Whole numbers and truth values cannot be on a tape, so
next to their two values they have a float64 *flow* that is: the same number, through which multipliers run back to
token ids and through comparisons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.fx.immutable_collections import immutable_dict, immutable_list
from torch.utils import _pytree as pytree

from explain_core.backends.provenance import NEUTRAL, OTHER, carried
from explain_core.backends.torch.arrays import weighed
from explain_core.backends.torch.infinities import Infinities
from explain_core.errors import UnsupportedOperation
from explain_core.rules.reductions import points_on_the_line


@dataclass(eq=False)
class Pair:
    """One tensor of the model in both runs.

    Attributes:
        test: the value on the explained input. Floats: on the tape.
        base: the value on the baseline, of the same shape and dtype; never on a tape.
        flow: for whole numbers and truth values: ``test`` as float64 on the tape, or None where no rule leads there.
        scale: whether it is a statistic that may be divided by, or the inverse of one; see `provenance`.
    """

    test: Tensor
    base: Tensor
    flow: Tensor | None = None
    scale: str = OTHER

    @property
    def kind(self) -> str:
        """`scale`, for truths and whole numbers as well."""
        is_neutral = self.test.dtype is torch.bool or (self.scale == OTHER and not self.is_float)
        return NEUTRAL if is_neutral else self.scale

    @property
    def is_float(self) -> bool:
        """Whether the values themselves are on the tape: real or complex, but not whole numbers."""
        return self.test.is_floating_point() or self.test.is_complex()

    @property
    def tape(self) -> Tensor:
        """What multipliers flow through.

        Raises:
            UnsupportedOperation: for positions and other discrete values that no rule attributes.
        """
        if self.is_float:
            return self.test
        if self.flow is None:
            raise UnsupportedOperation(
                "a whole-number or truth value that differs between the input and the baseline decides what is "
                "computed here, and no rule says how to attribute that",
                hint="Choose a baseline for which it is the same, for example one of the same lengths.",
            )
        return self.flow

    @property
    def difference(self) -> Tensor:
        """``test - base`` as a float, off the tape.

        A value that is missing (NaN) in one member only is one step away from any number: all that a model may do with
        it is to see that it is missing, and replace it.
        """
        if not self.is_float:
            return self.test.double() - self.base.double()
        test, base = self.test.detach(), self.base
        apart = test - base
        if apart.is_complex() or not torch.isnan(apart).any():
            return apart
        missing = torch.isnan(test).to(apart.dtype) - torch.isnan(base).to(apart.dtype)
        return torch.where(torch.isnan(test) | torch.isnan(base), missing, apart)

    @property
    def mean(self) -> Tensor:
        """The mean over the pair as a float, off the tape; halves first, so that it cannot overflow."""
        if self.is_float:
            return self.test.detach() / 2 + self.base / 2
        return (self.test.double() + self.base.double()) / 2

    def as_float(self, dtype: torch.dtype) -> Pair:
        """The pair as floats of ``dtype``; the tape goes through the conversion."""
        return Pair(self.tape.to(dtype), self.base.to(dtype), scale=self.kind)


def is_pair(value: Any) -> TypeGuard[Pair]:
    return isinstance(value, Pair)


def pick(values: Any, choose: Callable[[Pair], Any]) -> Any:
    """``values`` with each `Pair` in it replaced by ``choose(pair)``."""
    return each(values, lambda v: choose(v) if isinstance(v, Pair) else v)


def pairs_in(values: Any) -> list[Pair]:
    """The pairs in nested arguments, in order."""
    return [value for value in leaves_of(values) if isinstance(value, Pair)]


def leaves_of(values: Any) -> list[Any]:
    """All that is in nested arguments, in order: what `each` changes."""
    found: list[Any] = []
    _gather(values, found)
    return found


def _gather(values: Any, found: list[Any]) -> None:
    kind = type(values)
    if kind in _LEAVES:
        found.append(values)
    elif kind is tuple or kind in _LISTS:
        for value in values:
            _gather(value, found)
    elif kind in _DICTS:
        for value in values.values():
            _gather(value, found)
    else:
        found.extend(pytree.tree_leaves(values, is_leaf=is_pair))


def each(values: Any, change: Callable[[Any], Any]) -> Any:
    """``values`` with what is in their tuples, lists and dicts changed.

    PyTorch's own trees know more kinds of containers, and take longer than most operations on small tensors.
    """
    kind = type(values)
    if kind is tuple:
        return tuple([each(value, change) for value in values])
    if kind in _LISTS:
        return kind([each(value, change) for value in values])
    if kind in _DICTS:
        return kind({name: each(value, change) for name, value in values.items()})
    if kind in _LEAVES:
        return change(values)
    return pytree.tree_map(change, values, is_leaf=is_pair)


_LISTS, _DICTS = (list, immutable_list), (dict, immutable_dict)
_LEAVES = frozenset(
    (Pair, Tensor, nn.Parameter, type(None), bool, int, float, str, torch.dtype, torch.device, torch.layout)
)


def test_of(values: Any) -> Any:
    """The test members of all pairs, off the tape."""
    return pick(values, lambda pair: pair.test.detach())


def base_of(values: Any) -> Any:
    """The baseline members of all pairs."""
    return pick(values, lambda pair: pair.base)


def shape_of(value: Any) -> torch.Size:
    """The shape of a pair or tensor."""
    return value.test.shape if is_pair(value) else value.shape


def dtype_of(value: Any) -> torch.dtype:
    """The dtype of a pair or tensor."""
    return value.test.dtype if is_pair(value) else value.dtype


Multipliers = Callable[..., "Tensor | tuple[Tensor, ...]"]


class _Rule(torch.autograd.Function):
    """A node of the tape whose value is already known and whose backward is a rule."""

    @staticmethod
    def forward(ctx, values: list[Tensor], multipliers: Multipliers, *inputs: Tensor):
        ctx.multipliers = multipliers
        ctx.set_materialize_grads(False)
        return values[0] if len(values) == 1 else tuple(values)

    @staticmethod
    def backward(ctx, *outgoing: Tensor | None):
        if all(m is None for m in outgoing):
            return (None,) * len(ctx.needs_input_grad)
        incoming = ctx.multipliers(*outgoing)
        return None, None, *((incoming,) if isinstance(incoming, Tensor) else incoming)


def attach(values: list[Tensor], multipliers: Multipliers, *inputs: Tensor) -> Any:
    """Put values on the tape behind a rule.

    Args:
        values: what the operation gave for the test member.
        multipliers: takes the multiplier of each value, gives that of each of ``inputs``. Of several values some may
            have None, on which nothing depends.
        inputs: the tapes of the operation's paired arguments.

    Returns:
        The value on the tape, or a tuple of them where there are several.
    """
    return _Rule.apply(values, multipliers, *inputs)


def unbroadcast(multiplier: Tensor, shape: torch.Size) -> Tensor:
    """Sum a multiplier over the axes along which an argument of ``shape`` was repeated."""
    return multiplier if multiplier.shape == shape else multiplier.sum_to_size(shape)


def onto(multiplier: Tensor, tape: Tensor) -> Tensor:
    """A multiplier in the shape and dtype of what it belongs to; a real number has the real part of a complex one's."""
    multiplier = unbroadcast(multiplier, tape.shape)
    if multiplier.is_complex() and not tape.is_complex():
        multiplier = multiplier.real
    return multiplier.to(tape.dtype)


def is_whole(dtype: torch.dtype) -> bool:
    """Whether a dtype is of whole numbers or truth values."""
    return not dtype.is_floating_point and not dtype.is_complex


def discrete(test: Tensor, base: Tensor, flow: Tensor | None, scale: str = OTHER) -> Pair | Tensor:
    """A pair of whole numbers or truth values; simply the value where both members agree everywhere."""
    if flow is None or test is not base:
        return test if torch.equal(test, base) else Pair(test, base, flow, scale)
    return Pair(test, test, flow, scale)  # of a single run, which has no difference to go by


def apply_linear(function: Callable[..., Tensor], *args: Any) -> Any:
    """Apply a function that is linear in its pairs: plain autograd is the rule.

    ``function`` may return a tensor or a sequence of tensors, and pairs may be nested in lists. What it gives is a
    statistic if they are.
    """
    paired = pairs_in(args)
    scale = carried(p.kind for p in paired)
    test = function(*pick(args, lambda p: p.test))
    with torch.no_grad():
        base = function(*base_of(args))
    if all(p.base is p.test for p in paired):
        base = test
    if all(p.is_float for p in paired):
        return _zip(lambda t, b: Pair(t, b, scale=scale), test, base)
    flow = function(*pick(args, lambda p: p.tape.double())) if all(_has_tape(p) for p in paired) else None
    if flow is None:
        return _zip(lambda t, b: discrete(t, b, None, scale), test, base)
    return _zip(
        lambda t, b, f: discrete(t, b, f, scale) if is_whole(t.dtype) else Pair(f.to(t.dtype), b, scale=scale),
        test,
        base,
        flow,
    )


def apply_or_call(function: Callable[..., Any], value: Any) -> Any:
    """A linear function of a pair, or of a constant."""
    return apply_linear(function, value) if is_pair(value) else function(value)


def _has_tape(pair: Pair) -> bool:
    return pair.is_float or pair.flow is not None


def _zip(make: Callable[..., Any], *results: Any) -> Any:
    """Combine results that are tensors, or sequences of tensors, member by member."""
    if isinstance(results[0], Tensor):
        return make(*results)
    return tuple(make(*members) for members in zip(*results, strict=True))


def apply_multilinear(function: Callable[..., Tensor], *args: Any, degree: int = 2) -> Pair:
    """Apply a function that is linear in each of its pairs, by their Shapley values.

    They are the mean of its derivative along the straight line between the members, taken at the points of
    `rules.reductions`; for a product of two that is one point, ``Δ(a·b) = Δa·mean(b) + mean(a)·Δb``.

    Args:
        function: of the arguments with tensors in place of pairs.
        degree: how many paired factors are multiplied with one another at most.
    """
    with torch.no_grad():
        test, base = function(*test_of(args)), function(*base_of(args))
    paired = pairs_in(args)
    line = points_on_the_line(degree)
    dtypes = [p.test.dtype if p.is_float else test.dtype for p in paired]

    def at(share: float) -> tuple[Tensor, list[Tensor]]:
        """The function and its pairs at one point of the line, on a tape of their own."""
        points = [
            (p.test.detach().to(dtype) * share + p.base.to(dtype) * (1 - share)).requires_grad_()
            for p, dtype in zip(paired, dtypes, strict=True)
        ]
        rest = iter(points)
        with torch.enable_grad():
            return function(*pick(args, lambda pair: next(rest))), points

    kept = [at(share) for share, _ in line] if len(line) <= 2 else None

    def back(m: Tensor) -> tuple[Tensor, ...]:
        totals: list[Any] = [0] * len(paired)
        for i, (share, weight) in enumerate(line):
            value, points = at(share) if kept is None else kept[i]
            found = torch.autograd.grad(value, points, m * weight, retain_graph=kept is not None)
            totals = [total + one for total, one in zip(totals, found, strict=True)]
        return tuple(totals)

    return Pair(attach([test], back, *(p.tape for p in paired)), base)


@torch.no_grad()
def apply_rescale(
    value: Callable[[Tensor], Tensor], secant: Callable[..., Tensor], pair: Pair, infinities: Infinities
) -> Pair:
    """Apply an elementwise function by the Rescale rule, ``m_a = m_y · Δy/Δa`` (Shrikumar et al. 2017)."""
    a, b = pair.test.detach(), pair.base
    test, base, slope, _ = infinities.rescaled(value, a, b, secant(a, b))
    with torch.enable_grad():
        return Pair(attach([test], lambda m: weighed(m, slope.conj()), pair.tape), base)
