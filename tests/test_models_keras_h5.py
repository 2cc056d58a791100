"""Keras 2 files: opened with the meaning they were trained with, or refused by name with nothing run or read."""

import base64
import functools
import inspect
import io
import json
import marshal
import os
import struct
import zipfile
from fractions import Fraction

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from corpus import keras_files as files
from corpus.keras_files import CASES, FEATURES, SHAPE, UNITS, X
from keras.src.backend.common import global_state
from tensorflow_tools import assert_exact

from explain_core.backends.tensorflow import arrays
from explain_core.errors import ModelFileError
from explain_core.explaining import explain
from explain_core.models import framework_of, load_model
from explain_core.models.keras.hdf5 import _check_texts
from explain_core.models.keras.keras2_functions import FUNCTIONS, SLICING
from explain_core.rules.cells.activations import ACTIVATIONS

# The formulas are in double precision and the models in single. Measured: at most 2e-7.
CLOSE = 2e-6


def opened(case, folder):
    path = folder / f"upload{case.suffix}"
    case.write(path)
    assert framework_of(path) == "tensorflow"
    return load_model(path)


@pytest.mark.parametrize("name", CASES)
def test_it_predicts_what_its_own_keras_predicted(name, tmp_path):
    case = CASES[name]()
    loaded = opened(case, tmp_path)
    inputs = case.inputs
    found = loaded.module(list(inputs) if isinstance(inputs, tuple) else inputs)
    np.testing.assert_allclose(found, case.expected, rtol=0, atol=CLOSE)
    for words in case.says:
        assert any(words in note for note in loaded.notes), loaded.notes
    explained = explain(loaded, inputs, keep_gates=False)
    assert explained.relative_residual.values.max() < 1e-5
    assert loaded.summary.recurrent_layers


def test_the_old_hard_sigmoid_is_fused_and_exact(tmp_path):
    for name, layers in (("gates_by_default", ["lstm_1"]), ("gru_before", ["gru_1"])):
        model = opened(CASES[name](), tmp_path).module
        assert_exact(model, [X], [X[::-1] * 0.5], layers=layers)


def test_secant_of_the_old_hard_sigmoid():
    """Against exact fractions: over kinks, next to them, and for tiny differences."""
    function, secant = ACTIVATIONS["keras2_hard_sigmoid"]
    a = np.array([0.3, 2.4, 2.5, -2.4, -7, 7, 2.499999, -3, 1e-9], np.float32)
    b = np.array([0.3000001, 2.6, 2.6, -9, -8, -7, 2.500001, -2.5, -1e-9], np.float32)

    def exact(value):
        return min(max(Fraction(float(value)) / 5 + Fraction(1, 2), 0), 1)

    expected = [(exact(p) - exact(q)) / (Fraction(float(p)) - Fraction(float(q))) for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(secant(arrays, tf.constant(a), tf.constant(b)), np.array(expected, float), rtol=4e-7)
    np.testing.assert_allclose(function(arrays, tf.constant(a)), [float(exact(p)) for p in a], rtol=2e-7, atol=1e-7)


def test_a_hard_sigmoid_inside_another_layer_keeps_its_meaning(tmp_path):
    """Keras copies the layer inside a Bidirectional by the names of its functions."""
    inner = files.recurrent("LSTM", "lstm_1")
    wrapped = files.layer("Bidirectional", "bi", layer=inner, merge_mode="ave", batch_input_shape=SHAPE)
    w = {"bi": files.lstm_weights("bi/forward_lstm_1") + files.lstm_weights("bi/backward_lstm_1", seed=4)}
    config = {"class_name": "Sequential", "config": [wrapped]}
    files.write_h5(tmp_path / "m.h5", config, w, "2.1.6")
    layer = load_model(tmp_path / "m.h5").module.layers[-1]
    for direction in (layer.forward_layer, layer.backward_layer):
        assert float(direction.cell.recurrent_activation(tf.constant(1.0))) == pytest.approx(0.7)


def sequential(*layers, **config):
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers), **config}}


def plain(version="2.2.4", extra=(), weights=None, **changes):
    """A small good model with layers put in after the first, and other options for its LSTM."""
    lstm = files.recurrent("LSTM", "lstm_1", batch_input_shape=SHAPE, **changes)
    w = {"lstm_1": files.lstm_weights("lstm_1"), "dense_1": files.dense_weights("dense_1")} | (weights or {})
    return sequential(lstm, *extra, files.dense("dense_1")), w, version


