"""TorchScript archives from ``torch.jit.save``.

TorchScript is not Python: it can run only PyTorch's own operators. But some of those write and read files, print, or
trust the sizes that they are given, and PyTorch runs some of the code while it opens an archive. So it gets a new
archive of what was checked here: the code printed anew from its syntax (`script_grammar`), the pickles written anew
from what they say (`script_pickles`), the weights as they are. What PyTorch compiles from it is looked through once
more (`script_graphs`) before anything is called.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.jit._recursive

from explain_core.errors import ModelFileError
from explain_core.models.archive import pack, read_entries
from explain_core.models.hints import EXPORT_HINT, NO_RECURRENT, QUANTIZED, QUANTIZED_HINT, READER_ERRORS, first_line
from explain_core.models.loaded import ExpectedInput, LoadedModel, ModelSummary
from explain_core.models.permission import code_is_trusted
from explain_core.models.torch.initial_state import with_initial_state
from explain_core.models.torch.shapes import describe_layers, find_recurrent
from explain_core.models.torch_programs import guards, operators
from explain_core.models.torch_programs.program_check import refuse_code
from explain_core.models.torch_programs.script_grammar import check_sources
from explain_core.models.torch_programs.script_graphs import check_functions
from explain_core.models.torch_programs.script_literals import Script
from explain_core.models.torch_programs.script_numbers import Attributes
from explain_core.models.torch_programs.script_pickles import check_pickle
from explain_core.models.torch_programs.script_sizes import check_sizes

_CODE = re.compile(r"code/__torch__(/[\w/.\-<>]+)?\.py", re.ASCII)
_STORAGE = re.compile(r"(data|constants)/\w+", re.ASCII)
_PLAIN = {  # small entries, and all that they may hold
    "version": re.compile(rb"\d{1,4}\s*"),
    ".data/version": re.compile(rb"\d{1,4}\s*"),
    "byteorder": re.compile(rb"little|big"),
}
_PICKLES = {
    "data.pkl": "data/",
    "constants.pkl": "constants/",
    "attributes.pkl": "data/",
}  # and where their tensors are
_IGNORED = re.compile(
    r"code/.*\.debug_pkl|\.data/serialization_id|\.format_version|\.storage_alignment|extra/.*|traced_inputs.*"
)
_QUANTIZED_CODE = re.compile(r"code/__torch__/torch/(ao/)?nn/(intrinsic/)?quantized/.+\.py")
_GUARDS_ENTRY = f"code/{operators.GUARDS.replace('.', '/')}.py"
_TRUSTED = "The archive was opened unchecked, as this server trusts the code in model files. "


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open a TorchScript archive; ``architecture`` must be empty, as the file holds the whole model.

    Raises:
        ModelFileError: damaged, or with something that models do not need; names it. Where code is trusted
            (`permission`), an archive of the second kind is opened as PyTorch opens it, with a note.
    """
    if architecture:
        raise ModelFileError(
            "A TorchScript file holds its whole architecture; there is nothing to choose.",
            where=path.name,
            hint="Leave architecture= out.",
        )
    entries = read_entries(path)
    if quantized := next((name for name in entries if _QUANTIZED_CODE.fullmatch(name)), None):
        raise ModelFileError(QUANTIZED, where=f"{path.name}: {quantized}", hint=QUANTIZED_HINT + EXPORT_HINT)
    try:
        clean, attributes = _checked(entries, path.name)
        module, functions = _load(clean, path.name)
        check_functions(functions, attributes, path.name)
        check_sizes(functions, path.name)
    except ModelFileError as error:
        if not code_is_trusted():
            raise
        module, _ = _load(entries, path.name)
        return _describe(module.eval(), path.name, (_TRUSTED + error.what,))
    return _describe(module.eval(), path.name)


def _checked(entries: Mapping[str, bytes], where: str) -> tuple[dict[str, bytes], Attributes]:
    """What PyTorch gets of an archive, and the plain values in it."""
    kept = {name: data for name, data in entries.items() if not _IGNORED.fullmatch(name)}
    for name, data in kept.items():
        known = name in _PICKLES or _STORAGE.fullmatch(name) or (_CODE.fullmatch(name) and name != _GUARDS_ENTRY)
        if not known and not (name in _PLAIN and _PLAIN[name].fullmatch(data)):
            raise refuse_code(f"the entry {name!r}", where)
    script = check_sources({name: data for name, data in kept.items() if name.startswith("code/")}, where)
    clean = {name: data for name, data in kept.items() if name in _PLAIN or _STORAGE.fullmatch(name)}
    attributes: dict[tuple[str, str], set[Any]] = {}
    for name, folder in _PICKLES.items():
        if name in kept:
            checked = check_pickle(kept[name], _below(folder, kept), script.attributes, f"{where}: {name}")
            clean[name] = checked.data
            for key, values in checked.attributes.items():
                attributes.setdefault(key, set()).update(values)
    return clean | script.sources | _guards(script), attributes


def _below(folder: str, entries: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name.removeprefix(folder): data for name, data in entries.items() if name.startswith(folder)}


def _guards(script: Script) -> dict[str, bytes]:
    if not script.used:
        return {}
    return {_GUARDS_ENTRY: guards.source_of(script.used, operators.GUARDS, operators.function_name)}


def _load(entries: Mapping[str, bytes], name: str) -> tuple[torch.jit.ScriptModule, list[Any]]:
    """The module, and every function and method that was compiled with it."""
    native: Any = torch._C  # its stubs are behind what it has
    unit = native.CompilationUnit()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript files remain, whatever the future
            data = pack(entries).read()
            module = native.import_ir_module_from_buffer(unit, data, torch.device("cpu"), {}, False)
            return torch.jit._recursive.wrap_cpp_module(module), unit.get_functions()
    except READER_ERRORS as error:
        raise ModelFileError(
            f"PyTorch {torch.__version__} cannot read the TorchScript archive: {first_line(error)}",
            where=name,
            hint="Save the model again with this version of PyTorch. " + EXPORT_HINT,
        ) from error


def _describe(module: torch.jit.ScriptModule, where: str, notes: tuple[str, ...] = ()) -> LoadedModel:
    if not hasattr(module, "forward"):
        raise ModelFileError(
            "The TorchScript archive has no forward, so there is nothing to run.",
            where=where,
            hint="Save a module that has one.",
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    kinds = {name: str(part.original_name) for name, part in module.named_modules()}
    layers = describe_layers(shapes, kinds)
    notes += () if any(layer.recurrent for layer in layers) else (NO_RECURRENT,)
    summary = ModelSummary(
        framework="torch",
        format="TorchScript",
        layers=layers,
        inputs=_inputs(module, shapes),
        notes=notes,
    )
    return with_initial_state(LoadedModel("torch", module, "torchscript", summary, notes))


def _inputs(module: torch.jit.ScriptModule, shapes: Mapping[str, tuple[int, ...]]) -> tuple[ExpectedInput, ...]:
    """What `forward` takes. Sizes are known only where the first layer with parameters is a recurrent one."""
    forward: Any = module.forward
    names = [argument.name for argument in forward.schema.arguments[1:]]
    recurrent = find_recurrent(shapes)
    first = next(iter(shapes), "").rpartition(".")[0]
    starts_recurrent = bool(recurrent) and recurrent[0].path == first
    shape = (None, None, recurrent[0].input_size) if starts_recurrent else None
    return tuple(
        ExpectedInput(name, shape if position == 0 else None, "float32") for position, name in enumerate(names)
    )
