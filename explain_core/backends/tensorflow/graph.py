"""A traced function as a list of nodes, each of which can be run on tensors.

The interpreter needs three things of an operation: its type, where its inputs come from, and a way to run
it on other tensors than those it was traced with. The last is the public ``tf.raw_ops``, called with the
node's own attributes. Attributes that follow from the inputs (their types and number) are left out, so the
same graph runs in double precision as it is.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

LOW_PRECISION = (tf.float16, tf.bfloat16)
STORED_TYPE = ("ReadVariableOp", "VarHandleOp", "ResourceGather")  # their dtype is that of the variable itself

DRAWS = re.compile(
    r"Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|GammaV\d|Poisson|PoissonV2)|TruncatedNormal|Multinomial"
    r"|ParameterizedTruncatedNormal|Stateful(Uniform\w*|StandardNormal\w*|TruncatedNormal|RandomBinomial)"
    r"|Stateless(Random(Uniform|Normal|Gamma|Binomial|Poisson)\w*|TruncatedNormal\w*|Multinomial|ParameterizedTruncated\w*)"
    r"|Rng(ReadAndSkip|Skip)|CudnnRNN\w*Dropout"
)
"""The types of operations that draw random numbers."""

_OF_ONE_CALL = re.compile(r"(^|/)einsum(_\d+)?$")  # the name scope of one call of tf.einsum

Run = Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]


@dataclass(frozen=True)
class Precision:
    """Which floating type stands in for which; ``name=None`` keeps the model's own.

    Half precision is carried in single precision, but for ``half``: its rounding is larger than most attributions. Of
    8 bits the rounding is meant: what is cast to them has other values.
    """

    name: str | None = None
    half: bool = False

    def __call__(self, dtype: tf.DType) -> tf.DType:
        if not dtype.is_floating or dtype.size == 1:
            return dtype
        if self.name is not None:
            return tf.as_dtype(self.name)
        if self.half:
            return dtype
        return tf.float32 if dtype in LOW_PRECISION else dtype

    def cast(self, tensor: tf.Tensor) -> tf.Tensor:
        return tf.cast(tensor, self(tensor.dtype))


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    Attributes:
        type: TensorFlow's name for the operation, the key of the rule table.
        inputs: slots that hold its inputs.
        outputs: slots that its outputs go to.
        place: the name scope, which for Keras is the path of the layer.
        operation: the traced operation, for its attributes.
        run: takes one tensor per input and returns one per output.
        parts: the nodes that it is made of, if it stands for several.
    """

    type: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    place: str
    operation: tf.Operation = field(repr=False)
    run: Run = field(repr=False)
    parts: tuple[Node, ...] = field(default=(), repr=False)

    def attribute(self, name: str) -> Any:
        return self.operation.get_attr(name)

    def calls(self) -> Iterator[str]:
        """Names of the functions that it calls."""
        for value in self.operation.node_def.attr.values():
            if value.HasField("func"):
                yield value.func.name
            yield from (function.name for function in value.list.func)


@dataclass
class Program:
    """A graph in the order in which it runs. Its tensors are numbered: they live in slots."""

    graph: tf.Graph
    nodes: list[Node]
    arguments: list[int]
    results: list[int]
    size: int
    precision: Precision
    _functions: dict[str, Program] = field(default_factory=dict)

    def function(self, name: str) -> Program:
        """The program of a function that a node of this one calls by name."""
        if name not in self._functions:
            self._functions[name] = compile_graph(_called_graph(self.graph, name), self.precision)
        return self._functions[name]

    def everything(self) -> Iterator[Program]:
        """This program and those of all functions that are called in it, each once."""
        waiting: list[Program] = [self]
        seen: set[str] = set()
        while waiting:
            program = waiting.pop()
            yield program
            for name in {name for node in program.nodes for name in node.calls()} - seen:
                seen.add(name)
                waiting.append(program.function(name))


def _called_graph(graph: tf.Graph, name: str) -> tf.Graph:
    """The graph of a function that this one calls. TensorFlow has no public way to it."""
    function = graph._get_function(name)
    if hasattr(function, "graph"):
        return function.graph
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    with graph.as_default():  # imported with a graph, and so far a definition only
        return function_def_to_graph(function.definition, include_library_functions=True)


def compile_graph(graph: tf.Graph, precision: Precision) -> Program:
    """Number the tensors of a ``FuncGraph`` and bind every operation to the raw op that runs it."""
    slots: dict[str, int] = {}

    def slot(tensor: tf.Tensor) -> int:
        return slots.setdefault(tensor.name, len(slots))

    arguments = [slot(tensor) for tensor in graph.inputs]
    given = {tensor.op.name for tensor in graph.inputs}
    nodes = [
        Node(
            type=operation.type,
            inputs=tuple(slot(tensor) for tensor in operation.inputs),
            outputs=tuple(slot(tensor) for tensor in operation.outputs),
            place=operation.name.rpartition("/")[0],
            operation=operation,
            run=_bind(operation, precision),
        )
        for operation in graph.get_operations()
        if operation.name not in given
    ]
    results = [slot(tensor) for tensor in graph.outputs]
    nodes = _whole_products(nodes, results)
    return Program(graph, nodes, arguments, results, len(slots), precision)


