"""Layer-wise relevance propagation on PyTorch's operations; `explain_core.rules.relevance` has the rules.

It runs on pairs of which both members are the same, so that nothing differs that a model decides or masks by, and its
multipliers are multiplied by the values themselves. What there is no rule for is taken by its slope.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from explain_core.backends.loop_book import Place
from explain_core.backends.provenance import GATE, INVERSE
from explain_core.backends.torch import arrays
from explain_core.backends.torch.arrays import weighed
from explain_core.backends.torch.kinds import (
    Bilinear,
    Comparison,
    Linear,
    Lookup,
    Pick,
    Rescale,
    Rule,
    Same,
    TwoPlayers,
)
from explain_core.backends.torch.ledger import Ledger
from explain_core.backends.torch.methods import Derivative, Method
from explain_core.backends.torch.pairs import Pair, attach, pairs_in, pick, test_of
from explain_core.backends.torch.rules import find_rule
from explain_core.errors import UnsupportedOperation
from explain_core.rules.recurrence import Pass, Recurrence
from explain_core.rules.relevance import BIASES, SLOPES, STABILIZER, Relevance, is_constant_signal

_SUMS = frozenset((
    "add", "sub", "subtract", "rsub", "sum", "mean", "nansum", "cumsum", "trace", "sum_to_size", "diff", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "index_add", "scatter_add",
))  # fmt: skip
"""Linear operations that add; all others only move, scale or turn values, which no ε has to hold."""

_GATES = frozenset(("sigmoid", "special_expit", "hardsigmoid", "softmax", "_softmax"))
"""What gives a share between 0 and 1."""

_BY_SLOPE = frozenset((
    "softmax", "_softmax", "log_softmax", "_log_softmax", "logsumexp", "logcumsumexp", "cummax", "cummin", "cdist",
    "pdist", "_cdist_forward", "_pdist_forward", "dist", "hypot", "linalg_vector_norm", "prod", "cumprod", "sort",
    "topk", "kthvalue", "median", "quantile", "max_pool1d_with_indices", "max_pool2d_with_indices",
    "max_pool3d_with_indices", "amax", "amin", "max", "min", "scatter_reduce", "index_reduce",
))  # fmt: skip
"""What is taken by its slope, which for those that choose a value is that the chosen has all."""


@dataclass(frozen=True)
class RelevanceMethod(Relevance, Method):
    """The rules of relevance propagation, and those of operations."""

    def rule(self, op: torch._ops.OpOverload, where: str) -> Rule | None:
        """See `Method`."""
        own, name = find_rule(op), _name(op)
        if name in _BY_SLOPE or isinstance(own, TwoPlayers):
            return BySlope()
        if name in _OF_PRODUCTS:
            return _OF_PRODUCTS[name]
        match own:
            case Lookup():
                return LookedUp(own.ids)
            case Pick():
                return Pick(own.linear, LookedUp(own.lookup.ids))
            case Bilinear():
                return Factors(own.factors)
            case Rescale():
                return Passed(own)
            case Comparison():
                return Steps(own)
            case Linear() if name in _SUMS:
                return Sum(own)
        return own

    @staticmethod
    def counted(pair: Pair) -> Tensor:
        """What the multiplier of a pair is multiplied by; what comes back to token ids is their relevance already."""
        return pair.test.detach() if pair.is_float else torch.ones_like(pair.test, dtype=torch.float64)

    @staticmethod
    def of_input(pair: Pair) -> Pair:
        """See `Method`: token ids stay a pair, though their members are the same, for both are one tensor."""
        return pair if pair.is_float else Pair(pair.test, pair.test, pair.flow)

    @staticmethod
    def mark(op: torch._ops.OpOverload, result: Any) -> None:
        """Note on the pairs of a result that they are gates."""
        if _name(op) in _GATES:
            for pair in pairs_in(result):
                pair.scale = GATE


def _name(op: torch._ops.OpOverload) -> str:
    return op._schema.name.removeprefix("aten::")


def _is_gate(pair: Pair) -> bool:
    """Whether a factor says how much of another is let through: a share, or one over a statistic."""
    return pair.kind in (GATE, INVERSE)


def _is_gate_of_constant(factors: tuple) -> bool:
    """Whether a gate lets a constant signal through, so that nothing goes on."""
    gates = [value for value in factors if isinstance(value, Pair) and _is_gate(value)]
    constants = [value for value in factors if isinstance(value, Tensor) and value.is_floating_point()]
    return len(gates) == len(constants) == 1 and is_constant_signal(arrays, gates[0].test, constants[0])


# --- rules -----------------------------------------------------------------------------------------------------------


def _through(
    ops: Any, op: Any, args: tuple, kwargs: dict, signals: list[Pair], *, adds: bool, factors: int = 1
) -> Pair:
    """An operation that is linear in each of its signals, which get their shares of what it adds up.

    Args:
        signals: those of its pairs that get relevance.
        adds: whether it sums, so that ε has to hold it.
        factors: how many of them, the first, are multiplied with one another and share what that gives.
    """
    if any(not pair.is_float for pair in signals):
        raise UnsupportedOperation("token ids are used as numbers here, which have no relevance of their own")
    ledger = ops.recorder.ledger
    points = {id(pair): ledger.kept(pair.test.detach()) for pair in pairs_in((args, kwargs))}
    for pair in signals:
        points[id(pair)].requires_grad_()
    with torch.enable_grad():
        given, named = pick((args, kwargs), lambda pair: points[id(pair)])
        value = op(*given, **named)
    y = value.detach()
    whole = ops.method.share(arrays, y, y) if adds else None
    lost = None if whole is None else y * (1 - whole)  # now, for the model may write over y
    take = ledger.taking(STABILIZER)

    def back(m: Tensor) -> tuple[Tensor, ...]:
        held = m if whole is None else weighed(m, whole)
        if lost is not None:
            take(weighed(m, lost))
        found = torch.autograd.grad(value, [points[id(pair)] for pair in signals], held, retain_graph=True)
        return found if factors == 1 else (*(m / factors for m in found[:factors]), *found[factors:])

    return Pair(attach([y], back, *(pair.tape for pair in signals)), y)


@dataclass(frozen=True)
class Sum:
    """The ε rule of what is linear in all its pairs together."""

    own: Linear

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        self.own.check(args)
        signals = pairs_in((args, kwargs))
        if not any(pair.is_float for pair in signals):
            return self.own(ops, op, args, kwargs)
        return _through(ops, op, args, kwargs, signals, adds=True)


@dataclass(frozen=True)
class Factors:
    """Products: of a gate and a signal the signal has all; of two of one kind each has half.

    ``places`` are the positions of the factors; what stands elsewhere is added.
    """

    places: tuple[int, ...] = (0, 1)
    adds: bool = True

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        factors = pairs_in([args[place] for place in self.places if place < len(args)])
        if len(factors) < 2:
            if not self.adds and _is_gate_of_constant(args):
                with torch.no_grad():
                    return op(*test_of(args), **test_of(kwargs))
            return _through(ops, op, args, kwargs, pairs_in((args, kwargs)), adds=self.adds)
        signals = [pair for pair in factors if not _is_gate(pair)] or factors
        added = [pair for pair in pairs_in((args, kwargs)) if not any(pair is factor for factor in factors)]
        return _through(ops, op, args, kwargs, [*signals, *added], adds=self.adds, factors=len(signals))


def _divide(ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
    """``a / b``: the numerator has all; where it is a constant, the divisor."""
    if kwargs.get("rounding_mode") is not None:
        return Steps(Comparison())(ops, op, args, kwargs)
    if not isinstance(args[0], Pair):
        return Passed(Rescale(lambda a, b: args[0] * -1 / (a * b), argument=1))(ops, op, args, kwargs)
    return _through(ops, op, args, kwargs, [args[0]], adds=False)


def _einsum(ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
    """A product of its operands that sums."""
    factors = pairs_in(args[1])
    signals = [pair for pair in factors if not _is_gate(pair)] or factors
    return _through(ops, op, args, kwargs, signals, adds=True, factors=len(signals))


_OF_PRODUCTS: dict[str, Rule] = {
    **dict.fromkeys(("mul", "multiply"), Factors(adds=False)),
    **dict.fromkeys(("div", "divide", "true_divide"), _divide),
    "einsum": _einsum,
}


@dataclass(frozen=True)
class Passed:
    """A function of one value hands its relevance on."""

    own: Rescale

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        at = self.own.argument
        pair, rest = args[at], (*args[:at], *args[at + 1 :])
        if not isinstance(pair, Pair) or pairs_in((rest, kwargs)):
            return self.own(ops, op, args, kwargs)
        if not pair.is_float:
            raise UnsupportedOperation("token ids are used as numbers here, which have no relevance of their own")
        of = lambda x: op(*args[:at], x, *args[at + 1 :], **kwargs)  # noqa: E731
        with torch.no_grad():
            a = pair.test.detach()
            y, at_zero = of(a), of(torch.zeros_like(a))
            secant = lambda xp, value, zero: self.own.secant(value, zero, *rest, **kwargs)  # noqa: E731
            passed = ops.method.through(arrays, secant, at_zero, a)
            slope = torch.where(torch.isfinite(at_zero), passed, ops.method.share(arrays, y, a))
        return Pair(attach([y], lambda m: weighed(m, slope), pair.tape), y)


@dataclass(frozen=True)
class BySlope:
    """By PyTorch's own derivative, which is no share of the value."""

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        return Derivative(ops.method.point)(ops, op, args, kwargs)


