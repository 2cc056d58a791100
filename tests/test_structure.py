"""What may import what: no cycles, between modules or between rooms, and layers that stay below others.

Imports inside functions count like those at the top, since a cycle that is put off is a cycle; imports for type
checkers alone do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import explain_core

PACKAGE = Path(explain_core.__file__).parent
FRAMEWORKS = {"torch", "tensorflow", "keras"}
APP = {"streamlit", "ui", "pages", "app"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, that of a folder for its ``__init__``."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements in a tree, without those under ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from statements(other)
        else:
            yield from statements(child)


def imported(name: str) -> set[str]:
    """What a module imports, by dotted name: a module of this package, or whatever is named of another."""
    path, found = MODULES[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for statement in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
            continue
        above = package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
        source = ".".join([*above, *([statement.module] if statement.module else [])])
        for alias in statement.names:
            whole = f"{source}.{alias.name}"
            found.add(whole if whole in MODULES else source)
    return found - {name}


GRAPH = {name: imported(name) for name in MODULES}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The names along one cycle, if there is any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def room(name: str) -> str:
    """The part of the package that a module belongs to: the folder, or the module where it stands at the top."""
    return name.split(".")[1] if "." in name else name


def test_no_modules_import_each_other():
    assert not cycle({name: found & MODULES.keys() for name, found in GRAPH.items()})


def test_no_rooms_import_each_other():
    rooms: dict[str, set[str]] = {}
    for name, found in GRAPH.items():
        rooms.setdefault(room(name), set()).update(room(other) for other in found & MODULES.keys())
    assert not cycle({name: found - {name} for name, found in rooms.items()})


def test_a_cycle_is_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert "explain_core.explaining" in GRAPH["explain_core.methods.run"]
    assert "explain_core.explanation.file" in GRAPH["explain_core.explanation.result"]  # within a function
    assert "explain_core.backends.protocol" not in GRAPH["explain_core.explanation.build"]  # for type checkers


@pytest.mark.parametrize(
    ("layer", "stands_on"),
    [
        ("errors", set()),
        ("words", set()),
        ("rules", {"rules", "errors"}),
        ("kernels", {"kernels", "rules", "errors"}),
        ("backends", {"backends", "kernels", "rules", "errors"}),
        ("explanation", {"explanation", "errors", "words"}),
    ],
)
def test_a_layer_knows_nothing_of_those_above_it(layer, stands_on):
    inside = [name for name in GRAPH if room(name) == layer]
    found = {other for name in inside for other in GRAPH[name] & MODULES.keys() if room(other) not in stands_on}
    assert not found


@pytest.mark.parametrize(
    ("layer", "packages"),
    [
        ("explain_core", APP),
        ("explain_core.rules", APP | FRAMEWORKS),
        ("explain_core.kernels", APP | FRAMEWORKS),
        ("explain_core.preparation", APP | FRAMEWORKS),
        ("explain_core.explanation", APP | FRAMEWORKS),
        ("explain_core.sequences", APP | FRAMEWORKS),
        ("explain_core.figures", APP | FRAMEWORKS),
        ("explain_core.backends.torch", APP | {"tensorflow", "keras"}),
        ("explain_core.backends.tensorflow", APP | {"torch"}),
    ],
)
def test_a_layer_imports_no_package_of(layer, packages):
    inside = [name for name in GRAPH if name == layer or name.startswith(f"{layer}.")]
    found = {name: {other.partition(".")[0] for other in GRAPH[name]} & packages for name in inside}
    assert not {name: others for name, others in found.items() if others}
