"""The arguments of Keras 2 layers as Keras 3 takes them, with the meaning that they had.

What only training needs (initializers, regularizers, constraints) is left out, so custom ones do not matter. An
argument that Keras 3 does not have must have the one value that changes nothing, or the file is refused by the layer's
name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.keras.keras2_era import Era, words

Config = dict[str, Any]
LayerOf = Callable[[Config, str], Config]  # brings a nested layer up to date

CUSTOM_HINT = """PairLift runs no code from files. Load the model in Python, where its code is, and explain it there:
    model = keras.models.load_model("model.h5", custom_objects={...})
    explanation = explain_core.explain(model, x)"""
REBUILD_HINT = """Build the same model in Keras 3 from layers that it has, load the weights into it, and save it again:
    model.load_weights("weights.h5"); model.save("model.keras")"""


#: Keras 2 layers that open, by their name in Keras 3. Those that take functions or read files are not among them.
LAYERS = words(
    """Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization Bidirectional Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense
    DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization InputLayer LSTM LSTMCell LayerNormalization LeakyReLU
    Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU
    Permute RNN ReLU RepeatVector Rescaling Reshape SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax
    SpatialDropout1D SpatialDropout2D SpatialDropout3D StackedRNNCells Subtract ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D"""
)
ALIASES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "MaxPool1D": "MaxPooling1D",
    "AvgPool1D": "AveragePooling1D",
    "RNNV2": "RNN",
    "LSTMV2": "LSTM",
    "GRUV2": "GRU",
    "UnifiedLSTM": "LSTM",
    "UnifiedGRU": "GRU",
}
_ACTIVATIONS = words(
    """elu exponential gelu leaky_relu linear log_softmax mish relu relu6 selu sigmoid silu softmax softplus softsign
    tanh"""
)
_OTHER_NAMES = {"swish": "silu", "softmax_v2": "softmax", "sigmoid_v2": "sigmoid", "tanh_v2": "tanh"}
_ACTIVATION_LAYERS = frozenset(("ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"))
_TAKE_ACTIVATIONS = ("activation", "recurrent_activation")

_RENAMED = {  # by layer, then for all
    "LeakyReLU": {"alpha": "negative_slope"},
    "InputLayer": {"batch_input_shape": "batch_shape"},
    "Dropout": {"p": "rate"},
    "": {
        "inner_activation": "recurrent_activation",
        "border_mode": "padding",
        "subsample_length": "strides",
        "nb_filter": "filters",
        "filter_length": "kernel_size",
        "pool_length": "pool_size",
        "bias": "use_bias",
        "dropout_W": "dropout",
        "dropout_U": "recurrent_dropout",
    },
}
_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")
_WITHOUT_EFFECT = words(  # on a prediction, whatever their value
    """W_constraint W_regularizer U_constraint U_regularizer adjustment alpha_constraint autocast b_constraint
    b_regularizer batch_input_shape build_input_shape consume_less experimental_autocast forget_bias_init fused
    implementation init inner_init input_dim input_dtype input_length input_shape jit_compile key_shape query_shape
    renorm_clipping renorm_momentum reverse_state_order stateful synchronized unit_forget_bias unroll value_shape
    virtual_batch_size"""
)
_NEUTRAL: dict[str, tuple[Any, ...]] = {  # without effect for these values only
    "_num_constants": (None, 0),
    "causal": (False,),
    "constants": (None,),
    "groups": (1,),
    "noise_shape": (None,),
    "num_constants": (None, 0),
    "optional": (False,),
    "ragged": (False, None),
    "renorm": (False,),
    "rms_scaling": (False,),
    "softmax_robust_masking": (False,),
    "sparse": (False, None),
    "time_major": (False,),
}
_SIGMOID_GATES = (2, 3)  # Keras by itself took sigmoid for the gates from here on; in TensorFlow, from TensorFlow 2 on


def by_todays_names(kind: str, config: Mapping[str, Any]) -> Config:
    """The arguments of a layer by their names in Keras 3."""
    renamed = _RENAMED[""] | _RENAMED.get(kind, {})
    given = {renamed.get(key, key): _plain(value) for key, value in config.items()}
    if "output_dim" in given and kind != "Embedding" and "units" not in given:
        given["units"] = given.pop("output_dim")
    return given


def fit(name: str, config: Mapping[str, Any], era: Era, where: str, layer_of: LayerOf) -> Config:
    """The arguments of one layer for Keras 3.

    Args:
        name: the layer's class in the file.
        config: its arguments in the file.
        layer_of: brings a nested layer up to date.

    Raises:
        ModelFileError: an argument that has no meaning in Keras 3, or one that cannot be told; names the layer.
    """
    kind = ALIASES.get(name, name)
    given = by_todays_names(kind, config)
    known = _arguments(kind)
    fitted: Config = {}
    for key, value in given.items():
        if key in _TAKE_ACTIVATIONS:
            fitted[key] = _activation(value, key, era, where, layer_of)
        elif key.endswith(_OF_TRAINING) or (key in _WITHOUT_EFFECT and (kind, key) != ("Embedding", "input_dim")):
            continue
        elif key == "dtype":
            fitted |= _dtype(kind, value, where)
        elif key in _NEUTRAL and value in _NEUTRAL[key]:
            continue
        elif key in ("layer", "cell", "backward_layer") and isinstance(value, dict):
            fitted[key] = layer_of(value, where)
        elif key in ("cell", "cells") and isinstance(value, list):
            fitted[key] = [layer_of(item, where) for item in value]
        elif key == "trainable" and key not in known:  # dropout alone
            continue
        elif key in known:
            fitted[key] = value
        elif era.is_keras3:
            raise _unknown(name, key, value, era, where)
        else:
            raise ModelFileError(
                f"The {name} layer has {key}={str(value)[:60]!r}, which Keras 3 has no like of.",
                where=where,
                hint=REBUILD_HINT,
            )
    _restore_defaults(name, fitted, era, where)
    return fitted


def _unknown(name: str, key: str, value: Any, era: Era, where: str) -> ModelFileError:
    import keras

    return ModelFileError(
        f"The layer {name} has {key}={str(value)[:60]!r}, which Keras's own {name} does not take in Keras "
        f"{keras.__version__}: it is a class of the author's own under that name, or of another version ({era.name}).",
        where=where,
        hint=CUSTOM_HINT,
    )


def _arguments(kind: str) -> set[str]:
    """What a layer takes, itself or for the classes under it."""
    import keras

    from explain_core.models.keras.keras2_revived import REVIVED_LAYERS

    layer = REVIVED_LAYERS.get(kind) or getattr(keras.layers, kind)
    taken: set[str] = set()
    for cls in layer.__mro__:
        parameters = inspect.signature(cls.__init__).parameters
        taken |= set(parameters)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            return taken
    return taken | {"trainable"}


def _plain(value: Any) -> Any:
    """Numbers that were written as numpy's, as numbers."""
    if isinstance(value, dict) and value.get("type") == "ndarray" and "value" in value:
        return value["value"]
    return value


