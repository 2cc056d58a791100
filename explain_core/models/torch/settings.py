"""Hyper-parameters that a checkpoint has beside its weights: used, confirmed, or contradicted by the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explain_core.errors import ModelFileError
from explain_core.models.hints import EXPORT_HINT
from explain_core.models.torch.architecture import Architecture
from explain_core.models.torch.options import CHOICES

_HIDDEN = ("hidden_size", "hidden_dim", "n_hidden", "hidden_units", "rnn_hidden_size", "lstm_hidden_size", "nhid")
_LAYERS = ("num_layers", "n_layers", "nlayers", "num_lstm_layers", "rnn_layers", "layer_dim")
_INPUT = ("input_size", "input_dim", "n_features", "num_features", "in_dim")
_OUTPUT = ("output_size", "output_dim", "num_classes", "n_classes", "out_dim")
_DIRECTIONS = ("bidirectional", "bi_directional", "is_bidirectional")
_KIND = ("rnn_type", "cell_type", "rnn", "cell", "rnn_cell", "unit_type", "model_type", "model_name", "model")
_ACTIVATION = {"nonlinearity": "nonlinearity", "activation": "head_activation", "head_activation": "head_activation"}


def chosen_options(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options with what the settings say where nothing was chosen."""
    found = {}
    for name, option in _ACTIVATION.items():
        value = settings.get(name)
        if isinstance(value, str) and value.lower() in CHOICES[option]:
            found.setdefault(option, value.lower())
    return {**found, **given}


def compare(architecture: Architecture, settings: Mapping[str, Any], where: str) -> list[str]:
    """Notes on the settings that the weights confirm or contradict.

    Raises:
        ModelFileError: they name another kind of recurrent layer, or another number of directions, than the weights
            have: then the model computes something else with them.
    """
    recurrent = architecture.recurrent
    if not recurrent:
        return []
    kinds = {layer.kind for layer in recurrent}
    for name in _KIND:
        said = _kind_in(settings.get(name))
        if said and said not in kinds:
            raise _contradiction(f"{name}={settings[name]!r}, and the weights are of {', '.join(kinds)} layers", where)
    both = any(layer.bidirectional for layer in recurrent)
    for name in _DIRECTIONS:
        if isinstance(settings.get(name), bool) and settings[name] != both:
            count = "two directions" if both else "one direction"
            raise _contradiction(f"{name}={settings[name]}, and the weights have {count}", where)
    last = (*architecture.before, *architecture.head)[-1]
    facts = (
        (_HIDDEN, {layer.hidden_size for layer in recurrent}),
        (_LAYERS, {sum(layer.num_layers for layer in recurrent), *(layer.num_layers for layer in recurrent)}),
        (_INPUT, {architecture.input_size} if not architecture.embedding else set()),
        (_OUTPUT, {last.output_size} if architecture.head else set()),
        (_DIRECTIONS, {both}),
    )
    agree, differ = [], []
    for names, values in facts:
        for name in names:
            value = settings.get(name)
            if values and isinstance(value, (int, bool)):
                (agree if value in values else differ).append((name, value, sorted(values)))
    notes = []
    if agree:
        listed = ", ".join(f"{name}={value}" for name, value, _ in agree)
        notes.append(f"The file's own settings say the same as its weights: {listed}.")
    for name, value, values in differ:
        found = " or ".join(map(str, values))
        notes.append(f"The file's settings say {name}={value}; the weights say {found}, and they count.")
    if settings.get("batch_first") is False:
        notes.append("The file's settings say batch_first=False; here the model takes (sample, time, feature).")
    notes += [
        f"From the file's settings: {name}={settings[name]}."
        for name, option in _ACTIVATION.items()
        if isinstance(settings.get(name), str)
        and settings[name].lower() == getattr(architecture.options, option)
        and option in architecture.choices
    ]
    return notes


def _kind_in(value: Any) -> str | None:
    """The kind of layer that a setting names, when it names just one."""
    if not isinstance(value, str):
        return None
    text = value.lower()
    found = [kind for kind in ("LSTM", "GRU") if kind.lower() in text]
    if not found and text.strip("_ ") in ("rnn", "rnn_tanh", "rnn_relu", "vanilla", "elman"):
        return None if text == "rnn" else "RNN"  # "rnn" also stands for all of them
    return found[0] if len(found) == 1 else None


def _contradiction(what: str, where: str) -> ModelFileError:
    return ModelFileError(
        f"The file contradicts itself: its settings say {what}.",
        where=where,
        hint="The model may compute something of its own with these weights. " + EXPORT_HINT,
    )
