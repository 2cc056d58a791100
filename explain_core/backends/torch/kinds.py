"""The kinds of rule, each with named slots and no knowledge of any one operation.

A rule is called as ``rule(ops, op, args, kwargs)``: ``ops`` applies other operations to pairs (for rules that are
composed), ``op`` is the ATen overload, and at least one of its arguments is a `Pair`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from explain_core.backends.torch.arrays import weighed
from explain_core.backends.torch.formulas import maximum
from explain_core.backends.torch.pairs import (
    Pair,
    apply_linear,
    apply_multilinear,
    apply_rescale,
    attach,
    base_of,
    discrete,
    is_whole,
    pairs_in,
    pick,
    test_of,
    unbroadcast,
)
from explain_core.errors import UnsupportedOperation


class Rule(Protocol):
    """How multipliers go back through one operation."""

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any: ...


def _refuse(what: str, hint: str = "") -> UnsupportedOperation:
    return UnsupportedOperation(what, hint=hint)


@dataclass(frozen=True)
class Linear:
    """Linear in all its paired arguments together; the rule is the ordinary vector-Jacobian product.

    ``constant``: positions of arguments that must not be paired (indices, sizes, statistics).
    """

    constant: tuple[int, ...] = ()

    def check(self, args: tuple) -> None:
        """Stop where an argument that must be the same in both members is not."""
        differing = pairs_in([args[i] for i in self.constant if i < len(args)])
        if any(pair.is_float for pair in differing):
            raise _refuse(
                "a matrix differs between the input and the baseline",
                "Choose a baseline for which it is the same.",
            )
        if differing:
            raise _refuse(
                "an index or mask differs between the input and the baseline, so other elements are taken",
                "It is computed from the input, as by topk, argmax or a comparison, and no rule says what the choice "
                "itself contributes. Choose a baseline for which it is the same.",
            )

    def __call__(self, ops, op, args, kwargs):
        self.check(args)
        are_floats = [pair.is_float for pair in pairs_in((args, kwargs))]
        if any(are_floats) and not all(are_floats):
            dtype = op(*test_of(args), **test_of(kwargs)).dtype
            args, kwargs = pick((args, kwargs), lambda pair: pair.as_float(dtype))
        return apply_linear(lambda a, k: op(*a, **k), args, kwargs)


@dataclass(frozen=True)
class Bilinear:
    """A product, linear in each of its factors.

    With two factors paired, ``Δ(a·b) = Δa·mean(b) + mean(a)·Δb``, the two-player Shapley values (Lundberg & Lee
    2017; Chen et al. 2022); with more, the Shapley values of as many players (`pairs.apply_multilinear`). Terms that
    are only added (a bias) are linear. ``factors`` are the argument positions.
    """

    factors: tuple[int, ...] = (0, 1)

    def __call__(self, ops, op, args, kwargs):
        degree = sum(bool(pairs_in(args[i])) for i in self.factors if i < len(args))
        if degree < 2:
            return Linear()(ops, op, args, kwargs)
        return apply_multilinear(lambda a, k: op(*a, **k), args, kwargs, degree=degree)


@dataclass(frozen=True)
class Rescale:
    """An elementwise function of one pair: ``m_a = m_y · Δy/Δa`` (Shrikumar et al. 2017).

    ``secant(a, b, *rest)`` gets the remaining arguments of the operation; ``argument`` says which one is paired.
    Where a remaining argument is paired too, ``explained(ops, *args)`` writes the function as other operations.
    """

    secant: Callable[..., Tensor]
    argument: int = 0
    explained: Callable[..., Any] | None = None

    def __call__(self, ops, op, args, kwargs):
        pair = args[self.argument]
        rest = args[: self.argument] + args[self.argument + 1 :]
        if not isinstance(pair, Pair) or pairs_in((rest, kwargs)):
            if self.explained is not None:
                return self.explained(ops, *args, **kwargs)
            raise _refuse("a parameter of this function differs between the input and the baseline")

        def value(x: Tensor) -> Tensor:
            return op(*args[: self.argument], x, *args[self.argument + 1 :], **kwargs)

        if pair.is_float:
            return apply_rescale(value, lambda a, b: self.secant(a, b, *rest, **kwargs), pair, ops.infinities)
        test, base = value(pair.test), value(pair.base)
        if not is_whole(test.dtype):
            as_float = pair.as_float(test.dtype)
            return apply_rescale(value, lambda a, b: self.secant(a, b, *rest, **kwargs), as_float, ops.infinities)
        moved = test.double() - base.double()
        slope = torch.where(moved == 0, 0.0, moved / pair.difference)
        return discrete(test, base, attach([test.double()], lambda m: m * slope, pair.tape))


@dataclass(frozen=True)
class TwoPlayers:
    """Any elementwise function of two arguments, by two-player Shapley values.

    ``m_a·Δa = ½[f(a,b) - f(a',b) + f(a,b') - f(a',b')]``, and the same for b. ``first(b, a, a')`` and
    ``second(a, b, b')`` are the secants in one argument with the other held. Beside a zero that only changes its sign,
    which is no difference that a multiplier could meet, the other argument has the whole change.
    """

    first: Callable[[Tensor, Tensor, Tensor], Tensor]
    second: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __call__(self, ops, op, args, kwargs):
        with torch.no_grad():
            test, base = op(*test_of(args), **kwargs), op(*base_of(args), **kwargs)
            dtype = test.dtype
            a, a_base, b, b_base = (
                torch.as_tensor(v, dtype=dtype, device=test.device).expand(test.shape)
                for operand in args[:2]
                for v in (test_of(operand), base_of(operand))
            )
            far: Any = None
            far_a: Any = None
            far_b: Any = None
            found = None
            if not ops.infinities.absent(test, base):
                found = ops.infinities.two_players(_of_two(op, args, kwargs), (a, a_base), (b, b_base))
            if found is not None:
                test, base, far_a, far_b, far = found
            slopes, tapes = [], []
            if isinstance(args[0], Pair):
                slope = (self.first(b, a, a_base) + self.first(b_base, a, a_base)) / 2
                slope = torch.where(_turned(b, b_base) & (a != a_base), (test - base) / (a - a_base), slope)
                slopes.append(slope if far is None else torch.where(far, far_a, slope))
                tapes.append(args[0].tape)
            if isinstance(args[1], Pair):
                slope = (self.second(a, b, b_base) + self.second(a_base, b, b_base)) / 2
                slope = torch.where(_turned(a, a_base) & (b != b_base), (test - base) / (b - b_base), slope)
                slopes.append(slope if far is None else torch.where(far, far_b, slope))
                tapes.append(args[1].tape)
        shapes = [tape.shape for tape in tapes]
        back = lambda m: tuple(unbroadcast(weighed(m, s), shape) for s, shape in zip(slopes, shapes, strict=True))  # noqa: E731
        return Pair(attach([test], back, *tapes), base)


def _of_two(op: Callable, args: tuple, kwargs: dict) -> Callable[[Tensor, Tensor], Tensor]:
    """An operation as a function of two tensors; an argument that is a plain number stays one."""

    def value(a: Tensor, b: Tensor) -> Tensor:
        given = [v if isinstance(v, (int, float)) else x for v, x in zip(args[:2], (a, b), strict=True)]
        return op(*given, *args[2:], **kwargs)

    return value


def _turned(a: Tensor, b: Tensor) -> Tensor:
    """Where one is 0 and the other -0."""
    return (a == b) & (torch.signbit(a) != torch.signbit(b))


@dataclass(frozen=True)
class Comparison:
    """An elementwise function with whole-number or truth values (``>``, ``==``, ``and``, rounding).

    It steps, so the plain quotient is exact; two arguments share by two-player Shapley values. A truth that stays moves
    nothing, whatever the two do in between: alone in its batch it would be a constant.
    """

    def __call__(self, ops, op, args, kwargs):
        with torch.no_grad():
            members = [pick(args, lambda p, of=of: ops.infinities.restored(of(p))) for of in (test_of, base_of)]
            test, base = (op(*member, **kwargs) for member in members)
            if torch.equal(test, base) and not test.is_floating_point():
                return test
            where = [i for i, value in enumerate(args) if isinstance(value, Pair)]
            number = test.dtype if test.is_floating_point() else torch.float64
            slopes, tapes = [], []
            for i in where:
                steps = []
                for others in members:
                    up = op(*others[:i], members[0][i], *others[i + 1 :], **kwargs).to(number)
                    down = op(*others[:i], members[1][i], *others[i + 1 :], **kwargs).to(number)
                    steps.append(up - down)
                moved = (steps[0] + steps[1]) / 2
                moved = moved if test.is_floating_point() else torch.where(test == base, 0.0, moved)
                slopes.append(torch.where(moved == 0, 0.0, moved / args[i].difference.to(number)))
                tapes.append(args[i].tape)

        def back(m: Tensor) -> tuple[Tensor, ...]:
            parts = zip(slopes, tapes, strict=True)
            return tuple(unbroadcast(m * slope, tape.shape).to(tape.dtype) for slope, tape in parts)

        if len(where) > 2:
            raise _refuse("three or more arguments differ between the input and the baseline")
        flow = attach([test.to(number)], back, *tapes)
        return Pair(flow, base) if test.is_floating_point() else discrete(test, base, flow)


@dataclass(frozen=True)
class Maximum:
    """The largest element over axes, by exact Shapley values of the max game (see `rules.maximum`).

    ``sign`` is -1 for the smallest. ``indices`` says that the operation also returns where it is.
    """

    sign: int = 1
    indices: bool = False

    def __call__(self, ops, op, args, kwargs):
        pair, dims, keepdim = (
            args[0],
            args[1] if len(args) > 1 else None,
            bool(args[2]) if len(args) > 2 else False,
        )
        dims = kwargs.get("dim", dims)
        keepdim = kwargs.get("keepdim", keepdim)
        axes = sorted({d % pair.test.ndim for d in ([dims] if isinstance(dims, int) else dims or ())})
        axes = axes or list(range(pair.test.ndim))
        last = apply_linear(lambda x: _axes_last(x, axes), pair)
        value = lambda x: x.amax(-1) if self.sign > 0 else x.amin(-1)  # noqa: E731
        with torch.no_grad():
            a, b = last.test.detach(), last.base
            slope = maximum.max_multipliers(self.sign * a, self.sign * b)
            test, base = value(a), value(b)
        best = Pair(attach([test], lambda m: m.unsqueeze(-1) * slope, last.tape), base)
        if keepdim:
            shape = [1 if i in axes else n for i, n in enumerate(pair.test.shape)]
            best = apply_linear(lambda x: x.reshape(shape), best)
        if not self.indices:
            return best
        with torch.no_grad():
            where = op(*test_of(args), **kwargs)[1], op(*base_of(args), **kwargs)[1]
        return best, discrete(*where, None)


def _axes_last(x: Tensor, axes: list[int]) -> Tensor:
    kept = [i for i in range(x.ndim) if i not in axes]
    return x.permute(*kept, *axes).flatten(len(kept))


@dataclass(frozen=True)
class Lookup:
    """A table indexed by whole numbers: the point where token ids turn into floats.

    The id gets ``Σ_k m_k·Δy_k`` over the axes that the table adds, as a multiplier of its flow, so that what
    arrives at an id is its whole contribution. ``ids`` is the argument position of the ids.
    """

    ids: int

    def __call__(self, ops, op, args, kwargs):
        ids, *others = pairs_in((args, kwargs))
        if not pairs_in([args[self.ids]]):
            return Linear()(ops, op, args, kwargs)
        if others:
            raise _refuse("the table and the ids that are looked up in it both differ between input and baseline")
        with torch.no_grad():
            test, base = op(*test_of(args), **kwargs), op(*base_of(args), **kwargs)
            added = tuple(range(ids.test.ndim, test.ndim))
            number = torch.float64 if is_whole(test.dtype) else test.dtype
            change, moved = test.to(number) - base.to(number), ids.difference
        keep = ops.recorder.lookup()

        def back(m: Tensor) -> Tensor:
            by_entry = m * change if not m.is_complex() else (m.conj() * change).real
            keep(by_entry)
            return torch.where(moved == 0, 0.0, by_entry.sum(added, dtype=torch.float64) / moved)

        flow = attach([test.to(number)], back, ids.tape)
        return discrete(test, base, flow) if is_whole(test.dtype) else Pair(flow, base)


@dataclass(frozen=True)
class Pick:
    """Elements chosen by their positions: ``linear``, unless token ids choose rows of a constant table."""

    linear: Linear
    lookup: Lookup

    def __call__(self, ops, op, args, kwargs):
        (at,) = self.linear.constant
        rows = args[at] if at == 1 else [args[at]] if args[1] == 0 else []
        by_ids = len(rows) == 1 and isinstance(rows[0], Pair) and rows[0].test.dtype is not torch.bool
        return (self.lookup if by_ids and not isinstance(args[0], Pair) else self.linear)(ops, op, args, kwargs)


@dataclass(frozen=True)
class Composed:
    """Written as other operations on pairs: ``compose(ops, *args, **kwargs)``."""

    compose: Callable[..., Any]

    def __call__(self, ops, op, args, kwargs):
        return self.compose(ops, *args, **kwargs)


@dataclass(frozen=True)
class Product(Composed):
    """A product, quotient or choice of two explained values: `Composed` that only some methods have a rule for."""


@dataclass(frozen=True)
class Given(Composed):
    """What is written in place is what was given: the same for every method."""


@dataclass(frozen=True)
class Recurrent(Composed):
    """A recurrent layer or cell, which asks ``ops.method`` for the factors inside it."""


@dataclass(frozen=True)
class Same:
    """Does not depend on values (shapes, dtypes, new tensors of the same size): taken from the test member."""

    def __call__(self, ops, op, args, kwargs):
        return op(*test_of(args), **test_of(kwargs))


@dataclass(frozen=True)
class Position:
    """A position in a tensor: nothing to attribute, and an error for whatever uses it where it differs."""

    def __call__(self, ops, op, args, kwargs):
        with torch.no_grad():
            return discrete(op(*test_of(args), **kwargs), op(*base_of(args), **kwargs), None)


@dataclass(frozen=True)
class Refused:
    """Known, and known to have no exact rule."""

    why: str

    def __call__(self, ops, op, args, kwargs):
        raise _refuse(self.why)