def _whole_products(nodes: list[Node], results: Collection[int]) -> list[Node]:
    """Put ``tf.einsum`` of three and more operands together again, which is traced as one product after another."""
    steps: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        if node.type == "Einsum" and _OF_ONE_CALL.search(node.place):
            steps[node.place].append(node)
    joined: dict[Node, Node | None] = {}
    for parts in steps.values():
        inside = {slot for part in parts[:-1] for slot in part.outputs}
        own = set(parts)
        read = inside & set(results) or (inside and any(inside & set(n.inputs) for n in nodes if n not in own))
        if read or not inside:
            continue
        joined |= {**dict.fromkeys(parts), parts[-1]: _joined(parts, inside)}
    kept = [joined.get(node, node) for node in nodes]
    return [node for node in kept if node is not None]


def _joined(parts: Sequence[Node], inside: Collection[int]) -> Node:
    """One node with every operand as an input of its own, also one that is given twice."""
    inputs = tuple(slot for part in parts for slot in part.inputs if slot not in inside)

    def run(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        made: dict[int, tf.Tensor] = {}
        rest = iter(tensors)
        for part in parts:
            given = [made[slot] if slot in inside else next(rest) for slot in part.inputs]
            made.update(zip(part.outputs, part.run(given), strict=True))
        return [made[slot] for slot in parts[-1].outputs]

    return replace(parts[-1], inputs=inputs, run=run, parts=tuple(parts))


def _bind(operation: tf.Operation, precision: Precision) -> Run:
    if operation.type == "Const":
        constant = precision.cast(tf.constant(tf.make_ndarray(operation.get_attr("value"))))
        return lambda _: [constant]
    raw = getattr(tf.raw_ops, operation.type, None)
    if DRAWS.fullmatch(operation.type):
        return _as_it_is(_bound(operation, raw, Precision(None, half=True)), operation, precision)
    run = _bound(operation, raw, precision)
    return _by_groups(run, operation) if operation.type in ("Conv2D", "Conv3D") else run


def _by_groups(run: Run, operation: tf.Operation) -> Run:
    """Run a convolution of groups of channels group by group: on most CPUs there is no gradient of it as a whole."""
    channels = -1 if operation.get_attr("data_format").endswith(b"C") else 1

    def convolve(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        x, kernel = tensors
        groups = x.shape[channels] // kernel.shape[-2]
        if groups == 1:
            return run(tensors)
        parts = zip(tf.split(x, groups, channels), tf.split(kernel, groups, -1), strict=True)
        return [tf.concat([y for part in parts for y in run(part)], channels)]

    return convolve


def _as_it_is(run: Run, operation: tf.Operation, precision: Precision) -> Run:
    """Run an operation in its own types: numbers are drawn as the model draws them, and cast then."""
    types = [tensor.dtype for tensor in operation.inputs]

    def own(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        given = [tf.cast(t, kind) if kind.is_floating else t for t, kind in zip(tensors, types, strict=True)]
        return [precision.cast(tensor) for tensor in run(given)]

    return own


def _bound(operation: tf.Operation, raw: Any, precision: Precision) -> Run:
    plan: tuple[list[tuple[str, int | None]], dict[str, Any]] | None = None

    def run(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        nonlocal plan
        if plan is None:  # made on first use: most nodes of a loop that runs fused never run
            plan = _plan(operation, raw, precision)
        widths, attributes = plan
        inputs: dict[str, Any] = {}
        rest = iter(tensors)
        for name, width in widths:
            inputs[name] = next(rest) if width is None else [next(rest) for _ in range(width)]
        return tf.nest.flatten(raw(**inputs, **attributes))

    return run


def _plan(
    operation: tf.Operation, raw: Callable[..., Any], precision: Precision
) -> tuple[list[tuple[str, int | None]], dict[str, Any]]:
    """The inputs' names, each with its width if it is a list, and the attributes to call with."""
    definition = operation.op_def
    inferred, widths = {""}, []
    for argument in definition.input_arg:
        inferred |= {argument.type_attr, argument.number_attr, argument.type_list_attr}
        width = None
        if argument.number_attr:
            width = operation.get_attr(argument.number_attr)
        elif argument.type_list_attr:
            width = len(operation.get_attr(argument.type_list_attr))
        widths.append((argument.name, width))
    attributes = {a.name: operation.get_attr(a.name) for a in definition.attr if a.name not in inferred}
    # A dozen arguments are called otherwise in Python ("axis" for "reduction_indices"), in the same order.
    python = [name for name in inspect.signature(raw).parameters if name != "name"]
    own = [*(name for name, _ in widths), *attributes]
    renamed = dict(zip((n for n in own if n not in python), (n for n in python if n not in own), strict=True))
    widths = [(renamed.get(name, name), width) for name, width in widths]
    attributes = {renamed.get(name, name): value for name, value in attributes.items()}
    if operation.type not in STORED_TYPE:
        attributes = {name: _in_precision(value, precision) for name, value in attributes.items()}
    return widths, attributes


def _in_precision(value: Any, precision: Precision) -> Any:
    if isinstance(value, tf.DType):
        return precision(value)
    if isinstance(value, list):
        return [_in_precision(item, precision) for item in value]
    return value