@pytest.fixture
def refusal(tmp_path):
    """The error of a file made of (config, weights, version)."""

    def refuse(made, where="upload.h5"):
        path = tmp_path / "upload.h5"
        files.write_h5(path, *made)
        before = path.read_bytes()
        with pytest.raises(ModelFileError) as caught:
            load_model(path)
        assert where in caught.value.where
        assert caught.value.hint
        assert path.read_bytes() == before
        assert not (tmp_path / "canary").exists()
        return caught.value.what

    return refuse


def marshalled(canary):
    """A Lambda's function as Keras 2 wrote it: code, defaults, closure."""
    source = f"lambda x: (__import__('pathlib').Path({str(canary)!r}).touch(), x)[1]"
    code = marshal.dumps(compile(source, "model", "eval").co_consts[0])
    return [base64.b64encode(code).decode(), None, None]


def test_a_lambda_is_refused_and_not_run(refusal, tmp_path):
    lambda_ = files.layer("Lambda", "evil", function=marshalled(tmp_path / "canary"), function_type="lambda")
    assert "Lambda layer, which runs Python code" in refusal(plain(extra=[lambda_]), "upload.h5: evil")
    wrapped = files.layer("TimeDistributed", "td", layer=lambda_)
    assert "Lambda" in refusal(plain(extra=[wrapped]), "evil")


