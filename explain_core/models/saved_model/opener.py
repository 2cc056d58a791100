"""TensorFlow SavedModels, zipped or as a folder.

Nothing in one is loaded by TensorFlow's loader, which runs what the file tells it to: the graph is screened as data
and cut down to what the prediction depends on (`check`), the variables are read as arrays, and the rest is
never run.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.archive import MAX_UNPACKED_BYTES, names_of, read_entries
from explain_core.models.hints import READER_ERRORS, first_line
from explain_core.models.keras import build as keras_build
from explain_core.models.loaded import ExpectedInput, LayerSummary, LoadedModel, ModelSummary
from explain_core.models.saved_model.check import Signature, choose_signature, reachable, read_program

_PROGRAM = "saved_model.pb"
_VARIABLES = re.compile(r"variables/variables\.(index|data-\d{5}-of-\d{5})", re.ASCII)
_DAMAGED = "The file is damaged or incomplete; copy it again, with its folder variables."
_VARIABLE_OPS = ("VarHandleOp", "VariableV2")
_MOST_PAIRS = 4  # of objects in the graph and in the checkpoint, for each object
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the entry of a checkpoint that says which object each value is of


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open a SavedModel; ``architecture`` must be empty, as the file holds the whole model."""
    if architecture:
        raise ModelFileError(
            "A SavedModel holds its whole architecture; there is nothing to choose.",
            where=path.name,
            hint="Leave architecture= out.",
        )
    keras_build.import_keras()
    import tensorflow as tf

    with _unpacked(path) as folder:
        meta = read_program(folder / _PROGRAM, path.name)
        signature = choose_signature(meta, path.name)
        graph = reachable(meta, signature, path.name)
        try:
            variables = _variables(meta, graph, folder, path.name)
            from explain_core.backends.tensorflow.saved import SavedFunction

            model = SavedFunction(signature.name, graph, signature.inputs, signature.outputs, variables)
        except (*READER_ERRORS, tf.errors.OpError) as error:
            raise ModelFileError(
                f"TensorFlow {tf.__version__} cannot read the model: {first_line(error)[:300]}",
                where=path.name,
                hint="Export it again with a current TensorFlow, or save it as a Keras model.",
            ) from error
    notes = tuple(_notes(signature, meta))
    summary = ModelSummary(
        framework="tensorflow",
        format="TensorFlow SavedModel",
        layers=tuple(_layers(variables)),
        inputs=tuple(_inputs(signature)),
        notes=notes,
    )
    return LoadedModel("tensorflow", model, "saved model", summary, notes)


@contextmanager
def _unpacked(path: Path) -> Generator[Path]:
    """The graph and the variables, and nothing else of the archive, in a folder."""
    if path.is_dir():
        _check_folder(path)
        yield path
        return
    program = min((name for name in names_of(path) if name.rpartition("/")[2] == _PROGRAM), key=len)
    root = program.removesuffix(_PROGRAM)

    def is_wanted(name: str) -> bool:
        return name == program or (name.startswith(root) and _VARIABLES.fullmatch(name[len(root) :]) is not None)

    entries = read_entries(path, in_root=False, rewrite="model.export and a zip program", wanted=is_wanted)
    with tempfile.TemporaryDirectory(prefix="pairlift-") as temporary:
        folder = Path(temporary)
        (folder / "variables").mkdir()
        while entries:
            name, data = entries.popitem()
            (folder / name[len(root) :]).write_bytes(data)
        yield folder


def _check_folder(path: Path) -> None:
    """Refuse a folder whose files are elsewhere."""
    parts = [path / _PROGRAM, path / "variables", *(path / "variables").glob("variables.*")]
    for part in parts:
        if part.is_symlink():
            raise ModelFileError(
                f"{part.name!r} of the SavedModel is a link to another place; it is not opened.",
                where=path.name,
                hint="Copy the model with its files.",
            )
    if sum(part.stat().st_size for part in parts if part.is_file()) > MAX_UNPACKED_BYTES:
        raise ModelFileError(
            f"The SavedModel is larger than {MAX_UNPACKED_BYTES / 2**30:.0f} GiB.",
            where=path.name,
            hint="PairLift is made for models that fit in memory several times over.",
        )


def _variables(meta: Any, graph: Any, folder: Path, where: str) -> dict[str, Any]:
    """The value of every variable in the graph, by its node's name."""
    import tensorflow as tf

    wanted = {node.name: node for node in graph.node if node.op in _VARIABLE_OPS}
    if not wanted:
        return {}
    if not (folder / "variables" / "variables.index").is_file():
        raise ModelFileError("The SavedModel has no variables/variables.index.", where=where, hint=_DAMAGED)
    stored = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    shapes, types = stored.get_variable_to_shape_map(), stored.get_variable_to_dtype_map()
    there = sum(part.stat().st_size for part in (folder / "variables").iterdir())
    keys = _keys_by_object(meta, graph, stored) | _keys_by_restoring(meta, set(wanted))
    values, total = {}, 0
    for name, node in wanted.items():
        key = keys.get(name)
        if key not in shapes:
            raise ModelFileError(
                f"The SavedModel has no value for its variable {_label(node)!r}.", where=where, hint=_DAMAGED
            )
        if not (types[key].is_floating or types[key].is_integer or types[key].is_bool):
            raise ModelFileError(
                f"The variable {_label(node)!r} holds {types[key].name}, not numbers.",
                where=where,
                hint='Save the model as a Keras model: model.save("model.keras").',
            )
        size = prod(shapes[key]) * types[key].size
        total += size
        if size > there or total > MAX_UNPACKED_BYTES:
            raise ModelFileError(
                f"The variable {_label(node)!r} declares the shape {tuple(shapes[key])}; the file is too small for it.",
                where=where,
                hint=_DAMAGED,
            )
        values[name] = tf.Variable(stored.get_tensor(key), trainable=False, name=_label(node).replace(":", "_"))
    return values


