"""Activations whose meaning changed from Keras 2 to Keras 3, with the old meaning."""

from __future__ import annotations

import tensorflow as tf


def keras2_hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """``clip(0.2 x + 0.5, 0, 1)``, as every Keras before 3 had it; Keras 3's is ``relu6(x + 3) / 6``."""
    return tf.clip_by_value(x / 5 + 0.5, 0.0, 1.0)  # 5 is the same number in every precision, and 0.2 is not


_NAME = keras2_hard_sigmoid.__name__  # Keras copies layers by their functions' names, so it must be no name of its own
#: What stands for it in the description of a model.
HARD_SIGMOID = {"module": "builtins", "class_name": "function", "config": _NAME, "registered_name": _NAME}