REFUSED = {
    "a custom layer": ([files.layer("AttentionWithContext", "attention", units=3)], "'AttentionWithContext'"),
    "a custom activation": ([files.dense("d", 3, "my_swish")], "activation 'my_swish'"),
    "an activation by module": (
        [files.dense("d", 3, {"class_name": "function", "config": "system", "module": "os"})],
        "activation 'system'",
    ),
    "a registered class": ([files.dense("d", 3) | {"registered_name": "mine>Dense"}], "'mine>Dense'"),
    "a vocabulary": ([files.layer("TextVectorization", "v", vocabulary="/etc/passwd")], "reads a vocabulary"),
    "a table": ([files.layer("StringLookup", "v", vocabulary="/etc/passwd")], "reads a vocabulary"),
    "a function of TensorFlow": ([files.layer("TFOpLambda", "f", function="io.read_file")], "'io.read_file'"),
    "another order of axes": ([files.recurrent("LSTM", "l", time_major=True)], "time_major='True'"),
    "an unknown argument": ([files.dense("d", 3, mystery=1)], "mystery='1'"),
    "several axes": ([files.layer("BatchNormalization", "bn", axis=[1, 2])], "several axes"),
    "old interpolation": ([files.layer("UpSampling2D", "up", interpolation="bilinear")], "interpolates"),
    "a model of its own class": ([{"class_name": "MyModel", "config": {"name": "m"}}], "'MyModel'"),
    "an odd type": ([files.dense("d", 3, dtype={"class_name": "P", "config": {"name": "a.b"}})], "type 'a.b'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_certain_meaning_is_refused_by_name(name, refusal):
    extra, said = REFUSED[name]
    assert said in refusal(plain(extra=extra), extra[0]["config"]["name"] if name != "a model of its own class" else "")


def test_where_the_meaning_depends_on_an_unknown_version_it_stops(refusal):
    assert "does not say which Keras wrote it" in refusal(plain(version=""))
    assert "recurrent_activation" in refusal(plain(version="2.2.4-tf", gates=None))
    assert "Keras 1.2.2" in refusal(plain(version="1.2.2"))


@pytest.mark.parametrize(
    ("version", "after"), [("2.2.4", False), ("2.3.1", False), ("2.4.0", True), ("2.1.6-tf", None)]
)
def test_a_gru_without_bias_has_the_default_of_its_time(version, after, refusal, tmp_path):
    gru = files.recurrent("GRU", "gru_1", gates="sigmoid", use_bias=False, batch_input_shape=SHAPE)
    made = (sequential(gru), {"gru_1": files.lstm_weights("gru_1", gates=3)[:2]}, version)
    if after is None:
        assert "does not say reset_after" in refusal(made, "gru_1")
        return
    files.write_h5(tmp_path / "m.h5", *made)
    assert load_model(tmp_path / "m.h5").module.layers[-1].cell.reset_after is after


def test_a_custom_loss_is_left_out_with_a_note(tmp_path):
    path = tmp_path / "m.h5"
    files.write_h5(path, *plain())
    assert any("loss, metric or optimizer of its own" in note for note in load_model(path).notes)
    with h5py.File(path, "a") as file:
        training = {"loss": "binary_crossentropy", "metrics": ["acc", [["mse"]]]}
        training["optimizer_config"] = {"class_name": "Adam", "config": {"lr": 0.1}}
        file.attrs["training_config"] = json.dumps(training)
    assert not any("loss" in note for note in load_model(path).notes)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, while saving
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_keras_3_files_of_a_model_in_a_model_called_twice(tmp_path):
    x = keras.Input((6, 3))
    inner = keras.Model(x, keras.layers.LSTM(3, return_sequences=True)(x))
    first = inner(x)
    model = keras.Model(x, [first, inner(keras.layers.Rescaling(2.0)(first))])
    model.save(tmp_path / "m.h5")
    for found, expected in zip(load_model(tmp_path / "m.h5").module(X), model(X), strict=True):
        np.testing.assert_array_equal(found, expected)


OPERATIONS = {
    "arithmetic": lambda x, h: (2 - x) * h[..., :3] / (1 + x**2) + np.arange(3.0, dtype=np.float32),
    "keras.ops": lambda x, h: keras.ops.concatenate([keras.ops.mean(h, axis=1), keras.ops.relu(x[:, -1])], axis=-1),
    "names that layers have too": lambda x, h: keras.ops.reshape(keras.ops.softmax(keras.ops.add(x, x), 1), (-1, 18)),
    "a state": lambda x, h: keras.layers.GRU(4)(x, initial_state=keras.ops.max(h, axis=1)),
    "a model": lambda x, h: keras.Model([x, h], x - h[:, :, 1:])([x, h]) * keras.layers.Dense(3)(h),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, while saving
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", OPERATIONS)
def test_keras_3_files_with_operations_between_layers(name, tmp_path):
    x = keras.Input((6, 3))
    model = keras.Model(x, OPERATIONS[name](x, keras.layers.LSTM(4, return_sequences=True)(x)))
    model.save(tmp_path / "m.h5")
    loaded = load_model(tmp_path / "m.h5")
    np.testing.assert_array_equal(loaded.module(X), model(X))
    explained = explain(loaded, X, target=0 if len(model.output_shape) == 2 else (0, 0), keep_gates=False)
    assert explained.relative_residual.values.max() < 1e-5


@pytest.mark.parametrize("both", [False, True])
def test_a_layer_of_cudnn_behind_a_mask_is_refused(both, refusal):
    """It went over padding as over data."""
    options = {"input_dim": 9, "output_dim": FEATURES, "mask_zero": True, "batch_input_shape": [None, 6]}
    cudnn = files.layer("CuDNNLSTM", "l", units=UNITS)
    names = ("b/forward_l", "b/backward_l") if both else ("l",)
    arrays = [(n, np.tile(a, 2) if a.ndim == 1 else a) for name in names for n, a in files.lstm_weights(name)]
    if both:
        cudnn = files.layer("Bidirectional", "b", layer=cudnn, merge_mode="sum")
    name = cudnn["config"]["name"]
    w = {"e": [("e/embeddings:0", np.zeros((9, FEATURES), np.float32))], name: arrays}
    layers = [files.layer("Embedding", "e", **options), cudnn]
    assert "behind a mask" in refusal((sequential(*layers), w, "2.2.4-tf"), name)


def test_operations_that_take_functions_are_refused(refusal):
    operation = {"class_name": "Map", "config": {"name": "map", "f": "os.system"}}
    assert "'Map'" in refusal(plain(extra=[operation], version="3.3.3"), "map")


SPOILED_CALLS = {
    "no tensor": ["_CONSTANT_VALUE", -1, 2.0, {"y": 3}],
    "an object": ["x", 0, 0, {"y": {"class_name": "Lambda"}}],
    "nothing": [[]],
    "another layer": ["nobody", 0, 0, {"y": 2}],
    "another argument": ["x", 0, 0, {"y": 2, "mystery": 3}],
}


@pytest.mark.parametrize("name", SPOILED_CALLS)
def test_calls_of_functions_that_make_no_sense_are_refused(name, refusal):
    layers = [files.layer("InputLayer", "x", batch_input_shape=SHAPE), files.function("twice", "math.multiply")]
    assert refusal((files.functional(layers, [[], SPOILED_CALLS[name]], "twice"), {}, "2.11.0"), "")


def test_the_functions_that_open_only_compute():
    """Each is one of TensorFlow's own, by a name that it exports; none draws numbers, keeps state or touches files."""
    for name in FUNCTIONS - {SLICING}:
        function = functools.reduce(getattr, name.split("."), tf)
        assert callable(function)
        assert not {"filename", "seed", "fn", "func", "rate"} & set(inspect.signature(function).parameters), name


def test_layers_left_in_training_are_refused(refusal):
    layers = [
        files.layer("InputLayer", "x", batch_input_shape=SHAPE, dtype="float32"),
        files.layer("Dropout", "mc", rate=0.5),
        files.recurrent("LSTM", "lstm_1"),
    ]
    nodes = [[], [[["x", 0, 0, {"training": True}]]], [[["mc", 0, 0, {}]]]]
    for entry, calls in zip(layers, nodes, strict=True):
        entry |= {"name": entry["config"]["name"], "inbound_nodes": calls}
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["lstm_1", 0, 0]]}
    w = {"lstm_1": files.lstm_weights("lstm_1")}
    assert "training=True" in refusal(({"class_name": "Model", "config": config}, w, "2.3.1"), "mc")


def test_weights_that_do_not_fit_are_refused(refusal):
    assert "the shape (3, 16); the file has (3, 20)" in refusal(
        plain(weights={"lstm_1": files.lstm_weights("lstm_1", units=5)}), "lstm_1"
    )
    assert "no layer of its model" in refusal(plain(weights={"more": files.dense_weights("more")}))
    assert "takes 3 arrays" in refusal(plain(weights={"lstm_1": files.lstm_weights("lstm_1")[:2]}), "lstm_1")
    swapped = [(name.replace("kernel", "table"), value) for name, value in files.lstm_weights("lstm_1")]
    assert "named kernel, recurrent_kernel, bias" in refusal(plain(weights={"lstm_1": swapped}), "lstm_1")
    cudnn = files.layer("CuDNNLSTM", "lstm_1", units=UNITS, batch_input_shape=SHAPE)
    w = {"lstm_1": files.lstm_weights("lstm_1")}
    assert "not in cuDNN's layout" in refusal((sequential(cudnn), w, "2.2.4"), "lstm_1")


@pytest.mark.parametrize("units", [10**6, 10**9, 2**40, -3, "many"])
def test_sizes_that_the_file_does_not_have_are_refused_before_there_is_memory_for_them(units, refusal):
    assert refusal(plain(units=units))  # 10^6 units would take 16 TB


def test_what_was_refused_takes_no_memory_later(refusal):
    """Keras gives values to all variables that wait for some at once, when it builds the next layer."""
    for _ in range(2):
        refusal(plain(units=10**6))
    assert not global_state.get_global_attribute("uninitialized_variables")


def test_a_giant_embedding_is_refused(refusal):
    embedding = files.layer("Embedding", "e", input_dim=10**12, output_dim=64, batch_input_shape=[None, 5])
    w = {"e": [("e/embeddings:0", np.zeros((4, 64), np.float32))]}
    assert "shape (1000000000000, 64)" in refusal((sequential(embedding), w, "2.2.4"), "e")


@pytest.mark.parametrize(
    "config",
    ["{", "[]", "null", '{"class_name": 3}', "[" * 5000, '{"class_name": "Sequential"}', '{"class_name": "\\ud800"}'],
)
def test_descriptions_that_are_none_are_typed_errors(config, tmp_path):
    path = tmp_path / "upload.h5"
    files.write_h5(path, *plain())
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = config
    with pytest.raises(ModelFileError, match="description"):
        load_model(path)


def outside(folder):
    path = folder / "secret.bin"
    path.write_bytes(b"\0" * 4096)
    os.utime(path, (0, path.stat().st_mtime))  # reading it would set its time of access
    return path


def virtual(group, secret):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
    group.create_virtual_dataset("x", layout)


def circle(group, secret):
    group["x"] = group.create_group("y")
    group["y/z"] = group["y"]


ATTACKS = {
    "an external link": (lambda g, s: g.update(x=h5py.ExternalLink(str(s), "/")), "another place"),
    "a soft link": (lambda g, s: g.update(x=h5py.SoftLink("/model_weights")), "another place"),
    "external storage": (lambda g, s: g.create_dataset("x", (4,), "f4", external=[(str(s), 0, 16)]), "another place"),
    "a virtual dataset": (virtual, "another place"),
    "a circle": (circle, "another place"),
    "a terabyte of nothing": (
        lambda g, s: g.create_dataset("x", (2**40,), "f4", chunks=(2**20,)),
        "declares 4096.0 GiB",
    ),
    "a bomb": (lambda g, s: g.create_dataset("x", data=np.zeros(2**25), chunks=(2**20,), compression=9), "declares"),
}


@pytest.mark.parametrize("place", ["/", "model_weights/lstm_1"])
@pytest.mark.parametrize("name", ATTACKS)
def test_hdf5_that_points_elsewhere_or_is_a_bomb_is_refused(name, place, tmp_path):
    path, secret = tmp_path / "upload.h5", outside(tmp_path)
    files.write_h5(path, *plain())
    attack, said = ATTACKS[name]
    with h5py.File(path, "a") as file:
        attack(file[place], secret)
    with pytest.raises(ModelFileError, match=said):
        load_model(path)
    assert secret.stat().st_atime == 0


def test_a_store_of_texts_that_leads_nowhere_is_refused(tmp_path):
    """The HDF5 library would look for the next text forever."""
    path = tmp_path / "upload.h5"
    files.write_h5(path, *plain())
    data = bytearray(path.read_bytes())
    start = data.index(b"GCOL")
    data[start + 16 : start + 4096] = bytes(4080)
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="store of texts is damaged"):
        load_model(path)


