"""`.pt2` files from ``torch.export.save``.

The format is an archive of raw tensors around a JSON program, but it also has places for pickles, native
libraries and custom objects, which ``torch.export.load`` opens without asking. They are refused by name, and
PyTorch gets a fresh archive of only what was checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch._export.serde.serialize import _SERIALIZE_TO_TORCH_DTYPE, SerializeError
from torch._export.verifier import SpecViolationError
from torch.fx.node import map_aggregate

from explain_core.errors import ModelFileError
from explain_core.models.archive import pack, read_entries
from explain_core.models.hints import EXPORT_HINT, NO_RECURRENT, READER_ERRORS, first_line
from explain_core.models.loaded import ExpectedInput, LoadedModel, ModelSummary
from explain_core.models.torch.initial_state import with_initial_state
from explain_core.models.torch.shapes import describe_layers
from explain_core.models.torch_programs import guards
from explain_core.models.torch_programs.program_check import check_program, json_of, on_cpu, refuse_code
from explain_core.words import counted

_HALVES = (torch.float16, torch.bfloat16)
_PROGRAM = "models/model.json"
_SAMPLE = "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_TENSOR_ENTRY = re.compile(r"data/(weights/weight|constants/tensor)_\d+", re.ASCII)
_MOST_AXES = 64
_STRIDED = 7  # the number of the ordinary layout in such files
_OF_TABLES = {"ScalarType", "Layout", "MemoryFormat"}
_ERRORS = (*READER_ERRORS, SerializeError, SpecViolationError)
_COPIED = ("archive_format", "archive_version", ".data/version", "byteorder")
_IGNORED = re.compile(r"\.data/serialization_id|extra/.*|\.format_version|\.storage_alignment")


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open a `.pt2` file; ``architecture`` must be empty, as the file holds the whole model."""
    if architecture:
        raise ModelFileError(
            "A .pt2 file holds its whole architecture; there is nothing to choose.",
            where=path.name,
            hint="Leave architecture= out.",
        )
    entries = read_entries(path)
    _refuse_unknown_entries(entries, path.name)
    clean = {name: entries[name] for name in entries if name in _COPIED or _TENSOR_ENTRY.fullmatch(name)}
    clean[_PROGRAM] = _as_json(on_cpu(check_program(entries[_PROGRAM], f"{path.name}: {_PROGRAM}")))
    for name in _CONFIGS:
        clean[name] = _as_json(on_cpu(_check_tensors(name, entries, f"{path.name}: {name}")))
    # Example inputs are a pickle, read without limits when a safe reading fails; and nobody here needs them.
    clean[_SAMPLE] = b""
    program = _load(pack(clean), path.name)
    _refuse_training_mode(program, path.name)
    return _describe(program, path.name)


def _refuse_unknown_entries(entries: Mapping[str, bytes], where: str) -> None:
    for name in entries:
        known = name in (*_COPIED, *_CONFIGS, _PROGRAM, _SAMPLE)
        if not known and not _TENSOR_ENTRY.fullmatch(name) and not _IGNORED.fullmatch(name):
            raise refuse_code(f"the entry {name!r}", where)
    missing = [name for name in (_PROGRAM, *_CONFIGS, *_COPIED[:3]) if name not in entries]
    if missing:
        raise ModelFileError(
            f"The .pt2 file lacks {missing[0]!r}: it is incomplete, or from a PyTorch before 2.8.",
            where=where,
            hint="Export the model again with a current PyTorch. " + EXPORT_HINT,
        )


def _check_tensors(config: str, entries: Mapping[str, bytes], where: str) -> dict[str, Any]:
    """The list of weights or constants, when each is a raw tensor inside of its own bytes, and no pickle or object."""
    listing = json_of(entries[config], where)
    folder = config.rpartition("/")[0]
    kinds: dict[str, Any] = {}  # of numbers, by entry: PyTorch takes the first one that is said
    try:
        for name, payload in listing["config"].items():
            path = payload["path_name"]
            if payload["use_pickle"] is not False or not _TENSOR_ENTRY.fullmatch(f"{folder}/{path}"):
                raise refuse_code(f"the pickled entry {path!r} of {name!r}", where)
            meta = payload["tensor_meta"]
            if kinds.setdefault(path, meta["dtype"]) != meta["dtype"] or not _fits(meta, entries[f"{folder}/{path}"]):
                raise ModelFileError(
                    f"The tensor {name!r} is said to be larger than its values in the file, or of other numbers.",
                    where=where,
                    hint="Copy the file again, or export the model again. " + EXPORT_HINT,
                )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise ModelFileError(
            "The list of weights in the file is not readable.", where=where, hint="Export the model again."
        ) from None
    return listing


def _fits(meta: Mapping[str, Any], data: bytes) -> bool:
    """Whether a tensor of these sizes and strides lies within its bytes."""
    sizes, strides = ([_whole(one) for one in meta[key]] for key in ("sizes", "strides"))
    offset = _whole(meta["storage_offset"])
    if meta["layout"] != _STRIDED or len(sizes) != len(strides) or len(sizes) > _MOST_AXES:
        return False
    if max((*sizes, *strides, offset)) >= 2**40:
        return False
    empty = 0 in sizes
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    width = _SERIALIZE_TO_TORCH_DTYPE[meta["dtype"]].itemsize
    return len(data) % width == 0 and (empty or (last + 1) * width <= len(data))


