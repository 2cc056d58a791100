"""SavedModels: opened by what the prediction depends on, or refused by the operation, with nothing run or written."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import saved_model_pb2

from explain_core.errors import ModelFileError, UnsupportedOperation
from explain_core.explaining import explain
from explain_core.models import framework_of, load_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow and Keras, while saving
ROOT = Path(__file__).parents[1]
X = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
SPEC = tf.TensorSpec((None, 5, 2), tf.float32, name="x")


def sequential(*parts):
    return keras.Sequential([layers.Input((5, 2)), *parts, layers.Dense(1)])


MODELS = {
    "lstm": lambda: sequential(layers.LSTM(4)),
    "both ways": lambda: sequential(layers.Bidirectional(layers.GRU(3, return_sequences=True)), layers.LSTM(2)),
    "masked": lambda: sequential(layers.Masking(), layers.LSTM(3, recurrent_activation="hard_sigmoid")),
    "convolution": lambda: sequential(layers.Conv1D(3, 2, activation="relu"), layers.GlobalMaxPooling1D()),
}


def zipped(folder, inside=""):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, f"{inside}{file.relative_to(folder.parent)}")
    return path.rename(folder.with_name("upload.bin"))


def saved(module, folder, call=None):
    """A ``tf.Module`` with one signature."""
    function = tf.function(call or module.__call__, input_signature=[SPEC])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})
    return folder


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", ["model.export", "tf.saved_model.save"])
def test_it_opens_and_is_explained_as_the_live_model(name, way, tmp_path):
    model = MODELS[name]()
    folder = tmp_path / "model"
    if way == "model.export":
        model.export(folder, verbose=False)
    else:
        tf.saved_model.save(model, str(folder))
    path = zipped(folder)
    assert framework_of(path) == framework_of(folder) == "tensorflow"
    for given in (path, folder):
        loaded = load_model(given)
        (answer,) = loaded.module(X).values()
        np.testing.assert_allclose(answer, model(X), rtol=0, atol=1e-6)
    assert loaded.summary.inputs[0].shape == (None, 5, 2)
    assert loaded.summary.parameters == model.count_params()
    assert bool(loaded.summary.recurrent_layers) == (name != "convolution")
    expected = explain(model, X, "mean", precision="float64").attributions.values
    found = explain(loaded, X, "mean", precision="float64")
    assert found.relative_residual.values.max() < 1e-12
    # Their constants are in single precision, and the fused layers' are not. Measured: at most 3e-8.
    np.testing.assert_allclose(found.attributions.values, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert explain(loaded, X, "mean").relative_residual.values.max() < 1e-5


def test_several_inputs_by_name_and_two_models_at_once(tmp_path):
    first, second = layers.Input((5, 2), name="first"), layers.Input((5, 2), name="second")
    model = keras.Model([first, second], layers.Dense(2)(layers.LSTM(3)(first - 2 * second)))
    model.export(tmp_path / "a", verbose=False)
    sequential(layers.LSTM(4)).export(tmp_path / "b", verbose=False)
    loaded, other = load_model(tmp_path / "a"), load_model(tmp_path / "b")
    assert {spec.name for spec in loaded.summary.inputs} == {"first", "second"}
    found = explain(loaded, {"second": X, "first": X[::-1]})
    expected = explain(model, (X[::-1], X))
    for name in ("first", "second"):
        np.testing.assert_allclose(found.attributions[name], expected.attributions[name], atol=1e-6)
    assert explain(other, X).relative_residual.values.max() < 1e-5


class Plain(tf.Module):
    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(np.float32([[1.0], [2.0]]), name="weight")

    def __call__(self, x):
        return tf.reduce_sum(tf.tanh(x @ self.weight), 1)


def test_a_module_and_a_folder_deeper_in_the_archive(tmp_path):
    path = zipped(saved(Plain(), tmp_path / "model"), inside="some/place/")
    (answer,) = load_model(path).module(X).values()
    np.testing.assert_allclose(answer, np.tanh(X @ [[1.0], [2.0]]).sum(1), rtol=1e-6)


def test_a_graph_of_tensorflow_1(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, (None, 5, 2), name="x")
        weight = tf.compat.v1.get_variable("w", initializer=np.float32([[1.0], [2.0]]), use_resource=False)
        bias = tf.compat.v1.get_variable("b", initializer=np.float32([0.5]), use_resource=True)
        y = tf.reduce_sum(tf.tanh(tf.tensordot(x, weight, 1) + bias), 1)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": y})
    loaded = load_model(zipped(tmp_path / "model"))
    np.testing.assert_allclose(loaded.module(X)["y"], np.tanh(X @ [[1.0], [2.0]] + 0.5).sum(1), rtol=1e-5)
    assert explain(loaded, X).relative_residual.values.max() < 1e-5


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("a\nb\nc\n")
    os.utime(path, (0, path.stat().st_mtime))  # reading it would set its time of access
    return path


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


def read(secret, canary, x):
    return x + tf.cast(tf.strings.length(tf.io.read_file(str(secret))), tf.float32)


def write(secret, canary, x):
    with tf.control_dependencies([tf.io.write_file(str(canary), "written")]):
        return tf.identity(x)


def python(secret, canary, x):
    def touch(value):
        canary.touch()
        return value

    return tf.ensure_shape(tf.py_function(touch, [x], tf.float32), x.shape)


def old_python(secret, canary, x):
    return tf.ensure_shape(tf.numpy_function(lambda value: value, [x], tf.float32), x.shape)


def in_a_loop(secret, canary, x):
    return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, write(secret, canary, y)), [0, x])[1]


def in_a_branch(secret, canary, x):
    return tf.cond(tf.reduce_sum(x) > 1e9, lambda: write(secret, canary, x), lambda: x)


def in_a_function(secret, canary, x):
    return tf.function(lambda y: write(secret, canary, y))(x)


def printed(secret, canary, x):
    with tf.control_dependencies([tf.raw_ops.PrintV2(input="x", output_stream=f"file://{canary}")]):
        return tf.identity(x)


def listing(secret, canary, x):
    return x + tf.cast(tf.shape(tf.io.matching_files(f"{secret.parent}/*"))[0], tf.float32)


def checkpoint(secret, canary, x):
    with tf.control_dependencies(
        [tf.raw_ops.SaveV2(prefix=str(canary), tensor_names=["x"], shape_and_slices=[""], tensors=[x])]
    ):
        return tf.identity(x)


EVIL = {
    "ReadFile": read,
    "WriteFile": write,
    "EagerPyFunc": python,
    "PyFunc": old_python,
    "MatchingFiles": listing,
    "PrintV2": printed,
    "SaveV2": checkpoint,
}


def refusal(path):
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    assert path.name in caught.value.where
    assert caught.value.hint
    return caught.value.what


def untouched(secret, canary):
    assert not canary.exists()
    assert not list(canary.parent.glob("canary*"))
    assert secret.stat().st_atime == 0


@pytest.mark.parametrize("operation", EVIL)
def test_operations_that_do_more_than_compute_are_refused_by_name(operation, tmp_path, secret, canary):
    inner = Plain()
    path = zipped(saved(inner, tmp_path / "model", lambda x: inner(EVIL[operation](secret, canary, x))))
    os.utime(secret, (0, secret.stat().st_mtime))
    assert repr(operation) in refusal(path)
    untouched(secret, canary)


@pytest.mark.parametrize("place", [in_a_loop, in_a_branch, in_a_function])
def test_they_are_found_in_loops_branches_and_functions(place, tmp_path, secret, canary):
    inner = Plain()
    path = zipped(saved(inner, tmp_path / "model", lambda x: inner(place(secret, canary, x))))
    assert "'WriteFile', which reads or writes files" in refusal(path)
    untouched(secret, canary)


def test_a_table_of_words_is_refused(tmp_path, secret, canary):
    inner = Plain()
    table = tf.lookup.TextFileInitializer(str(secret), tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
    inner.table = tf.lookup.StaticHashTable(table, -1)
    call = lambda x: inner(x) + tf.cast(inner.table.lookup(tf.constant("a")), tf.float32)  # noqa: E731
    path = zipped(saved(inner, tmp_path / "model", call))
    os.utime(secret, (0, secret.stat().st_mtime))
    assert "looks words up in a table" in refusal(path)
    untouched(secret, canary)


def test_what_would_run_while_loading_is_not_run(tmp_path, secret, canary):
    """A table whose initializer reads a file, and a signature that writes one; the prediction needs neither."""
    inner = Plain()
    table = tf.lookup.TextFileInitializer(str(secret), tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
    inner.table = tf.lookup.StaticHashTable(table, -1)
    functions = {
        "serving_default": tf.function(inner.__call__, input_signature=[SPEC]),
        "evil": tf.function(lambda x: write(secret, canary, x), input_signature=[SPEC]),
    }
    tf.saved_model.save(inner, str(tmp_path / "model"), signatures=functions)
    os.utime(secret, (0, secret.stat().st_mtime))
    loaded = load_model(zipped(tmp_path / "model"))
    assert explain(loaded, X).relative_residual.values.max() < 1e-5
    untouched(secret, canary)
    assert any("assets" in note for note in loaded.notes)


def test_a_missing_custom_class_does_not_matter(tmp_path):
    """The graph is enough; the class that made it is nowhere looked for."""

    @keras.saving.register_keras_serializable("mine")
    class Doubled(layers.Layer):
        def call(self, x):
            return 2 * x

    model = sequential(Doubled(), layers.LSTM(3))
    model.export(tmp_path / "model", verbose=False)
    keras.saving.get_custom_objects().clear()
    (answer,) = load_model(tmp_path / "model").module(X).values()
    np.testing.assert_allclose(answer, model(X), atol=1e-6)


def test_a_model_that_draws_random_numbers_is_stopped_by_name(tmp_path):
    inner = Plain()
    path = zipped(saved(inner, tmp_path / "model", lambda x: inner(x + tf.random.normal(tf.shape(x)))))
    with pytest.raises(UnsupportedOperation, match="'RandomStandardNormal' draws random numbers"):
        explain(load_model(path), X)


@pytest.fixture
def good(tmp_path):
    return saved(Plain(), tmp_path / "model")


def change(folder, edit):
    path = folder / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    edit(content.meta_graphs[0])
    path.write_bytes(content.SerializeToString())
    return zipped(folder)


def test_damaged_graphs_are_typed_errors(good):
    data = (good / "saved_model.pb").read_bytes()
    for part in (b"", data[: len(data) // 2], b"\xff" * 100):
        (good / "saved_model.pb").write_bytes(part)
        assert refusal(zipped(good))


def test_graphs_that_do_not_fit_together_are_typed_errors(good, tmp_path):
    def without_signature(meta):
        meta.signature_def.clear()

    def without_functions(meta):
        meta.graph_def.library.Clear()

    def without_nodes(meta):
        del meta.graph_def.node[:]

    def unknown_operation(meta):
        for node in meta.graph_def.node:
            if node.op == "StatefulPartitionedCall":
                node.op = "MyCustomOp"

    def in_a_circle(meta):
        node = meta.graph_def.library.function[0].node_def.add()
        node.name, node.op = "again", "StatefulPartitionedCall"
        node.attr["f"].func.name = meta.graph_def.library.function[0].signature.name
        for function in meta.graph_def.library.function:
            function.node_def.add().CopyFrom(node)

    def filled(meta):
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op == "Const" and node.attr["dtype"].type == tf.int32.as_datatype_enum:
                    del node.attr["value"].tensor.tensor_shape.dim[:]
                    node.attr["value"].tensor.tensor_shape.dim.add().size = 10**11

    said = {
        without_signature: "has no signature",
        without_functions: "calls the function",
        without_nodes: "which is not in it",
        in_a_circle: "calls itself",
        filled: "745.1 GiB that the file does not have",
        unknown_operation: "'MyCustomOp', which is not one that only computes",
    }
    for number, (edit, words) in enumerate(said.items()):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(good, copy)
        assert words in refusal(change(copy, edit))


def test_missing_damaged_and_lying_variables(good, tmp_path):
    def copied(name):
        return Path(shutil.copytree(good, tmp_path / name))

    missing = copied("missing")
    shutil.rmtree(missing / "variables")
    assert "variables.index" in refusal(missing)
    cut = copied("cut")
    data = next((cut / "variables").glob("*.data*"))
    data.write_bytes(data.read_bytes()[:4])
    assert refusal(cut)
    index = copied("index")
    (index / "variables/variables.index").write_bytes(b"\0" * 200)
    assert refusal(index)


def test_links_in_a_folder_are_not_followed(good, tmp_path):
    moved = (good / "variables").rename(tmp_path / "elsewhere")
    (good / "variables").symlink_to(moved)
    assert "link to another place" in refusal(good)


def test_entries_that_lead_out_of_the_archive_go_nowhere(good, tmp_path):
    path = zipped(good)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../canary", "x")
        archive.writestr("model/variables/../../canary", "x")
        archive.writestr("/tmp/pairlift-canary", "x")
    assert load_model(path)
    assert not list(tmp_path.parent.glob("canary")) + list(tmp_path.glob("**/canary"))
    assert not Path("/tmp/pairlift-canary").exists()


def test_an_architecture_is_not_asked_for(good):
    with pytest.raises(ModelFileError, match="whole architecture"):
        load_model(good, architecture={"read": "last step"})


def test_torch_is_never_imported_for_a_saved_model(good):
    code = (
        "import sys; from explain_core.models import framework_of, load_model\n"
        f"assert framework_of({str(good)!r}) == 'tensorflow'; assert 'tensorflow' not in sys.modules\n"
        f"load_model({str(good)!r}); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
