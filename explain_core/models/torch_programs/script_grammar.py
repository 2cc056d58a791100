"""The source code in a TorchScript archive: read by Python's parser, checked piece by piece, and written anew.

PyTorch runs parts of that source while it opens an archive: the defaults of arguments and the constants of classes. So
only what ``torch.jit.save`` writes for a model is taken: literals there, and elsewhere calls of operations on the list
of `operators` and of functions of the same archive. What PyTorch reads is printed from the checked tree, so that
nothing can be one thing to Python's parser and another to PyTorch's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from explain_core.errors import ModelFileError
from explain_core.models.torch_programs.program_check import refuse_code
from explain_core.models.torch_programs.script_code import Code
from explain_core.models.torch_programs.script_literals import DUNDER, Names, Script, is_string

_MOST_BYTES = 64 * 2**20
_BROKEN = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_HEADER = re.compile(r"(op_version_set = \d+|import [\w.]+)\s*$", re.ASCII)  # of old versions; PyTorch skips them


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
    script, names = Script(), Names(frozenset(functions), frozenset(classes), frozenset(methods))
    for name, tree in trees.items():
        printer = _Definitions(script, names, f"{where}: {name}")
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


class _Definitions(Code):
    """Writes one file of code."""

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
                self._attribute(part.target.id, part, types)
            elif isinstance(part, ast.Assign) and len(part.targets) == 1:
                self._of_class(part, types)
            elif isinstance(part, ast.Pass):
                self._line(1, "pass")
            else:
                raise self.refused(f"{type(part).__name__} in a class", part)
        if not node.body:
            self._line(1, "pass")

    def _attribute(self, name: str, node: ast.AnnAssign, types: dict[str, ast.expr]) -> None:
        name = self._own(name, node)
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
        listed = node.value.elts if isinstance(node.value, ast.List) else []
        names = isinstance(node.value, ast.List) and all(is_string(item) for item in listed)
        if isinstance(target, ast.Name) and target.id in ("__parameters__", "__buffers__", "__annotations__") and names:
            self._line(1, f"{target.id} = [{''.join(f'{self._literal(item)}, ' for item in listed)}]")
        elif (
            isinstance(target, ast.Subscript)
            and isinstance(target.value, ast.Name)
            and target.value.id == "__annotations__"
            and is_string(target.slice)
        ):
            name = str(target.slice.value)
            if DUNDER.fullmatch(name):
                raise self.refused(f"the attribute {name!r}", node)
            if types.setdefault(name, node.value) is not node.value:
                raise self.refused(f"the attribute {name!r}, which is there twice,", node)
            self._line(1, f"__annotations__[{self._literal(target.slice)}] = {self._type(node.value)}")
        else:
            raise self.refused(f"{ast.unparse(target)[:60]!r} in a class", node)

    def _function(self, node: ast.FunctionDef, depth: int) -> None:
        self.begin()
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
