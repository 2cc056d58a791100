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
from math import prod
from typing import Any

from explain_core.errors import ModelFileError

_REBUILD = 'Export the model without it, for example as a Keras model: model.save("model.keras").'
_MOST_FILLED = 2**30  # bytes
_INIT = "__saved_model_init_op"

#: Operations that compute from their inputs and nothing else, beside those that the engine has rules for.
_PURE = frozenset(
    """Acos Acosh AddN Angle ArgMax ArgMin Asin Asinh Atan2 Atanh Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor
    BroadcastArgs BroadcastGradientArgs Bucketize ClipByValue Complex ComplexAbs ConcatOffset Conj Const Cross
    CudnnRNN CudnnRNNV2 CudnnRNNV3 Cumprod DataFormatDimMap DenseBincount Digamma DisableCopyOnRead Div Empty Erfinv
    Fill FloorDiv Igamma Igammac Imag InTopKV2 InvertPermutation L2Loss LRN Lgamma LinSpace ListDiff LogicalXor
    MatrixDiag MatrixInverse MatrixSetDiag MatrixSetDiagV3 Mod Multinomial Ndtri NonMaxSuppressionV3 ParallelConcat
    Placeholder Prod Qr RandomGammaGrad RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt Range Real
    RngReadAndSkip RngSkip SegmentMax SegmentMean SegmentMin Sort SparseSoftmaxCrossEntropyWithLogits
    SoftmaxCrossEntropyWithLogits StatefulStandardNormalV2 StatefulUniform StatefulUniformFullInt
    StatelessMultinomial StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
    StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformFullInt
    StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
    StatelessTruncatedNormal StatelessTruncatedNormalV2 Tan TopK TopKV2 TruncateDiv TruncateMod TruncatedNormal
    Unique UniqueV2 UnravelIndex VarHandleOp VarIsInitializedOp VariableV2 Where Xdivy Xlog1py Xlogy Zeta""".split()  # noqa: SIM905
)
_REASONS = {  # for people: what an operation that is refused would have done, by a part of its name
    "Py": "runs Python code",
    "File": "reads or writes files",
    "Save": "writes files",
    "Restore": "reads files",
    "Merge": "writes files or steers a loop of TensorFlow 1",
    "Table": "looks words up in a table, which comes from a file",
    "Print": "writes to a file",
    "Enter": "is a loop of TensorFlow 1",
    "Switch": "is a branch of TensorFlow 1",
    "String": "works on text",
    "Iterator": "reads data from elsewhere",
    "Dataset": "reads data from elsewhere",
    "Reader": "reads files",
}


@dataclass(frozen=True)
class Signature:
    """One way to call the model: names of arguments and results, with their tensors in the graph."""

    name: str
    inputs: dict[str, Any]  # TensorInfo
    outputs: dict[str, Any]


def read_program(data: bytes, where: str) -> Any:
    """The MetaGraphDef for serving.

    Raises:
        ModelFileError: it is not one.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    try:
        content.ParseFromString(data)
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
    _check_order(functions, where)
    _check_constants([node for _, node in _all_nodes(kept.values(), functions.values())], where)
    for place, node in _all_nodes(kept.values(), functions.values()):
        _check(node, place, where)
    graph = graph_pb2.GraphDef(versions=meta.graph_def.versions)
    graph.node.extend(node for node in meta.graph_def.node if node.name in kept)
    graph.library.function.extend(functions.values())
    return graph


def _functions(nodes: Iterable[Any], library: Any, where: str) -> dict[str, Any]:
    known = {function.signature.name: function for function in library.function}
    found: dict[str, Any] = {}
    waiting = list(nodes)
    while waiting:
        for name in _called(waiting.pop()):
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


def _check_order(functions: dict[str, Any], where: str) -> None:
    """Refuse functions that call themselves, at whatever distance: they could go on for ever."""
    calls = {name: {c for node in function.node_def for c in _called(node)} for name, function in functions.items()}
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        raise ModelFileError(
            f"The function {error.args[1][0][:80]!r} of the graph calls itself.", where=where, hint=_REBUILD
        ) from None


def _check_constants(nodes: Iterable[Any], where: str) -> None:
    """Refuse constants that declare far more numbers than the file has: one number can stand for all of them."""
    total = 0
    for node in nodes:
        if node.op == "Const":
            value = node.attr["value"].tensor
            declared = 8 * prod(max(axis.size, 0) for axis in value.tensor_shape.dim)
            total += max(declared - value.ByteSize(), 0)
    if total > _MOST_FILLED:
        raise ModelFileError(
            f"The constants of the graph declare {total / 2**30:.1f} GiB that the file does not have.",
            where=where,
            hint=_REBUILD,
        )


def _called(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)


def _all_nodes(nodes: Iterable[Any], functions: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for node in nodes:
        yield node.name, node
    for function in functions:
        for node in function.node_def:
            yield f"{function.signature.name}: {node.name}", node


def _check(node: Any, place: str, where: str) -> None:
    from explain_core.backends.tensorflow.interpreter import operations

    harmless = node.op in _PURE or node.op in operations()
    if harmless and not (node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file")):
        return
    why = next((reason for part, reason in _REASONS.items() if part in node.op), "")
    raise ModelFileError(
        f"The model runs the TensorFlow operation {node.op[:80]!r}"
        + (f", which {why}" if why else ", which is not one that only computes")
        + "; it is not opened.",
        where=f"{where}: {place[:160]}",
        hint=_REBUILD,
    )


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
