"""The statements and expressions in the source code of a TorchScript archive.

A kind that has no method here cannot be written. What is called is an operation on the list of `operators`, or
something of the archive itself, in one of the forms that ``torch.jit.save`` gives it.
"""

from __future__ import annotations

import ast

from explain_core.models.torch_programs import operators
from explain_core.models.torch_programs.script_literals import (
    ARCHIVE,
    DUNDER,
    PRINTED_CALLS,
    RESERVED,
    TYPED_CALLS,
    Deeper,
    Literals,
    is_constant,
    is_string,
    path_of,
)


class Code(Literals):
    """Writes the bodies of functions."""

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
        said = isinstance(node.value, ast.Call) and path_of(node.value.func) in ("torch.warn", "ops.aten.warn")
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
        with Deeper(self, node):
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
        path = path_of(node)
        if is_constant(node) or path in self._functions | self._classes:
            return path
        if path.startswith(("torch.", "ops.", f"{ARCHIVE}.", "CONSTANTS.")):
            raise self.refused(f"{path!r}", node)
        return f"({self._expression(node.value)}).{self._own(node.attr, node)}"

    def _call(self, node: ast.Call) -> str:
        path = path_of(node.func)
        head = path.partition(".")[0]
        if isinstance(node.func, ast.Name) and path in RESERVED:
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
            if function.attr == "__new__" and path_of(function.value) in self._classes:
                return path
            if function.attr in self._methods and not path.startswith(ARCHIVE):
                return f"({self._expression(function.value)}).{self._own(function.attr, function)}"
        raise self.refused(f"a call of {ast.unparse(function)[:80]!r}", node)

    def _arguments(self, node: ast.Call) -> str:
        if any(isinstance(item, ast.Starred) for item in node.args) or any(item.arg is None for item in node.keywords):
            raise self.refused("a call with * or **", node)
        named = (f"{self._name(item.arg, node)}={self._expression(item.value)}" for item in node.keywords if item.arg)
        return ", ".join((*map(self._expression, node.args), *named))

    def _printed_call(self, node: ast.Call, name: str) -> str:
        """``annotate(Tensor, x)`` and the like: words of TorchScript, not operations."""
        given = node.args
        if not node.keywords:
            if name in PRINTED_CALLS or (name == "unchecked_unwrap_optional" and len(given) == 1):
                return f"{name}({self._arguments(node)})"
            if name == "uninitialized" and len(given) == 1:
                return f"uninitialized({self._type(given[0])})"
            if name in TYPED_CALLS and len(given) == 2:
                return f"{name}({self._type(given[0])}, {self._of_type(given[1])})"
            if name == "isinstance" and len(given) == 2:
                kinds = given[1].elts if isinstance(given[1], (ast.Tuple, ast.List)) else [given[1]]
                return f"isinstance({self._expression(given[0])}, ({''.join(f'{self._kind(k)}, ' for k in kinds)}))"
            if name == "getattr" and len(given) == 2 and is_string(given[1]):
                return self._odd_member(given[0], given[1])
        raise self.refused(f"a call of {name!r} of another form than TorchScript's", node)

    def _kind(self, node: ast.expr) -> str:
        """A type to compare with, which may be that of any list or tuple."""
        return node.id if isinstance(node, ast.Name) and node.id in ("list", "tuple") else self._type(node)

    def _of_type(self, node: ast.expr) -> str:
        """The value that a type is given to; ``x.tolist()`` has no other form."""
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            function = node.func
            if isinstance(function, ast.Attribute) and function.attr == "tolist":
                return f"({self._expression(function.value)}).tolist()"
        return self._expression(node)

    def _odd_member(self, value: ast.expr, name: ast.Constant) -> str:
        """``getattr(layers, "0")``: a part whose name is no identifier."""
        owner = path_of(value).partition(".")[0]
        if owner in ("torch", "ops", ARCHIVE, "CONSTANTS") or DUNDER.fullmatch(str(name.value)):
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


def _of_ops(path: str) -> tuple[str, str]:
    namespace, _, name = path.removeprefix("ops.").partition(".")
    return namespace, name
