"""PyTorch state dicts: weights by name, without the model they belong to."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from explain_core.errors import ModelFileError
from explain_core.models.architecture import Architecture, Options, infer
from explain_core.models.hints import EXPORT_HINT, READER_ERRORS, first_line
from explain_core.models.loaded import ExpectedInput, LoadedModel, ModelSummary
from explain_core.models.shapes import describe_layers
from explain_core.models.stack import Stack

_NESTED = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the weights
_WRAPPERS = (
    "_orig_mod.",
    "module.",
    "model.",
)  # what compile, DataParallel and Lightning put before each name


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open a state dict of a plain stack; ``architecture`` completes what it cannot say."""
    options = Options.of(architecture, path.name)
    weights = _strip_wrappers(_find_weights(_read(path), path.name))
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    found = infer(shapes, options, path.name)
    try:
        module = Stack(found)
    except KeyError as error:  # a layer called like something that every module has, "forward" say
        raise ModelFileError(
            f"A layer's name cannot be used: {error.args[0]}.", where=path.name, hint=EXPORT_HINT
        ) from None
    module.load_state_dict(weights)
    dtype = next(iter(weights.values())).dtype
    return _describe(found, module.to(dtype).eval(), shapes)


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f" It asks for {found[1]!r}." if found else ""
        raise ModelFileError(
            "The file is a pickled Python object, not plain weights; opening it could run any code in it." + what,
            where=path.name,
            hint="Save the weights alone with torch.save(model.state_dict(), path), or export the model. "
            + EXPORT_HINT,
        ) from None
    except READER_ERRORS as error:
        raise ModelFileError(
            f"PyTorch cannot read the file: {first_line(error)}",
            where=path.name,
            hint="It may be damaged or cut off; copy it again.",
        ) from None


def _find_weights(content: Any, where: str) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping):
        for name in _NESTED:
            if isinstance(content.get(name), Mapping):
                return _find_weights(content[name], where)
        weights = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
        if weights and len(weights) == len(content):
            return weights
        strangers = [str(name) for name in content if name not in weights][:3]
        what = f"it holds {', '.join(map(repr, strangers))}" if strangers else "it is empty"
    else:
        what = f"it holds a {type(content).__name__}"
    raise ModelFileError(
        f"The file is not a state dict: {what}.",
        where=where,
        hint="Save the weights alone with torch.save(model.state_dict(), path), or export the model. " + EXPORT_HINT,
    )


def _strip_wrappers(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    if not any("." in name for name in weights):  # the state dict of one layer alone
        return {f"layer.{name}": value for name, value in weights.items()}
    return weights


def _describe(found: Architecture, module: Stack, shapes: Mapping[str, tuple[int, ...]]) -> LoadedModel:
    if found.embedding:
        expected = ExpectedInput("tokens", (None, None), "int64")
    else:
        dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
        expected = ExpectedInput("x", (None, None, found.recurrent[0].input_size), dtype)
    summary = ModelSummary(
        framework="torch",
        format="state dict",
        layers=describe_layers(shapes),
        inputs=(expected,),
        assumptions=found.assumptions,
        options=found.choices,
    )
    return LoadedModel("torch", module, "state dict", summary, found.assumptions)
