"""SavedModels made to do something: each idea is refused by name or has no effect, and none leaves a trace."""

import zipfile

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from explain_core.errors import ModelFileError
from explain_core.explaining import explain
from explain_core.models import load_model
from explain_core.models.saved_model.check import choose_signature, reachable, read_program

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow, while saving
X = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
SPEC = tf.TensorSpec((None, 5, 2), tf.float32, name="x")
#: Operations that no prediction needs; each would do more than compute.
OTHERS = """AnonymousIterator AsString AssertPrevVersion BarrierTakeMany DebugIdentityV2 DeleteSessionTensor Empty
    FIFOQueueV2 GeneratorDataset GetSessionHandleV2 HostConst InitializeTableFromTextFileV2 LookupTableFindV2
    MapStage MergeV2Checkpoints MutableHashTableV2 ParallelConcat PyFuncStateless QueueDequeueV2 RemoteCall
    RestoreSlice SaveSlices ShardedFilename StackPushV2 Stage StringToHashBucketFast SymbolicGradient TPUExecute
    WholeFileReaderV2 XlaLaunch _Recv _Send""".split()  # noqa: SIM905


class Plain(tf.Module):
    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(tf.ones((2, 1)))

    def __call__(self, x):
        return tf.math.tanh(tf.tensordot(x, self.weight, 1))[:, -1]


def saved(folder, call=lambda y: y):
    module = Plain()
    function = tf.function(lambda x: call(module(x)), input_signature=[SPEC])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})
    return folder


@pytest.fixture
def good(tmp_path):
    return saved(tmp_path / "model")


@pytest.fixture
def canary(tmp_path):
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()


def change(folder, edit):
    path = folder / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    edit(content.meta_graphs[0])
    path.write_bytes(content.SerializeToString())
    return folder


def refusal(path):
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    assert caught.value.hint
    assert "could not be read as" not in caught.value.what  # the last boundary, and not the cause
    return caught.value.what


def node_of(meta, op):
    """The first node of this kind that the prediction depends on, in whichever function it is."""
    return next(node for function in meta.graph_def.library.function for node in function.node_def if node.op == op)


def writing(meta, canary, name="writes"):
    """A function in the library that writes the canary."""
    function = meta.graph_def.library.function.add()
    function.signature.name = name
    for label, text in (("path", str(canary)), ("text", "x")):
        node = function.node_def.add(name=label, op="Const")
        node.attr["dtype"].type = types_pb2.DT_STRING
        node.attr["value"].tensor.dtype = types_pb2.DT_STRING
        node.attr["value"].tensor.string_val.append(text.encode())
        node.attr["value"].tensor.tensor_shape.SetInParent()
    function.node_def.add(name="write", op="WriteFile", input=["path:output:0", "text:output:0"])
    function.signature.control_output.append("write")
    function.control_ret["write"] = "write"
    return function


def calling(meta, name):
    """A node inside the prediction's function that calls another one."""
    function = next(f for f in meta.graph_def.library.function if any(node.op == "Tanh" for node in f.node_def))
    node = function.node_def.add(name="call", op="StatefulPartitionedCall")
    for key in ("Tin", "Tout"):
        node.attr[key].list.SetInParent()
    node.attr["f"].func.name = name
    return node


@pytest.mark.parametrize("operation", OTHERS)
def test_whatever_is_not_on_the_list_is_refused_by_name(operation, good):
    def other(meta):
        node_of(meta, "Tanh").op = operation

    assert repr(operation) in refusal(change(good, other))


def test_printing_is_left_out(tmp_path, capfd):
    def printed(y):
        with tf.control_dependencies([tf.raw_ops.PrintV2(input="CANARY", output_stream="stdout")]):
            return tf.raw_ops.Print(input=y, data=[tf.constant("CANARY")], message="CANARY")

    loaded = load_model(saved(tmp_path / "model", printed))
    capfd.readouterr()
    (answer,) = loaded.module(X).values()
    assert explain(loaded, X).relative_residual.values.max() < 1e-5
    said = capfd.readouterr()
    assert "CANARY" not in said.out + said.err
    np.testing.assert_allclose(answer, np.tanh(X.sum(axis=2))[:, -1:], atol=1e-6)