@dataclass(frozen=True)
class Steps:
    """What steps, and so does not depend on how large its argument is: a constant where its values are truths."""

    own: Comparison

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        with torch.no_grad():
            test = op(*test_of(args), **test_of(kwargs))
        return test if not test.is_floating_point() else BySlope()(ops, op, args, kwargs)


@dataclass(frozen=True)
class LookedUp(Lookup):
    """A token id has the relevance of its row of the table."""

    def __call__(self, ops: Any, op: Any, args: tuple, kwargs: dict) -> Any:
        ids, *others = pairs_in((args, kwargs))
        if not pairs_in([args[self.ids]]):
            return _through(ops, op, args, kwargs, [ids, *others], adds=False)
        if others:
            raise UnsupportedOperation("the table and the ids that are looked up in it are both explained")
        with torch.no_grad():
            y = op(*test_of(args), **test_of(kwargs))
        added = tuple(range(ids.test.ndim, y.ndim))
        keep, entries = ops.recorder.lookup(), ops.recorder.ledger.kept(y)

        def back(m: Tensor) -> Tensor:
            by_entry = weighed(m, entries)
            keep(by_entry)
            return by_entry.sum(added, dtype=torch.float64)

        number = y.double() if not y.is_floating_point() else y
        flow = attach([number], back, ids.tape)
        return Pair(flow, y) if y.is_floating_point() else Pair(y, y, flow)


