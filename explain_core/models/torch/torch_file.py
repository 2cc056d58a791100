"""Files from ``torch.save``: state dicts, checkpoints around them, and whole pickled modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from explain_core.errors import ModelFileError
from explain_core.models.hints import NO_RECURRENT
from explain_core.models.loaded import ExpectedInput, LoadedModel, ModelSummary
from explain_core.models.torch import checkpoint, inert
from explain_core.models.torch.initial_state import with_initial_state
from explain_core.models.torch.shapes import describe_layers
from explain_core.models.torch.state_dict import open_weights
from explain_core.models.torch.stock_modules import build

_OF_EACH_STEP = (
    nn.Sequential,
    nn.Embedding,
    nn.Linear,
    nn.LayerNorm,
    nn.Dropout,
    nn.Identity,
    nn.ReLU,
    nn.GELU,
    nn.Tanh,
    nn.Sigmoid,
    nn.TransformerEncoder,
    nn.ModuleList,
)


def open_model(path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Open what ``torch.save`` wrote; ``architecture`` completes what a state dict cannot say.

    Raises:
        ModelFileError: it needs code that is not in PyTorch, or is no model.
    """
    found = checkpoint.find(inert.read(path), path.name)
    if found.module is None:
        return _of_parts(found, path, architecture) if found.parts else open_weights(found, path, architecture)
    if architecture:
        raise ModelFileError(
            "The file holds a whole pickled model; there is nothing to choose.",
            where=path.name,
            hint="Leave architecture= out.",
        )
    module = build(found.module, path.name)
    notes = [*found.notes, *_take_samples_first(module)]
    return describe_module(module, notes, found.module.attributes.get("training") is True)


def _of_parts(found: checkpoint.Checkpoint, path: Path, architecture: Mapping[str, Any]) -> LoadedModel:
    """Weights that were saved part by part."""
    try:
        return open_weights(found, path, architecture)
    except ModelFileError as error:
        raise ModelFileError(
            f"The file holds weights in parts, {', '.join(map(repr, found.parts[:6]))}. As those of one model they "
            f"cannot be opened: {error.what}",
            where=error.where,
            hint="If they are several models, save the one to explain on its own. " + error.hint,
            fixes=error.fixes,
        ) from None


def _take_samples_first(module: nn.Module) -> list[str]:
    """Make a stock stack that takes (time, sample, feature) take (sample, time, feature); returns notes.

    Only where every other layer acts on each step alone, so that the order of the axes changes nothing.
    """
    parts: list[Any] = [part for part in module.modules() if getattr(part, "batch_first", None) is False]
    if not parts:
        return []
    if not all(isinstance(part, _OF_EACH_STEP) or hasattr(part, "batch_first") for part in module.modules()):
        return ["A layer has batch_first=False: the model takes time first, as it was made to."]
    for part in parts:
        part.batch_first = True
    return ["It was made with batch_first=False; here it takes (sample, time, feature), which computes the same."]


def describe_module(module: nn.Module, notes: list[str], was_training: bool = False) -> LoadedModel:
    """An opened model from a live module.

    Args:
        module: in evaluation mode.
        notes: on how it was opened.
        was_training: whether it was saved in training mode.
    """
    notes = [*notes, *(["It was saved in training mode and is run in evaluation mode."] if was_training else [])]
    if not any(isinstance(part, (nn.RNNBase, nn.RNNCellBase)) for part in module.modules()):
        notes.append(NO_RECURRENT)
    weights = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    kinds = {name: type(part).__name__ for name, part in module.named_modules()}
    summary = ModelSummary(
        framework="torch",
        format="pickled model",
        layers=describe_layers(weights, kinds),
        inputs=(_first_input(module),),
        notes=tuple(notes),
    )
    return with_initial_state(LoadedModel("torch", module, "pickled model", summary, tuple(notes)))


def _first_input(module: nn.Module) -> ExpectedInput:
    """What the first layer with weights takes, as far as its class tells."""
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            return ExpectedInput("tokens", (None, None), "int64")
        own = next(iter(part.parameters(recurse=False)), None)
        if own is None:
            continue
        dtype = str(own.dtype).removeprefix("torch.")
        if isinstance(part, nn.RNNBase):
            return ExpectedInput("x", (None, None, part.input_size), dtype)
        if isinstance(part, nn.MultiheadAttention):
            return ExpectedInput("x", (None, None, part.embed_dim), dtype)
        return ExpectedInput("x", None, dtype)
    return ExpectedInput("x", None, "float32")
