"""What a value may be divided by: a statistic made by reducing over an axis, or the inverse of one.

A pair carries whether it is such a *statistic*, or the inverse of one (``rsqrt``), through what is done to it element
by element, so that all ways of writing a normalisation come to the same. `rules.statistics` has the multipliers of a
quotient by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from explain_core.backends.divisors import NEXT_TO_NOTHING, WorstDivisors
from explain_core.backends.protocol import Divisor
from explain_core.backends.provenance import (
    NEUTRAL,
    OTHER,
    STATISTIC,
    carried,
    divided,
    reduced,
    upside_down,
)
from explain_core.backends.torch.aliasing import writes
from explain_core.backends.torch.kinds import (
    Bilinear,
    Comparison,
    Linear,
    Pick,
    Product,
    Rescale,
    Rule,
    TwoPlayers,
)
from explain_core.backends.torch.pairs import is_pair, pairs_in

_REDUCTIONS = {
    *(
        "sum",
        "mean",
        "nansum",
        "amax",
        "amin",
        "max",
        "min",
        "max.dim",
        "min.dim",
        "logsumexp",
        "norm",
        "prod",
        "trace",
    ),
    *("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "median", "quantile", "kthvalue", "sort", "topk"),
    *("var", "std", "var_mean", "std_mean", "linalg_vector_norm", "index_add", "scatter_add", "scatter_reduce"),
    *("index_reduce", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    *("adaptive_avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d"),
    *("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool1d"),
    *("adaptive_max_pool2d", "adaptive_max_pool3d"),
}
_UPSIDE_DOWN = {"rsqrt", "reciprocal"}
_DIVISIONS = {"div", "divide", "true_divide"}
_ELEMENT_BY_ELEMENT = (Linear, Pick, Rescale, TwoPlayers, Comparison, Product)
_OF_STATISTICS = {"to", "_to_copy", "softmax", "_softmax", "log_softmax", "_log_softmax"}
"""Compositions that are none of these, and make a statistic of one, for all that they are written with does."""


def is_scale(value: Any, kind: str) -> bool:
    """Whether a value is a pair of real floats that is a statistic, or the inverse of one."""
    return is_pair(value) and value.kind == kind and value.test.is_floating_point()


def mark(rule: Rule | None, name: str, args: tuple, kwargs: dict, result: Any) -> None:
    """Note on the pairs of a result whether they are a statistic, or the inverse of one.

    Args:
        name: the operation, such as ``"var.correction"``.
    """
    kind = _kind(rule, name, args, kwargs)
    if kind is not None:
        for pair in pairs_in(result):
            pair.scale = kind


def _kind(rule: Rule | None, name: str, args: tuple, kwargs: dict) -> str | None:
    """None for a composition, whose parts have marked it."""
    short = name.partition(".")[0]
    paired = pairs_in(args[:1] if short.endswith("_as") else (args, kwargs))
    kinds = [pair.kind for pair in paired]
    if name in _REDUCTIONS or (short in _REDUCTIONS and "." in name and short not in ("max", "min")):
        return reduced(kinds)
    if isinstance(rule, Bilinear) or short == "einsum":  # x·x, or a query and the sum of keys
        return STATISTIC if len(paired) > 1 or _is_sum(short, args) else OTHER
    if short in _UPSIDE_DOWN or (short == "pow" and isinstance(args[1], (int, float)) and args[1] < 0):
        return upside_down(carried(kinds))
    if short in _DIVISIONS:
        return divided(*(value.kind if is_pair(value) else NEUTRAL for value in args[:2]))
    return carried(kinds) if isinstance(rule, _ELEMENT_BY_ELEMENT) or short in _OF_STATISTICS else None


def _is_sum(short: str, args: tuple) -> bool:
    """Whether a product has one factor alone, and sums over its axes."""
    return short == "einsum" and len(args[1]) == 1


class Written:
    """What memory holds that is written to in place, whichever of its views is written and whichever read.

    A view that was written and is read again holds what was written to it, unless another one that shares elements
    with it was written since; any other holds what all of the memory does together.

    Args:
        memory: by node of the graph, the node that made its memory; see `aliasing.Roots`.
    """

    def __init__(self, memory: Mapping[fx.Node, fx.Node]) -> None:
        self._memory = memory
        self._kinds: dict[fx.Node, str] = {}  # of all of it together
        self._views: dict[fx.Node, dict[_Place, str]] = {}

    def recall(self, node: fx.Node, env: Mapping[fx.Node, Any]) -> None:
        """Before ``node`` runs: what its arguments hold now."""
        for source in node.all_input_nodes:
            root = self._memory.get(source)
            if root not in self._kinds:
                if root is not None and writes(node) and source is node.args[0]:
                    self._kinds[root] = carried(pair.kind for pair in pairs_in(env[source]))
                continue
            for pair in pairs_in(env[source]):
                pair.scale = self._views.get(root, {}).get(_Place.of(pair.test), self._kinds[root])

    def note(self, node: fx.Node, value: Any) -> None:
        """After ``node`` ran: what it has written."""
        if node not in self._memory or not is_pair(value) or not writes(node):
            return
        root, place = self._memory[node], _Place.of(value.test)
        if value.test._base is None or value.test._base.numel() == value.test.numel():
            self._kinds[root], self._views[root] = value.kind, {}
            return
        views = {other: kind for other, kind in self._views.get(root, {}).items() if not other.shares(place)}
        self._views[root] = {**dict(list(views.items())[-_REMEMBERED:]), place: value.kind}
        self._kinds[root] = carried((self._kinds[root], value.kind))


_REMEMBERED = 7
"""Places of one memory that are told apart beside the last: what is written step by step has as many as steps."""

_COMPARED = 2**20
"""Elements of a place up to which it is looked whether it shares some with another."""


@dataclass(frozen=True)
class _Place:
    """Where in its memory a tensor is."""

    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> _Place:
        return cls(int(tensor.storage_offset()), tuple(tensor.shape), tuple(tensor.stride()))

    def shares(self, other: _Place) -> bool:
        """Whether two places have an element in common, as far as that is looked at."""
        if max(math.prod(self.shape), math.prod(other.shape)) > _COMPARED:
            return True
        return _meet(self.shape, self.strides, other.shape, other.strides, other.first - self.first)


@lru_cache(maxsize=256)  # a loop writes to the same places of other memory
def _meet(
    shape: tuple[int, ...], strides: tuple[int, ...], other: tuple[int, ...], others: tuple[int, ...], apart: int
) -> bool:
    return bool(np.isin(_elements(shape, strides), apart + _elements(other, others)).any())


def _elements(shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    found = np.zeros(1, int)
    for size, stride in zip(shape, strides, strict=True):
        found = np.add.outer(found, stride * np.arange(size)).ravel()
    return found


class Divisors(WorstDivisors):
    """Where the baseline is divided by next to nothing, beside what the input is divided by.

    What is found stays on the device until `settle` asks for all of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[str, str, bool, float]] = []
        self._least: list[Tensor] = []  # for each, the least ratio, and what the input and the baseline have there

    def settle(self) -> list[Divisor]:
        """The worst of each place and operation."""
        least = torch.stack(self._least).tolist() if self._least else []
        for (where, operation, is_statistic, power), (ratio, *members) in zip(self._seen, least, strict=True):
            if min(ratio, 1.0) ** power < NEXT_TO_NOTHING:
                test, base = (torch.tensor(members, dtype=torch.float64) ** power).tolist()
                self.add(Divisor(where, operation, test, base, is_statistic))
        self._seen.clear()
        self._least.clear()
        return list(self.found.values())

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
        ratio = torch.where(test > 0, base / test, torch.inf)
        least = ratio.argmin()
        power = 0.5 if short == "rsqrt" else abs(args[1]) if negative else 1.0
        self._seen.append((where, operation.partition(".")[0], by.kind == STATISTIC, power))
        self._least.append(torch.stack([x.take(least).double() for x in (ratio, test, base)]))
