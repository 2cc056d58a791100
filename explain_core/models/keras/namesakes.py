"""Telling Keras's own layers from an author's class of the same name, in files that name a layer by its class alone.

A legacy ``.h5`` says "LayerNormalization" and no module, whoever wrote that class. But Keras's layers write their
arguments, and every version since 2.0 has written those below; a class of somebody's own writes its own, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explain_core.models.keras.keras2_era import Era, words

_POOLING = "pool_size strides padding"
_CONVOLUTION = "filters kernel_size padding activation use_bias"

#: By the layer's name in Keras 3, what every Keras that has it writes.
WRITTEN = {
    name: words(keys)
    for names, keys in {
        "Activation": "activation",
        "ActivityRegularization": "l1 l2",
        "AdditiveAttention Attention": "use_scale",
        "AlphaDropout Dropout GaussianDropout SpatialDropout1D SpatialDropout2D SpatialDropout3D": "rate",
        "AveragePooling1D AveragePooling2D AveragePooling3D": _POOLING,
        "MaxPooling1D MaxPooling2D MaxPooling3D": _POOLING,
        "BatchNormalization": "axis momentum epsilon center scale",
        "Bidirectional": "layer merge_mode",
        "Concatenate": "axis",
        "Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose": _CONVOLUTION,
        "ConvLSTM1D ConvLSTM2D ConvLSTM3D SeparableConv1D SeparableConv2D": _CONVOLUTION,
        "DepthwiseConv1D DepthwiseConv2D": "kernel_size padding activation use_bias",
        "Cropping1D Cropping2D Cropping3D": "cropping",
        "Dense": "units activation use_bias",
        "Dot": "axes normalize",
        "ELU": "alpha",
        "EinsumDense": "equation output_shape activation",
        "Embedding": "input_dim output_dim",
        "GRU LSTM SimpleRNN": "units return_sequences",
        "GRUCell LSTMCell SimpleRNNCell": "units activation",
        "GaussianNoise": "stddev",
        "GroupNormalization": "groups axis epsilon center scale",
        "LayerNormalization": "axis epsilon center scale",
        "LeakyReLU": "negative_slope",
        "Masking": "mask_value",
        "MultiHeadAttention": "num_heads key_dim use_bias",
        "Normalization UnitNormalization Softmax": "axis",
        "PReLU": "shared_axes",
        "Permute": "dims",
        "RNN": "cell return_sequences",
        "ReLU": "max_value",
        "RepeatVector": "n",
        "Rescaling": "scale offset",
        "Reshape": "target_shape",
        "StackedRNNCells": "cells",
        "ThresholdedReLU": "theta",
        "TimeDistributed": "layer",
        "UpSampling1D UpSampling2D UpSampling3D": "size",
        "ZeroPadding1D ZeroPadding2D ZeroPadding3D": "padding",
    }.items()
    for name in names.split()
}
_TELLING = {"BatchNormalization": "axis", "UpSampling2D": "interpolation"}  # enough in files of Keras 2
_OF_A_CLASS_OF_ONES_OWN = "autocast"  # Keras 3 writes it only for classes that do not write their arguments themselves
_STOCK_MODULES = ("keras", "keras_core", "tensorflow", "tf_keras")


def is_of_keras(kind: str, name: str, entry: Mapping[str, Any], given: Mapping[str, Any], era: Era) -> bool:
    """Whether a layer that goes by the name of one of Keras's is Keras's.

    Args:
        kind: the name in Keras 3 of the class ``name``.
        entry: the layer in the file.
        given: its arguments by their names in Keras 3.
    """
    if "module" in entry and not _is_stock(entry["module"]):
        return False
    if era.is_keras3 and (_OF_A_CLASS_OF_ONES_OWN in given or "name" not in given):
        return kind == "InputLayer"
    if not era.is_keras3 and _TELLING.get(kind) in given:
        return True
    return name.startswith("CuDNN") or WRITTEN.get(kind, frozenset()) <= set(given)


def _is_stock(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in _STOCK_MODULES
