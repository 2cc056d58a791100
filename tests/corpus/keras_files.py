"""Keras files as people have them, written by hand: old descriptions, old weight names, old layouts.

None of them is made by the Keras that opens them. Each comes with the prediction that its own Keras gave, from the
formulas of `keras_formulas`. ``valid_files(folder)`` writes them all.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from . import keras_formulas as f

Weights = dict[str, list[tuple[str, np.ndarray]]]  # by layer: the weights' names and values, in the file's order
FEATURES, UNITS, STEPS = 3, 4, 6


@dataclass(frozen=True)
class Case:
    """One file: how it is written, what goes in, and what its own Keras made of that."""

    write: Callable[[Path], None]
    inputs: Any
    expected: np.ndarray
    says: tuple[str, ...] = ()  # words of the notes that must be there
    suffix: str = ".h5"


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(0, 0.7, shape).astype(np.float32)


X = _random(3, STEPS, FEATURES, seed=9) * 2


def write_h5(
    path: Path, config: Any, weights: Mapping[str, Sequence[tuple[str, np.ndarray]]], version: str, backend="tensorflow"
) -> None:
    """A full-model file as ``model.save`` of Keras 2 laid it out, with a training configuration nobody has."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = backend.encode()
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["training_config"] = json.dumps({"loss": "my_own_loss", "metrics": ["my_f1"]}).encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        root.attrs["backend"], root.attrs["keras_version"] = backend.encode(), version.encode()
        for layer, arrays in weights.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name, _ in arrays]
            for name, array in arrays:
                group[name] = array
        file.create_group("optimizer_weights")["iterations"] = np.int64(7)


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "trainable": True, **config}}