def _dtype(kind: str, value: Any, where: str) -> Config:
    """A type or a policy by its name. Keras 2 wrote the type of the ids at an embedding; it computes in floats."""
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner.get("name") if isinstance(inner, dict) else None
    if value is None or (kind != "InputLayer" and isinstance(value, str) and value.startswith(("int", "uint", "bool"))):
        return {}
    if not isinstance(value, str) or not value.removeprefix("mixed_").isalnum():
        raise ModelFileError(
            f"The layer computes in an unknown type {str(value)[:60]!r}.", where=where, hint=CUSTOM_HINT
        )
    return {"dtype": value}


def _activation(value: Any, argument: str, era: Era, where: str, layer_of: LayerOf) -> Any:
    if isinstance(value, dict):
        inner = value.get("config")
        if value.get("class_name") == "function":
            value = inner
        elif value.get("class_name") in _ACTIVATION_LAYERS and isinstance(inner, dict):
            return layer_of(value, where)
        elif value.get("class_name") == "Activation" and isinstance(inner, dict):
            value = inner.get("activation")
    if value is None:
        return None
    if value == "hard_sigmoid":
        return _hard_sigmoid(argument, era, where)
    known = _OTHER_NAMES.get(value, value) if isinstance(value, str) else None
    if known not in _ACTIVATIONS:
        shown = value
        if isinstance(value, dict):
            shown = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
        raise ModelFileError(
            f"The model uses the activation {str(shown)[:80]!r}, which is not one of Keras's own.",
            where=where,
            hint=CUSTOM_HINT,
        )
    return known


def _hard_sigmoid(argument: str, era: Era, where: str) -> str | Config:
    from explain_core.backends.tensorflow.keras2 import HARD_SIGMOID

    if era.is_keras3:
        return "hard_sigmoid"
    if era.version is None:
        raise ModelFileError(
            f"The layer has {argument}='hard_sigmoid', which means clip(0.2x + 0.5) in Keras 2 and clip(x/6 + 0.5) in "
            "Keras 3, and the file does not say which Keras wrote it.",
            where=where,
            hint="Open it in the Keras that trained it and save it again, so that the file has its version.",
        )
    era.note(f"hard_sigmoid is meant as clip(0.2x + 0.5), as {era.name} had it; Keras 3's own is clip(x/6 + 0.5).")
    return dict(HARD_SIGMOID)


def _restore_defaults(name: str, fitted: Config, era: Era, where: str) -> None:
    """Arguments that the file leaves out had the defaults of its own time."""
    kind = ALIASES.get(name, name)
    if kind in ("LSTM", "GRU", "LSTMCell", "GRUCell", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"):
        if name.startswith("CuDNN"):
            fitted.update(activation="tanh", recurrent_activation="sigmoid", use_bias=True)
        elif "recurrent_activation" not in fitted:
            fitted["recurrent_activation"] = _gate_default(kind, era, where)
    if name == "CuDNNGRU":
        fitted["reset_after"] = True
    if kind == "UpSampling2D" and fitted.get("interpolation", "nearest") != "nearest" and era.is_multi_backend:
        raise ModelFileError(
            f"The layer interpolates ({fitted['interpolation']!r}), and {era.name} placed its points otherwise than "
            "Keras 3 does.",
            where=where,
            hint=REBUILD_HINT,
        )
    if kind == "BatchNormalization" and isinstance(fitted.get("axis"), list):
        if len(fitted["axis"]) != 1:
            raise ModelFileError(
                f"The BatchNormalization layer works along several axes {fitted['axis']}, which Keras 3 does not.",
                where=where,
                hint=REBUILD_HINT,
            )
        (fitted["axis"],) = fitted["axis"]


def _gate_default(kind: str, era: Era, where: str) -> str | Config:
    is_old = era.version is not None and era.is_multi_backend and era.version < _SIGMOID_GATES
    if is_old or (kind.startswith("ConvLSTM") and not era.is_keras3):
        return _hard_sigmoid("recurrent_activation", era, where)
    if era.version is not None and (era.is_multi_backend or era.version >= (2, 4)):
        return "sigmoid"
    raise ModelFileError(
        "The layer does not say its recurrent_activation, and which one it was by default depends on the TensorFlow "
        f"that wrote the file ({era.name}).",
        where=where,
        hint="Open it in the TensorFlow that trained it and save it again.",
    )
