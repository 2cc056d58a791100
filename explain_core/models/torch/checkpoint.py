"""Finding the weights in what a training script saved, and the settings beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from explain_core.errors import ModelFileError
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.torch.inert import STATE_DICT_HINT, Recorded, is_module, plain

WEIGHT_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "model_weights",
    "params",
    "module",
    "best_model",
    "best_state",
    "best_model_state",
    "net_state_dict",
)
_SETTING_KEYS = ("hyper_parameters", "hparams", "config", "args", "model_config", "model_args", "model_params", "cfg")
_OTHER_SETTINGS = ("kwargs", "init_args", "options", "opt", "hyperparameters", "parameters", "model_kwargs", "params")
_NEVER_WEIGHTS = re.compile(r"optim|sched|scaler|ema|callback|loop|rng|history|loss|metric", re.I)
# What compile, DataParallel, Lightning and others put before each name.
_WRAPPERS = ("_orig_mod.", "module.", "model.", "net.", "network.")
_STRAY = re.compile(
    r"(.+\.)?(class|pos|loss)_weights?"  # what a loss multiplies with
    r"|(criterion|loss|loss_fn|loss_func|loss_function|\w+_loss|metrics?|accuracy|acc|auroc|auc|f1|mae|mse|rmse|r2"
    r"|(train|val|valid|validation|test)_(acc|f1|auroc|auc|loss|mae|mse|rmse|r2|precision|recall|metric|confmat)\w*)\..+"
    r"|(.+\.)?(total_ops|total_params|position_ids|_extra_state|n_averaged)",
    re.I,
)
_COUNTER = re.compile(r"(.+\.)?num_batches_tracked")  # of batch normalisation; no use after training
_STATE = re.compile(r"(.+\.)?(h_?0|c_?0|hidden|hidden_state|cell_state|h_n|c_n|hx|cx)", re.I)
_MOST_TIMES_STORED = 16


@dataclass
class Checkpoint:
    """What was found: weights by name, settings by name, a note on each thing left out or changed.

    ``module`` is there instead of weights where a whole module was pickled; ``parts`` are the names under which the
    weights of one model stand, each in a mapping of its own.
    """

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    module: Recorded | None = None
    parts: tuple[str, ...] = ()
    raw: dict[str, torch.Tensor] = field(default_factory=dict)  # the weights under the names of the file


def find(content: Any, where: str) -> Checkpoint:
    """The weights in the content of a file.

    Raises:
        ModelFileError: there are none, or of more than one model; says what is there instead.
    """
    found = Checkpoint()
    content = _of_list(content)
    if isinstance(content, Mapping):
        found.settings = _settings(content)
    value = _descend(content, found, where)
    if is_module(value):
        found.module = value
        return found
    found.raw = {str(name): item for name, item in value.items() if isinstance(item, torch.Tensor)}
    found.weights = _clean({str(name): item for name, item in value.items()}, found.notes, where)
    return found


def _of_list(content: Any) -> Any:
    """A list or tuple with weights in it as a mapping, by the places of what it has."""
    if isinstance(content, (list, tuple)) and any(_is_weights(item) or is_module(item) for item in content):
        return {f"item {place}": item for place, item in enumerate(content, 1)}
    return content


def _descend(content: Any, found: Checkpoint, where: str) -> Any:
    """The mapping of names to tensors, or the pickled module, inside any number of checkpoints."""
    for _ in range(4):
        if is_module(content):
            return content
        if not isinstance(content, Mapping):
            raise _no_weights(content, where)
        if _is_weights(content):
            return content
        inner = {str(key): value for key, value in content.items() if _is_weights(value) or is_module(value)}
        named = [key for key in WEIGHT_KEYS if key in inner]
        others = [key for key in inner if not _NEVER_WEIGHTS.search(key)]
        if not named and len(others) > 1:
            return _joined({key: inner[key] for key in others}, found, where)
        key = (named or others or [None])[0]
        if key is None:
            deeper = [name for name in WEIGHT_KEYS if isinstance(content.get(name), Mapping)]
            if not deeper:
                raise _no_weights(content, where)
            content = content[deeper[0]]
            continue
        also = [name for name in inner if name != key and not _NEVER_WEIGHTS.search(name)]
        if key != "state_dict" or also:
            note = f"The weights are those under {key!r} in the file"
            found.notes.append(note + (f"; {', '.join(map(repr, also))} were left out." if also else "."))
        content = inner[key]
    raise _no_weights(content, where)


def _joined(parts: dict[str, Any], found: Checkpoint, where: str) -> dict[str, Any]:
    """Weights that were saved part by part, ``{"lstm": lstm.state_dict(), "fc": fc.state_dict()}``, as of one model.

    Raises:
        ModelFileError: they are several models, or modules without what joins them.
    """
    listed = ", ".join(map(repr, list(parts)[:6])) + (", ..." if len(parts) > 6 else "")
    if any(is_module(part) for part in parts.values()):
        raise ModelFileError(
            f"The file holds {len(parts)} modules, {listed}, without what joins them.",
            where=where,
            hint="Save the one to explain on its own, or the model that joins them as one. " + EXPORT_HINT,
        )
    if len({tuple(sorted(part)) for part in parts.values()}) == 1:  # copies of one model, as of an ensemble
        raise ModelFileError(
            f"The file holds several models: {listed}. Each has the same weights by name.",
            where=where,
            hint="Save the one to explain on its own, or the model that joins them as one. " + EXPORT_HINT,
        )
    found.parts = tuple(parts)
    found.notes.append(f"The file holds weights in parts, {listed}; they were taken as those of one model.")
    return {f"{key}.{name}": value for key, part in parts.items() for name, value in part.items()}


def _is_weights(value: Any) -> bool:
    """Whether a mapping is names to tensors; one in five may be something else."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) for key in value):
        return False
    tensors = sum(isinstance(item, torch.Tensor) for item in value.values())
    return tensors >= 0.8 * len(value)


