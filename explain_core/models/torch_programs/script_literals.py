"""What the source code in a TorchScript archive is written of: names, types and literals.

PyTorch looks at types while it opens an archive, and runs the literals: defaults of arguments, constants of classes.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeGuard

from explain_core.errors import ModelFileError
from explain_core.models.torch_programs.program_check import refuse_code

_DEEPEST = 150  # of expressions in expressions; what PyTorch prints has about ten

# PyTorch takes a time that grows with the square of what a function has: 100,000 expressions take seconds.
_MOST_OF_FUNCTION = 100_000
_MOST = 1_000_000

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
DUNDER = re.compile(r"__\w+__", re.ASCII)
#: Methods with a meaning of their own, which run where the code says so. ``__setstate__`` would run on opening.
_METHODS = """
    __init__ __new__ __len__ __contains__ __getitem__ __setitem__ __delitem__ __enter__ __exit__ __call__ __iter__
    __next__ __str__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __add__ __sub__ __mul__ __truediv__ __floordiv__ __mod__
    __pow__ __neg__ __hash__
"""
_DUNDERS = frozenset(_METHODS.split())
_TYPES = frozenset(
    ["Tensor", "int", "float", "bool", "str", "complex", "number", "None", "NoneType", "Any", "Device", "Layout"]
)
_GENERIC_TYPES = frozenset(["Optional", "List", "Dict", "Tuple", "Union", "Final"])
PRINTED_CALLS = frozenset(["int", "float", "bool", "str", "range"])
TYPED_CALLS = frozenset(["annotate", "unchecked_cast"])
RESERVED = (
    PRINTED_CALLS
    | TYPED_CALLS
    | {"torch", "ops", "CONSTANTS", "uninitialized", "unchecked_unwrap_optional", "getattr", "isinstance", "inf", "nan"}
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
ARCHIVE = "__torch__"


@dataclass
class Script:
    """The checked code of an archive.

    Attributes:
        sources: by entry, what PyTorch is to read.
        attributes: for each class, by its full name, the type of each attribute.
        expressions: how many there are so far.
        used: operations that are only there for code which no run may reach, and those that are run with a check.
    """

    sources: dict[str, bytes] = field(default_factory=dict)
    attributes: dict[str, dict[str, ast.expr]] = field(default_factory=dict)
    expressions: int = 0
    used: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Names:
    """What an archive defines, by full names; of methods the short ones."""

    functions: frozenset[str]
    classes: frozenset[str]
    methods: frozenset[str]


class Literals:
    """Writes names, types and literals.

    Args:
        script: what is known of the archive's code, and grows.
        names: what the archive defines.
        where: for errors.
    """

    def __init__(self, script: Script, names: Names, where: str) -> None:
        self._script, self._where = script, where
        self._functions, self._classes, self._methods = names.functions, names.classes, names.methods
        self._lines: list[str] = []
        self._depth = 0
        self._before = script.expressions  # when the function began

    def refused(self, what: str, node: ast.AST | None = None) -> ModelFileError:
        """The error for what is not written by ``torch.jit.save``."""
        line = getattr(node, "lineno", None)
        return refuse_code(what, self._where + (f", line {line}" if line else ""))

    def begin(self) -> None:
        """Count the expressions of a function from here on."""
        self._before = self._script.expressions

    def count(self, node: ast.AST) -> None:
        """Count an expression."""
        self._script.expressions += 1
        own = self._script.expressions - self._before
        if own > _MOST_OF_FUNCTION or self._script.expressions > _MOST:
            line = getattr(node, "lineno", None)
            raise ModelFileError(
                "The code in the archive is longer than can be opened.",
                where=self._where + (f", line {line}" if line else ""),
                hint=f"It can have {_MOST:,} expressions, {_MOST_OF_FUNCTION:,} in a function. Script the model, so "
                "that loops stay loops, or trace it with fewer timesteps; keep long lists of numbers in tensors.",
            )

    def _line(self, depth: int, text: str) -> None:
        self._lines.append("  " * depth + text)

    def _name(self, name: str, node: ast.AST) -> str:
        if not _IDENTIFIER.fullmatch(name) or (DUNDER.fullmatch(name) and name not in _DUNDERS):
            raise self.refused(f"the name {name!r}", node)
        return name

    def _own(self, name: str, node: ast.AST) -> str:
        """A name that the code gives to something."""
        if name in RESERVED or name.startswith(ARCHIVE):
            raise self.refused(f"something of its own called {name!r}", node)
        return self._name(name, node)

    def _type(self, node: ast.expr) -> str:
        with Deeper(self, node):
            if isinstance(node, ast.Constant) and node.value is None:
                return "None"
            if isinstance(node, ast.Name) and node.id in _TYPES:
                return node.id
            if isinstance(node, ast.Attribute) and (path := path_of(node)) in self._classes:
                return path
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in _GENERIC_TYPES:
                inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return f"{node.value.id}[{', '.join(map(self._type, inner)) or '()'}]"
            raise self.refused(f"the type {ast.unparse(node)[:80]!r}", node)

    def _literal(self, node: ast.expr) -> str:
        with Deeper(self, node):
            if isinstance(node, ast.Constant):
                return self._constant(node)
            if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
                return node.id
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                return f"-{self._literal(node.operand)}"
            if isinstance(node, (ast.List, ast.Tuple, ast.Dict)):
                return self._container(node, self._literal)
            if isinstance(node, ast.Attribute) and is_constant(node):
                return ast.unparse(node)
            if isinstance(node, ast.Call) and not node.keywords:
                called = path_of(node.func)
                if called == "annotate" and len(node.args) == 2:
                    return f"annotate({self._type(node.args[0])}, {self._literal(node.args[1])})"
                if called == "torch.device" and len(node.args) == 1 and is_string(node.args[0]):
                    return f"torch.device({self._literal(node.args[0])})"
            raise self.refused(f"{ast.unparse(node)[:80]!r}, which is run on opening and is no literal,", node)

    def _container(self, node: ast.List | ast.Tuple | ast.Dict, each: Callable[[ast.expr], str]) -> str:
        if isinstance(node, ast.List):
            return f"[{', '.join(map(each, node.elts))}]"
        if isinstance(node, ast.Tuple):
            return f"({''.join(f'{each(item)}, ' for item in node.elts)})" if node.elts else "()"
        pairs = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]
        if len(pairs) < len(node.keys):
            raise self.refused("** in a dictionary", node)
        return f"{{{', '.join(f'{each(key)}: {each(value)}' for key, value in pairs)}}}"

    def _constant(self, node: ast.Constant) -> str:
        value = node.value
        if value is None or isinstance(value, bool):
            return str(value)
        if isinstance(value, int):
            if value >= 2**63:
                raise self.refused("a number larger than TorchScript has", node)
            return str(value)
        if isinstance(value, float):
            return "inf" if math.isinf(value) else repr(value)
        if isinstance(value, complex) and value.real == 0 and math.isfinite(value.imag):
            return f"{value.imag!r}j"
        if isinstance(value, str) and all(ord(letter) < 256 for letter in value):
            return f'"{"".join(_quoted(letter) for letter in value)}"'
        raise self.refused(f"the constant {str(value)[:40]!r}", node)


class Deeper:
    """Counts how deep expressions are nested."""

    def __init__(self, printer: Literals, node: ast.AST) -> None:
        self._printer, self._node = printer, node

    def __enter__(self) -> None:
        self._printer._depth += 1
        if self._printer._depth > _DEEPEST:
            raise self._printer.refused("an expression nested deeper than real models have", self._node)
        self._printer.count(self._node)

    def __exit__(self, *_: object) -> None:
        self._printer._depth -= 1


def path_of(node: ast.expr) -> str:
    """``a.b.c`` of names alone; empty for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def is_constant(node: ast.Attribute) -> bool:
    return re.fullmatch(r"CONSTANTS\.c\d+", path_of(node), re.ASCII) is not None


def is_string(node: ast.expr) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _quoted(letter: str) -> str:
    """A letter, or a byte of one beyond ASCII, as TorchScript prints it."""
    return _ESCAPES.get(letter) or (letter if " " <= letter <= "~" else f"\\{ord(letter):03o}")
