"""The numbers in TorchScript that stand for something else: kinds of numbers, layouts, memory formats.

PyTorch looks such a number up in a table and does not ask whether the table has it. So each must be known before a run:
a constant, or what PyTorch itself said of a tensor, followed back through branches, functions and attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_STANDS_FOR = {  # by the word for it in PyTorch's descriptions: the numbers there are, and what gives one of a tensor
    "ScalarType": (frozenset((*range(12), 15)), "prim::dtype"),  # without those of quantized tensors
    "Layout": (frozenset((0,)), "prim::layout"),
    "MemoryFormat": (frozenset(range(4)), None),
}
_PASSES_ON = ("prim::unchecked_cast", "prim::unchecked_unwrap_optional", "aten::_unwrap_optional")

#: By class and attribute, the plain values that the archive has for it.
Attributes = Mapping[tuple[str, str], set[Any]]


def nodes_of(graph: Any) -> Iterator[Any]:
    """Of a graph or block, and of the blocks inside of it."""
    open_ends = [graph]
    while open_ends:
        for node in open_ends.pop().nodes():
            yield node
            open_ends.extend(node.blocks())


class Numbers:
    """Follows values of compiled code back to where they come from.

    Args:
        functions: all functions and methods of a compilation unit.
        attributes: what the archive has for the attributes of its classes.
    """

    def __init__(self, functions: Iterable[Any], attributes: Attributes) -> None:
        self._functions = {function.qualified_name: function for function in functions}
        self._attributes = attributes
        self._calls: dict[str, list[tuple[str, list[Any]]]] = {}  # by what is called: by whom, and with what
        self._given: dict[tuple[str, str], list[tuple[str, Any]]] = {}  # by attribute: by whom, and what
        for name, function in self._functions.items():
            for node in nodes_of(function.graph):
                self._note(name, node)

    def _note(self, name: str, node: Any) -> None:
        inputs = list(node.inputs())
        if node.kind() == "prim::CallFunction":
            self._calls.setdefault(str(inputs[0].type()), []).append((name, inputs[1:]))
        elif node.kind() == "prim::CallMethod":
            self._calls.setdefault(f"{inputs[0].type()}.{node.s('name')}", []).append((name, inputs))
        elif node.kind() == "prim::SetAttr":
            self._given.setdefault((str(inputs[0].type()), node.s("name")), []).append((name, inputs[1]))

    def is_known(self, argument: Any, value: Any, function: str) -> bool:
        """Whether a value for an argument is one that PyTorch's tables have; True for arguments of other kinds.

        Args:
            argument: PyTorch's description of it.
            value: in the graph of the function of that name.
        """
        word = str(argument.real_type).removeprefix("Optional[").removesuffix("]")
        word = "ScalarType" if argument.name == "dtype" and word == "int" else word
        if word not in _STANDS_FOR:
            return True
        numbers, said_by = _STANDS_FOR[word]
        seen: set[tuple[str, int]] = set()
        open_ends = [(function, value)]
        while open_ends:
            name, value = open_ends.pop()
            if (name, value.unique()) in seen:
                continue
            seen.add((name, value.unique()))
            if value.node().kind() == said_by:
                continue
            sources = self._sources(name, value)
            if sources is None or any(isinstance(one, int) and one not in numbers for one in sources[0]):
                return False
            open_ends += sources[1]
        return True

    def _sources(self, name: str, value: Any) -> tuple[list[Any], list[tuple[str, Any]]] | None:
        """The constants and the values that a value may be; None where that cannot be told."""
        node, kind = value.node(), value.node().kind()
        if kind == "prim::Constant":
            return [value.toIValue()], []
        if kind in _PASSES_ON:
            return [], [(name, node.inputsAt(0))]
        if kind == "prim::If":
            place = [output.unique() for output in node.outputs()].index(value.unique())
            return [], [(name, list(block.outputs())[place]) for block in node.blocks()]
        if kind == "prim::GetAttr":
            key = str(node.inputsAt(0).type()), node.s("name")
            return list(self._attributes.get(key, ())), self._given.get(key, [])
        if kind == "prim::Param":
            return self._sources_of_argument(name, value)
        return None

    def _sources_of_argument(self, name: str, value: Any) -> tuple[list[Any], list[tuple[str, Any]]] | None:
        function = self._functions[name]
        inputs = [one.unique() for one in function.graph.inputs()]
        if value.unique() not in inputs:  # of a loop
            return None
        place = inputs.index(value.unique())
        argument = function.schema.arguments[place]
        default = [argument.default_value] if argument.has_default_value() else []
        return default, [(caller, given[place]) for caller, given in self._calls.get(name, ())]
