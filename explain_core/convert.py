"""Weights of recurrent layers from PyTorch to Keras and back, as plain numpy.

PyTorch's side is a state dict (names to arrays) of one ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``; Keras' side
is what ``get_weights`` gives for the same layers in the order they are stacked: for each, ``[kernel,
recurrent_kernel, bias]``, with the backward direction's after the forward one's as in ``Bidirectional``.
Neither framework is imported.

| | PyTorch | Keras |
| --- | --- | --- |
| kernels | (G·H, F), rows by gate | (F, G·H), columns by gate |
| LSTM gates | input, forget, candidate, output | the same |
| GRU gates | reset, update, new | update, reset, new |
| biases | ``bias_ih`` and ``bias_hh``, which add up | one; for GRU with ``reset_after`` both, as (2, 3H) |

Gates of a GRU mean the same in both: ``h = z·h + (1 - z)·n`` with update gate z.

What cannot be converted is refused: an LSTM with ``proj_size``, and a GRU without ``reset_after``. Weights
do not say what a layer does with them, so `obstacles` tells from a Keras layer's config what PyTorch's
layers cannot do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InputError

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_TO_KERAS = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "RNN": (0,)}  # its own inverse: GRU swaps two gates


def torch_to_keras(
    state: Mapping[str, np.ndarray], kind: str, *, reset_after: bool = True, prefix: str = ""
) -> list[list[np.ndarray]]:
    """Weights of a PyTorch recurrent module for Keras layers.

    Args:
        state: the module's state dict as numpy arrays.
        kind: "LSTM", "GRU" or "RNN".
        reset_after: for GRU the option of the Keras layer; PyTorch's GRU is the one with it.
        prefix: of the module's names, such as ``"encoder."``.

    Returns:
        For each layer of the stack the list for ``set_weights``: of the layer, or of a ``Bidirectional``
        around it.

    Raises:
        InputError: the state dict is not of such a module, or Keras has no such layer.
    """
    _check_kind(kind)
    own = {name.removeprefix(prefix): np.asarray(a) for name, a in state.items() if name.startswith(prefix)}
    if kind == "GRU" and not reset_after:
        raise InputError(
            "PyTorch's GRU applies the reset gate after the matrix product",
            hint="Make the Keras layer with reset_after=True, its default.",
        )
    _refuse_projection(own)
    layers = []
    while f"weight_ih_l{len(layers)}" in own:
        weights: list[np.ndarray] = []
        for suffix in (f"l{len(layers)}", f"l{len(layers)}_reverse"):
            if f"weight_ih_{suffix}" in own:
                weights += _direction_to_keras(own, suffix, kind)
        layers.append(weights)
    if not layers:
        raise InputError(
            f"the state dict has no 'weight_ih_l0': its names are {sorted(state)}",
            hint="Give the state dict of the recurrent module itself, or its prefix in the whole model's.",
        )
    return layers


def keras_to_torch(
    layers: Sequence[Sequence[np.ndarray]], kind: str, *, bidirectional: bool = False, prefix: str = ""
) -> dict[str, np.ndarray]:
    """Weights of Keras recurrent layers for one PyTorch module.

    Args:
        layers: for each layer of the stack its ``get_weights()``.
        kind: "LSTM", "GRU" or "RNN".
        bidirectional: whether each is a ``Bidirectional`` (merge mode "concat", the only one PyTorch has).
        prefix: put before the names.

    Returns:
        A state dict. PyTorch's two biases hold Keras' one and zeros, but for GRU, where both have two.

    Raises:
        InputError: these are not weights of such layers, or PyTorch has no such module.
    """
    _check_kind(kind)
    state: dict[str, np.ndarray] = {}
    for number, weights in enumerate(layers):
        parts = [np.asarray(w) for w in weights]
        per_direction = len(parts) // (2 if bidirectional else 1)
        if per_direction not in (2, 3) or per_direction * (2 if bidirectional else 1) != len(parts):
            raise InputError(
                f"{len(parts)} arrays were given for {'both directions of ' if bidirectional else ''}a layer",
                where=f"layer {number}",
                hint="A direction has a kernel, a recurrent kernel, and a bias unless use_bias=False. "
                "Say bidirectional=True for a Bidirectional layer.",
            )
        state |= _direction_to_torch(parts[:per_direction], f"l{number}", kind)
        if bidirectional:
            state |= _direction_to_torch(parts[per_direction:], f"l{number}_reverse", kind)
    return {prefix + name: array for name, array in state.items()}


def obstacles(config: Mapping[str, Any]) -> list[str]:
    """Why no PyTorch module computes what a Keras recurrent layer does; an empty list if one does.

    Args:
        config: the layer's ``get_config()``; of a ``Bidirectional`` too.
    """
    if "layer" in config:
        found = [] if config["merge_mode"] == "concat" else [f"merge_mode is {config['merge_mode']!r}, not 'concat'"]
        return found + obstacles({**config["layer"]["config"], "go_backwards": False})
    allowed = ("tanh",) if "recurrent_activation" in config else ("tanh", "relu")
    found = []
    if config["activation"] not in allowed:
        found.append(f"activation is {config['activation']!r}, not {' or '.join(allowed)}")
    if config.get("recurrent_activation", "sigmoid") != "sigmoid":
        found.append(f"recurrent_activation is {config['recurrent_activation']!r}, not sigmoid")
    if not config.get("reset_after", True):
        found.append("reset_after is False: PyTorch's GRU applies the reset gate after the matrix product")
    if config.get("go_backwards"):
        found.append("go_backwards: PyTorch has the reversed direction only beside the forward one")
    if config.get("stateful"):
        found.append("stateful: PyTorch takes and returns states instead of keeping them")
    return found


def _check_kind(kind: str) -> None:
    if kind not in GATES:
        raise InputError(f"there is no recurrent layer {kind!r}", hint=f"Choose one of {sorted(GATES)}.")


def _refuse_projection(state: Mapping[str, np.ndarray]) -> None:
    if any(name.startswith("weight_hr_") for name in state):
        raise InputError(
            "this LSTM projects its hidden state (proj_size), which Keras' LSTM cannot",
            hint="Explain it with the PyTorch engine.",
        )


def _by_gate(array: np.ndarray, kind: str) -> np.ndarray:
    """The blocks of the first axis in the other framework's order of gates."""
    blocks = np.split(array, GATES[kind], axis=0)
    return np.concatenate([blocks[place] for place in _TO_KERAS[kind]], axis=0)