# --- the book --------------------------------------------------------------------------------------------------------

_ABSORBS: dict[type, str] = {BySlope: SLOPES, Steps: SLOPES, Passed: STABILIZER}
"""What of a rule's kind is absorbed goes here, but for what it books itself; of others it is biases and constants."""


@dataclass(frozen=True)
class LayerBook:
    """Stands in for the `recorder.LayerRecord` of a recurrent layer: books what ε takes inside it."""

    take: Callable[[Tensor], None]

    def given(self, x: Pair, states: Iterable[Pair]) -> None:
        """Nothing is noted of what a layer is given."""

    def forward(self, run: Recurrence) -> None:
        """Nothing is lost on the way forward."""

    def backward(self, run: Recurrence, found: Pass) -> None:
        """Book what one pass lost."""
        self.take(run.stabilized(found))


class Absorbed(Ledger):
    """The relevance that modules absorbed: what came to an operation's results, less what went on to its arguments.

    Attributes:
        nodes: by (module path, `BIASES`, `STABILIZER` or `SLOPES`): the relevance by output. Outside modules the
            operation stands for the path.
    """

    def __init__(self) -> None:
        super().__init__()
        self._around: tuple[str, str] | None = None

    @staticmethod
    def books(rule: Any, op: torch._ops.OpOverload) -> bool:
        """See `Ledger.books`; to views their memory must stay known, for the model may write into it through them."""
        is_view = isinstance(rule, Linear) and any(result.alias_info for result in op._schema.returns)
        return not is_view and not isinstance(rule, Same)

    def measure(
        self, rule: Any, name: str, where: str | Place, apply: Callable[[tuple, dict], Any], args: tuple, kwargs: dict
    ) -> Any:
        """See `Ledger.measure`. What an operation is composed of has its own entries, and the operation the rest."""
        path = where.loop if isinstance(where, Place) else where
        place = path or name.partition(".")[0], _ABSORBS.get(type(rule), BIASES)
        take = self._taking(place)
        before, self._around = self._around, place
        try:
            args, kwargs = pick((args, kwargs), lambda pair: self._watched(pair, lambda relevance: take(-relevance)))
            return pick(apply(args, kwargs), lambda pair: self._watched(pair, take))
        finally:
            self._around = before

    def kept(self, value: Tensor) -> Tensor:
        """The value as it is now, to be read on the way back."""
        return value.clone() if self.overwrites else value

    def taking(self, by: str) -> Callable[[Tensor], None]:
        """For the operation that runs now: what books relevance to ``by`` on the way back."""
        where = "" if self._around is None else self._around[0]
        take = self._taking((where, by))
        return lambda relevance: take(float(relevance.sum(dtype=torch.float64)))

    def layer_record(self) -> LayerBook:
        """See `Ledger.layer_record`."""
        return LayerBook(self.taking(STABILIZER))

    def hand_on(self, value: Any, place: Place) -> Any:
        """See `Ledger.hand_on`; nothing is noted of states."""
        return value

    def of_constant(self, pair: Pair, where: str, inputs: Sequence[Pair]) -> Pair:
        """See `Ledger.of_constant`: what comes back to it is absorbed.

        Autograd goes only where an input is, so the constant is put on the tape as if it came from one.
        """
        tapes = [given.tape for given in inputs if given.is_float or given.flow is not None]
        if not pair.is_float or not tapes:
            return pair
        take, value, tape = self._taking((where, BIASES)), pair.test.clone(), tapes[0]

        def back(m: Tensor) -> Tensor:
            take(float(weighed(m.conj(), value).real.sum(dtype=torch.float64)))
            return torch.zeros_like(tape)

        return replace(pair, test=attach([pair.test], back, tape))

    def constant(self, output: Tensor) -> None:
        """See `Ledger.constant`: it is a bias."""
        self.nodes.setdefault(("output", BIASES), defaultdict(float))[self.target] += float(output.sum())

    def _taking(self, place: tuple[str, str]) -> Callable[[float], None]:
        entry = self.nodes.setdefault(place, defaultdict(float))
        rest = None if self._around is None else self.nodes.setdefault(self._around, defaultdict(float))

        def take(relevance: float) -> None:
            entry[self.target] += relevance
            if rest is not None:
                rest[self.target] -= relevance

        return take

    def _watched(self, pair: Pair, take: Callable[[float], None]) -> Pair:
        """The same pair, which hands over the relevance that comes back to it."""
        if not pair.is_float and pair.flow is None:
            return pair
        value = self.kept(RelevanceMethod.counted(pair))

        def back(m: Tensor) -> Tensor:
            take(float(weighed(m.conj(), value).real.sum(dtype=torch.float64)))
            return m

        watched = attach([pair.tape.detach()], back, pair.tape)
        return replace(pair, test=watched) if pair.is_float else replace(pair, flow=watched)
