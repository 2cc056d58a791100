"""What stands for the values of a TorchScript pickle while it is checked, and whether they are of their types."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

_MOST_COMPARED = 5_000_000
_DEEPEST = 60
PLAIN = {"int": int, "float": float, "bool": bool, "str": str}


@dataclass(frozen=True)
class GlobalName:
    name: str  # "module name", as pickles have it


@dataclass(frozen=True)
class TensorValue:
    pass


@dataclass(frozen=True)
class DeviceValue:
    pass


@dataclass(frozen=True)
class StorageValue:
    elements: int


@dataclass
class ListValue:
    items: list = field(default_factory=list)
    checked: bool = False  # and so holds all that it ever will


@dataclass
class DictValue:
    items: list[tuple[Any, Any]] = field(default_factory=list)
    checked: bool = False


@dataclass
class ObjectValue:
    path: str
    filled: bool = False
    parts: int = 1  # objects in it and itself, each as often as it is there


class Types:
    """Compares values with the types that the code of the archive gives them."""

    def __init__(self) -> None:
        self._compared = 0

    def require(self, value: Any, kind: ast.expr, what: str, depth: int = 0) -> None:
        """That a value is of the type that TorchScript's code has for it."""
        self._compared += 1
        if self._compared > _MOST_COMPARED:
            raise ValueError("its containers hold each other more often than real models need")
        if depth > _DEEPEST:
            raise ValueError(f"{what} is nested deeper than real models are, or holds itself")
        if not self._is_of(value, kind, what, depth + 1):
            raise ValueError(f"{what} is not of the type {ast.unparse(kind)[:80]}")

    def _is_of(self, value: Any, kind: ast.expr, what: str, depth: int) -> bool:
        if isinstance(kind, ast.Constant):
            return kind.value is None and value is None
        if isinstance(kind, ast.Name):
            if kind.id in ("None", "NoneType"):
                return value is None
            if kind.id in ("Tensor", "Device"):
                return isinstance(value, TensorValue if kind.id == "Tensor" else DeviceValue)
            return kind.id in PLAIN and type(value) is PLAIN[kind.id]
        if isinstance(kind, ast.Attribute):
            return isinstance(value, ObjectValue) and value.filled and value.path == ast.unparse(kind)
        if not isinstance(kind, ast.Subscript) or not isinstance(kind.value, ast.Name):
            return False
        inner = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        return self._is_container(value, kind.value.id, inner, what, depth)

    def _is_container(self, value: Any, name: str, inner: list[ast.expr], what: str, depth: int) -> bool:
        if name in ("Optional", "Union"):
            if name == "Optional" and value is None:
                return True
            return any(self._is_of(value, one, what, depth + 1) for one in inner)
        if name == "List" and isinstance(value, ListValue) and len(inner) == 1:
            pairs = [(item, inner[0]) for item in value.items]
        elif name == "Dict" and isinstance(value, DictValue) and len(inner) == 2:
            pairs = [(item, one) for entry in value.items for item, one in zip(entry, inner, strict=True)]
        elif name == "Tuple" and isinstance(value, tuple) and len(value) == len(inner):
            pairs = list(zip(value, inner, strict=True))
        else:
            return False
        if not isinstance(value, tuple):
            value.checked = True
        for item, one in pairs:
            self.require(item, one, what, depth)
        return True
