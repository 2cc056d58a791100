"""Activations whose meaning changed from Keras 2 to Keras 3, with the old meaning."""

from __future__ import annotations

import tensorflow as tf


def hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """``clip(0.2 x + 0.5, 0, 1)``, as every Keras before 3 had it; Keras 3's is ``relu6(x + 3) / 6``."""
    return tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)


#: What a config calls it, and what Keras is told that it is.
HARD_SIGMOID = "pairlift>keras2_hard_sigmoid"
CUSTOM_OBJECTS = {HARD_SIGMOID: hard_sigmoid}
