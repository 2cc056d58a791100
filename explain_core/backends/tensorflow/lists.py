"""TensorLists, the storage of TensorFlow's loops, as Python tuples of values.

In a graph a list is one opaque tensor that is written element by element, and whose gradient makes a new
list at every step. As a tuple, each element stays the value it is, pair or plain, and nothing has to be
differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import tensorflow as tf

from ..provenance import carried
from .graph import Node
from .kinds import movement, refuse
from .pairs import Elements, Value, is_paired, of_kind


def _stack(node: Node, items: Sequence[Value]) -> Value:
    stacking = replace(node, run=lambda tensors: [tf.stack(tensors)])
    paired = [item for item in items if is_paired(item)]
    (stacked,) = (
        of_kind(carried(v.kind for v in paired), movement()(stacking, items)) if paired else stacking.run(items)
    )
    return stacked


def _unstack(node: Node, value: Value) -> list[Value]:
    unstacking = replace(node, run=lambda tensors: tf.unstack(tensors[0]))
    return of_kind(value.kind, movement(0)(unstacking, [value])) if is_paired(value) else unstacking.run([value])


def _empty(node: Node, elements: Elements, shape: tf.Tensor) -> tf.Tensor:
    """What a place that was never written reads as."""
    known = next((item for item in elements.items if item is not None), None)
    size = tf.shape(known.base if is_paired(known) else known) if known is not None else shape
    if int(tf.reduce_min(size)) < 0:
        raise refuse(node, "it reads a place of a list of unknown shape that was never written")
    return tf.zeros(size, elements.dtype)


def _reserve(node: Node, values: Sequence[Value]) -> list[Value]:
    return [Elements((None,) * int(values[1]), node.attribute("element_dtype"))]


def _nothing(node: Node, values: Sequence[Value]) -> list[Value]:
    return [Elements((), node.attribute("element_dtype"))]


def _from_tensor(node: Node, values: Sequence[Value]) -> list[Value]:
    return [Elements(tuple(_unstack(node, values[0])), node.attribute("element_dtype"))]


def _get(node: Node, values: Sequence[Value]) -> list[Value]:
    elements, index, shape = values
    item = elements.items[int(index)]
    return [_empty(node, elements, shape) if item is None else item]


def _set(node: Node, values: Sequence[Value]) -> list[Value]:
    elements, index, item = values[:3]
    place = int(index)
    return [replace(elements, items=(*elements.items[:place], item, *elements.items[place + 1 :]))]


def _push(node: Node, values: Sequence[Value]) -> list[Value]:
    elements, item = values
    return [replace(elements, items=(*elements.items, item))]


def _pop(node: Node, values: Sequence[Value]) -> list[Value]:
    elements, shape = values
    *rest, last = elements.items
    return [replace(elements, items=tuple(rest)), _empty(node, elements, shape) if last is None else last]


def _whole(node: Node, values: Sequence[Value]) -> list[Value]:
    elements, shape = values
    return [_stack(node, [_empty(node, elements, shape) if item is None else item for item in elements.items])]


def _chosen(node: Node, values: Sequence[Value]) -> list[Value]:
    elements, indices, shape = values
    return _whole(node, [replace(elements, items=tuple(elements.items[int(i)] for i in indices)), shape])


def _length(node: Node, values: Sequence[Value]) -> list[Value]:
    return [tf.constant(len(values[0].items))]


OPERATIONS = {
    "EmptyTensorList": _nothing,
    "TensorListFromTensor": _from_tensor,
    "TensorListGather": _chosen,
    "TensorListGetItem": _get,
    "TensorListLength": _length,
    "TensorListPopBack": _pop,
    "TensorListPushBack": _push,
    "TensorListReserve": _reserve,
    "TensorListSetItem": _set,
    "TensorListStack": _whole,
}
