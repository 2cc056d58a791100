"""Layers told from the names and shapes of their parameters, whichever file they came from."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from explain_core.models.loaded import LayerSummary

Shapes = Mapping[str, tuple[int, ...]]

_RECURRENT = re.compile(r"(?:(?P<path>.*)\.)?weight_(?P<part>ih|hh|hr)_l(?P<layer>\d+)(?P<back>_reverse)?")
_CELL = re.compile(r"(?:(?P<path>.*)\.)?weight_ih")
_KINDS = {4: "LSTM", 3: "GRU", 1: "RNN"}  # by the number of gates


@dataclass(frozen=True)
class Recurrent:
    """One ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, or a cell of one of them, as its parameters show it."""

    path: str
    kind: str
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    bias: bool
    proj_size: int = 0
    is_cell: bool = False

    @property
    def class_name(self) -> str:
        return self.kind + ("Cell" if self.is_cell else "")

    @property
    def parameters(self) -> list[str]:
        """The full names of all its parameters."""
        prefix = f"{self.path}." if self.path else ""
        parts = ["weight_ih", "weight_hh"]
        parts += ["bias_ih", "bias_hh"] if self.bias else []
        parts += ["weight_hr"] if self.proj_size else []
        if self.is_cell:
            return [f"{prefix}{part}" for part in parts]
        ends = [""] + (["_reverse"] if self.bidirectional else [])
        return [f"{prefix}{part}_l{number}{end}" for number in range(self.num_layers) for part in parts for end in ends]

    @property
    def states(self) -> int:
        """How many states it carries: one for each layer and direction."""
        return self.num_layers * (2 if self.bidirectional else 1)

    @property
    def output_size(self) -> int:
        return (self.proj_size or self.hidden_size) * (2 if self.bidirectional else 1)

    @property
    def detail(self) -> str:
        parts = [f"{self.input_size} inputs", f"{self.hidden_size} units"]
        if self.num_layers > 1:
            parts.append(f"{self.num_layers} layers")
        if self.bidirectional:
            parts.append("both directions")
        if self.proj_size:
            parts.append(f"projected to {self.proj_size}")
        return ", ".join(parts)


def find_recurrent(shapes: Shapes) -> list[Recurrent]:
    """The recurrent modules among the parameters, in the order of their names' first appearance."""
    parts: dict[str, dict[tuple[str, int, bool], tuple[int, ...]]] = defaultdict(dict)
    for name, shape in shapes.items():
        if (found := _RECURRENT.fullmatch(name)) and len(shape) == 2:
            key = (found["part"], int(found["layer"]), found["back"] is not None)
            parts[found["path"] or ""][key] = shape
    layers = [_recurrent(path, weights, shapes) for path, weights in parts.items()]
    layers += [_cell(found["path"] or "", shapes) for name in shapes if (found := _CELL.fullmatch(name))]
    places = {name: place for place, name in enumerate(shapes)}
    return sorted((layer for layer in layers if layer is not None), key=lambda layer: places[layer.parameters[0]])


def _cell(path: str, shapes: Shapes) -> Recurrent | None:
    prefix = f"{path}." if path else ""
    ih, hh = shapes[f"{prefix}weight_ih"], shapes.get(f"{prefix}weight_hh", ())
    if len(ih) != 2 or len(hh) != 2 or not hh[1] or ih[0] != hh[0] or hh[0] % hh[1] or hh[0] // hh[1] not in _KINDS:
        return None
    return Recurrent(
        path, _KINDS[hh[0] // hh[1]], ih[1], hh[1], 1, False, bias=f"{prefix}bias_ih" in shapes, is_cell=True
    )


def _recurrent(path: str, weights: Mapping[tuple[str, int, bool], tuple[int, ...]], shapes: Shapes) -> Recurrent | None:
    first = ("ih", 0, False), ("hh", 0, False)
    if not all(key in weights for key in first):
        return None
    (rows, input_size), (_, state_size) = weights[first[0]], weights[first[1]]
    projection = weights.get(("hr", 0, False))
    hidden = projection[1] if projection else state_size
    if not hidden or rows % hidden or rows // hidden not in _KINDS:
        return None
    return Recurrent(
        path=path,
        kind=_KINDS[rows // hidden],
        input_size=input_size,
        hidden_size=hidden,
        num_layers=1 + max(layer for _, layer, _ in weights),
        bidirectional=("ih", 0, True) in weights,
        bias=(f"{path}." if path else "") + "bias_ih_l0" in shapes,
        proj_size=projection[0] if projection else 0,
    )


def describe_layers(shapes: Shapes, kinds: Mapping[str, str] | None = None) -> tuple[LayerSummary, ...]:
    """One line per module that has parameters.

    Args:
        shapes: of every parameter, by its full name.
        kinds: class names by module path, where the file tells them.
    """
    recurrent = {layer.path: layer for layer in find_recurrent(shapes)}
    by_module: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, shape in shapes.items():
        path, _, own = name.rpartition(".")
        by_module[path][own] = shape
    layers = []
    for path, own in by_module.items():
        kind = (kinds or {}).get(path)
        found = recurrent.get(path)
        layers.append(
            LayerSummary(
                name=path or "(top level)",
                kind=found.class_name if found else kind or _guess_kind(own),
                detail=found.detail if found else _sizes(own, kind or _guess_kind(own)),
                parameters=sum(prod(shape) for shape in own.values()),
                recurrent=found is not None or (kind or "").endswith(("LSTMCell", "GRUCell", "RNNCell")),
            )
        )
    return tuple(layers)


def _guess_kind(own: Mapping[str, tuple[int, ...]]) -> str:
    weight = own.get("weight", ())
    if len(weight) == 2:
        return "Linear" if "bias" in own else "Embedding"
    return {1: "Normalisation", 3: "Conv1d"}.get(len(weight), "Parameters")


def _sizes(own: Mapping[str, tuple[int, ...]], kind: str) -> str:
    weight = own.get("weight")
    if weight is not None and len(weight) == 2 and "Embedding" in kind:
        return f"{weight[0]} tokens, {weight[1]} numbers each"
    if weight is not None and len(weight) == 2:
        return f"{weight[1]} inputs, {weight[0]} {'output' if weight[0] == 1 else 'outputs'}"
    return ", ".join(f"{name} {' × '.join(map(str, shape)) or 'scalar'}" for name, shape in own.items())
