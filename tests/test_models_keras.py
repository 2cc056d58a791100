"""`.keras` files: what opens and answers as before, and what is refused by name before anything in it runs."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from explain_core.errors import BackendError, ModelFileError
from explain_core.explaining import explain
from explain_core.models import framework_of, load_model
from explain_core.models.keras.check import REFUSED_LAYERS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, while saving
ROOT = Path(__file__).parents[1]
X = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)


def sequential(*parts):
    return keras.Sequential([layers.Input((5, 2)), *parts, layers.Dense(1)])


def two_inputs():
    first, second = layers.Input((5, 2), name="first"), layers.Input((5, 2), name="second")
    summed = keras.ops.relu(first + 2 * second)
    return keras.Model([first, second], layers.Dense(1)(layers.GRU(4)(summed)))


def nested():
    inner = sequential(layers.LSTM(3))
    x = layers.Input((5, 2))
    return keras.Model(x, layers.Dense(2, activation=layers.LeakyReLU(), kernel_regularizer="l2")(inner(x)))


OPENING = {
    "lstm": lambda: sequential(layers.LSTM(4)),
    "gru before 3": lambda: sequential(layers.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid")),
    "bidirectional": lambda: sequential(layers.Bidirectional(layers.LSTM(3)), layers.Dropout(0.5)),
    "cells": lambda: sequential(layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)])),
    "normalised": lambda: sequential(
        layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 3.0]),
        layers.SimpleRNN(3, return_sequences=True, dropout=0.2),
        layers.TimeDistributed(layers.Dense(3, "relu")),
        layers.GlobalAveragePooling1D(),
    ),
    "nested": nested,
}


def saved(model, path):
    keras.utils.clear_session()
    model.save(path)
    return path


def change(path, config=None, entries=None, drop=()):
    """The same archive with its configuration edited, entries added or dropped."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if name not in drop}
    if config is not None:
        parsed = json.loads(content["config.json"])
        config(parsed)
        content["config.json"] = json.dumps(parsed).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (content | (entries or {})).items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def file(tmp_path):
    """A good file, to be changed. Its name says nothing."""
    return Path(saved(sequential(layers.LSTM(4)), tmp_path / "model.keras").rename(tmp_path / "upload.bin"))


def refusal(path):
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    assert path.name in caught.value.where
    assert caught.value.hint
    return caught.value.what


@pytest.mark.parametrize("name", OPENING)
def test_it_opens_and_answers_as_before(name, tmp_path):
    model = OPENING[name]()
    expected = model.predict(X, verbose=0)
    loaded = load_model(saved(model, tmp_path / "model.keras"))
    np.testing.assert_array_equal(loaded.module.predict(X, verbose=0), expected)
    assert loaded.framework == loaded.summary.framework == "tensorflow"
    assert loaded.summary.parameters == model.count_params()
    assert len(loaded.summary.recurrent_layers) == 1
    assert loaded.summary.inputs[0].shape == (None, 5, 2)
    assert loaded.summary.inputs[0].dtype == "float32"
    assert not loaded.notes


def test_it_is_explained_as_the_live_model(file):
    loaded = load_model(file)
    found = explain(loaded, X, "mean")
    assert found.relative_residual.values.max() < 1e-5
    expected = explain(loaded.module, X, "mean")
    np.testing.assert_array_equal(found.attributions.values, expected.attributions.values)
    with pytest.raises(BackendError, match="This is a TensorFlow model"):
        explain(loaded, X, backend="torch")


def test_the_summary_says_what_is_in_it(tmp_path):
    model = keras.Sequential(
        [layers.Input((7,)), layers.Embedding(20, 4), layers.Bidirectional(layers.GRU(3)), layers.Dense(1)]
    )
    summary = load_model(saved(model, tmp_path / "model.keras")).summary
    assert [(layer.kind, layer.detail) for layer in summary.layers] == [
        ("Embedding", "20 tokens, 4 numbers each"),
        ("Bidirectional of GRU", "4 inputs, 3 units, both directions"),
        ("Dense", "6 inputs, 1 output"),
    ]
    assert summary.inputs[0].takes_token_ids
    two = load_model(saved(two_inputs(), tmp_path / "two.keras"))
    assert [spec.name for spec in two.summary.inputs] == ["first", "second"]