def _is_array(value: Any) -> bool:
    return isinstance(value, Recorded) and value.path.endswith("multiarray._reconstruct")


def _no_weights(content: Any, where: str) -> ModelFileError:
    hint = STATE_DICT_HINT
    if isinstance(content, torch.Tensor):
        what = f"it holds one tensor of shape {tuple(content.shape)}, without a name"
    elif isinstance(content, (list, tuple)):
        kinds = sorted({type(item).__name__ for item in content})
        what = f"it holds a {type(content).__name__} of {len(content)} things ({', '.join(kinds[:3]) or 'none'})"
    elif isinstance(content, Mapping) and {"state", "param_groups"} <= set(content):
        what = "it holds the state of an optimizer, not of a model"
    elif isinstance(content, Mapping) and content and all(map(_is_array, content.values())):
        what = "its weights are NumPy arrays, not tensors"
        hint = "Save tensors: torch.save({name: torch.from_numpy(array) for name, array in weights.items()}, path). "
    elif isinstance(content, Mapping):
        names = ", ".join(repr(str(name)) for name in list(content)[:4])
        what = f"it holds {names}" if content else "it is empty"
    elif isinstance(content, Recorded):
        what = f"it holds an object of the class {content.path}"
    else:
        what = f"it holds a {type(content).__name__}"
    return ModelFileError(f"The file is not a state dict: {what}.", where=where, hint=hint + EXPORT_HINT)


def _clean(weights: dict[str, Any], notes: list[str], where: str) -> dict[str, torch.Tensor]:
    """Without stray keys and wrappers' prefixes; every value an ordinary tensor."""
    weights = _strip(weights, notes)
    stray = [name for name, value in weights.items() if _is_stray(name, value)]
    weights = {name: value for name, value in weights.items() if name not in stray and not _COUNTER.fullmatch(name)}
    weights = _strip(weights, notes)
    if stray:
        notes.append(
            f"Left out, since no layer computes with them: {', '.join(stray[:8])}{', ...' * (len(stray) > 8)}."
        )
    if not weights:
        raise ModelFileError("There are no weights in the file.", where=where, hint=STATE_DICT_HINT + EXPORT_HINT)
    for name, value in weights.items():
        _require_ordinary(name, value, where)
    if not any("." in name for name in weights):  # the state dict of one layer alone
        return {f"layer.{name}": value for name, value in weights.items()}
    return weights


def _strip(weights: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Without what wrappers put before every name; stray keys do not count."""
    again = True
    while again:
        again = False
        for prefix in _WRAPPERS:
            has_it = [name.startswith(prefix) or _is_stray(name, value) for name, value in weights.items()]
            shorter = [name.removeprefix(prefix) for name in weights]
            if all(has_it) and any(name.startswith(prefix) for name in weights) and len(set(shorter)) == len(shorter):
                weights = dict(zip(shorter, weights.values(), strict=True))
                notes.append(f"{prefix!r} was left away from the names of the weights.")
                again = True
    return weights


def _is_stray(name: str, value: Any) -> bool:
    if not isinstance(value, torch.Tensor):
        return True
    if _STATE.fullmatch(name) and has_values(value):  # a zero state kept as a buffer is where every run starts anyway
        return not value.is_quantized and not value.is_complex() and not bool(value.any())
    return _STRAY.fullmatch(name) is not None


def has_values(value: torch.Tensor) -> bool:
    """Whether a tensor is an ordinary one; the indices of others come from the file, and no kernel looks at them."""
    return value.layout == torch.strided and not value.is_nested and not value.is_meta


def _require_ordinary(name: str, value: torch.Tensor, where: str) -> None:
    what = ""
    if value.is_quantized:
        what = "is quantized"
    elif not has_values(value):
        what = "has no plain values (sparse, nested or without data)"
    elif value.is_complex():
        what = "is of complex numbers"
    elif not value.is_floating_point():
        what = f"is of {str(value.dtype).removeprefix('torch.')}, whose scale the file does not say"
    elif value.numel() > _MOST_TIMES_STORED * max(1, value.untyped_storage().nbytes() // value.element_size()):
        what = f"claims {value.numel():,} values, more than are stored"
    if what:
        raise ModelFileError(
            f"The weight {name!r} {what}; that cannot be opened from a state dict.", where=where, hint=EXPORT_HINT
        )


def _settings(content: Mapping) -> dict[str, Any]:
    """Settings beside the weights, flat, the first of a name counting."""
    found: dict[str, Any] = {}

    def add(value: Any, depth: int) -> None:
        if not isinstance(value, Mapping) or depth > 3 or len(value) > 1000:
            return
        for key, item in value.items():
            if isinstance(item, (bool, int, float, str)):
                found.setdefault(str(key), item)
        for item in value.values():
            add(item, depth + 1)

    for key in (*_SETTING_KEYS, *_OTHER_SETTINGS):
        if key in content and not _is_weights(content[key]):
            add(plain(content[key]), 0)
    for key, item in content.items():
        if isinstance(item, (bool, int, float, str)):
            found.setdefault(str(key), item)
    return found