def _whole(value: Mapping[str, Any]) -> int:
    number = value["as_int"]
    if type(number) is not int or number < 0:
        raise ValueError("a size that is no whole number")
    return number


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _load(buffer: Any, name: str) -> torch.export.ExportedProgram:
    try:
        return torch.export.load(buffer)
    except _ERRORS as error:
        raise ModelFileError(
            f"PyTorch {torch.__version__} cannot read the exported program: {first_line(error)}",
            where=name,
            hint="Export the model again with this version of PyTorch. " + EXPORT_HINT,
        ) from error


def _refuse_training_mode(program: torch.export.ExportedProgram, where: str) -> None:
    """A program keeps the mode that it was exported in, and no flag can change it later."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        arguments = {a.name: v for a, v in zip(schema.arguments, node.args, strict=False)}
        is_random = arguments.get("train") and (arguments.get("p") or arguments.get("dropout"))
        if is_random or ("norm" in schema.name and arguments.get("training")):
            raise ModelFileError(
                "The model was exported in training mode, with dropout or batch statistics on: it answers "
                "differently each time.",
                where=f"{where}: {schema.name}",
                hint="Export it again after model.eval(). " + EXPORT_HINT,
            )


def _describe(program: torch.export.ExportedProgram, where: str) -> LoadedModel:
    shapes = {name: tuple(tensor.shape) for name, tensor in program.state_dict.items()}
    parameters = {name: shapes[name] for name in program.graph_signature.parameters}
    inputs = tuple(_inputs(program))
    notes = tuple(
        f"The file was exported for sequences of exactly {counted(spec.timesteps, 'timestep')}."
        for spec in inputs[:1]
        if spec.timesteps is not None and (spec.features or spec.takes_token_ids)
    )
    layers = describe_layers(parameters, _class_names(program))
    if not any(layer.recurrent for layer in layers):
        notes += (NO_RECURRENT,)
    module = program.module()
    _guard(module, where)
    stored = {tensor.dtype for tensor in program.state_dict.values()} & set(_HALVES)
    if stored:
        _compute_in_single(module)
        notes += (
            f"The weights are stored as {', '.join(sorted(map(_name, stored)))}; they are computed with as float32.",
        )
        inputs = tuple(replace(spec, dtype="float32") if spec.dtype in map(_name, _HALVES) else spec for spec in inputs)
    summary = ModelSummary(
        framework="torch",
        format="torch.export",
        layers=layers,
        inputs=inputs,
        notes=notes,
    )
    for part in module.modules():  # eval() is not for exported modules, and what it would change is in the graph
        part.training = False
    return with_initial_state(LoadedModel("torch", module, "torch.export", summary, notes, program))


def _guard(module: torch.fx.GraphModule, where: str) -> None:
    """Put checks before the operations whose kernels trust the sizes that they are given; see `guards`."""
    for part in module.modules():
        if not isinstance(part, torch.fx.GraphModule):
            continue
        for node in part.graph.nodes:
            if not isinstance(node.target, torch._ops.OpOverload):
                continue
            _require_known_numbers(node, where)
            key = str(node.target).removeprefix("aten.").removesuffix(".default")
            if key in guards.GUARDS:
                node.target = guards.guarded(key)
        part.recompile()


def _require_known_numbers(node: torch.fx.Node, where: str) -> None:
    """Kinds of numbers and the like must be PyTorch's own objects: bare numbers are looked up without a check."""
    arguments = node.target._schema.arguments
    given = {argument.name: value for argument, value in zip(arguments, node.args, strict=False)} | node.kwargs
    for argument in arguments:
        of_table = argument.name == "dtype" or _OF_TABLES.intersection(re.findall(r"\w+", str(argument.real_type)))
        value = given.get(argument.name)
        if of_table and value is not None and not isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
            raise refuse_code(f"the {argument.name} {str(value)[:20]!r} of {node.target}", where)


def _compute_in_single(module: torch.fx.GraphModule) -> None:
    """Float32 wherever the program has a half: processors have no recurrent layers of the shorter ones."""

    def in_single(value: Any) -> Any:
        return torch.float32 if value in _HALVES else value

    module.float()
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.args, node.kwargs = map_aggregate((node.args, node.kwargs), in_single)
            part.recompile()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _inputs(program: torch.export.ExportedProgram) -> list[ExpectedInput]:
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    found = []
    for name in program.graph_signature.user_inputs:
        value = nodes[name].meta.get("val") if name in nodes else None
        if isinstance(value, torch.Tensor):
            shape = tuple(size if isinstance(size, int) else None for size in value.shape)
            found.append(ExpectedInput(name, shape, _name(value.dtype)))
    return found


def _class_names(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Class name of each module that the program's nodes came from, by module path."""
    names = {}
    for node in program.graph.nodes:
        for path, kind in (node.meta.get("nn_module_stack") or {}).values():
            names[path] = str(kind).rpartition(".")[2]
    return names
