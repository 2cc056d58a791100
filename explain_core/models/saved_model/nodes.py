"""Which operations of a graph may run, and what of a node is taken away or looked at before it does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import prod
from typing import Any

from explain_core.errors import ModelFileError

REBUILD = 'Export the model without it, for example as a Keras model: model.save("model.keras").'
_MOST_PARTS = 65_536  # tensors in one list
_SHAPES = "_output_shapes"  # a hint
_DEEPEST = 10  # attributes in attributes

#: Operations that compute from their inputs and nothing else, beside those that the engine has rules for.
_PURE = frozenset(
    """Acos Acosh AddN Angle ArgMax ArgMin Asin Asinh Atan2 Atanh Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor
    BroadcastArgs BroadcastGradientArgs Bucketize ClipByValue Complex ComplexAbs ConcatOffset Conj Const Cross CudnnRNN
    CudnnRNNV2 CudnnRNNV3 Cumprod DataFormatDimMap DenseBincount Digamma DisableCopyOnRead Div Erfinv Fill FloorDiv
    Igamma Igammac Imag InTopKV2 InvertPermutation L2Loss LRN Lgamma LinSpace ListDiff LogicalXor MatrixDiag
    MatrixInverse MatrixSetDiag MatrixSetDiagV3 Mod Multinomial Ndtri NonMaxSuppressionV3 Placeholder Prod Qr
    RandomGammaGrad RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt Range Real RngReadAndSkip RngSkip
    SegmentMax SegmentMean SegmentMin Sort SparseSoftmaxCrossEntropyWithLogits SoftmaxCrossEntropyWithLogits
    StatefulStandardNormalV2 StatefulUniform StatefulUniformFullInt StatelessMultinomial StatelessRandomGetAlg
    StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2
    StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomUniformInt
    StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessTruncatedNormal StatelessTruncatedNormalV2 Tan TopK
    TopKV2 TruncateDiv TruncateMod TruncatedNormal Unique UniqueV2 UnravelIndex VarHandleOp VarIsInitializedOp
    VariableV2 Where Xdivy Xlog1py Xlogy Zeta""".split()  # noqa: SIM905
)
#: Those that the engine has rules for, in models of the author's own, and that make text of any width or look into
#: a table, which a file would bring from elsewhere.
_NOT_IN_FILES = frozenset(("AsString", "LookupTableFindV2", "StringToHashBucketFast"))
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
    "Queue": "passes values on through a queue",
    "Stack": "passes values on through a stack",
    "Session": "passes values on through a handle",
    "Debug": "writes values to where it is told",
    "Empty": "gives memory as it was left there",
}
_PRINTING = {"Print": "Identity", "PrintV2": "NoOp"}  # and what each does to the prediction
_VARIABLES = ("VarHandleOp", "VariableV2")
_SETTINGS = ("config_proto", "executor_type")  # of the runtime for a called function, which is TensorFlow's to choose


@cache
def allowed() -> frozenset[str]:
    """Every operation that may be in a graph."""
    from explain_core.backends.tensorflow.interpreter import operations

    return (_PURE | frozenset(operations())) - _NOT_IN_FILES


def check_node(node: Any, place: str, where: str, *, in_function: bool) -> None:
    """Refuse a node that does anything but compute.

    Raises:
        ModelFileError: names the operation.
    """
    here = f"{where}: {place[:160]}"
    to_file = node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file")
    if node.op not in allowed() or to_file:
        why = next((reason for part, reason in _REASONS.items() if part in node.op), "")
        raise ModelFileError(
            f"The model runs the TensorFlow operation {node.op[:80]!r}"
            + (f", which {why}" if why else ", which is not one that only computes")
            + "; it is not opened.",
            where=here,
            hint=REBUILD,
        )
    if in_function and node.op in _VARIABLES:
        raise ModelFileError(
            f"A function of the graph looks a variable up by its name ({node.op}), which can be one of another model.",
            where=here,
            hint=REBUILD,
        )
    for name, number in _numbers(node):
        if not 0 <= number <= _MOST_PARTS:
            raise ModelFileError(
                f"The operation {node.op} of the graph takes or gives {number:,} tensors ({name}); the limit is "
                f"{_MOST_PARTS:,}.",
                where=here,
                hint=REBUILD,
            )
    for tensor in _tensors(node):
        if tensor.dtype not in _plain_types():
            kind = "of no type" if not tensor.dtype else "a handle of something in memory"
            raise ModelFileError(
                f"A constant of the graph is {kind}, and not numbers or text.",
                where=here,
                hint=REBUILD,
            )


def without_effects(node: Any) -> None:
    """Take out of a node what is not the prediction's: printing, and settings of the runtime."""
    for name in _SETTINGS:
        node.attr.pop(name, None)
    if _SHAPES in node.attr and node.attr[_SHAPES].WhichOneof("value") != "list":  # TensorFlow does not look first
        del node.attr[_SHAPES]
    if node.op in _PRINTING:
        controls = [name for name in node.input if name.startswith("^")]
        passed = [name for name in node.input[:1] if not name.startswith("^")] if node.op == "Print" else []
        kind = node.attr["T"].type
        node.op = _PRINTING[node.op]
        node.attr.clear()
        if node.op == "Identity":
            node.attr["T"].type = kind
        del node.input[:]
        node.input.extend([*passed, *controls])


def called(node: Any) -> Iterator[str]:
    """The functions that a node names, also in the attributes of the functions that it names."""
    yield from _called(node.attr, 0)


def missing_bytes(node: Any) -> int:
    """How many bytes its constants declare beyond those that are in the file: one number can stand for all."""
    return sum(
        max(8 * prod(max(axis.size, 0) for axis in tensor.tensor_shape.dim) - tensor.ByteSize(), 0)
        for tensor in _tensors(node)
    )


def _called(attributes: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("its attributes are nested too deep")
    for value in attributes.values():
        for function in [*([value.func] if value.HasField("func") else []), *value.list.func]:
            yield function.name
            yield from _called(function.attr, depth + 1)


def _numbers(node: Any) -> Iterator[tuple[str, int]]:
    """How many tensors a list among its inputs or outputs has, which TensorFlow makes room for at once."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    for argument in (*definition.input_arg, *definition.output_arg) if definition is not None else ():
        if argument.number_attr in node.attr:
            yield argument.number_attr, node.attr[argument.number_attr].i


def _tensors(node: Any) -> Iterator[Any]:
    for value in node.attr.values():
        if value.HasField("tensor"):
            yield value.tensor
        yield from value.list.tensor


@cache
def _plain_types() -> frozenset[int]:
    """Numbers, truth values and texts; not handles of resources and what they hold."""
    from tensorflow.core.framework import types_pb2

    others = ("DT_RESOURCE", "DT_VARIANT", "DT_RESOURCE_REF", "DT_VARIANT_REF", "DT_INVALID")
    return frozenset(number for name, number in types_pb2.DataType.items() if name not in others)
