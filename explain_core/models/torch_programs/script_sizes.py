"""How much there is in the compiled code of a TorchScript archive.

PyTorch puts what is called in the place of each call before a run, and follows values back to what they come from by
recursion. So a short file can become more code than memory holds, and operations in a row end the process: about 30,000
of them do with 8 MiB of stack. Real models have a fraction of that: a cell of ten operations over 1,000 steps that was
traced has 10,000 in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.torch_programs.script_numbers import nodes_of

_LONGEST = 15_000  # operations in a row
_MOST = 300_000  # operations
_DEEPEST = 100  # functions in functions
_FREE = ("prim::Constant", "prim::GetAttr")


def check_sizes(functions: Sequence[Any], where: str) -> None:
    """Check that no function is more than PyTorch's recursions bear.

    Raises:
        ModelFileError: one is; names it.
    """
    sizes = _Sizes(functions)
    for name in sizes.functions:
        most, longest, deepest = sizes.of(name)
        if most > _MOST or longest > _LONGEST or deepest > _DEEPEST:
            raise ModelFileError(
                "The code in the archive is longer than can be run: it has "
                f"{min(most, _MOST + 1):,} operations, {min(longest, _LONGEST + 1):,} in a row.",
                where=f"{where}: {name}",
                hint=f"At most {_MOST:,} can be, and {_LONGEST:,} in a row. Script the model, so that loops stay "
                "loops, or trace it with fewer timesteps.",
            )


class _Sizes:
    """By function: how many operations it has, how many in a row, and how deep its calls go; each bounded."""

    def __init__(self, functions: Sequence[Any]) -> None:
        self.functions = {function.qualified_name: function for function in functions}
        self._known: dict[str, tuple[int, int, int]] = {}

    def of(self, name: str, depth: int = 0) -> tuple[int, int, int]:
        if name not in self._known:
            if depth > _DEEPEST:  # nothing deeper is looked into
                return 1, 1, _DEEPEST + 1
            self._known[name] = self._measured(self.functions[name].graph, depth)
        return self._known[name]

    def _measured(self, graph: Any, depth: int) -> tuple[int, int, int]:
        most = deepest = 0
        rows: dict[int, int] = {}  # by value: how many operations in a row lead to it
        for node in nodes_of(graph):
            called = _called(node)
            inner = self.of(called, depth + 1) if called in self.functions else (node.kind() not in _FREE,) * 2 + (0,)
            before = max((rows.get(value.unique(), 0) for value in node.inputs()), default=0)
            row = before + inner[1]
            for value in node.outputs():
                rows[value.unique()] = row
            most, deepest = most + inner[0], max(deepest, inner[2])
        longest = max(rows.values(), default=0)
        return min(most, _MOST + 1), min(longest, _LONGEST + 1), deepest + 1


def _called(node: Any) -> str:
    if node.kind() == "prim::CallFunction":
        return str(node.inputsAt(0).type())
    if node.kind() == "prim::CallMethod":
        return f"{node.inputsAt(0).type()}.{node.s('name')}"
    return ""
