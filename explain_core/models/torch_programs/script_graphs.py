"""The compiled code of a TorchScript archive, looked through before any of it runs.

What the archive's code says was checked as text (`script_grammar`). This looks at what PyTorch made of it: every node
of every function and method, in branches and loops too, must be an operation of the list in `operators`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from explain_core.models.torch_programs import operators
from explain_core.models.torch_programs.program_check import refuse_code
from explain_core.models.torch_programs.script_numbers import Attributes, Numbers, nodes_of

_CONTAINERS = ("ListType", "DictType", "OptionalType", "UnionType")
_PLAIN_TYPES = (
    "TensorType",
    "IntType",
    "FloatType",
    "BoolType",
    "StringType",
    "NumberType",
    "DeviceObjType",
    "NoneType",
)


def check_functions(functions: Sequence[Any], attributes: Attributes, where: str) -> None:
    """Check all functions and methods of a compilation unit.

    Args:
        functions: of the unit.
        attributes: the plain values of the objects in the archive.
        where: for errors.

    Raises:
        ModelFileError: names the first operation that is on no list.
    """
    numbers = Numbers(functions, attributes)
    for function in functions:
        in_guard = function.qualified_name.startswith(f"{operators.GUARDS}.")
        for node in nodes_of(function.graph):
            place = f"{where}: {function.qualified_name}"
            holds_graph = any(node.kindOf(name) in ("g", "gs") for name in node.attributeNames())
            schema = _schema(node)
            if holds_graph or not operators.node_is_allowed(node.kind(), schema, in_guard=in_guard):
                raise operators.refusal(f"aten::{operators.key_of(schema)}" if schema else node.kind(), place)
            _check_use(node, place)
            for argument, value in zip(schema.arguments if schema else (), node.inputs(), strict=False):
                if not numbers.is_known(argument, value, function.qualified_name):
                    raise refuse_code(
                        f"the {argument.name} given to {node.kind()}, which is not one that is known,", place
                    )


def _check_use(node: Any, place: str) -> None:
    """What is not for a file though it calls nothing: values taken for others, and devices without values."""
    kind = node.kind()
    if kind == "prim::unchecked_cast" and not _is_sure(node):
        raise refuse_code(f"a value that is taken for a {node.output().type().annotation_str}", place)
    if kind == "aten::device" or (kind == "prim::Constant" and node.output().type().kind() == "DeviceObjType"):
        name = _constant(node.output() if kind == "prim::Constant" else node.inputsAt(0))
        if not operators.is_device(name if isinstance(name, str) else str(name)):
            raise refuse_code(f"the device {name}", place)


def _constant(value: Any) -> Any:
    """What a value of a graph is; something else than any constant where it is not known before a run."""
    return value.toIValue() if value.node().kind() == "prim::Constant" else ...


def _is_sure(node: Any) -> bool:
    """Whether a cast that PyTorch does not check does no harm where it is wrong.

    PyTorch sees that a value is a tensor, a tuple or an object where one is used, but not which tuple and which object:
    their parts are found by number. So of several kinds of tuples, or of objects, none is told from the others.
    """
    given = _members(node.inputsAt(0).type())
    made = [kind for kind in _members(node.output().type()) if not _is_plain(kind)]
    return all([str(one) for one in given if one.kind() == kind.kind()] == [str(kind)] for kind in made)


def _members(kind: Any) -> list[Any]:
    """The types that a value of a type may have."""
    if kind.kind() not in ("OptionalType", "UnionType"):
        return [kind]
    return [inner for one in kind.containedTypes() for inner in _members(one)]


def _is_plain(kind: Any) -> bool:
    return kind.kind() in _PLAIN_TYPES or (kind.kind() in _CONTAINERS and all(map(_is_plain, kind.containedTypes())))


def _schema(node: Any) -> Any:
    """PyTorch's description of the operation of a node; None where it is none."""
    text = node.schema()
    return None if text == "(no schema)" else _parsed(text)


@cache
def _parsed(text: str) -> Any:
    return torch._C.parse_schema(text)