def test_a_constant_that_is_a_handle(good):
    def handle(meta):
        node = calling(meta, "none")
        node.op = "Const"
        node.attr.clear()
        node.attr["dtype"].type = types_pb2.DT_RESOURCE
        node.attr["value"].tensor.dtype = types_pb2.DT_RESOURCE
        node.attr["value"].tensor.resource_handle_val.add(container="localhost", name="another variable")

    assert "a handle of something in memory" in refusal(change(good, handle))


def test_a_variable_looked_up_by_name_in_a_function(good):
    def lookup(meta):
        node = calling(meta, "none")
        node.op = "VarHandleOp"
        node.attr.clear()
        node.attr["shared_name"].s = b"of another model"

    assert "looks a variable up by its name" in refusal(change(good, lookup))


def test_two_nodes_of_one_name_are_not_both_taken(good, canary):
    """One of them is looked at, so the other one must not be in what runs."""

    def twice(meta):
        kept = next(node for node in meta.graph_def.node if node.op == "StatefulPartitionedCall")
        hidden = type(kept)(name=kept.name, op="WriteFile", input=["a", "b"])
        nodes = [hidden, *meta.graph_def.node]
        del meta.graph_def.node[:]
        meta.graph_def.node.extend(nodes)

    loaded = load_model(change(good, twice))
    assert loaded.module(X)


def test_a_function_with_the_name_of_an_operation(good, canary):
    def named(meta):
        writing(meta, canary, "Tanh")
        calling(meta, "Tanh")

    assert "'WriteFile'" in refusal(change(good, named))


def test_a_function_that_only_bears_the_name_of_an_operation_is_not_called(good, canary):
    loaded = load_model(change(good, lambda meta: writing(meta, canary, "Tanh")))
    assert loaded.module(X)


def test_a_function_in_the_attributes_of_another_and_in_a_list(good, tmp_path, canary):
    def in_attributes(meta):
        writing(meta, canary)
        meta.graph_def.library.function.add().signature.name = "harmless"
        calling(meta, "harmless").attr["f"].func.attr["inner"].func.name = "writes"

    def in_a_list(meta):
        writing(meta, canary)
        calling(meta, "none").attr["f"].list.func.add(name="writes")

    for number, edit in enumerate((in_attributes, in_a_list)):
        assert "'WriteFile'" in refusal(change(saved(tmp_path / str(number)), edit))


def test_gradients_of_the_library_are_left_behind(good, canary):
    def gradient(meta):
        writing(meta, canary)
        for function in list(meta.graph_def.library.function):
            name = function.signature.name
            meta.graph_def.library.gradient.add(function_name=name, gradient_func="writes")
            meta.graph_def.library.registered_gradients.add(gradient_func="writes", registered_op_type=name)

    assert explain(load_model(change(good, gradient)), X).relative_residual.values.max() < 1e-5


def test_settings_of_the_runtime_are_left_behind(good):
    def settings(meta):
        for node in (*meta.graph_def.node, *(n for f in meta.graph_def.library.function for n in f.node_def)):
            if node.op == "StatefulPartitionedCall":
                node.attr["executor_type"].s = b"an executor of its own"
                node.attr["config_proto"].s = b"no settings at all"

    meta = read_program(change(good, settings) / "saved_model.pb", "model")
    graph = reachable(meta, choose_signature(meta, "model"), "model")
    assert b"of its own" not in graph.SerializeToString()
    assert b"no settings" not in graph.SerializeToString()
    assert load_model(good).module(X)


def test_assets_outside_are_not_read(good, canary):
    def assets(meta):
        meta.asset_file_def.add(filename=f"../{canary.name}").tensor_info.name = "path:0"

    assert load_model(change(good, assets)).module(X)


