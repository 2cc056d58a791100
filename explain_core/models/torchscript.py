"""TorchScript archives from ``torch.jit.save``.

TorchScript is not Python: it can run only PyTorch's own operators. But some of those write and read files,
and ``__setstate__`` runs while the archive is opened. The source in the archive is searched for both before
PyTorch sees it, and the compiled graphs once more before anything is called.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from explain_core.errors import ModelFileError
from explain_core.models.archive import pack, read_entries
from explain_core.models.hints import EXPORT_HINT, NO_RECURRENT, QUANTIZED, QUANTIZED_HINT, READER_ERRORS, first_line
from explain_core.models.initial_state import with_initial_state
from explain_core.models.loaded import ExpectedInput, LoadedModel, ModelSummary
from explain_core.models.program_check import refuse_code
from explain_core.models.shapes import describe_layers, find_recurrent

_ENTRY = re.compile(
    r"(data|constants|attributes)\.pkl|version|byteorder|\.data/version|(data|constants)/\d+|code/[\w/.\-<>]+\.py"
)
_IGNORED = re.compile(
    r"code/.*\.debug_pkl|\.data/serialization_id|\.format_version|\.storage_alignment|extra/.*|traced_inputs.*"
)
_QUANTIZED_CODE = r"code/__torch__/torch/(ao/)?nn/(intrinsic/)?quantized/.+\.py"
# Words that only code with side effects needs; as words, since a call can be spelled in many ways.
_FORBIDDEN_WORDS = re.compile(rb"\b(save|from_file|__setstate__|__torch__\.torch\.classes|ops\.(?!prim\b|aten\b)\w+)\b")
_GETATTR = re.compile(rb'getattr\([^"\n]*"[^"\n]*\\')  # an escaped name could spell a forbidden word
_ALLOWED_NAMESPACES = ("aten::", "prim::")
_FORBIDDEN_OPERATORS = ("aten::save", "aten::from_file", "prim::PythonOp")


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open a TorchScript archive; ``architecture`` must be empty, as the file holds the whole model."""
    if architecture:
        raise ModelFileError(
            "A TorchScript file holds its whole architecture; there is nothing to choose.",
            where=path.name,
            hint="Leave architecture= out.",
        )
    entries = read_entries(path)
    if quantized := next((name for name in entries if re.fullmatch(_QUANTIZED_CODE, name)), None):
        raise ModelFileError(QUANTIZED, where=f"{path.name}: {quantized}", hint=QUANTIZED_HINT + EXPORT_HINT)
    clean = {}
    for name, data in entries.items():
        if _IGNORED.fullmatch(name):
            continue
        if not _ENTRY.fullmatch(name):
            raise refuse_code(f"the entry {name!r}", path.name)
        if name.endswith(".py"):
            _check_source(name, data, path.name)
        clean[name] = data
    module = _load(clean, path.name)
    _check_graphs(module, path.name)
    return _describe(module.eval())


def _check_source(name: str, source: bytes, where: str) -> None:
    if found := _FORBIDDEN_WORDS.search(source):
        raise refuse_code(f"{found[0].decode()!r} in {name!r}", where)
    if _GETATTR.search(source):
        raise refuse_code(f"an escaped attribute name in {name!r}", where)


def _load(entries: Mapping[str, bytes], name: str) -> torch.jit.ScriptModule:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript files remain, whatever the future
            return torch.jit.load(pack(entries), map_location="cpu")
    except READER_ERRORS as error:
        raise ModelFileError(
            f"PyTorch {torch.__version__} cannot read the TorchScript archive: {first_line(error)}",
            where=name,
            hint="Save the model again with this version of PyTorch. " + EXPORT_HINT,
        ) from error


def _check_graphs(module: torch.jit.ScriptModule, where: str) -> None:
    for _, part in module.named_modules():
        for name in part._c._method_names():
            for kind in _operators(part._c._get_method(name).inlined_graph):
                if not kind.startswith(_ALLOWED_NAMESPACES) or kind in _FORBIDDEN_OPERATORS:
                    raise refuse_code(f"the operator {kind!r}", where)


def _operators(graph: Any) -> Iterator[str]:
    for node in graph.nodes():
        yield node.kind()
        for block in node.blocks():
            yield from _operators(block)


def _describe(module: torch.jit.ScriptModule) -> LoadedModel:
    shapes = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    kinds = {name: part.original_name for name, part in module.named_modules()}
    layers = describe_layers(shapes, kinds)
    notes = () if any(layer.recurrent for layer in layers) else (NO_RECURRENT,)
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
    names = [argument.name for argument in module.forward.schema.arguments[1:]]
    recurrent = find_recurrent(shapes)
    first = next(iter(shapes), "").rpartition(".")[0]
    starts_recurrent = bool(recurrent) and recurrent[0].path == first
    shape = (None, None, recurrent[0].input_size) if starts_recurrent else None
    return tuple(
        ExpectedInput(name, shape if position == 0 else None, "float32") for position, name in enumerate(names)
    )
