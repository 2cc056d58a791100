"""PyTorch state dicts: weights by name, without the model they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from explain_core.errors import ModelFileError
from explain_core.models.hints import EXPORT_HINT, NO_RECURRENT
from explain_core.models.loaded import ExpectedInput, LoadedModel, ModelSummary
from explain_core.models.torch import settings
from explain_core.models.torch.architecture import Architecture, infer
from explain_core.models.torch.checkpoint import Checkpoint
from explain_core.models.torch.computed import computed
from explain_core.models.torch.layers import Embedding, Linear, Norm
from explain_core.models.torch.options import Options
from explain_core.models.torch.shapes import describe_layers
from explain_core.models.torch.stack import Stack
from explain_core.words import counted


def open_weights(found: Checkpoint, path: Path, given: Mapping[str, Any], *, ordered: bool = True) -> LoadedModel:
    """Open the state dict of a plain stack.

    Args:
        found: the weights, and the settings beside them.
        path: of the file, for its name.
        given: ``architecture=``, which completes what the file cannot say.
        ordered: whether the weights stand in the order of the model's layers.

    Raises:
        ModelFileError: the weights are not of a plain stack, or contradict the settings beside them.
    """
    weights, how = computed(found.weights)
    found = replace(found, weights=weights, notes=[*found.notes, *how])
    Options.of(given, path.name)  # what was chosen is checked before what the file says joins it
    options = Options.of(settings.chosen_options(found.settings, given), path.name)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.weights.items()}
    architecture = infer(shapes, options, path.name, ordered=ordered)
    notes = [*found.notes, *settings.compare(architecture, found.settings, path.name)]
    module = _filled(architecture, found.weights, notes, path.name)
    if architecture.positions is not None:
        notes.append(
            f"{architecture.positions.name!r} has rows for {counted(architecture.positions.steps, 'timestep')}; "
            "it takes no more."
        )
    if not architecture.recurrent:
        notes.append(NO_RECURRENT)
    summary = ModelSummary(
        framework="torch",
        format="state dict",
        layers=describe_layers(shapes, _kinds(architecture)),
        inputs=(_expected(architecture, module),),
        notes=tuple(notes),
        assumptions=architecture.assumptions,
        options=_options(architecture),
    )
    return LoadedModel("torch", module, "state dict", summary, (*notes, *architecture.assumptions))


def _filled(
    architecture: Architecture, weights: Mapping[str, torch.Tensor], notes: list[str], where: str
) -> torch.nn.Module:
    """The module with the file's weights, as many and of the same sizes."""
    try:
        with torch.device("meta"):  # no memory for weights that are about to be replaced
            module = Stack(architecture, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        # A layer called like something that every module has ("forward"), or of a size that no layer has.
        raise ModelFileError(
            f"A layer cannot be made as the file names and sizes it: {error.args[0]}.", where=where, hint=EXPORT_HINT
        ) from None
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    own = {name: shape for name, shape in own.items() if not name.endswith("num_batches_tracked")}
    for name in {**own, **weights}:
        has, wants = weights.get(name), own.get(name)
        if has is None or wants is None or tuple(has.shape) != wants:
            found = "missing" if has is None else f"of size {' × '.join(map(str, has.shape)) or 'one number'}"
            fits = "no such weight" if wants is None else " × ".join(map(str, wants))
            raise ModelFileError(
                f"The weight {name!r} is {found}; with the others of its layer, {fits} fits.",
                where=where,
                hint="The file may be incomplete, or of a layer that only looks like PyTorch's. " + EXPORT_HINT,
            )
    module.load_state_dict(weights, strict=False, assign=True)
    for part in module.modules():  # a counter that is of no use after training, left on the meta device
        if isinstance(part, torch.nn.BatchNorm1d):
            part.num_batches_tracked = torch.zeros((), dtype=torch.long)
    dtypes = {tensor.dtype for tensor in weights.values()}
    if torch.float64 in dtypes:
        return module.double().eval()
    if dtypes != {torch.float32}:
        kinds = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        notes.append(f"The weights are stored as {kinds}; they are computed with as float32.")
    return module.float().eval()


def _expected(architecture: Architecture, module: torch.nn.Module) -> ExpectedInput:
    if architecture.embedding:
        return ExpectedInput("tokens", (None, architecture.timesteps), "int64")
    dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
    if not architecture.recurrent:
        return ExpectedInput("x", (None, architecture.input_size), dtype)
    return ExpectedInput("x", (None, architecture.timesteps, architecture.input_size), dtype)


def _kinds(architecture: Architecture) -> dict[str, str]:
    """The class of each layer that is not recurrent, by its path; positions are no layer's."""
    found = {}
    for layer in (*architecture.before, *architecture.head):
        if isinstance(layer, Norm):
            found[layer.path] = "BatchNorm1d" if layer.kind == "batch" else "LayerNorm"
        elif isinstance(layer, (Embedding, Linear)):
            found[layer.path] = type(layer).__name__
    if architecture.positions is not None:
        found[architecture.positions.name.rpartition(".")[0]] = "Parameters"
    return found


def _options(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """The choices by option, the one in use first."""
    found: dict[str, tuple[str, ...]] = {}
    for name, values in architecture.choices.items():
        used = getattr(architecture.options, name)
        found[name] = (used, *(value for value in values if value != used))
    return found