def test_stores_of_texts_that_share_bytes_are_not_walked_again_and_again():
    """Each of these collections says that it goes on to the end of the file, through all those behind it."""
    block = b"GCOL\x01\0\0\0" + struct.pack("<Q", 2**40) + struct.pack("<HH4xQ", 1, 1, 16)
    with pytest.raises(ValueError, match="store of texts is damaged"):
        _check_texts(block * 2000)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "upload.h5"
    files.write_h5(path, *plain())
    with h5py.File(path, "r+") as file:
        file.attrs.create("keras_version", b"2.2.4\xff", dtype=h5py.string_dtype())
    with pytest.raises(ModelFileError, match="'keras_version' of the file is not text"):
        load_model(path)


def test_a_weight_by_a_path_out_of_its_group_is_not_followed(tmp_path):
    path = tmp_path / "upload.h5"
    files.write_h5(path, *plain())
    with h5py.File(path, "a") as file:
        file["model_weights/lstm_1"].attrs["weight_names"] = [b"../dense_1/dense_1/kernel:0", b"/x", b"lstm_1/bias:0"]
    with pytest.raises(ModelFileError, match="does not have it"):
        load_model(path)


def test_names_that_share_one_long_text_are_refused(tmp_path):
    """Texts of any length can share one place in the file, so a small file could fill the memory."""
    path = tmp_path / "upload.h5"
    files.write_h5(path, *plain())
    with h5py.File(path, "a") as file:
        names = file["model_weights"].attrs
        names.create("layer_names", np.array(["x" * 1000] * 4000, object), dtype=h5py.string_dtype())
        file["filler"] = np.random.default_rng(0).random(2**18)
    with pytest.raises(ModelFileError, match="too large: 4,000 texts"):
        load_model(path)


