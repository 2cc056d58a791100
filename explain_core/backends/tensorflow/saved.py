"""A screened graph as a model: something to call, with names for its arguments."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import tensorflow as tf


class SavedFunction(tf.Module):
    """One signature of a SavedModel.

    Takes its arguments by position, by name or as one dict, and returns a dict of tensors.

    Args:
        name: the signature's.
        graph: a ``GraphDef`` of what the results depend on, in which every operation has been looked at.
        inputs, outputs: ``TensorInfo`` by name.
        variables: values of the graph's variables by node.
    """

    def __init__(
        self,
        name: str,
        graph: Any,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        variables: Mapping[str, tf.Variable],
    ) -> None:
        super().__init__(name=name)
        self.inputs = [
            tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), key)
            for key, info in sorted(inputs.items())
        ]
        self._values = dict(variables)
        fed = {key: info.name for key, info in inputs.items()}
        results = {key: info.name for key, info in sorted(outputs.items())}
        kinds = {node.name: node.op for node in graph.node if node.name in self._values}
        graph = _prepared(graph, {*kinds, *(name.partition(":")[0] for name in fed.values())})
        used = {name if ":" in name else f"{name}:0" for node in graph.node for name in node.input}

        def run(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            given = {fed[spec.name]: tensor for spec, tensor in zip(self.inputs, tensors, strict=True)}
            for node, kind in kinds.items():
                variable = self._values[node]
                given[f"{node}:0"] = variable.handle if kind == "VarHandleOp" else variable.read_value()
            current = tf.compat.v1.get_default_graph()
            given = {name: current.capture(tensor) for name, tensor in given.items() if name in used}
            found = tf.graph_util.import_graph_def(graph, given, list(results.values()), name="")
            return dict(zip(results, found, strict=True))

        self._run = tf.compat.v1.wrap_function(run, self.inputs)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, tf.Tensor]:
        if len(args) == 1 and isinstance(args[0], Mapping):
            args, kwargs = (), {**args[0], **kwargs}
        free = [spec.name for spec in self.inputs if spec.name not in kwargs]
        given = {**kwargs, **dict(zip(free, args, strict=True))}
        return self._run(*(tf.cast(given[spec.name], spec.dtype) for spec in self.inputs))


def _prepared(graph: Any, outside: set[str]) -> Any:
    """The graph without the nodes whose values come from outside, free to run on any device, and with names of its own.

    TensorFlow keeps one list of functions for the whole process, so their names must be nobody else's.
    """
    suffix = f"_{uuid.uuid4().hex}"
    prepared = type(graph)()
    prepared.CopyFrom(graph)
    del prepared.node[:]
    prepared.node.extend(node for node in graph.node if node.name not in outside)
    for function in prepared.library.function:
        function.signature.name += suffix
    for node in [*prepared.node, *(node for function in prepared.library.function for node in function.node_def)]:
        node.device = ""
        node.attr.pop("_class", None)  # which nodes were to be on one device
        for value in node.attr.values():
            for function in [*([value.func] if value.HasField("func") else []), *value.list.func]:
                function.name += suffix
    return prepared