def _keys_by_object(meta: Any, graph: Any, stored: Any) -> dict[str, str]:
    """Checkpoint keys by node, as TensorFlow 2 files them: a function's captures are objects with a path of names."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    objects = meta.object_graph_def
    if not objects.concrete_functions or not _is_one_text(stored, _OBJECTS):
        return {}
    filed = trackable_object_graph_pb2.TrackableObjectGraph()
    try:
        filed.ParseFromString(stored.get_tensor(_OBJECTS))
    except DecodeError:
        raise ValueError("its list of objects is damaged") from None
    key_of: dict[int, str] = {}
    seen, waiting = set(), [(0, 0)]
    while waiting:  # the same names lead to the same object in both
        here, there = waiting.pop()
        if (here, there) in seen or not (0 <= here < len(objects.nodes) and 0 <= there < len(filed.nodes)):
            continue
        seen.add((here, there))
        if len(seen) > _MOST_PAIRS * (len(objects.nodes) + len(filed.nodes)):
            raise ValueError("its lists of objects do not fit together")
        for attribute in filed.nodes[there].attributes:
            key_of.setdefault(here, attribute.checkpoint_key)
        children = {child.local_name: child.node_id for child in filed.nodes[there].children}
        waiting += [
            (child.node_id, children[child.local_name])
            for child in objects.nodes[here].children
            if child.local_name in children
        ]
    keys: dict[str, str] = {}
    for node in graph.node:
        name = node.attr["f"].func.name if "f" in node.attr else ""
        if name not in objects.concrete_functions:
            continue
        bound = list(objects.concrete_functions[name].bound_inputs)
        given = [part for part in node.input if not part.startswith("^")]
        for part, number in zip(given[len(given) - len(bound) :], bound, strict=False):
            if number in key_of:
                keys[part.partition(":")[0]] = key_of[number]
    return keys


def _is_one_text(stored: Any, key: str) -> bool:
    shape, kind = stored.get_variable_to_shape_map().get(key), stored.get_variable_to_dtype_map().get(key)
    return shape == [] and kind is not None and kind.name == "string"


def _keys_by_restoring(meta: Any, wanted: set[str]) -> dict[str, str]:
    """Checkpoint keys by node, read off the saver's own graph: which variable it would assign which tensor to."""
    nodes = {node.name: node for node in meta.graph_def.node}
    keys: dict[str, str] = {}
    for node in nodes.values():
        if node.op not in ("Assign", "AssignVariableOp") or node.input[0].partition(":")[0] not in wanted:
            continue
        source, passed = node.input[1], set()
        while (name := source.partition(":")[0]) in nodes and nodes[name].op == "Identity" and name not in passed:
            passed.add(name)
            source = nodes[name].input[0]
        name, _, number = source.partition(":")
        if name in nodes and nodes[name].op == "RestoreV2":
            names = nodes.get(nodes[name].input[1].partition(":")[0])
            if names is not None and names.op == "Const":
                listed = names.attr["value"].tensor.string_val
                if int(number or 0) < len(listed):
                    keys[node.input[0].partition(":")[0]] = listed[int(number or 0)].decode("utf-8", "replace")
    return keys


def _label(node: Any) -> str:
    return node.attr["shared_name"].s.decode("utf-8", "replace") or node.name


def _notes(signature: Signature, meta: Any) -> Iterator[str]:
    yield (
        f"Opened by its signature {signature.name!r}, without the Python classes that made it. Its loops are followed "
        "operation by operation: exact, slower than Keras layers, and without a chart of gates."
    )
    if meta.asset_file_def:
        yield "The files in its folder assets are not read; the prediction does not depend on them."


def _inputs(signature: Signature) -> Iterator[ExpectedInput]:
    import tensorflow as tf

    for name in sorted(signature.inputs):
        info = signature.inputs[name]
        known = not info.tensor_shape.unknown_rank
        shape = tuple(d.size if d.size >= 0 else None for d in info.tensor_shape.dim) if known else None
        yield ExpectedInput(name, shape, tf.as_dtype(info.dtype).name)


def _layers(variables: Mapping[str, Any]) -> Iterator[LayerSummary]:
    """One line per scope of variable names, which is a layer for models made with Keras."""
    scopes: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for variable in variables.values():
        scope, _, own = variable.name.removesuffix(":0").rpartition("/")
        short = re.sub(r"_\d+$", "", own)
        scopes[scope][own if short in scopes[scope] else short] = tuple(variable.shape)
    for scope, own in scopes.items():
        kind = _kind(own)
        yield LayerSummary(
            name=scope or "(top level)",
            kind=kind,
            detail=", ".join(f"{name} {' × '.join(map(str, shape)) or 'scalar'}" for name, shape in own.items()),
            parameters=sum(prod(shape) for shape in own.values()),
            recurrent=kind in ("LSTM", "GRU", "SimpleRNN"),
        )


def _kind(own: Mapping[str, tuple[int, ...]]) -> str:
    recurrent = own.get("recurrent_kernel", ())
    if len(recurrent) == 2 and recurrent[0]:
        return {4: "LSTM", 3: "GRU", 1: "SimpleRNN"}.get(recurrent[1] // recurrent[0], "Recurrent")
    if "embeddings" in own:
        return "Embedding"
    return {2: "Dense", 3: "Conv1D"}.get(len(own.get("kernel", ())), "Parameters")