def test_a_custom_loss_and_metric_do_not_matter(tmp_path):
    @keras.saving.register_keras_serializable("mine")
    def loss(truth, answer):
        return keras.ops.mean(truth - answer)

    model = sequential(layers.GRU(3))
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    model.fit(X, np.zeros((3, 1)), verbose=0)
    path = saved(model, tmp_path / "model.keras")
    keras.saving.get_custom_objects().clear()
    np.testing.assert_array_equal(load_model(path).module.predict(X, verbose=0), model.predict(X, verbose=0))


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def test_a_custom_class_is_named_with_what_to_do(tmp_path):
    path = saved(sequential(Doubled(name="twice"), layers.LSTM(3)), tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="Doubled") as caught:
        load_model(path)
    assert "twice" in caught.value.where
    assert "custom_objects" in caught.value.hint


def test_lambda_is_refused_and_not_run(tmp_path):
    canary = tmp_path / "canary"
    source = f"lambda x: (__import__('pathlib').Path({str(canary)!r}).touch(), x)[1]"
    path = saved(sequential(layers.Lambda(eval(source), name="evil"), layers.LSTM(3)), tmp_path / "model.keras")
    canary.unlink()  # building the model ran it
    assert "Lambda" in refusal(path)
    assert not canary.exists()


@pytest.mark.parametrize("name", REFUSED_LAYERS)
def test_layers_that_run_code_or_read_files_are_refused(name, file):
    def insert(config):
        config["config"]["layers"][1] |= {"class_name": name, "config": {"name": "evil", "filepath": "/etc/passwd"}}

    assert name in refusal(change(file, insert))


def test_every_layer_of_keras_that_takes_a_function_or_a_file_is_refused():
    suspect = {"function", "call_fn", "init_fn", "module", "filepath", "vocabulary", "path", "url"}
    for name, kind in vars(layers).items():
        if isinstance(kind, type) and suspect & set(kind.__init__.__code__.co_varnames):
            assert name in REFUSED_LAYERS
        if isinstance(kind, type) and hasattr(kind, "load_assets"):
            assert name in REFUSED_LAYERS


EVIL = {
    "a module": {"module": "os", "class_name": "system", "config": "touch canary", "registered_name": None},
    "a class of a module": {"module": "subprocess", "class_name": "Popen", "config": {"args": "touch canary"}},
    "a path as a name": {"module": "keras", "class_name": "layers.Lambda", "config": {}},
    "a function of keras": {"module": "keras.utils", "class_name": "function", "config": "get_file"},
    "a function as a class": {"module": "keras.layers", "class_name": "deserialize", "config": {}},
    "a custom function": {
        "module": "builtins",
        "class_name": "function",
        "config": "mine",
        "registered_name": "a>mine",
    },
    "a lambda": {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}},
    "a type": {"module": "tensorflow", "class_name": "__typespec__", "spec_name": "TensorSpec", "config": []},
    "a loop": {"module": "keras.src.ops.core", "class_name": "WhileLoop", "config": {}},
    "no module": {"class_name": "Dense", "config": {"units": 1}},
    "a registered name": {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "my>Dense"},
    "no name": {"module": "keras.layers", "class_name": ["Dense"], "config": {}},
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("place", ["activation", "build_config", "deep"])
def test_anything_but_kerass_own_building_blocks_is_refused(name, place, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def insert(config):
        layer = config["config"]["layers"][1]
        if place == "activation":
            layer["config"]["activation"] = EVIL[name]
        elif place == "build_config":
            layer["build_config"] = EVIL[name]
        else:
            config["config"]["more"] = [{"x": [{"y": EVIL[name]}]}]

    assert refusal(change(file, insert))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "assets/vocabulary.txt", "model.weights.npz", "a.py"])
def test_other_entries_are_refused_by_name(name, file, tmp_path):
    assert name in refusal(change(file, entries={name: b"x"}))
    assert not (tmp_path.parent / "evil.txt").exists()


def test_a_missing_entry_is_named(file):
    assert "model.weights.h5" in refusal(change(file, drop=["model.weights.h5"]))


