"""Layers of Keras 2 that Keras 3 does not have, or not with the meaning they had, and what Keras is told of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import keras
import tensorflow as tf

from explain_core.backends.tensorflow.keras2 import keras2_hard_sigmoid
from explain_core.models.keras.keras2_functions import FUNCTIONS, SLICING

_EXPORTED = {"__operators__.add": "math.add"}  # the operator takes no plain numbers first


class Keras2Function(keras.layers.Layer):
    """A function of TensorFlow as a layer. Like Keras 2's, it hands no mask on and casts nothing.

    Args:
        function: its name, one of `FUNCTIONS`.

    Raises:
        ValueError: another name.
    """

    def __init__(self, function: str, **options: Any) -> None:
        super().__init__(autocast=False, **options)
        if function not in FUNCTIONS:
            raise ValueError(f"the function {function!r} is not one of those that open")
        self.function = function
        self.supports_masking = True  # else Keras warns, at every call, that the mask ends here

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """None, whatever went in."""

    def call(self, tensors: Sequence[tf.Tensor], first: Any, others: Mapping[str, Any]) -> Any:
        """The function of ``first`` and ``others``, which say where the ``tensors`` stand (see `read_call`)."""
        argument = _filled(first, tensors)
        named = {name: _filled(value, tensors) for name, value in others.items()}
        if self.function == SLICING:
            index = named["slice_spec"]
            return argument[tuple(index) if isinstance(index, list) else index]
        function: Any = reduce(getattr, _EXPORTED.get(self.function, self.function).split("."), tf)
        name, *_ = inspect.signature(function).parameters
        return function(**{name: argument, **named})

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": self.function}


def _filled(value: Any, tensors: Sequence[tf.Tensor]) -> Any:
    if isinstance(value, list | tuple):
        return [_filled(item, tensors) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "slice" in value:
        return slice(*(_filled(item, tensors) for item in value["slice"]))
    return ... if "ellipsis" in value else tensors[value["tensor"]]


class ThresholdedReLU(keras.layers.Layer):
    """``x`` where ``x > theta``, and 0 elsewhere."""

    def __init__(self, theta: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.theta = float(theta)
        self.supports_masking = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * tf.cast(x > tf.cast(self.theta, x.dtype), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "theta": self.theta}


class MergedMask(keras.Operation):
    """The mask after tensors were merged: a step counts where it counts in each of them that has a mask.

    Keras 3 takes a step that counts in any of them, or drops the mask where one of them has none.

    Args:
        axis: along which the tensors are put one after another; None where they are added or the like.
    """

    def __init__(self, axis: int | None, *, name: str) -> None:
        super().__init__(name=name)
        self.axis = axis

    def call(self, inputs: Sequence[tf.Tensor], masks: Sequence[tf.Tensor | None]) -> tf.Tensor:
        """``masks``: (sample, time) each, or None for an input without."""
        if self.axis is None:
            return reduce(tf.logical_and, [mask for mask in masks if mask is not None])
        parts = [
            tf.ones_like(x, tf.bool) if mask is None else mask[..., None] if len(mask.shape) < len(x.shape) else mask
            for x, mask in zip(inputs, masks, strict=True)
        ]
        return tf.reduce_all(tf.concat(parts, self.axis), axis=-1)


class _Merge:
    """What Keras 2's merging layers did with masks."""

    name: str  # of the Keras layer that this is mixed into

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._merged_mask = MergedMask(getattr(self, "axis", None), name=f"{self.name}_mask")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None where no input has a mask."""
        if mask is None or all(part is None for part in mask):
            return None
        return self._merged_mask(inputs, mask)


class Keras2Add(_Merge, keras.layers.Add):
    """Keras 2's Add."""


class Keras2Average(_Merge, keras.layers.Average):
    """Keras 2's Average."""


class Keras2Concatenate(_Merge, keras.layers.Concatenate):
    """Keras 2's Concatenate."""


class Keras2Maximum(_Merge, keras.layers.Maximum):
    """Keras 2's Maximum."""


class Keras2Minimum(_Merge, keras.layers.Minimum):
    """Keras 2's Minimum."""


class Keras2Multiply(_Merge, keras.layers.Multiply):
    """Keras 2's Multiply."""


class Keras2Subtract(_Merge, keras.layers.Subtract):
    """Keras 2's Subtract."""


_MERGING = (Keras2Add, Keras2Average, Keras2Concatenate, Keras2Maximum, Keras2Minimum, Keras2Multiply, Keras2Subtract)
REVIVED_LAYERS = {layer.__name__: layer for layer in (Keras2Function, ThresholdedReLU, *_MERGING)}
CUSTOM_OBJECTS = {keras2_hard_sigmoid.__name__: keras2_hard_sigmoid, **REVIVED_LAYERS}
