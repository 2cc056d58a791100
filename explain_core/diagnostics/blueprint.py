"""A model as a plain list of operations with numpy weights, which either framework can build.

Recurrent layers have PyTorch's weights (`explain_core.convert`). What no operation of the list does is an obstacle,
which is said; nothing is converted almost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np

from explain_core.errors import InputError

ACTIVATIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("relu", "tanh", "sigmoid", "selu", "silu", "softplus", "hard_sigmoid", "hard_silu", "mish"), ()),
    **dict.fromkeys(("relu6", "log_sigmoid", "softmax", "log_softmax"), ()),
    "elu": ("alpha",),
    "leaky_relu": ("negative_slope",),
    "gelu": ("approximate",),
}
"""Functions that both frameworks have, with their options; softmax and its logarithm are over the last axis."""


@dataclass(frozen=True)
class Operation:
    """One operation on the result of the one before; N samples, T timesteps, F features, H units.

    ``kind``  options                                        weights
    recurrent ``cell`` (LSTM, GRU, RNN), ``activation``,     names of one PyTorch layer, ``_reverse`` too
              ``returns`` ("sequence": (N, T, H), "final": the last step that each direction reads)
    affine                                                   ``scale``, ``shift``: ``x·scale + shift``
    dense                                                    ``weight`` (O, F), ``bias`` (O,)
    embedding token ids (N, T) to (N, T, F)                  ``table`` (V, F)
    conv      over timesteps: ``padding`` (before, after)    ``weight`` (O, F / groups, K), ``bias`` (O,)
              with zeros, ``stride``, ``dilation``, ``groups``
    norm      over the last axis: ``epsilon``                ``scale`` (F,), ``shift`` (F,)
    pool      ``size``, ``stride``, ``how`` ("max", "mean"): windows of timesteps
    pick      ``step``: (N, T, F) to (N, F)
    mean, max over timesteps: (N, T, F) to (N, F)
    flatten   (N, T, F) to (N, T·F)
    one of `ACTIVATIONS`, with its options
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def two_way(self) -> bool:
        """Whether a recurrent layer reads in both directions."""
        return "weight_ih_l0_reverse" in self.weights


@dataclass(frozen=True)
class Blueprint:
    """Operations in order, from an input (N, steps, features), or token ids (N, steps) where ``features`` is None."""

    steps: int
    features: int | None
    operations: tuple[Operation, ...]

    @property
    def recurrent(self) -> list[Operation]:
        return [operation for operation in self.operations if operation.kind == "recurrent"]

    def save(self, path: str | PathLike[str], **arrays: np.ndarray) -> None:
        """Write to an NPZ file, with other arrays beside."""
        kinds = [{"kind": o.kind, "options": o.options} for o in self.operations]
        text = json.dumps({"steps": self.steps, "features": self.features, "operations": kinds})
        stored = {f"{i}/{name}": a for i, o in enumerate(self.operations) for name, a in o.weights.items()}
        stored |= {f"beside/{name}": a for name, a in arrays.items()}
        np.savez(path, allow_pickle=False, blueprint=np.array(text), **stored)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> tuple[Blueprint, dict[str, np.ndarray]]:
        """The blueprint and what was saved beside it."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        found = json.loads(str(arrays.pop("blueprint")))
        by_place: dict[str, dict[str, np.ndarray]] = {}
        for name, array in arrays.items():
            place, _, rest = name.partition("/")
            by_place.setdefault(place, {})[rest] = array
        operations = tuple(Operation(**o, weights=by_place.get(str(i), {})) for i, o in enumerate(found["operations"]))
        return cls(found["steps"], found["features"], operations), by_place.get("beside", {})


def obstacle(what: str, where: str = "") -> InputError:
    """Why a model cannot be built in the other framework."""
    return InputError(
        what,
        where=where,
        hint="Models that are one chain can be: an embedding, recurrent layers, convolutions, Dense layers, scalings, "
        "normalisations, pooling and activations that both frameworks have.",
    )
