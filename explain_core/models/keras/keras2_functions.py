"""TensorFlow functions between the layers of a Keras 2 model: ``a + b``, ``x[:, -1]``, ``tf.reduce_mean(x, axis=1)``.

Keras 2 wrote each as a layer of the class TFOpLambda or SlicingOpLambda, with the function's name and, in the call, its
arguments. That is data, and no code: a name is looked up in the list below and nowhere else. All of the list compute
from their arguments alone; functions that draw random numbers, keep state or touch files are not on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explain_core.models.keras.keras2_era import words

Config = dict[str, Any]
Place = list[Any]  # [layer, call, tensor]: where in the model a tensor comes from

SLICING = "__operators__.getitem"
#: Functions that open, by the name that TensorFlow has for them.
FUNCTIONS = words(
    """__operators__.add __operators__.getitem cast clip_by_value compat.v1.concat compat.v1.expand_dims
    compat.v1.floor_div compat.v1.gather compat.v1.norm compat.v1.ones_like compat.v1.pad compat.v1.reduce_max
    compat.v1.reduce_mean compat.v1.reduce_min compat.v1.reduce_prod compat.v1.reduce_sum compat.v1.shape
    compat.v1.squeeze compat.v1.transpose compat.v1.where compat.v1.zeros_like concat expand_dims fill gather
    identity linalg.l2_normalize linalg.matmul linalg.norm math.abs math.acos math.add math.add_n math.argmax
    math.argmin math.asin math.atan math.ceil math.cos math.cosh math.cumsum math.divide math.divide_no_nan
    math.equal math.erf math.exp math.expm1 math.floor math.floordiv math.floormod math.greater math.greater_equal
    math.l2_normalize math.less math.less_equal math.log math.log1p math.log_sigmoid math.logical_and
    math.logical_not math.logical_or math.maximum math.minimum math.multiply math.multiply_no_nan math.negative
    math.not_equal math.pow math.reciprocal math.reduce_all math.reduce_any math.reduce_logsumexp math.reduce_max
    math.reduce_mean math.reduce_min math.reduce_prod math.reduce_std math.reduce_sum math.reduce_variance
    math.round math.rsqrt math.sigmoid math.sign math.sin math.sinh math.softplus math.sqrt math.square
    math.squared_difference math.subtract math.tan math.tanh math.truediv nn.elu nn.gelu nn.l2_normalize
    nn.leaky_relu nn.log_softmax nn.relu nn.relu6 nn.selu nn.sigmoid nn.silu nn.softmax nn.softplus nn.softsign
    nn.swish nn.tanh one_hot ones ones_like pad repeat reshape reverse roll shape sigmoid split squeeze stack
    stop_gradient tanh tensordot tile transpose unstack where zeros zeros_like"""
)
_CONSTANT = "_CONSTANT_VALUE"


def read_call(node: Any, tensor_of: Callable[[Place], Any], is_layer: Callable[[str], bool]) -> Config | None:
    """One call of a function, as that of a `Keras2Function` layer; None where it is none of Keras 2.

    Args:
        node: what the file has: the first argument, as a place or nested lists of places, and inside each place the
            other arguments by name. Numbers have the layer's name ``_CONSTANT_VALUE``.
        tensor_of: what Keras 3 writes for a place.
        is_layer: whether the model has a layer of this name.

    Returns:
        ``args``: the tensors of the call in one list; ``kwargs``: ``first`` and ``others``, the first argument and the
        others by name, with ``{"tensor": n}``, ``{"slice": [start, stop, step]}`` and ``{"ellipsis": True}`` where
        JSON has no value.
    """
    tensors: list[Any] = []

    def tensor(place: Place) -> Config:
        tensors.append(tensor_of(place))
        return {"tensor": len(tensors) - 1}

    def first(value: Any) -> Any:
        if _is_place(value):
            return plain(value[2]) if value[0] == _CONSTANT else tensor(value[:3])
        if not isinstance(value, list) or not value:
            raise ValueError("a call without a tensor")
        return [first(item) for item in value]

    def plain(value: Any) -> Any:
        if _is_place(value) and is_layer(value[0]):
            return tensor(value)
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
            return {"slice": [plain(value[key]) for key in ("start", "stop", "step")]}
        if isinstance(value, dict) and value.get("class_name") == "__ellipsis__":
            return {"ellipsis": True}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise ValueError(f"an argument {str(value)[:60]!r}")

    try:
        arguments = first(node)
        others = {key: plain(value) for key, value in _others(node).items() if key != "name"}
    except ValueError:
        return None
    return {"args": [tensors], "kwargs": {"first": arguments, "others": others}} if tensors else None


def _is_place(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str) and type(value[1]) is int


def _others(node: Any) -> Config:
    """The other arguments, which every place of the first one repeats."""
    while not _is_place(node):
        node = node[0]
    return node[3] if len(node) > 3 and isinstance(node[3], dict) else {}
