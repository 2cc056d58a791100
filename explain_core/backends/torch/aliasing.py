"""Which tensors of a captured graph are written to in place, and must therefore be the run's own.

A model may fill a preallocated tensor (``out[:, t] = h``). The tensor starts as a constant and becomes a pair with the
first write, possibly through a view. So views are followed back to where their memory was made, and what an explained
value is written into is a pair from the start.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import fx


@dataclass(frozen=True)
class Roots:
    """What is written to.

    Attributes:
        paired: constants that must start as pairs.
        copied: other constants.
        written: explained inputs.
        splits: operations with several views as their result, through one of which something is written.
        views: views of what is written to.
        changing: constants that are written to, and views of them.
        memory: of what is written to, and its views, where the memory was made.
    """

    paired: frozenset[fx.Node]
    copied: frozenset[fx.Node]
    written: frozenset[fx.Node]
    splits: frozenset[fx.Node]
    views: frozenset[fx.Node]
    changing: frozenset[fx.Node]
    memory: Mapping[fx.Node, fx.Node]


# Parts of a tensor that share its memory, which PyTorch's descriptions of them leave out.
_UNSAFE_SPLITS = ("aten::unsafe_chunk", "aten::unsafe_split", "aten::unsafe_split_with_sizes")


@cache
def writes_to_first_argument(op: torch._ops.OpOverload) -> bool:
    """Whether an operation works in place."""
    arguments = op._schema.arguments
    return bool(arguments) and arguments[0].alias_info is not None and arguments[0].alias_info.is_write


def writes(node: fx.Node) -> bool:
    """Whether a node works in place."""
    return _is_operation(node) and writes_to_first_argument(node.target)


def mutated_roots(graph: fx.Graph, explained: list[bool]) -> Roots:
    """Find them. ``explained`` says for each placeholder whether it is a pair."""
    root: dict[fx.Node, fx.Node] = {}
    written_by: list[tuple[fx.Node, fx.Node]] = []  # (root of what is written to, the writing node)
    for node in graph.nodes:
        source = _viewed(node)
        root[node] = node if source is None else root[source]
        if writes(node):
            written_by.append((root[node.args[0]], node))

    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    starts = {node for node, is_explained in zip(placeholders, explained, strict=True) if is_explained}
    paired_roots: set[fx.Node] = set()
    while True:
        paired = _reached(graph, starts | paired_roots)
        more = {
            target for target, node in written_by if node in paired or any(n in paired for n in node.all_input_nodes)
        }
        if more <= paired_roots:
            break
        paired_roots |= more
    written = {target for target, _ in written_by}
    copied = frozenset(written - paired_roots - starts)
    return Roots(
        paired=frozenset(paired_roots - starts),
        copied=copied,
        written=frozenset(written & starts),
        splits=frozenset(_splits(node.args[0]) for _, node in written_by) - {None},
        views=frozenset(node for node in graph.nodes if root[node] in written and root[node] is not node),
        changing=frozenset(node for node in graph.nodes if root[node] in copied),
        memory={node: root[node] for node in graph.nodes if root[node] in written},
    )


def dependent(graph: fx.Graph) -> set[fx.Node]:
    """All nodes that may depend on the graph's inputs, through memory that these are written into too."""
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    return _reached(graph, set(placeholders) | mutated_roots(graph, [True] * len(placeholders)).paired)


@cache
def writes_elsewhere(op: torch._ops.OpOverload) -> bool:
    """Whether an operation writes into another argument than its first, such as ``out=``."""
    return any(a.alias_info is not None and a.alias_info.is_write for a in op._schema.arguments[1:])


def _is_operation(node: fx.Node) -> bool:
    return node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)


def _viewed(node: fx.Node) -> fx.Node | None:
    """The node whose memory this one shares, if any."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    if node.target is operator.getitem:
        return node.args[0]
    if _is_operation(node):
        arguments = node.target._schema.arguments
        if node.target._schema.name in _UNSAFE_SPLITS or (arguments and arguments[0].alias_info is not None):
            return node.args[0]
    return None


def _splits(node: fx.Node) -> fx.Node | None:
    """The operation with several results that a view was taken from, if any."""
    while node is not None:
        source = _viewed(node)
        if node.target is operator.getitem and source is not None and _viewed(source) is not None:
            return source
        node = source
    return None


def _reached(graph: fx.Graph, starts: set[fx.Node]) -> set[fx.Node]:
    """All nodes that depend on ``starts``."""
    reached = set(starts)
    for node in graph.nodes:
        if any(source in reached for source in node.all_input_nodes):
            reached.add(node)
    return reached
