"""Models that take their recurrent state as an input: ``forward(x, h) -> (y, h)``."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from explain_core.backends.torch.completed import Completed, Zeros
from explain_core.models.loaded import ExpectedInput, LoadedModel
from explain_core.models.torch.shapes import Recurrent, find_recurrent

_STATE = re.compile(
    r"(h|c|hc)_?[0nt]?|hx|cx|(prev_|init_|initial_|last_)?(hidden|state|states|cell|carry|memory)"
    r"(_state|_states|_h|_c|_0|0)?|(h|c)_(prev|in|init|state)|hidden_cell|cell_hidden|(h|c)idden|hx_\d|state_\d|hidden_\d",
    re.I,
)


def is_state_name(name: str) -> bool:
    """Whether people call a recurrent state so."""
    return _STATE.fullmatch(name) is not None


def with_initial_state(model: LoadedModel) -> LoadedModel:
    """The model, made to start from zeros where its ``forward`` wants a state that is not given."""
    found = _of_program(model) if model.program is not None else _of_module(model.module)
    if found is None:
        return model
    names, states = found
    inputs = tuple(spec for spec in model.summary.inputs if not _belongs(spec, states))
    if not inputs:
        return model
    listed = ", ".join(repr(name) for name in states)
    note = f"It takes a state as well ({listed}); where none is given, it starts from zeros."
    summary = replace(model.summary, inputs=inputs, notes=(*model.summary.notes, note))
    module = Completed(model.module, names, states)
    return replace(model, module=module, summary=summary, notes=(*model.notes, note))


def _belongs(spec: ExpectedInput, states: dict[str, Any]) -> bool:
    return spec.name in states or re.sub(r"_\d+$", "", spec.name) in states


def _of_program(model: LoadedModel) -> tuple[tuple[str, ...], dict[str, Any]] | None:
    """Parameters and states of an exported program, whose inputs have shapes."""
    program = model.program
    by_name = {spec.name: spec for spec in model.summary.inputs}
    names = tuple(program.module_call_graph[0].signature.forward_arg_names or by_name)
    states: dict[str, Any] = {}
    for name in names[1:]:
        parts = [spec for spec in by_name.values() if spec.name == name or re.fullmatch(rf"{name}_\d+", spec.name)]
        floats = all(spec.dtype.startswith(("float", "bfloat")) and spec.shape for spec in parts)
        if not parts or not floats or not is_state_name(name):
            continue
        zeros = tuple(Zeros(spec.shape, getattr(torch, spec.dtype)) for spec in parts if spec.shape)
        states[name] = zeros[0] if parts[0].name == name else zeros
    return (names, states) if states else None


def _of_module(module: Any) -> tuple[tuple[str, ...], dict[str, Any]] | None:
    """Parameters and states of a live or a TorchScript module, by the sizes of its recurrent layers."""
    required = _required(module)
    wanted = [name for name in required[1:] if is_state_name(name)]
    if not wanted:
        return None
    weights = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    layers = find_recurrent(weights)
    if len({_state(layer) for layer in layers}) != 1:
        return None
    layer = layers[0]
    one = _state(layer)
    kind = next((weight.dtype for weight in module.parameters()), torch.float32)
    zeros = Zeros(one, kind)
    cell = Zeros((*one[:-1], layer.hidden_size), kind)
    if layer.kind != "LSTM" or len(wanted) > 1:
        states: dict[str, Any] = {name: cell if name.lower().startswith("c") else zeros for name in wanted}
    else:
        states = {wanted[0]: (zeros, cell)}
    return tuple(required), states


def _state(layer: Recurrent) -> tuple[int | None, ...]:
    size = layer.proj_size or layer.hidden_size
    return (None, size) if layer.is_cell else (layer.states, None, size)


def _required(module: Any) -> list[str]:
    """Parameters of ``forward`` without a default."""
    if isinstance(module, torch.jit.ScriptModule):
        forward: Any = module.forward
        arguments = forward.schema.arguments[1:]
        return [argument.name for argument in arguments if not argument.has_default_value()]
    if not isinstance(module, nn.Module):
        return []
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
