"""What a value may be divided by: a statistic made by reducing over an axis, or the inverse of one.

A pair carries whether it is such a *statistic*, or the inverse of one (``rsqrt``), through what is done to it element
by element, so that all ways of writing a normalisation come to the same. `rules.statistics` has the multipliers of a
quotient by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def is_all(tensor: Tensor) -> bool:
    """Whether a tensor is all of its memory, so that what is written to it leaves nothing of what was there."""
    return tensor._base is None or tensor._base.numel() == tensor.numel()


class Written:
    """What memory holds that is written to in place, whichever of its views is written and whichever read.

    Args:
        memory: by node of the graph, the node that made its memory; see `aliasing.Roots`.
    """

    def __init__(self, memory: Mapping[fx.Node, fx.Node]) -> None:
        self._memory = memory
        self._kinds: dict[fx.Node, str] = {}

    def recall(self, node: fx.Node, env: Mapping[fx.Node, Any]) -> None:
        """Before ``node`` runs: what its arguments hold now."""
        for source in node.all_input_nodes:
            kind = self._kinds.get(self._memory.get(source))
            if kind is not None:
                for pair in pairs_in(env[source]):
                    pair.scale = kind

    def note(self, node: fx.Node, value: Any) -> None:
        """After ``node`` ran: what it has written."""
        if node in self._memory and is_pair(value) and writes(node):
            self._kinds[self._memory[node]] = value.kind


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