def chain(meta, length, times):
    """Functions that each call the next one, so many times."""
    for number in range(length):
        function = meta.graph_def.library.function.add()
        function.signature.name = f"link_{number}"
        for k in range(times if number + 1 < length else 0):
            node = function.node_def.add(name=f"call_{k}", op="StatefulPartitionedCall")
            node.attr["f"].func.name = f"link_{number + 1}"
        if number + 1 == length:
            function.node_def.add(name="nothing", op="NoOp")
    calling(meta, "link_0")


def test_calls_within_calls_are_counted(good, tmp_path):
    assert "call each other 30" in refusal(change(good, lambda meta: chain(meta, 300, 1)))
    assert "operations in all" in refusal(change(saved(tmp_path / "doubled"), lambda meta: chain(meta, 60, 2)))


def test_sizes_that_are_not_there_are_found_in_any_attribute(good):
    def filled(meta):
        tensor = node_of(meta, "Tanh").attr["value"].list.tensor.add(dtype=types_pb2.DT_FLOAT)
        tensor.tensor_shape.dim.add(size=10**12)

    assert "that the file does not have" in refusal(change(good, filled))


def test_lists_of_more_tensors_than_there_is_room_for(good):
    def many(meta):
        node = calling(meta, "none")
        node.op = "Pack"
        node.attr.clear()
        node.attr["N"].i = 2**40

    assert "takes or gives 1,099,511,627,776 tensors (N)" in refusal(change(good, many))


def test_a_hint_of_shapes_that_is_none_is_left_out(good):
    def hint(meta):
        node_of(meta, "Tanh").attr["_output_shapes"].i = -1

    assert load_model(change(good, hint)).module(X)


def test_a_graph_of_gigabytes_is_not_parsed(good, monkeypatch):
    monkeypatch.setattr("explain_core.models.saved_model.check._MOST_PROGRAM", 100)
    assert "the limit is 100" in refusal(good)


def rewritten(folder, **changes):
    """The model with entries of its checkpoint changed."""
    prefix = str(folder / "variables" / "variables")
    stored = tf.train.load_checkpoint(prefix)
    values = {key: tf.constant(stored.get_tensor(key)) for key in stored.get_variable_to_shape_map()} | changes
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=[*values], shape_and_slices=[""] * len(values), tensors=[*values.values()]
    )
    return folder


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        (b"\xff\xff no list of objects", "its list of objects is damaged"),
        ([b"a", b"b"], "no value for its variable"),
        (1.0, "no value for its variable"),
    ],
)
def test_a_damaged_list_of_objects_is_a_typed_error(objects, said, good):
    assert said in refusal(rewritten(good, _CHECKPOINTABLE_OBJECT_GRAPH=tf.constant(objects)))


def test_a_circle_in_the_savers_graph_ends(good):
    def circle(meta):
        graph = meta.graph_def
        variable = next(node for node in graph.node if node.op == "VarHandleOp")
        graph.node.add(name="round", op="Identity", input=["round"])
        graph.node.add(name="assign", op="AssignVariableOp", input=[variable.name, "round"])
        meta.object_graph_def.Clear()

    assert "no value for its variable" in refusal(change(good, circle))


def test_an_archive_cannot_link_or_lead_elsewhere(good, canary, tmp_path):
    path = tmp_path / "upload.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(good.rglob("*")):
            if file.is_file() and file.name != "variables.index":
                archive.write(file, f"{file.relative_to(good.parent)}")
        link = zipfile.ZipInfo("model/variables/variables.index")
        link.external_attr = 0o120777 << 16  # a symbolic link
        archive.writestr(link, "/etc/passwd")
        archive.writestr(f"model/variables/../../../{canary.name}", "x")
    assert "cannot read the model" in refusal(path)


def test_programs_can_be_refused_as_a_whole(good):
    with pytest.raises(ModelFileError, match="a TensorFlow SavedModel: a program") as caught:
        load_model(good, data_only=True)
    assert "no sandbox" in caught.value.what
    assert ".keras" in caught.value.hint
    assert "--trust-code" in caught.value.hint
