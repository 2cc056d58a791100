"""What of a SavedModel would run, and whether all of it may.

A SavedModel is a program: its graph can read and write files, call Python, and do so while it is loaded. So
TensorFlow's loader is not used. The graph is read as data; only what the prediction depends on is kept, functions
included; each operation of that must be one that computes from its inputs and nothing else. The rest of the file
(initializers, tables, the saver, other signatures) is never run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.saved_model.nodes import REBUILD, called, check_node, missing_bytes, without_effects

_MOST_FILLED = 2**30  # bytes
_MOST_PROGRAM = 2**29  # bytes
_DEEPEST = 200  # functions that call each other
_MOST_NODES = 5_000_000  # with every called function in its place, as TensorFlow runs it
_INIT = "__saved_model_init_op"


@dataclass(frozen=True)
class Signature:
    """One way to call the model: names of arguments and results, with their tensors in the graph."""

    name: str
    inputs: dict[str, Any]  # TensorInfo
    outputs: dict[str, Any]


def read_program(path: Path, where: str) -> Any:
    """The MetaGraphDef for serving, from a ``saved_model.pb``.

    Raises:
        ModelFileError: it is not one, or larger than a graph is.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    if (size := path.stat().st_size) > _MOST_PROGRAM:
        raise ModelFileError(
            f"The graph of the SavedModel has {size:,} bytes; the limit is {_MOST_PROGRAM:,}.",
            where=where,
            hint="Keep the weights in variables and not in the graph, as model.export does.",
        )
    content = saved_model_pb2.SavedModel()
    try:
        content.ParseFromString(path.read_bytes())
    except (DecodeError, RecursionError):
        raise ModelFileError(
            "The graph of the SavedModel is not readable.", where=where, hint="The file is damaged; copy it again."
        ) from None
    graphs = [graph for graph in content.meta_graphs if "serve" in graph.meta_info_def.tags] or content.meta_graphs
    if not graphs:
        raise ModelFileError("The SavedModel has no graph.", where=where, hint="Save the model again.")
    return graphs[0]


def choose_signature(meta: Any, where: str) -> Signature:
    """The signature for serving, or the only one.

    Raises:
        ModelFileError: there is none to choose.
    """
    names = [name for name in meta.signature_def if name != _INIT and meta.signature_def[name].outputs]
    wanted = next((name for name in ("serving_default", "serve") if name in names), None)
    if wanted is None and len(names) == 1:
        (wanted,) = names
    if wanted is None:
        has = f"only {', '.join(sorted(names))}" if names else "none at all"
        raise ModelFileError(
            f"The SavedModel has no signature 'serving_default', {has}.",
            where=where,
            hint='Save the model with model.export(folder), or as model.save("model.keras").',
        )
    chosen = meta.signature_def[wanted]
    return Signature(wanted, dict(chosen.inputs), dict(chosen.outputs))


def reachable(meta: Any, signature: Signature, where: str) -> Any:
    """A GraphDef of only what the signature's results depend on, with only the functions that it calls.

    Raises:
        ModelFileError: an operation that may not run, by name; or a graph that does not fit together.
    """
    from tensorflow.core.framework import graph_pb2

    nodes = {node.name: node for node in meta.graph_def.node}
    inputs = {_node_of(info.name) for info in signature.inputs.values()}
    kept: dict[str, Any] = {}
    waiting = [_node_of(info.name) for info in signature.outputs.values()]
    while waiting:
        name = waiting.pop()
        if name in kept:
            continue
        if name not in nodes:
            raise ModelFileError(
                f"The graph refers to {name[:80]!r}, which is not in it.", where=where, hint="The file is damaged."
            )
        kept[name] = nodes[name]
        if name not in inputs:
            waiting += map(_node_of, nodes[name].input)
    if inputs - set(kept):
        missing = next(key for key, info in signature.inputs.items() if _node_of(info.name) not in kept)
        kept |= {name: nodes[name] for name in inputs if name in nodes}
        if len(inputs - set(kept)):
            raise ModelFileError(f"The graph has no input {missing[:80]!r}.", where=where, hint="The file is damaged.")
    functions = _functions(kept.values(), meta.graph_def.library, where)
    _check_calls(kept.values(), functions, where)
    for place, node, in_function in _all_nodes(kept.values(), functions.values()):
        check_node(node, place, where, in_function=in_function)
    _check_constants([node for _, node, _ in _all_nodes(kept.values(), functions.values())], where)
    graph = graph_pb2.GraphDef(versions=meta.graph_def.versions)
    graph.node.extend(node for name, node in nodes.items() if name in kept)
    graph.library.function.extend(functions.values())
    for _, node, _ in _all_nodes(graph.node, graph.library.function):
        without_effects(node)
    return graph


def _functions(nodes: Iterable[Any], library: Any, where: str) -> dict[str, Any]:
    known = {function.signature.name: function for function in library.function}
    found: dict[str, Any] = {}
    waiting = list(nodes)
    while waiting:
        for name in called(waiting.pop()):
            if name in found:
                continue
            if name not in known:
                raise ModelFileError(
                    f"The graph calls the function {name[:80]!r}, which is not in it.",
                    where=where,
                    hint="The file is damaged.",
                )
            found[name] = known[name]
            waiting += known[name].node_def
    return found


def _check_calls(nodes: Iterable[Any], functions: dict[str, Any], where: str) -> None:
    """Refuse functions that call themselves, at whatever distance, and calls that make a small file a giant graph."""
    calls = {name: [c for node in function.node_def for c in called(node)] for name, function in functions.items()}
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise ModelFileError(
            f"The function {error.args[1][0][:80]!r} of the graph calls itself.", where=where, hint=REBUILD
        ) from None
    depth, size = {}, {}
    for name in order:  # what a function calls comes before it
        depth[name] = 1 + max((depth[c] for c in calls[name]), default=0)
        size[name] = len(functions[name].node_def) + sum(size[c] for c in calls[name])
    total = sum(1 + sum(size[c] for c in called(node)) for node in nodes)
    if max(depth.values(), default=0) > _DEEPEST or total > _MOST_NODES:
        raise ModelFileError(
            f"The functions of the graph call each other {max(depth.values()):,} deep and are {total:,} operations in "
            f"all; the limits are {_DEEPEST} and {_MOST_NODES:,}.",
            where=where,
            hint=REBUILD,
        )


def _check_constants(nodes: Iterable[Any], where: str) -> None:
    """Refuse constants that declare far more numbers than the file has: one number can stand for all of them."""
    total = sum(map(missing_bytes, nodes))
    if total > _MOST_FILLED:
        raise ModelFileError(
            f"The constants of the graph declare {total / 2**30:.1f} GiB that the file does not have.",
            where=where,
            hint=REBUILD,
        )


def _all_nodes(nodes: Iterable[Any], functions: Iterable[Any]) -> Iterator[tuple[str, Any, bool]]:
    """Every node, with its place in words and whether that is in a function."""
    for node in nodes:
        yield node.name, node, False
    for function in functions:
        for node in function.node_def:
            yield f"{function.signature.name}: {node.name}", node, True


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