def test_arrays_of_other_things_than_numbers_are_not_read(tmp_path):
    path = tmp_path / "upload.h5"
    files.write_h5(path, *plain())
    with h5py.File(path, "a") as file:
        del file["model_weights/dense_1/dense_1/bias:0"]
        file["model_weights/dense_1/dense_1"].create_dataset("bias:0", (1,), h5py.string_dtype())
    with pytest.raises(ModelFileError, match="does not have it"):
        load_model(path)


def test_weights_alone_get_their_real_cause(tmp_path):
    path = tmp_path / "upload.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"lstm_1"]
        group = file.create_group("lstm_1")
        group.attrs["weight_names"] = [name.encode() for name, _ in files.lstm_weights("lstm_1")]
        for name, value in files.lstm_weights("lstm_1"):
            group[name] = value
    with pytest.raises(ModelFileError, match="weights of a Keras model without the model") as caught:
        load_model(path)
    assert "lstm_1/lstm_1/recurrent_kernel:0  4 × 16" in caught.value.what
    assert "model.save(" in caught.value.hint
    with h5py.File(path, "w") as file:
        file["layers/lstm/cell/vars/0"] = np.zeros((FEATURES, 16))
    with pytest.raises(ModelFileError, match="layers/lstm/cell/vars/0  3 × 16"):
        load_model(path)
    with h5py.File(path, "w") as file:
        file["temperature"] = np.zeros((3, 4))
    with pytest.raises(ModelFileError, match="no Keras model is in it"):
        load_model(path)


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.7, 0.95])
def test_a_cut_off_file_is_a_typed_error(fraction, tmp_path):
    path = tmp_path / "upload.h5"
    files.write_h5(path, *plain())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    with pytest.raises(ModelFileError):
        load_model(path)


def test_a_keras_2_archive_is_screened_like_any_other(tmp_path):
    path = tmp_path / "upload.keras"
    CASES["keras_2_13"]().write(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    config["config"]["layers"][1]["class_name"] = "Lambda"
    content["config.json"] = json.dumps(config).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ModelFileError, match="Lambda"):
        load_model(path)


def test_every_file_of_the_corpus_is_written(tmp_path):
    paths = files.valid_files(tmp_path)
    assert set(paths) == set(CASES)
    assert all(path.stat().st_size for path in paths.values())