def recurrent(kind: str, name: str, units: int = UNITS, gates: str | None = "hard_sigmoid", **config: Any) -> dict:
    """An LSTM, GRU or SimpleRNN with everything that Keras 2 wrote about one."""
    initializer = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg", "seed": None}}
    common = {
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "implementation": 1,
        "units": units,
        "activation": "tanh",
        "use_bias": True,
        "kernel_initializer": initializer,
        "recurrent_initializer": {"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}},
        "bias_initializer": {"class_name": "Zeros", "config": {}},
        "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}},
        "recurrent_constraint": None,
        "dropout": 0.2,
        "recurrent_dropout": 0.1,
    }
    if kind == "LSTM":
        common["unit_forget_bias"] = True
    if gates is not None:
        common["recurrent_activation"] = gates
    return layer(kind, name, **(common | config))


def dense(name: str, units: int = 1, activation: Any = "linear", **config: Any) -> dict[str, Any]:
    return layer("Dense", name, units=units, activation=activation, use_bias=True, **config)


def lstm_weights(name: str, inputs: int = FEATURES, units: int = UNITS, gates: int = 4, seed: int = 0) -> list:
    shapes = {"kernel": (inputs, gates * units), "recurrent_kernel": (units, gates * units), "bias": (gates * units,)}
    return [(f"{name}/{own}:0", _random(*shape, seed=seed + i)) for i, (own, shape) in enumerate(shapes.items())]


def dense_weights(name: str, inputs: int = UNITS, units: int = 1, seed: int = 5) -> list:
    return [(f"{name}/kernel:0", _random(inputs, units, seed=seed)), (f"{name}/bias:0", _random(units, seed=seed))]


def values(arrays: Sequence[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    return [array.astype(np.float64) for _, array in arrays]


def _case(config: Any, weights: Weights, version: str, expected: np.ndarray, *says: str, inputs=X, **options) -> Case:
    return Case(lambda path: write_h5(path, config, weights, version, **options), inputs, expected, says)


def _sequential(layers: list[dict], as_list: bool = False, **config: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": layers if as_list else {"name": "model", "layers": layers, **config}}


SHAPE = [None, STEPS, FEATURES]


def list_of_layers() -> Case:
    """Keras 2.0: the configuration of a Sequential is a list, and there is no InputLayer."""
    w = {"lstm_1": lstm_weights("lstm_1"), "dropout_1": [], "dense_1": dense_weights("dense_1")}
    layers = [
        recurrent("LSTM", "lstm_1", batch_input_shape=SHAPE, dtype="float32", implementation=0),
        layer("Dropout", "dropout_1", rate=0.5),
        dense("dense_1", activation="sigmoid"),
    ]
    h = f.lstm(X, *values(w["lstm_1"]), gate=f.hard_sigmoid)[:, -1]
    expected = f.sigmoid(f.dense(h, *values(w["dense_1"])))
    return _case(_sequential(layers, as_list=True), w, "2.0.8", expected, "clip(0.2x + 0.5)", "2.0.8")


def gates_by_default() -> Case:
    """An old file that says nothing of the gates' activation, and a hard_sigmoid elsewhere."""
    w = {"lstm_1": lstm_weights("lstm_1", seed=3), "dense_1": dense_weights("dense_1"), "activation_1": []}
    layers = [
        recurrent("LSTM", "lstm_1", gates=None, batch_input_shape=SHAPE),
        dense("dense_1"),
        layer("Activation", "activation_1", activation="hard_sigmoid"),
    ]
    h = f.lstm(X, *values(w["lstm_1"]), gate=f.hard_sigmoid)[:, -1]
    expected = f.hard_sigmoid(f.dense(h, *values(w["dense_1"])))
    return _case(_sequential(layers), w, "2.1.5", expected, "clip(0.2x + 0.5)")


def gru_before() -> Case:
    """A GRU from before there was reset_after."""
    w = {"gru_1": lstm_weights("gru_1", gates=3), "dense_1": dense_weights("dense_1")}
    layers = [recurrent("GRU", "gru_1", batch_input_shape=SHAPE, dtype="float32"), dense("dense_1")]
    h = f.gru(X, *values(w["gru_1"]), gate=f.hard_sigmoid)[:, -1]
    return _case(_sequential(layers), w, "2.1.2", f.dense(h, *values(w["dense_1"])), "reset_after", "before")


def gru_after() -> Case:
    """TensorFlow 2: sigmoid gates, reset_after, a policy for a type, names with the cell in them."""
    w = {"gru": lstm_weights("gru/gru_cell", gates=3), "dense": dense_weights("dense")}
    w["gru"][2] = ("gru/gru_cell/bias:0", _random(2, 3 * UNITS))
    policy = {"class_name": "Policy", "config": {"name": "float32"}}
    layers = [
        layer("InputLayer", "input_1", batch_input_shape=SHAPE, dtype="float32", sparse=False, ragged=False),
        recurrent("GRU", "gru", gates="sigmoid", reset_after=True, time_major=False, dtype=policy),
        dense("dense", activation={"class_name": "LeakyReLU", "config": {"name": "leaky_re_lu", "alpha": 0.2}}),
    ]
    h = f.gru(X, *values(w["gru"]), gate=f.sigmoid)[:, -1]
    out = f.dense(h, *values(w["dense"]))
    w = {"input_1": [], **w, "top_level_model_weights": []}
    del w["top_level_model_weights"]
    return _case(_sequential(layers), w, "2.11.0", np.where(out > 0, out, 0.2 * out))


def bidirectional() -> Case:
    """Layers inside layers without a module; normalisation along a list of axes; a functional model."""
    forward, backward = (
        lstm_weights("bi/forward_lstm/lstm_cell_1"),
        lstm_weights("bi/backward_lstm/lstm_cell_2", seed=7),
    )
    gamma, beta, mean, variance = (_random(2 * UNITS, seed=s) for s in range(4))
    variance = np.abs(variance) + 0.1
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    norm = [(f"bn/{n}:0", a) for n, a in zip(names, (gamma, beta, mean, variance), strict=True)]
    td = dense_weights("td", 2 * UNITS, 2)
    w = {"input_1": [], "bi": forward + backward, "bn": norm, "td": td, "flat": [], "out": dense_weights("out", 12)}
    inner = recurrent("LSTM", "lstm", gates="sigmoid", return_sequences=True, time_major=False)
    calls = ["input_1", "bi", "bn", "td", "flat", "out"]
    layers = [
        layer("InputLayer", "input_1", batch_input_shape=SHAPE, dtype="float32", sparse=False, ragged=False),
        layer("Bidirectional", "bi", layer=inner, merge_mode="concat"),
        layer("BatchNormalization", "bn", axis=[2], momentum=0.99, epsilon=0.01, center=True, scale=True),
        layer("TimeDistributed", "td", layer=dense("dense_inside", 2, "relu")),
        layer("Flatten", "flat", data_format="channels_last"),
        dense("out", activation="swish"),
    ]
    for entry, before in zip(layers, [None, *calls], strict=False):
        entry["name"] = entry["config"]["name"]
        entry["inbound_nodes"] = [[[before, 0, 0, {}]]] if before else []
    config = {"name": "m", "layers": layers, "input_layers": [["input_1", 0, 0]], "output_layers": [["out", 0, 0]]}
    there = f.lstm(X, *values(forward), gate=f.sigmoid)
    back = f.lstm(X[:, ::-1], *values(backward), gate=f.sigmoid)[:, ::-1]
    h = np.concatenate([there, back], -1)
    h = (h - mean) / np.sqrt(variance + 0.01) * gamma + beta
    h = np.maximum(f.dense(h, *values(td)), 0).reshape(len(X), -1)
    out = f.dense(h, *values(w["out"]))
    return _case({"class_name": "Functional", "config": config}, w, "2.4.0", out * f.sigmoid(out))


def _cudnn(arrays: list, gates: int) -> list:
    """The same weights as cuDNN's layers store them: each gate's matrix (H, F) under the shape (F, H)."""
    (kernel_name, kernel), (inner_name, inner), (bias_name, bias) = arrays

    def stored(matrix: np.ndarray) -> np.ndarray:
        parts = np.split(matrix, gates, axis=1)
        return np.hstack([np.ascontiguousarray(part.T).reshape(part.shape) for part in parts])

    return [(kernel_name, stored(kernel)), (inner_name, stored(inner)), (bias_name, bias)]


def cudnn_lstm() -> Case:
    """CuDNNLSTM: its gates are sigmoids whatever the time, its two biases are added."""
    plain = lstm_weights("cu_dnnlstm_1")
    first, second = _random(4 * UNITS, seed=1), _random(4 * UNITS, seed=2)
    stored = [*plain[:2], ("cu_dnnlstm_1/bias:0", np.concatenate([first, second]))]
    w = {"cu_dnnlstm_1": _cudnn(stored, 4), "dense_1": dense_weights("dense_1")}
    options = {"units": UNITS, "return_sequences": False, "return_state": False, "stateful": False}
    layers = [layer("CuDNNLSTM", "cu_dnnlstm_1", batch_input_shape=SHAPE, **options), dense("dense_1")]
    h = f.lstm(X, *values(plain)[:2], first.astype(float) + second, gate=f.sigmoid)[:, -1]
    return _case(_sequential(layers), w, "2.2.4", f.dense(h, *values(w["dense_1"])), "CuDNNLSTM opens as LSTM")


def cudnn_gru_both_ways() -> Case:
    """CuDNNGRU inside a Bidirectional that sums."""
    parts, out = [], 0
    for direction, seed in (("forward", 0), ("backward", 4)):
        name = f"bidirectional_1/{direction}_cu_dnngru_1"
        plain = lstm_weights(name, gates=3, seed=seed)
        biases = _random(2, 3 * UNITS, seed=seed)
        parts += _cudnn([*plain[:2], (f"{name}/bias:0", biases.ravel())], 3)
        x = X if direction == "forward" else X[:, ::-1]
        out = out + f.gru(x, *values(plain)[:2], biases.astype(float), gate=f.sigmoid)[:, -1]
    w = {"bidirectional_1": parts, "dense_1": dense_weights("dense_1")}
    inner = layer("CuDNNGRU", "cu_dnngru_1", units=UNITS, return_sequences=False, go_backwards=False)
    wrapped = layer("Bidirectional", "bidirectional_1", layer=inner, merge_mode="sum", batch_input_shape=SHAPE)
    layers = [wrapped, dense("dense_1")]
    return _case(_sequential(layers), w, "2.2.4", f.dense(out, *values(w["dense_1"])), "CuDNNGRU opens as GRU")


def encoder_decoder() -> Case:
    """Sequence to sequence with the decoder's initial state as further inputs of its layer, by Keras 2.2."""
    w = {
        "input_1": [],
        "input_2": [],
        "encoder": lstm_weights("encoder"),
        "decoder": lstm_weights("decoder", 2, seed=8),
        "dense_1": dense_weights("dense_1", units=2),
    }
    shapes = {"input_1": [None, None, FEATURES], "input_2": [None, None, 2]}
    layers = [layer("InputLayer", n, batch_input_shape=s, dtype="float32", sparse=False) for n, s in shapes.items()]
    layers += [
        recurrent("LSTM", "encoder", return_state=True),
        recurrent("LSTM", "decoder", return_state=True, return_sequences=True),
        dense("dense_1", 2, "softmax"),
    ]
    calls = [[], [], [[["input_1", 0, 0, {}]]], [[["input_2", 0, 0, {}], ["encoder", 0, 1, {}], ["encoder", 0, 2, {}]]]]
    calls.append([[["decoder", 0, 0, {}]]])
    for entry, nodes in zip(layers, calls, strict=True):
        entry |= {"name": entry["config"]["name"], "inbound_nodes": nodes}
    places = [["input_1", 0, 0], ["input_2", 0, 0]]
    config = {"name": "model_1", "layers": layers, "input_layers": places, "output_layers": [["dense_1", 0, 0]]}
    second = _random(3, 4, 2, seed=6)
    h, c = f.lstm_states(X, *values(w["encoder"]), gate=f.hard_sigmoid)
    out = f.lstm(second, *values(w["decoder"]), gate=f.hard_sigmoid, start=(h[:, -1], c[:, -1]))
    expected = f.softmax(f.dense(out, *values(w["dense_1"])))
    return _case({"class_name": "Model", "config": config}, w, "2.2.2", expected, inputs=(X, second))


def encoder_decoder_by_keyword() -> Case:
    """The same in TensorFlow 2, where initial_state is an argument by name."""
    w = {
        "x": [],
        "encoder": lstm_weights("encoder/lstm_cell"),
        "again": [],
        "decoder": lstm_weights("d", UNITS, seed=8),
    }
    layers = [
        layer("InputLayer", "x", batch_input_shape=SHAPE, dtype="float32", sparse=False, ragged=False),
        recurrent("LSTM", "encoder", gates="sigmoid", return_state=True),
        layer("RepeatVector", "again", n=2),
        recurrent("LSTM", "decoder", gates="sigmoid"),
    ]
    state = {"training": None, "initial_state": [["encoder", 0, 1], ["encoder", 0, 2]]}
    calls = [[], [[["x", 0, 0, {}]]], [[["encoder", 0, 0, {}]]], [[["again", 0, 0, state]]]]
    for entry, nodes in zip(layers, calls, strict=True):
        entry |= {"name": entry["config"]["name"], "inbound_nodes": nodes}
    config = {"name": "m", "layers": layers, "input_layers": ["x", 0, 0], "output_layers": ["decoder", 0, 0]}
    h, c = f.lstm_states(X, *values(w["encoder"]), gate=f.sigmoid)
    again = np.repeat(h[:, -1:], 2, 1)
    out = f.lstm(again, *values(w["decoder"]), gate=f.sigmoid, start=(h[:, -1], c[:, -1]))[:, -1]
    return _case({"class_name": "Functional", "config": config}, w, "2.9.0", out)


def pruned() -> Case:
    """Pruning wrappers, with a mask, a threshold and a step among the weights."""
    lstm, last = lstm_weights("prune_low_magnitude_lstm"), dense_weights("prune_low_magnitude_dense")
    lstm[0] = (lstm[0][0], lstm[0][1] * (np.abs(lstm[0][1]) > 0.5))

    def extra(name: str, mask: np.ndarray) -> list:
        own = {"mask": (mask != 0).astype("f4"), "threshold": np.float32(0.5), "pruning_step": np.int64(100)}
        return [(f"prune_low_magnitude_{name}/{key}:0", value) for key, value in own.items()]

    w = {
        "prune_low_magnitude_lstm": lstm + extra("lstm", lstm[0][1]),
        "prune_low_magnitude_dense": last + extra("dense", last[0][1]),
    }
    schedule = {"class_name": "ConstantSparsity", "config": {"target_sparsity": 0.5}}
    inner = [recurrent("LSTM", "lstm", gates="sigmoid", batch_input_shape=SHAPE), dense("dense")]
    layers = [
        layer("PruneLowMagnitude", f"prune_low_magnitude_{i['config']['name']}", layer=i, pruning_schedule=schedule)
        for i in inner
    ]
    layers[0]["config"]["batch_input_shape"] = SHAPE
    h = f.lstm(X, *values(lstm), gate=f.sigmoid)[:, -1]
    return _case(_sequential(layers), w, "2.5.0", f.dense(h, *values(last)), "Pruning wrappers")


def cell_in_a_loop() -> Case:
    """RNN around an LSTMCell, in TensorFlow 1.15's words."""
    w = {"rnn": lstm_weights("rnn/lstm_cell"), "dense": dense_weights("dense")}
    cell = {key: value for key, value in recurrent("LSTM", "lstm_cell")["config"].items() if key != "go_backwards"}
    cell = {key: value for key, value in cell.items() if not key.startswith("return") and key != "stateful"}
    del cell["unroll"]
    options = {"return_sequences": False, "return_state": False, "go_backwards": True, "stateful": False}
    wrapped = layer("RNN", "rnn", **options, unroll=True, time_major=False, batch_input_shape=SHAPE)
    wrapped["config"]["cell"] = {"class_name": "LSTMCell", "config": cell}
    h = f.lstm(X[:, ::-1], *values(w["rnn"]), gate=f.hard_sigmoid)[:, -1]
    return _case(_sequential([wrapped, dense("dense")]), w, "2.2.4-tf", f.dense(h, *values(w["dense"])))


def stateful() -> Case:
    """Layers that keep their state between calls, made for one sample at a time."""
    w = {"lstm_1": lstm_weights("lstm_1"), "lstm_2": lstm_weights("lstm_2", UNITS, 2, seed=2)}
    layers = [
        recurrent("LSTM", "lstm_1", stateful=True, return_sequences=True, batch_input_shape=[1, None, FEATURES]),
        recurrent("LSTM", "lstm_2", 2, stateful=True),
    ]
    h = f.lstm(X, *values(w["lstm_1"]), gate=f.hard_sigmoid)
    expected = f.lstm(h, *values(w["lstm_2"]), gate=f.hard_sigmoid)[:, -1]
    return _case(_sequential(layers), w, "2.2.0", expected, "starts from a state of zeros")


def masked_both_ways() -> Case:
    """Padding under a bidirectional layer: Keras by itself held the last output over it."""
    table = _random(9, FEATURES, seed=3)
    forward = lstm_weights("bidirectional_1/forward_lstm_1")
    backward = lstm_weights("bidirectional_1/backward_lstm_1", seed=4)
    w = {"embedding_1": [("embedding_1/embeddings:0", table)], "bidirectional_1": forward + backward}
    inner = recurrent("LSTM", "lstm_1", return_sequences=True)
    options = {"input_dim": 9, "output_dim": FEATURES, "mask_zero": True, "input_length": STEPS}
    layers = [
        layer("Embedding", "embedding_1", batch_input_shape=[None, STEPS], dtype="int32", **options),
        layer("Bidirectional", "bidirectional_1", layer=inner, merge_mode="concat"),
    ]
    ids = np.array([[1, 2, 0, 3, 0, 0], [0, 4, 5, 6, 7, 8], [1, 1, 1, 1, 1, 1]], np.int32)
    x, mask = table[ids], ids > 0
    there = f.lstm(x, *values(forward), gate=f.hard_sigmoid, mask=mask)
    back = f.lstm(x[:, ::-1], *values(backward), gate=f.hard_sigmoid, mask=mask[:, ::-1])[:, ::-1]
    return _case(_sequential(layers), w, "2.2.4", np.concatenate([there, back], -1), inputs=ids)


def theano() -> Case:
    """Trained with Theano, where a convolution turns its kernel around."""
    kernel, bias = _random(3, FEATURES, 5), _random(5)
    w = {
        "conv1d_1": [("conv1d_1/kernel", kernel), ("conv1d_1/bias", bias)],
        "max_pooling1d_1": [],
        "simple_rnn_1": lstm_weights("simple_rnn_1", 5, gates=1),
    }
    options = {"filters": 5, "kernel_size": [3], "strides": [1], "padding": "valid", "dilation_rate": [1]}
    layers = [
        layer("Conv1D", "conv1d_1", activation="relu", use_bias=True, batch_input_shape=SHAPE, **options),
        layer("MaxPooling1D", "max_pooling1d_1", strides=2, pool_size=2, padding="valid"),
        recurrent("SimpleRNN", "simple_rnn_1", gates=None),
    ]
    turned = kernel[::-1]
    windows = np.stack([X[:, t : t + 3] for t in range(STEPS - 2)], 1)
    h = np.maximum(np.einsum("ntkf,kfo->nto", windows.astype(float), turned) + bias, 0)
    h = np.maximum(h[:, 0::2], h[:, 1::2])
    expected = f.rnn(h, *values(w["simple_rnn_1"]))[:, -1]
    return _case(_sequential(layers), w, "2.1.3", expected, "Theano", backend="theano")


def model_in_a_model() -> Case:
    """A model inside a model, called twice, whose calls Keras 2 counted from 1; a frozen layer inside."""
    frozen = lstm_weights("lstm_1")
    w = {"a": [], "b": [], "shared": [*dense_weights("dense_1"), *frozen], "add_1": []}
    inner_layers = [
        recurrent("LSTM", "lstm_1", batch_input_shape=SHAPE, trainable=False),
        dense("dense_1"),
    ]
    layers = [layer("InputLayer", n, batch_input_shape=SHAPE, dtype="float32", sparse=False) for n in "ab"]
    shared = {"class_name": "Sequential", "config": inner_layers}
    layers += [shared, layer("Add", "add_1")]
    calls = {"a": [], "b": [], "shared": [[["a", 0, 0, {}]], [["b", 0, 0, {}]]]}
    calls["add_1"] = [[["shared", 1, 0, {}], ["shared", 2, 0, {}]]]
    for entry, (name, nodes) in zip(layers, calls.items(), strict=True):
        entry |= {"name": name, "inbound_nodes": nodes}
    places = [["a", 0, 0], ["b", 0, 0]]
    config = {"name": "model_2", "layers": layers, "input_layers": places, "output_layers": [["add_1", 0, 0]]}
    second = _random(3, STEPS, FEATURES, seed=11)
    first, other = (
        f.dense(f.lstm(x, *values(frozen), gate=f.hard_sigmoid)[:, -1], *values(w["shared"][:2])) for x in (X, second)
    )
    return _case({"class_name": "Model", "config": config}, w, "2.2.4", first + other, inputs=(X, second))


def functional(layers: Sequence[dict], calls: Sequence[list], output: str) -> dict[str, Any]:
    """A functional model of layers and, for each, its one call; those without a call are the inputs."""
    entries = [
        entry | {"name": entry["config"]["name"], "inbound_nodes": [call] if call else []}
        for entry, call in zip(layers, calls, strict=True)
    ]
    inputs = [[entry["name"], 0, 0] for entry in entries if not entry["inbound_nodes"]]
    config = {"name": "model", "layers": entries, "input_layers": inputs, "output_layers": [[output, 0, 0]]}
    return {"class_name": "Functional", "config": config}


def function(name: str, function: str) -> dict[str, Any]:
    """A function of TensorFlow between layers."""
    kind = "SlicingOpLambda" if function == "__operators__.getitem" else "TFOpLambda"
    return layer(kind, name, dtype="float32", function=function)


def functions() -> Case:
    """Arithmetic between tensors in TensorFlow 2.4 and later: attention over an LSTM, and the last step."""
    w = {"lstm": lstm_weights("lstm/lstm_cell"), "score": dense_weights("score")}
    table = _random(STEPS, FEATURES, seed=8)
    all_steps = {"start": None, "stop": None, "step": None}
    steps = [
        (layer("InputLayer", "x", batch_input_shape=SHAPE, dtype="float32", sparse=False, ragged=False), []),
        (function("half", "math.multiply"), ["x", 0, 0, {"y": 0.5, "name": None}]),
        (function("place", "__operators__.add"), ["_CONSTANT_VALUE", -1, table.tolist(), {"y": ["half", 0, 0]}]),
        (recurrent("LSTM", "lstm", gates="sigmoid", return_sequences=True), [["place", 0, 0, {}]]),
        (dense("score", activation="tanh"), [["lstm", 0, 0, {}]]),
        (function("weight", "nn.softmax"), ["score", 0, 0, {"axis": 1}]),
        (function("weighted", "math.multiply"), ["weight", 0, 0, {"y": ["lstm", 0, 0], "name": None}]),
        (function("pooled", "math.reduce_sum"), ["weighted", 0, 0, {"axis": 1, "keepdims": False}]),
        (function("last", "__operators__.getitem"), ["lstm", 0, 0, {"slice_spec": [all_steps, -1]}]),
        (
            function("part", "__operators__.getitem"),
            ["x", 0, 0, {"slice_spec": [all_steps, {"start": 1, "stop": None, "step": 2}, 0]}],
        ),
        (function("both", "concat"), [[n, 0, 0, {"axis": -1}] for n in ("pooled", "last", "part")]),
        (function("swapped", "math.subtract"), ["_CONSTANT_VALUE", -1, 1.0, {"y": ["both", 0, 0], "name": None}]),
    ]
    h = f.lstm(0.5 * X + table, *values(w["lstm"]), gate=f.sigmoid)
    weight = np.exp(np.tanh(f.dense(h, *values(w["score"]))))
    pooled = (weight / weight.sum(1, keepdims=True) * h).sum(1)
    expected = 1 - np.concatenate([pooled, h[:, -1], X[:, 1::2, 0]], -1)
    return _case(functional(*zip(*steps, strict=True), "swapped"), w, "2.11.0", expected)


def merged_masks() -> Case:
    """Masked words added and joined to others without a mask: in Keras 2, what is padding stays padding."""
    tables = [_random(9, FEATURES, seed=seed) for seed in (3, 4)]
    ids = np.array([[1, 2, 0, 3, 0, 0], [0, 4, 5, 6, 7, 8], [1, 1, 1, 1, 1, 1]], np.int32)
    w = {name: [(f"{name}/embeddings:0", table)] for name, table in zip("ef", tables, strict=True)}
    w |= {"added": lstm_weights("added"), "joined": lstm_weights("joined", 2 * FEATURES, seed=2)}
    options = {"input_dim": 9, "output_dim": FEATURES}
    steps = [
        (layer("InputLayer", "x", batch_input_shape=[None, STEPS], dtype="int32"), []),
        (layer("Embedding", "e", mask_zero=True, **options), [["x", 0, 0, {}]]),
        (layer("Embedding", "f", mask_zero=False, **options), [["x", 0, 0, {}]]),
        (layer("Add", "add_1"), [["e", 0, 0, {}], ["f", 0, 0, {}]]),
        (layer("Concatenate", "concatenate_1", axis=-1), [["e", 0, 0, {}], ["f", 0, 0, {}]]),
        (recurrent("LSTM", "added", gates="sigmoid"), [["add_1", 0, 0, {}]]),
        (recurrent("LSTM", "joined", gates="sigmoid"), [["concatenate_1", 0, 0, {}]]),
        (layer("Subtract", "subtract_1"), [["added", 0, 0, {}], ["joined", 0, 0, {}]]),
    ]
    e, o = (table[ids] for table in tables)
    added = f.lstm(e + o, *values(w["added"]), gate=f.sigmoid, mask=ids > 0)
    joined = f.lstm(np.concatenate([e, o], -1), *values(w["joined"]), gate=f.sigmoid, mask=ids > 0)
    description = functional(*zip(*steps, strict=True), "subtract_1")
    return _case(description, w, "2.4.0", (added - joined)[:, -1], inputs=ids)


def thresholded() -> Case:
    """Layers and arguments that Keras 3 does not have or writes otherwise."""
    kernel, point, bias = _random(2, FEATURES, 1), _random(1, FEATURES, 5), _random(5)
    names = ("depthwise_kernel", "pointwise_kernel", "bias")
    w = {"conv": [(f"conv/{n}:0", a) for n, a in zip(names, (kernel, point, bias), strict=True)], "drop": []}
    w |= {"relu": [], "lstm": lstm_weights("lstm", 5)}
    options = {"filters": 5, "kernel_size": [2], "padding": "valid", "depth_multiplier": 1, "groups": 1}
    layers = [
        layer("SeparableConv1D", "conv", batch_input_shape=SHAPE, use_bias=True, activation="linear", **options),
        layer("SpatialDropout1D", "drop", rate=0.3, noise_shape=None, seed=None),
        layer("ThresholdedReLU", "relu", theta=0.25),
        recurrent("LSTM", "lstm", gates="sigmoid"),
    ]
    h = (X[:, :-1].astype(float) * kernel[0, :, 0] + X[:, 1:] * kernel[1, :, 0]) @ point[0] + bias
    expected = f.lstm(np.where(h > 0.25, h, 0), *values(w["lstm"]), gate=f.sigmoid)[:, -1]
    return _case(_sequential(layers), w, "2.8.0", expected)


def keras3() -> Case:
    """Keras 3's own .h5, where hard_sigmoid has its new meaning."""
    w = {"lstm": lstm_weights("sequential/lstm/lstm_cell"), "dense": dense_weights("sequential/dense")}
    w = {name: [(own.removesuffix(":0"), array) for own, array in arrays] for name, arrays in w.items()}
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    layers = [
        layer("InputLayer", "input_layer", batch_shape=SHAPE, dtype="float32", sparse=False, ragged=False),
        recurrent("LSTM", "lstm", dtype=policy, zero_output_for_mask=False, seed=None),
        dense("dense"),
    ]
    h = f.lstm(X, *values(w["lstm"]), gate=lambda a: np.clip(a / 6 + 0.5, 0, 1))[:, -1]
    return _case(_sequential(layers), w, "3.3.3", f.dense(h, *values(w["dense"])))


def keras_2_13() -> Case:
    """A `.keras` file of Keras 2.13: a zip in the new form, with the old meaning."""
    w = {"lstm": lstm_weights("lstm"), "dense": dense_weights("dense")}
    layers = [
        {"module": "keras.layers", "registered_name": None}
        | layer("InputLayer", "input_1", batch_input_shape=SHAPE, dtype="float32", sparse=False, ragged=False),
        {"module": "keras.layers", "registered_name": None, "build_config": {"input_shape": SHAPE}}
        | recurrent("LSTM", "lstm", time_major=False),
        {"module": "keras.layers", "registered_name": None} | dense("dense"),
    ]
    config = {"module": "keras", "registered_name": None} | _sequential(layers)
    config["compile_config"] = {"optimizer": "adam", "loss": "my_loss"}

    def write(path: Path) -> None:
        weights = path.with_suffix(".tmp")
        with h5py.File(weights, "w") as file:
            for place, name in (("lstm/cell", "lstm"), ("dense", "dense")):
                group = file.create_group(f"_layer_checkpoint_dependencies/{place}/vars")
                for number, (_, array) in enumerate(w[name]):
                    group[str(number)] = array
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "2.13.1", "date_saved": "2023-09-01"}))
            archive.writestr("config.json", json.dumps(config))
            archive.write(weights, "model.weights.h5")
        weights.unlink()

    h = f.lstm(X, *values(w["lstm"]), gate=f.hard_sigmoid)[:, -1]
    return Case(write, X, f.dense(h, *values(w["dense"])), ("clip(0.2x + 0.5)",), ".keras")


CASES: dict[str, Callable[[], Case]] = {
    make.__name__: make
    for make in (
        list_of_layers,
        gates_by_default,
        gru_before,
        gru_after,
        bidirectional,
        cudnn_lstm,
        cudnn_gru_both_ways,
        encoder_decoder,
        encoder_decoder_by_keyword,
        pruned,
        cell_in_a_loop,
        stateful,
        masked_both_ways,
        theano,
        model_in_a_model,
        functions,
        merged_masks,
        thresholded,
        keras3,
        keras_2_13,
    )
}


def valid_files(folder: Path) -> dict[str, Path]:
    """Write every file of the corpus that opens; their paths by name."""
    paths = {}
    for name, make in CASES.items():
        case = make()
        paths[name] = Path(folder) / f"{name}{case.suffix}"
        case.write(paths[name])
    return paths


def saved_model(path: Path) -> Path:
    """Write a small SavedModel as a zip archive, which takes TensorFlow and not only h5py."""
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.layers.Input((5, FEATURES)), keras.layers.LSTM(UNITS), keras.layers.Dense(1)])
    folder = path.with_suffix("")
    tf.saved_model.save(model, str(folder))
    return Path(shutil.make_archive(str(folder), "zip", folder))
