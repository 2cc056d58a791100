"""The compiled code of a TorchScript archive, looked through before any of it runs.

What the archive's code says was checked as text (`script_grammar`). This looks at what PyTorch made of it: every node
of every function and method, in branches and loops too, must be an operation of the list in `operators`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from explain_core.models import operators


def check_functions(functions: Iterable[Any], where: str) -> None:
    """Check all functions and methods of a compilation unit.

    Raises:
        ModelFileError: names the first operation that is on no list.
    """
    for function in functions:
        in_guard = function.qualified_name.startswith(f"{operators.GUARDS}.")
        for node in _nodes(function.graph):
            holds_graph = any(node.kindOf(name) in ("g", "gs") for name in node.attributeNames())
            if holds_graph or not operators.node_is_allowed(node.kind(), _schema(node), in_guard=in_guard):
                raise operators.refusal(node.kind(), f"{where}: {function.qualified_name}")


def _nodes(graph: Any) -> Iterator[Any]:
    """Of a graph or block, and of the blocks inside of it."""
    open_ends = [graph]
    while open_ends:
        for node in open_ends.pop().nodes():
            yield node
            open_ends.extend(node.blocks())


def _schema(node: Any) -> Any:
    """PyTorch's description of the operation of a node; None where it is none."""
    text = node.schema()
    return None if text == "(no schema)" else torch._C.parse_schema(text)
