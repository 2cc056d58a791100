"""Tensors of a state dict that are no layers: learned initial states, and what is added to each step by its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from explain_core.models.torch.layers import Layer, cannot_tell
from explain_core.models.torch.shapes import Recurrent, Shapes

_HIDDEN = re.compile(
    r"h_?0|h_?init|(init|initial|learned|start)_?(h|hidden|state)(_?state)?|hidden_?(state_?)?(init|0)", re.I
)
_CELL = re.compile(r"c_?0|c_?init|(init|initial|learned|start)_?(c|cell)(_?state)?|cell_?(state_?)?(init|0)", re.I)
_KEPT = re.compile(r"hidden|(hidden|cell)_?state|[hc]_?n|[hc]x|state", re.I)  # of a run in training, by its name
_POSITIONS = re.compile(r"pe|pos|pos(ition(al)?)?_?(emb(edding)?s?|enc(oding)?s?|encoder|table)", re.I)


@dataclass(frozen=True)
class InitialState:
    """The state that the recurrent layer starts from, by the names of its tensors; ``cell`` for LSTM."""

    hidden: str
    cell: str | None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.hidden,) if self.cell is None else (self.hidden, self.cell)


@dataclass(frozen=True)
class Positions:
    """A row for each timestep, which is added to what the layer ``after`` gives; None for the input itself."""

    name: str
    steps: int
    size: int
    after: str | None


def split_off(shapes: Shapes) -> tuple[Shapes, list[str], list[str]]:
    """The parameters of layers, and the names of initial states and of tables of positions."""
    states, positions = [], []
    for name, shape in shapes.items():
        path, _, own = name.rpartition(".")
        if _HIDDEN.fullmatch(own) or _CELL.fullmatch(own):
            states.append(name)
        elif _is_table(path, own, shape):
            positions.append(name)
    beside = {*states, *positions}
    return {name: shape for name, shape in shapes.items() if name not in beside}, states, positions


def _is_table(path: str, own: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor, or the one matrix of an ``nn.Embedding``, is of positions by its name and form."""
    called = path.rpartition(".")[2] if own == "weight" else own
    sizes = [size for size in shape if size != 1]
    return _POSITIONS.fullmatch(called) is not None and len(sizes) == 2 and 2 <= len(shape) <= 3 and shape[-1] != 1


def initial_state(names: Sequence[str], shapes: Shapes, layers: Sequence[Layer], where: str) -> InitialState | None:
    """The initial state of the one recurrent layer.

    Raises:
        ModelFileError: it cannot be told which layer starts from it, or its size is of another state.
    """
    if not names:
        return None
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    if len(recurrent) != 1:
        raise cannot_tell(f"{names[0]!r} is an initial state, and {len(recurrent)} layers could start from it", where)
    layer = recurrent[0]
    hidden = [name for name in names if _HIDDEN.fullmatch(name.rpartition(".")[2])]
    cell = [name for name in names if name not in hidden]
    if len(hidden) != 1 or len(cell) != (layer.kind == "LSTM"):
        wants = "a hidden and a cell state" if layer.kind == "LSTM" else "one hidden state"
        raise cannot_tell(
            f"{layer.class_name} starts from {wants}, and there is {' and '.join(map(repr, names))}", where
        )
    sizes = {hidden[0]: layer.proj_size or layer.hidden_size, **dict.fromkeys(cell, layer.hidden_size)}
    for name, size in sizes.items():
        if shapes[name] not in _forms(1 if layer.is_cell else layer.states, size):
            found = " × ".join(map(str, shapes[name]))
            raise cannot_tell(
                f"{name!r} ({found}) is no initial state of {layer.path or 'the recurrent layer'!r}", where
            )
    return InitialState(hidden[0], cell[0] if cell else None)


def _forms(states: int, size: int) -> list[tuple[int, ...]]:
    forms: list[tuple[int, ...]] = [(states, 1, size), (states, size)]
    return [*forms, (size,)] if states == 1 else forms


def positions_of(names: Sequence[str], shapes: Shapes, before: Sequence[Layer], where: str) -> Positions | None:
    """Where the table of positions is added: the one place before the recurrent layers that has its width.

    Raises:
        ModelFileError: there is no such place, or more than one.
    """
    if not names:
        return None
    steps, size = (each for each in shapes[names[0]] if each != 1)
    first = next((i for i, layer in enumerate(before) if isinstance(layer, Recurrent)), None)
    if len(names) > 1 or first is None:
        what = "another table of positions" if len(names) > 1 else "no recurrent layer"
        raise cannot_tell(f"there is {what} beside {names[0]!r}", where)
    places = [layer.path for layer in before[:first] if layer.output_size == size]
    if isinstance(before[0], Recurrent) and before[0].input_size == size:
        return Positions(names[0], steps, size, None)
    if len(places) != 1:
        raise cannot_tell(f"{names[0]!r} ({steps} × {size}) could be added in {len(places)} places", where)
    return Positions(names[0], steps, size, places[0])


def refuse_kept_states(shapes: Shapes, where: str) -> None:
    """Name a state that was kept from training for what it seems to be."""
    for name, shape in shapes.items():
        if _KEPT.fullmatch(name.rpartition(".")[2]):
            size = " × ".join(map(str, shape))
            raise cannot_tell(
                f"{name!r} ({size}) is by its name a state kept from training, and the file does not say whether the "
                "model starts from it",
                where,
            )