def test_double_and_unreadable_entries(file):
    assert "config.json" in refusal(change(file, entries={"config.json": b"{"}))
    deep = b'{"class_name": "Sequential", "module": "keras", "config": ' + b"[" * 500 + b"]" * 500 + b"}"
    assert "nested" in refusal(change(file, entries={"config.json": deep}))
    assert "config.json" in refusal(change(file, entries={"config.json": b"[" * 10**6}))
    assert "not one of Keras" in refusal(change(file, entries={"config.json": b"{}"}))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("CONFIG.json", "{}")
    assert "several entries" in refusal(file)


@pytest.mark.parametrize("entry", ["config.json", "metadata.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "is not a description"),
        (b'{"keras_version": "\\ud800"}', "half of a character"),
        (
            b'{"keras_version": "3.0", "a": ' + b"[" * 300 + b"]" * 300 + b"}",
            "nested too deep: 301 times; the limit is 200",
        ),
        (b'{"a": [' + b"[]," * 2_000_000 + b"1]}", "the limit is 2,000,000"),
        (b'{"a": "' + b"x" * 17_000_000 + b'"}', "the limit is 16,777,216"),
        (b'{"keras_version": "\xff"}', "is not UTF-8"),
    ],
    ids=["list", "surrogate", "deep", "many", "large", "bytes"],
)
def test_odd_json_is_refused_before_anything_is_made_of_it(content, said, entry, file):
    what = refusal(change(file, entries={entry: content}))
    assert entry in what
    assert said in what


@pytest.mark.parametrize("version", ["9" * 6000 + ".1", 7, None, ["3.0"], {"a": 1}, "3." + "1" * 100])
def test_an_odd_version_is_an_unknown_one(version, file):
    path = change(file, entries={"metadata.json": json.dumps({"keras_version": version}).encode()})
    assert load_model(path).summary.format == "Keras"


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_off_file_is_a_typed_error(fraction, file):
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * fraction)])
    assert "damaged" in refusal(file)


def test_damaged_compressed_entries_are_typed_errors(file):
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    data = bytearray(file.read_bytes())
    start = data.index(b"config.json") + 20
    data[start : start + 40] = b"\xff" * 40
    file.write_bytes(data)
    assert "damaged" in refusal(file)


def hdf5(write):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as weights:
        write(weights)
    return buffer.getvalue()


def external_data(weights):
    weights.create_dataset("x", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def huge(weights):
    weights.create_dataset("x", (2**40,), "f4", chunks=(2**20,), compression="gzip")


def circle(weights):
    weights["a/b"] = weights.create_group("a")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda weights: weights.update(x=h5py.ExternalLink("/etc/passwd", "/")), "another place"),
        (lambda weights: weights.update(x=h5py.SoftLink("/y")), "another place"),
        (external_data, "another place"),
        (huge, "4096.0 GiB"),
        (circle, "another place"),
        (lambda weights: None, "no such weights"),
    ],
    ids=["external link", "soft link", "external data", "huge", "circle", "no weights"],
)
def test_weights_that_are_elsewhere_or_huge_or_missing(write, said, file):
    assert said in refusal(change(file, entries={"model.weights.h5": hdf5(write)}))


def test_cut_off_weights_in_a_whole_archive(file):
    with zipfile.ZipFile(file) as archive:
        weights = archive.read("model.weights.h5")
    assert "cannot be read" in refusal(change(file, entries={"model.weights.h5": weights[: len(weights) // 2]}))


def test_an_architecture_is_not_asked_for(file):
    with pytest.raises(ModelFileError, match="whole architecture"):
        load_model(file, architecture={"read": "last step"})


CODE = """
import sys
from explain_core.models import framework_of, load_model
path = "assets/demo/el-nino/model.keras"
assert framework_of(path) == "tensorflow"
assert not {"torch", "tensorflow", "keras"} & set(sys.modules)
load_model(path)
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("backend", [None, "torch"])
def test_torch_is_never_imported_for_a_keras_file(backend):
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    environment |= {} if backend is None else {"KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == (backend is None), done.stderr
    assert ("BackendError: Keras is set to run on 'torch'" in done.stderr) == (backend is not None)


def test_the_framework_of_a_file_is_told_without_opening_it(file):
    assert framework_of(file) == "tensorflow"
    assert framework_of(ROOT / "assets/demo/seattle-weather/model.pt2") == "torch"
    assert framework_of(__file__) == "torch"  # no model: opening it says so
