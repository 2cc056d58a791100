"""Ids on their way into tables: those that have no row, and floats that the model itself cuts to whole numbers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from explain_core.backends.ids import OutsideTableError, require_whole
from explain_core.backends.torch.pairs import base_of, pairs_in, test_of

# What a value may go through and still be the value that was given.
_MOVES = frozenset(
    (
        *("alias", "cat", "chunk", "clone", "contiguous", "detach", "detach_", "expand", "expand_as", "flatten"),
        *("movedim", "narrow", "permute", "repeat", "reshape", "select", "slice"),
        *("split", "split_with_sizes", "squeeze", "stack", "swapaxes", "t", "to", "_to_copy", "transpose", "type_as"),
        *("unbind", "unflatten", "unsqueeze", "view", "view_as", "_unsafe_view", "lift_fresh_copy", "index_select"),
        *("ceil", "floor", "round", "trunc"),
    )
)
_CASTS = frozenset(("to", "_to_copy", "type_as"))
_ROUNDING = frozenset(("ceil", "floor", "round", "trunc"))
_IDS = {"embedding": 1, "one_hot": 0, "index_select": 2, "index": 1}


@cache
def _name(op: Any) -> str:
    return op._schema.name.removeprefix("aten::") if isinstance(op, torch._ops.OpOverload) else ""


def require_in_table(op: Any, args: Sequence[Any]) -> None:
    """Before a look-up: every id has a row, in both members.

    Args:
        args: the operation's own, pairs or plain tensors.

    Raises:
        OutsideTableError: one has none.
    """
    name = _name(op)
    if name in _IDS:
        for of in (test_of, base_of) if pairs_in(args) else (test_of,):
            _require_rows(name, of(args))


def _require_rows(name: str, args: Sequence[Any]) -> None:
    if name == "one_hot":
        ids, rows, least = args[0], args[1] if len(args) > 1 else -1, 0
    elif name == "embedding":
        ids, rows, least = args[1], args[0].shape[0], 0
    elif name == "index_select":
        ids, rows, least = args[2], args[0].shape[args[1]], 0
    elif len(args[1]) == 1 and args[1][0] is not None and args[1][0].dtype is not torch.bool:  # index
        ids, rows = args[1][0], args[0].shape[0]
        least = -rows  # as Python counts
    else:
        return
    if rows < 0 or ids.numel() == 0 or ids.is_floating_point():
        return
    low, high = torch.stack(torch.aminmax(ids)).tolist()
    if low < least or high >= rows:
        raise OutsideTableError(low if low < least else high, rows)


def cuts_of_ids(graph: fx.Graph) -> dict[fx.Node, int]:
    """Where a recorded model cuts an input's floats to whole numbers which it then looks up: the input's place."""
    inputs = {node: place for place, node in enumerate(graph.find_nodes(op="placeholder"))}
    found: dict[fx.Node, int] = {}
    for node in graph.nodes:
        at = _IDS.get(_name(node.target)) if node.op == "call_function" else None
        if at is None or len(node.args) <= at:
            continue
        for source in _nodes(node.args[at]):
            for cut in _cuts_before(source):
                way = _moved_from(cut.args[0])
                for place in {inputs[start] for start in way if start in inputs}:
                    found |= dict.fromkeys([cut, *(n for n in way if _name(n.target) in _ROUNDING)], place)
    return found


def _nodes(argument: Any) -> list[fx.Node]:
    several = argument if isinstance(argument, (list, tuple)) else [argument]
    return [each for each in several if isinstance(each, fx.Node)]


def _moved_from(node: fx.Node) -> set[fx.Node]:
    """This node and all those whose values it has unchanged."""
    found, todo = {node}, [node]
    while todo:
        current = todo.pop()
        if current.op == "call_function" and (current.target is operator.getitem or _name(current.target) in _MOVES):
            new = [source for source in _nodes(current.args[0]) if source not in found]
            found.update(new)
            todo += new
    return found


def _cuts_before(node: fx.Node) -> list[fx.Node]:
    """Where floats become these whole numbers by losing their fraction, not by a comparison or as a position."""
    casts = [n for n in _moved_from(node) if _name(n.target) in _CASTS]
    return [n for n in casts if _is_float(n) is False and any(map(_is_float, _nodes(n.args[0])))]


def _is_float(node: fx.Node) -> bool | None:
    value = node.meta.get("val")
    return value.is_floating_point() if isinstance(value, Tensor) else None


def require_whole_members(value: Any, name: str) -> None:
    """Before floats of an input are cut to ids: they are whole in both members.

    Raises:
        InputError: one has a fraction.
    """
    for member, of in (("input", test_of), ("baseline", base_of)):
        require_whole(np.asarray(of(value).detach().cpu()), name, member)
