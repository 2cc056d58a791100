"""Weights of legacy HDF5 files: which array of the file belongs to which variable of the model.

A file lists, layer by layer, its arrays in the order of ``trainable_weights + non_trainable_weights``. That order is
taken only where the names agree too; else the arrays are matched by the names of their layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from explain_core.errors import ModelFileError
from explain_core.models.keras.hdf5 import Hdf5File
from explain_core.models.keras.keras2_era import Era

_PRUNING = ("mask", "threshold", "pruning_step")
_RENAMED = {"depthwise_kernel": "kernel"}
_AGAIN = "The file may be damaged, or put together from two models; save the model again where it was trained."


@dataclass(frozen=True)
class Stored:
    """One array of the file: where it is, and its name with that of the layer around it."""

    path: str
    name: str
    shape: tuple[int, ...]

    @property
    def own(self) -> str:
        return _own(self.name)


class LegacyWeights:
    """The weights of a full-model file (``root`` "model_weights") or a weights-only one (``root`` "")."""

    def __init__(self, file: Hdf5File, root: str, where: str) -> None:
        self._file, self._where = file, where
        self.layers: dict[str, list[Stored]] = {}
        self.extra: list[str] = []  # weights of the model itself, which no layer uses
        for layer in file.texts(root, "layer_names"):
            self.layers[layer] = self._stored(f"{root}/{layer}".lstrip("/"))
        if (
            f"{root}/top_level_model_weights".lstrip("/") in file.groups
            and "top_level_model_weights" not in self.layers
        ):
            self.extra = [s.name for s in self._stored(f"{root}/top_level_model_weights".lstrip("/"))]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By the layer's and the weight's own name."""
        return {f"{layer}/{stored.name}": stored.shape for layer, all_ in self.layers.items() for stored in all_}

    def _stored(self, group: str) -> list[Stored]:
        if group not in self._file.groups:
            raise ModelFileError(
                f"The file lists the layer {group.rpartition('/')[2]!r} and has no weights under it.",
                where=self._where,
                hint=_AGAIN,
            )
        found = []
        for name in self._file.texts(group, "weight_names"):
            path = f"{group}/{name}".replace("//", "/")
            if path not in self._file.shapes:
                raise ModelFileError(
                    f"The file lists the weight {name!r} and does not have it.", where=self._where, hint=_AGAIN
                )
            found.append(Stored(path, name, self._file.shapes[path]))
        return found

    def read(self, stored: Stored) -> np.ndarray:
        return self._file.array(stored.path)


@dataclass(frozen=True)
class Step:
    """Some variables of one part of a layer and the arrays that fill them."""

    variables: tuple[Any, ...]
    arrays: tuple[Stored, ...]
    layout: str  # "as it is", "cuDNN" or "flipped"


def match(model: Any, weights: LegacyWeights, era: Era, *, pruned: set[str], cudnn: set[str], where: str) -> list[Step]:
    """Which arrays fill which variables; reads nothing.

    Args:
        model: a Keras model, built; its variables need not have values.
        pruned, cudnn: the layers whose arrays hold pruning's own numbers, or a layer in the layout of cuDNN.

    Raises:
        ModelFileError: a layer without weights, weights without a layer, or a shape that does not fit.
    """
    steps: list[Step] = []
    by_name = {name.replace("/", "_"): (name, stored) for name, stored in weights.layers.items()}
    for layer in model.layers:
        variables = [*layer.trainable_weights, *layer.non_trainable_weights]
        name, stored = by_name.pop(layer.name, (layer.name, []))
        if name in pruned:
            stored = [s for s in stored if s.own not in _PRUNING]
        here = f"{where}: {layer.name}"
        found = _steps(_aligned(variables, stored, here), era, here)
        if name in cudnn and not any(step.layout == "cuDNN" for step in found):
            raise ModelFileError(
                "The layer is one of cuDNN, and its weights are not in cuDNN's layout.", where=here, hint=_AGAIN
            )
        steps += found
    if left := [name for name, stored in by_name.values() if stored]:
        raise ModelFileError(
            f"The file has weights for {left[0]!r}, which is no layer of its model.", where=where, hint=_AGAIN
        )
    return steps


def fill(steps: Sequence[Step], weights: LegacyWeights) -> None:
    """Read the arrays into the variables."""
    for step in steps:
        arrays = [weights.read(stored) for stored in step.arrays]
        if step.layout == "cuDNN":
            arrays = from_cudnn(arrays)
        elif step.layout == "flipped":
            arrays = [np.flip(a, tuple(range(a.ndim - 2))) if a.ndim > 2 else a for a in arrays]
        for variable, array in zip(step.variables, arrays, strict=True):
            variable.assign(array)