def _direction_to_keras(state: Mapping[str, np.ndarray], suffix: str, kind: str) -> list[np.ndarray]:
    kernels = [state[f"weight_{part}_{suffix}"] for part in ("ih", "hh")]
    units = kernels[1].shape[1]
    if kernels[0].shape[0] != GATES[kind] * units:
        raise InputError(
            f"weights of shape {kernels[0].shape} are not those of {kind} with {units} units",
            where=f"weight_ih_{suffix}",
            hint=f"The first axis of {kind} is {GATES[kind]} times the units.",
        )
    weights = [np.ascontiguousarray(_by_gate(kernel, kind).T) for kernel in kernels]
    if f"bias_ih_{suffix}" not in state:
        return weights
    outer, inner = (_by_gate(state[f"bias_{part}_{suffix}"], kind) for part in ("ih", "hh"))
    return [*weights, np.stack([outer, inner]) if kind == "GRU" else outer + inner]


def _direction_to_torch(weights: Sequence[np.ndarray], suffix: str, kind: str) -> dict[str, np.ndarray]:
    kernel, recurrent = weights[:2]
    units = recurrent.shape[0]
    if kernel.ndim != 2 or kernel.shape[1] != GATES[kind] * units:
        raise InputError(
            f"a kernel of shape {kernel.shape} is not that of {kind} with {units} units",
            where=suffix,
            hint=f"The last axis of {kind} is {GATES[kind]} times the units.",
        )
    state = {
        f"weight_{part}_{suffix}": np.ascontiguousarray(_by_gate(array.T, kind))
        for part, array in (("ih", kernel), ("hh", recurrent))
    }
    if len(weights) == 2:
        return state
    bias = weights[2]
    if kind == "GRU" and bias.ndim == 1:
        raise InputError(
            "this GRU applies the reset gate before the matrix product (reset_after=False)",
            where=suffix,
            hint="PyTorch has no such GRU; explain it with the TensorFlow engine.",
        )
    outer, inner = bias if kind == "GRU" else (bias, np.zeros_like(bias))
    return {
        **state,
        f"bias_ih_{suffix}": _by_gate(outer, kind),
        f"bias_hh_{suffix}": _by_gate(inner, kind),
    }
