"""The source code in a TorchScript archive: read by Python's parser, checked piece by piece, and written anew.

PyTorch runs parts of that source while it opens an archive: the defaults of arguments and the constants of classes. So
only what ``torch.jit.save`` writes for a model is taken: literals there, and elsewhere calls of operations on the list
of `operators` and of functions of the same archive. What PyTorch reads is printed from the checked tree, so that
nothing can be one thing to Python's parser and another to PyTorch's.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from explain_core.errors import ModelFileError
from explain_core.models import operators
from explain_core.models.program_check import refuse_code

_MOST_BYTES = 64 * 2**20
_DEEPEST = 150  # of expressions in expressions; what PyTorch prints has about ten
_BROKEN = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DUNDER = re.compile(r"__\w+__", re.ASCII)
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
_PRINTED_CALLS = frozenset(["int", "float", "bool", "str", "range"])
_TYPED_CALLS = frozenset(["annotate", "unchecked_cast"])
_RESERVED = (
    _PRINTED_CALLS
    | _TYPED_CALLS
    | {"torch", "ops", "CONSTANTS", "uninitialized", "unchecked_unwrap_optional", "getattr", "isinstance", "inf", "nan"}
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_ARCHIVE = "__torch__"


@dataclass
class Script:
    """The checked code of an archive.

    Attributes:
        sources: by entry, what PyTorch is to read.
        attributes: for each class, by its full name, the type of each attribute.
        used: operations that are only there for code which no run may reach, and those that are run with a check.
    """

    sources: dict[str, bytes] = field(default_factory=dict)
    attributes: dict[str, dict[str, ast.expr]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


def check_sources(entries: Mapping[str, bytes], where: str) -> Script:
    """Check every code entry of an archive, by its name ("code/__torch__/module.py").

    Raises:
        ModelFileError: names what ``torch.jit.save`` would not have written.
    """
    if sum(map(len, entries.values())) > _MOST_BYTES:
        raise ModelFileError(
            f"The code in the archive is larger than {_MOST_BYTES // 2**20} MiB.",
            where=where,
            hint="Scripts of models are smaller; save the model again.",
        )
    trees = {name: _parse(source, f"{where}: {name}") for name, source in entries.items()}
    functions, classes, methods = set(), set(), set()
    for name, tree in trees.items():
        for statement in tree.body:
            path = f"{_prefix(name)}.{getattr(statement, 'name', '')}"
            if path in functions | classes:
                raise refuse_code(f"{path!r}, which is there twice,", f"{where}: {name}")
            if isinstance(statement, ast.ClassDef):
                classes.add(path)
                methods |= {part.name for part in statement.body if isinstance(part, ast.FunctionDef)}
            elif isinstance(statement, ast.FunctionDef):
                functions.add(path)
    if "__setstate__" in methods:
        raise refuse_code("the method '__setstate__'", where)
    script = Script()
    for name, tree in trees.items():
        printer = _Printer(script, frozenset(functions), frozenset(classes), frozenset(methods), f"{where}: {name}")
        try:
            script.sources[name] = printer.module(tree, _prefix(name)).encode("ascii")
        except RecursionError:
            raise printer.refused("code nested deeper than real models have") from None
    return script


def _prefix(name: str) -> str:
    return name.removeprefix("code/").removesuffix(".py").replace("/", ".")


def _parse(source: bytes, where: str) -> ast.Module:
    try:
        text = source.decode("ascii")
        return ast.parse("".join(line for line in text.splitlines(keepends=True) if not _HEADER.match(line)))
    except _BROKEN as error:
        raise ModelFileError(
            f"The code in the archive is not what TorchScript writes: {str(error) or type(error).__name__}.",
            where=where,
            hint="The file may be damaged; save it again with torch.jit.save.",
        ) from None


_HEADER = re.compile(r"(op_version_set = \d+|import [\w.]+)\s*$", re.ASCII)  # of old versions; PyTorch skips them


class _Printer:
    """Writes one file of code. A kind of statement or expression that has no method here cannot be written."""

    def __init__(
        self,
        script: Script,
        functions: frozenset[str],
        classes: frozenset[str],
        methods: frozenset[str],
        where: str,
    ) -> None:
        self._script, self._where = script, where
        self._functions, self._classes, self._methods = functions, classes, methods
        self._lines: list[str] = []
        self._depth = 0

    def refused(self, what: str, node: ast.AST | None = None) -> ModelFileError:
        """The error for what is not written by ``torch.jit.save``."""
        line = getattr(node, "lineno", None)
        return refuse_code(what, self._where + (f", line {line}" if line else ""))

    def module(self, tree: ast.Module, prefix: str) -> str:
        """All of the file; ``prefix`` is the full name of what it defines, up to the last dot."""
        for statement in tree.body:
            if isinstance(statement, ast.ClassDef):
                self._class(statement, f"{prefix}.{statement.name}")
            elif isinstance(statement, ast.FunctionDef):
                self._function(statement, 0)
            else:
                raise self.refused(f"{type(statement).__name__} outside of functions", statement)
        return "\n".join((*self._lines, ""))

    def _line(self, depth: int, text: str) -> None:
        self._lines.append("  " * depth + text)

    def _name(self, name: str, node: ast.AST) -> str:
        if not _IDENTIFIER.fullmatch(name) or (_DUNDER.fullmatch(name) and name not in _DUNDERS):
            raise self.refused(f"the name {name!r}", node)
        return name

    def _own(self, name: str, node: ast.AST) -> str:
        """A name that the code gives to something."""
        if name in _RESERVED or name.startswith(_ARCHIVE):
            raise self.refused(f"something of its own called {name!r}", node)
        return self._name(name, node)

    # Classes and functions.

    def _class(self, node: ast.ClassDef, path: str) -> None:
        base = ast.unparse(node.bases[0]) if node.bases else ""
        if len(node.bases) > 1 or node.keywords or node.decorator_list or base not in ("", "Module", "NamedTuple"):
            raise self.refused(f"the class {node.name!r} of the kind {base or 'decorated'!r}", node)
        types = self._script.attributes.setdefault(path, {})
        self._line(0, f"class {self._own(node.name, node)}({base}):" if base else f"class {node.name}:")
        for part in node.body:
            if isinstance(part, ast.FunctionDef):
                self._function(part, 1)
            elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                self._attribute(part, types)
            elif isinstance(part, ast.Assign) and len(part.targets) == 1:
                self._of_class(part, types)
            elif isinstance(part, ast.Pass):
                self._line(1, "pass")
            else:
                raise self.refused(f"{type(part).__name__} in a class", part)
        if not node.body:
            self._line(1, "pass")

    def _attribute(self, node: ast.AnnAssign, types: dict[str, ast.expr]) -> None:
        name = self._own(node.target.id, node)
        text = f"{name} : {self._type(node.annotation)}"
        if name in types:
            raise self.refused(f"the attribute {name!r}, which is there twice,", node)
        if node.value is None:
            types[name] = node.annotation
        else:
            text += f" = {self._literal(node.value)}"
        self._line(1, text)

    def _of_class(self, node: ast.Assign, types: dict[str, ast.expr]) -> None:
        """``__parameters__ = ["weight", ]`` and ``__annotations__["first-head"] = Type``."""
        target = node.targets[0]
        names = isinstance(node.value, ast.List) and all(_is_string(item) for item in node.value.elts)
        if isinstance(target, ast.Name) and target.id in ("__parameters__", "__buffers__", "__annotations__") and names:
            self._line(1, f"{target.id} = [{''.join(f'{self._literal(item)}, ' for item in node.value.elts)}]")
        elif (
            isinstance(target, ast.Subscript)
            and isinstance(target.value, ast.Name)
            and target.value.id == "__annotations__"
            and _is_string(target.slice)
        ):
            if types.setdefault(target.slice.value, node.value) is not node.value:
                raise self.refused(f"the attribute {target.slice.value!r}, which is there twice,", node)
            self._line(1, f"__annotations__[{self._literal(target.slice)}] = {self._type(node.value)}")
        else:
            raise self.refused(f"{ast.unparse(target)[:60]!r} in a class", node)

    def _function(self, node: ast.FunctionDef, depth: int) -> None:
        given = node.args
        if node.decorator_list or given.vararg or given.kwarg or given.posonlyargs or given.kwonlyargs:
            raise self.refused(f"the function {node.name!r} with other arguments than plain ones", node)
        defaults = [None] * (len(given.args) - len(given.defaults)) + given.defaults
        parts = []
        for place, (argument, default) in enumerate(zip(given.args, defaults, strict=True)):
            text = self._own(argument.arg, argument)
            if argument.annotation is not None:
                text += f": {self._type(argument.annotation)}"
            elif place or not depth:
                raise self.refused(f"the argument {argument.arg!r} without a type", argument)
            parts.append(text if default is None else f"{text}={self._literal(default)}")
        returns = "" if node.returns is None else f" -> {self._type(node.returns)}"
        self._line(depth, f"def {self._own(node.name, node)}({', '.join(parts)}){returns}:")
        self._block(node.body, depth + 1)

    # Types and literals, which PyTorch looks at or runs on opening.

    def _type(self, node: ast.expr) -> str:
        with _Deeper(self, node):
            if isinstance(node, ast.Constant) and node.value is None:
                return "None"
            if isinstance(node, ast.Name) and node.id in _TYPES:
                return node.id
            if isinstance(node, ast.Attribute) and (path := _path(node)) in self._classes:
                return path
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in _GENERIC_TYPES:
                inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return f"{node.value.id}[{', '.join(map(self._type, inner)) or '()'}]"
            raise self.refused(f"the type {ast.unparse(node)[:80]!r}", node)

    def _literal(self, node: ast.expr) -> str:
        with _Deeper(self, node):
            if isinstance(node, ast.Constant):
                return self._constant(node)
            if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
                return node.id
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                return f"-{self._literal(node.operand)}"
            if isinstance(node, (ast.List, ast.Tuple, ast.Dict)):
                return self._container(node, self._literal)
            if isinstance(node, ast.Attribute) and _is_constant(node):
                return ast.unparse(node)
            if isinstance(node, ast.Call) and not node.keywords:
                called = _path(node.func)
                if called == "annotate" and len(node.args) == 2:
                    return f"annotate({self._type(node.args[0])}, {self._literal(node.args[1])})"
                if called == "torch.device" and len(node.args) == 1 and _is_string(node.args[0]):
                    return f"torch.device({self._literal(node.args[0])})"
            raise self.refused(f"{ast.unparse(node)[:80]!r}, which is run on opening and is no literal,", node)

    def _container(self, node: ast.List | ast.Tuple | ast.Dict, each: Callable[[ast.expr], str]) -> str:
        if isinstance(node, ast.List):
            return f"[{', '.join(map(each, node.elts))}]"
        if isinstance(node, ast.Tuple):
            return f"({''.join(f'{each(item)}, ' for item in node.elts)})" if node.elts else "()"
        if None in node.keys:
            raise self.refused("** in a dictionary", node)
        return (
            f"{{{', '.join(f'{each(key)}: {each(value)}' for key, value in zip(node.keys, node.values, strict=True))}}}"
        )

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

    # Statements.

    def _block(self, statements: list[ast.stmt], depth: int) -> None:
        for statement in statements:
            write = getattr(self, f"_write_{type(statement).__name__}", None)
            if write is None:
                raise self.refused(f"the statement {ast.unparse(statement)[:80]!r}", statement)
            write(statement, depth)

    def _write_Pass(self, node: ast.Pass, depth: int) -> None:  # noqa: N802 - named as its node
        self._line(depth, "pass")

    def _write_Return(self, node: ast.Return, depth: int) -> None:  # noqa: N802
        self._line(depth, "return" if node.value is None else f"return {self._expression(node.value)}")

    def _write_Expr(self, node: ast.Expr, depth: int) -> None:  # noqa: N802
        said = isinstance(node.value, ast.Call) and _path(node.value.func) in ("torch.warn", "ops.aten.warn")
        self._line(depth, "pass" if said else self._expression(node.value))  # warnings are words of the file

    def _write_Assign(self, node: ast.Assign, depth: int) -> None:  # noqa: N802
        if len(node.targets) != 1:
            raise self.refused("an assignment to several names", node)
        self._line(depth, f"{self._target(node.targets[0])} = {self._values(node.value)}")

    def _write_AnnAssign(self, node: ast.AnnAssign, depth: int) -> None:  # noqa: N802
        if node.value is None or not isinstance(node.target, ast.Name):
            raise self.refused("a type without a value", node)
        name = self._own(node.target.id, node)
        self._line(depth, f"{name} : {self._type(node.annotation)} = {self._expression(node.value)}")

    def _write_If(self, node: ast.If, depth: int) -> None:  # noqa: N802
        self._line(depth, f"if {self._expression(node.test)}:")
        self._block(node.body, depth + 1)
        if node.orelse:
            self._line(depth, "else:")
            self._block(node.orelse, depth + 1)

    def _write_While(self, node: ast.While, depth: int) -> None:  # noqa: N802
        if node.orelse:
            raise self.refused("else behind a loop", node)
        self._line(depth, f"while {self._expression(node.test)}:")
        self._block(node.body, depth + 1)

    def _write_For(self, node: ast.For, depth: int) -> None:  # noqa: N802
        if node.orelse or not isinstance(node.target, ast.Name):
            raise self.refused("a loop of another form than TorchScript's", node)
        self._line(depth, f"for {self._own(node.target.id, node)} in {self._expression(node.iter)}:")
        self._block(node.body, depth + 1)

    def _write_With(self, node: ast.With, depth: int) -> None:  # noqa: N802
        item = node.items[0]
        if len(node.items) != 1 or not isinstance(item.context_expr, ast.Name):
            raise self.refused("a with statement of another form than TorchScript's", node)
        named = "" if item.optional_vars is None else f" as {self._target(item.optional_vars)}"
        self._line(depth, f"with {self._expression(item.context_expr)}{named}:")
        self._block(node.body, depth + 1)

    def _target(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self._own(node.id, node)
        if isinstance(node, ast.Tuple) and node.elts:
            return "".join(f"{self._target(item)}, " for item in node.elts).rstrip()
        if isinstance(node, ast.Attribute):  # what a module keeps between calls
            return f"{self._expression(node.value)}.{self._own(node.attr, node)}"
        raise self.refused(f"an assignment to {ast.unparse(node)[:60]!r}", node)

    def _values(self, node: ast.expr) -> str:
        if isinstance(node, ast.Tuple) and node.elts:  # a, b = c, d
            return ", ".join(map(self._expression, node.elts))
        return self._expression(node)

    # Expressions.

    def _expression(self, node: ast.expr) -> str:
        with _Deeper(self, node):
            if isinstance(node, ast.Constant):
                return self._constant(node)
            if isinstance(node, ast.Name):
                return node.id if node.id in ("inf", "nan") else self._own(node.id, node)
            if isinstance(node, (ast.List, ast.Tuple, ast.Dict)):
                return self._container(node, self._expression)
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                return f"-{self._expression(node.operand)}"
            if isinstance(node, ast.Attribute):
                return self._member(node)
            if isinstance(node, ast.Subscript):
                return f"({self._expression(node.value)})[{self._index(node.slice)}]"
            if isinstance(node, ast.Call):
                return self._call(node)
            raise self.refused(f"the expression {ast.unparse(node)[:80]!r}", node)

    def _index(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Slice):
            return self._expression(node)
        if node.step is not None:
            raise self.refused("a slice of another form than TorchScript's", node)
        return ":".join("" if end is None else self._expression(end) for end in (node.lower, node.upper))

    def _member(self, node: ast.Attribute) -> str:
        path = _path(node)
        if _is_constant(node) or path in self._functions | self._classes:
            return path
        if path.startswith(("torch.", "ops.", f"{_ARCHIVE}.", "CONSTANTS.")):
            raise self.refused(f"{path!r}", node)
        return f"({self._expression(node.value)}).{self._own(node.attr, node)}"

    def _call(self, node: ast.Call) -> str:
        path = _path(node.func)
        head = path.partition(".")[0]
        if isinstance(node.func, ast.Name) and path in _RESERVED:
            return self._printed_call(node, path)
        if path and head in ("torch", "ops"):
            return self._operation(node, path)
        return f"{self._called(node, path)}({self._arguments(node)})"

    def _called(self, node: ast.Call, path: str) -> str:
        """What is called: something of this archive, in one of the forms that TorchScript prints."""
        function = node.func
        if path in self._functions | self._classes:
            return path
        if isinstance(function, ast.Name):  # a function of the archive, under a name of its own
            return self._own(function.id, function)
        if isinstance(function, ast.Attribute):
            if function.attr == "__new__" and _path(function.value) in self._classes:
                return path
            if function.attr in self._methods and not path.startswith(_ARCHIVE):
                return f"({self._expression(function.value)}).{self._own(function.attr, function)}"
        raise self.refused(f"a call of {ast.unparse(function)[:80]!r}", node)

    def _arguments(self, node: ast.Call) -> str:
        if any(isinstance(item, ast.Starred) for item in node.args) or any(item.arg is None for item in node.keywords):
            raise self.refused("a call with * or **", node)
        named = (f"{self._name(item.arg, node)}={self._expression(item.value)}" for item in node.keywords)
        return ", ".join((*map(self._expression, node.args), *named))

    def _printed_call(self, node: ast.Call, name: str) -> str:
        """``annotate(Tensor, x)`` and the like: words of TorchScript, not operations."""
        given = node.args
        if not node.keywords:
            if name in _PRINTED_CALLS or (name == "unchecked_unwrap_optional" and len(given) == 1):
                return f"{name}({self._arguments(node)})"
            if name == "uninitialized" and len(given) == 1:
                return f"uninitialized({self._type(given[0])})"
            if name in _TYPED_CALLS and len(given) == 2:
                return f"{name}({self._type(given[0])}, {self._of_type(given[1])})"
            if name == "isinstance" and len(given) == 2:
                kinds = given[1].elts if isinstance(given[1], (ast.Tuple, ast.List)) else [given[1]]
                return f"isinstance({self._expression(given[0])}, ({''.join(f'{self._kind(k)}, ' for k in kinds)}))"
            if name == "getattr" and len(given) == 2 and _is_string(given[1]):
                return self._odd_member(given[0], given[1])
        raise self.refused(f"a call of {name!r} of another form than TorchScript's", node)

    def _kind(self, node: ast.expr) -> str:
        """A type to compare with, which may be that of any list or tuple."""
        return node.id if isinstance(node, ast.Name) and node.id in ("list", "tuple") else self._type(node)

    def _of_type(self, node: ast.expr) -> str:
        """The value that a type is given to; ``x.tolist()`` has no other form."""
        function = getattr(node, "func", None)
        if isinstance(function, ast.Attribute) and function.attr == "tolist" and not node.args and not node.keywords:
            return f"({self._expression(function.value)}).tolist()"
        return self._expression(node)

    def _odd_member(self, value: ast.expr, name: ast.Constant) -> str:
        """``getattr(layers, "0")``: a part whose name is no identifier."""
        if _path(value).partition(".")[0] in ("torch", "ops", _ARCHIVE, "CONSTANTS") or _DUNDER.fullmatch(name.value):
            raise self.refused(f"getattr with {name.value!r}", name)
        return f"getattr({self._expression(value)}, {self._constant(name)})"

    def _operation(self, node: ast.Call, path: str) -> str:
        namespace, name = ("aten", path.removeprefix("torch.")) if path.startswith("torch.") else _of_ops(path)
        if namespace == "prim" and name in operators.PRIM:
            return f"ops.prim.{name}({self._arguments(node)})"
        if namespace != "aten" or not operators.may_be_called(name):
            raise operators.refusal(f"{namespace}::{name}", self._where)
        if (guard := operators.guard_of(name, node.args)) is not None:
            self._script.used.add(guard)
            return f"{operators.GUARDS}.{operators.function_name(guard)}({self._arguments(node)})"
        return f"torch.{name}({self._arguments(node)})"


class _Deeper:
    """Counts how deep expressions are nested."""

    def __init__(self, printer: _Printer, node: ast.AST) -> None:
        self._printer, self._node = printer, node

    def __enter__(self) -> None:
        self._printer._depth += 1
        if self._printer._depth > _DEEPEST:
            raise self._printer.refused("an expression nested deeper than real models have", self._node)

    def __exit__(self, *_: object) -> None:
        self._printer._depth -= 1


def _path(node: ast.expr) -> str:
    """``a.b.c`` of names alone; empty for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def _of_ops(path: str) -> tuple[str, str]:
    namespace, _, name = path.removeprefix("ops.").partition(".")
    return namespace, name


def _is_constant(node: ast.Attribute) -> bool:
    return re.fullmatch(r"CONSTANTS\.c\d+", _path(node), re.ASCII) is not None


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _quoted(letter: str) -> str:
    """A letter, or a byte of one beyond ASCII, as TorchScript prints it."""
    return _ESCAPES.get(letter) or (letter if " " <= letter <= "~" else f"\\{ord(letter):03o}")