def from_cudnn(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Kernel (F, G·H), recurrent kernel (H, G·H) and biases (2·G·H,) of CuDNNLSTM and CuDNNGRU in Keras' layout.

    cuDNN takes each gate's matrix as (H, F) in one run of memory, which those layers store under the shape (F, H). An
    LSTM's two biases are only ever added up; a GRU's stay apart, (2, 3H), as the reset gate acts on one of them.
    """
    kernel, recurrent, biases = arrays
    gates = recurrent.shape[1] // recurrent.shape[0]
    kernels = [part.reshape(part.shape[::-1]).T for part in np.split(kernel, gates, axis=1)]
    inner = [part.T for part in np.split(recurrent, gates, axis=1)]
    halves = biases.reshape(2, -1)
    return [np.hstack(kernels), np.hstack(inner), halves.sum(0) if gates == 4 else halves]


def _aligned(variables: Sequence[Any], stored: Sequence[Stored], where: str) -> list[tuple[Any, Stored]]:
    if len(variables) != len(stored):
        raise ModelFileError(
            f"The layer takes {len(variables)} arrays of weights, and the file has {len(stored)} for it"
            f"{_listed(stored)}.",
            where=where,
            hint=_AGAIN,
        )
    if [_own(v.path) for v in variables] == [s.own for s in stored]:
        return list(zip(variables, stored, strict=True))
    by_name = {_around(s.name): s for s in stored}  # frozen layers stand in another order
    if len(by_name) == len(stored) and {_around(v.path) for v in variables} == set(by_name):
        return [(v, by_name[_around(v.path)]) for v in variables]
    raise ModelFileError(
        f"The layer takes weights named {', '.join(_own(v.path) for v in variables)}, and the file has others"
        f"{_listed(stored)}.",
        where=where,
        hint=_AGAIN,
    )


def _steps(pairs: Sequence[tuple[Any, Stored]], era: Era, where: str) -> list[Step]:
    """Pairs of one part of a layer together, and how their arrays are laid out."""
    parts: dict[str, list[tuple[Any, Stored]]] = {}
    for variable, stored in pairs:
        parts.setdefault(variable.path.rpartition("/")[0], []).append((variable, stored))
    steps = []
    for part in parts.values():
        variables, arrays = zip(*part, strict=True)
        if _is_cudnn(variables, arrays):
            steps.append(Step(variables, arrays, "cuDNN"))
            continue
        for variable, stored in part:
            if tuple(variable.shape) != stored.shape:
                raise ModelFileError(
                    f"By the description, {_own(variable.path)!r} has the shape {tuple(variable.shape)}; the file has "
                    f"{stored.shape}.",
                    where=where,
                    hint=_AGAIN,
                )
        flipped = era.backend == "theano" and not era.is_keras3 and any(_is_spatial(s) for s in arrays)
        if flipped:
            era.note("Trained with Theano, which turns the kernels of convolutions around; they are turned back.")
        steps.append(Step(variables, arrays, "flipped" if flipped else "as it is"))
    return steps


def _is_cudnn(variables: Sequence[Any], arrays: Sequence[Stored]) -> bool:
    """Told by the bias, as Keras did: twice as many numbers as an LSTM takes, or a GRU's in one row."""
    if [s.own for s in arrays] != ["kernel", "recurrent_kernel", "bias"]:
        return False
    kernel, recurrent, bias = (tuple(v.shape) for v in variables)
    if (kernel, recurrent) != (arrays[0].shape, arrays[1].shape) or len(arrays[2].shape) != 1:
        return False
    gates = recurrent[1] // max(recurrent[0], 1)
    if gates == 4:
        return arrays[2].shape[0] == 2 * prod(bias)
    return gates == 3 and len(bias) == 2 and arrays[2].shape[0] == prod(bias)


def _is_spatial(stored: Stored) -> bool:
    return stored.own in ("kernel", "recurrent_kernel") and len(stored.shape) > 2


def _own(path: str) -> str:
    """A weight's own name: "lstm_1/lstm_cell/kernel_1:0" is a kernel."""
    name = path.rpartition("/")[2].partition(":")[0]
    name = re.sub(r"_\d+$", "", name)
    return _RENAMED.get(name, name)


def _around(path: str) -> tuple[str, str]:
    """The same with the layer around it."""
    return path.rpartition("/")[0].rpartition("/")[2], _own(path)


def _listed(stored: Iterable[Stored]) -> str:
    names = [s.name for s in stored]
    return f" ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})" if names else ""
