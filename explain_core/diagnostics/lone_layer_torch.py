"""A recurrent layer's cell alone, and the layer alone over a sequence, as little PyTorch models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from explain_core.diagnostics.layer_run import LayerRun
from explain_core.errors import InputError

_LONE_LAYERS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}
_LAYERS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


class OneStep(nn.Module):
    """(N, I + states·H + directions) to (N, 1): one step, and the new states along a direction.

    The direction stands in the row as one more input; it is the same for a row and its baseline, so it has no
    attribution, and the state's multiplier is the direction itself.
    """

    def __init__(self, cell: nn.RNNCellBase, place: int) -> None:
        super().__init__()
        self.cell, self.place, self.states = cell, place, 2 if isinstance(cell, nn.LSTMCell) else 1

    def forward(self, row: Tensor) -> Tensor:
        units = self.cell.hidden_size
        x, *states, direction = row.split((self.cell.input_size, *[units] * self.states, units), -1)
        after = self.cell(x, tuple(states) if self.states == 2 else states[0])
        state = after[self.place] if self.states == 2 else after
        return (state * direction).sum(-1, keepdim=True)


class Sequence(nn.Module):
    """(N, T, I) to (N, 1): the layer from given initial states, and its last states along a direction."""

    def __init__(self, layer: nn.RNNBase, initial: tuple[Tensor, ...], place: int, direction: Tensor) -> None:
        super().__init__()
        self.layer, self.place, self.initial = layer, place, initial
        self.head = nn.Linear(layer.hidden_size, 1, bias=False)
        self.head.weight.data = direction[None]

    def forward(self, x: Tensor) -> Tensor:
        first = [state.expand(1, len(x), -1) for state in self.initial]
        _, last = self.layer(x, tuple(first) if len(first) == 2 else first[0])
        return self.head((last[self.place] if len(first) == 2 else last)[0])


class TorchLoneLayer:
    """The layer of a `LayerRun`, found in its model by name; see `one_step.LoneLayer`."""

    framework = "torch"
    variants = ("built-in",)

    def __init__(self, model: Any, run: LayerRun) -> None:
        weights = {name: torch.from_numpy(array) for name, array in cell_weights(model, run.name).items()}
        inputs, units = weights["weight_ih"].shape[1], weights["weight_hh"].shape[1]
        options: dict[str, Any] = {"bias": "bias_ih" in weights, "dtype": weights["weight_ih"].dtype}
        if run.kind == "RNN":  # which activation it has does not show in its weights, but in what it did
            options["nonlinearity"] = _activation(weights, run)
        self.cell = _LONE_LAYERS[run.kind](inputs, units, **options)
        self.cell.load_state_dict(weights)
        self.layer = _LAYERS[run.kind](inputs, units, batch_first=True, **options)
        self.layer.load_state_dict({f"{name}_l0": weight for name, weight in weights.items()})

    def states(self, rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            given = torch.from_numpy(np.array(rows)).to(self.cell.weight_ih.dtype)
            x, *before = given.split((self.cell.input_size, *[self.cell.hidden_size] * _count(self.cell)), -1)
            after = self.cell(x, tuple(before) if len(before) == 2 else before[0])
            return torch.cat(after if isinstance(after, tuple) else (after,), -1).numpy()

    def one_step(self, variant: str, place: int) -> nn.Module:
        return OneStep(self.cell, place).eval()

    def sequence(
        self, variant: str, place: int, direction: np.ndarray, initial: list[np.ndarray], steps: int
    ) -> nn.Module:
        dtype = self.cell.weight_ih.dtype
        first = tuple(torch.from_numpy(np.array(state)).to(dtype) for state in initial)
        return Sequence(self.layer, first, place, torch.from_numpy(np.array(direction)).to(dtype)).eval()


def _count(cell: nn.RNNCellBase) -> int:
    return 2 if isinstance(cell, nn.LSTMCell) else 1


def _activation(weights: Mapping[str, Tensor], run: LayerRun) -> str:
    return "relu" if (run.after[0] > 1).any() or ((run.after[0] == 0).any() and (run.after[0] >= 0).all()) else "tanh"


def cell_weights(model: Any, layer: str) -> dict[str, np.ndarray]:
    """One direction's weights by the names of a PyTorch cell.

    Args:
        layer: its name in ``Explanation.gates``: the module path, with PyTorch's suffix where there are several.

    Raises:
        InputError: the model's weights do not have such names.
    """
    state = model.state_dict() if callable(getattr(model, "state_dict", None)) else dict(model.state_dict)
    numbered = re.search(r"\.(l\d+(?:_reverse)?)\Z", layer)
    path, suffix = (layer[: numbered.start()], numbered[1]) if numbered else (layer, "l0")
    for prefix in (f"{path}.", ""):  # a module that is the model itself has no path
        for ending in (f"_{suffix}", ""):
            names = {part: f"{prefix}{part}{ending}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            if names["weight_ih"] in state:
                return {part: state[name].detach().cpu().numpy() for part, name in names.items() if name in state}
    raise InputError(
        f"The weights of {layer!r} are not under its name in the model.",
        hint="Layers of torch.nn keep theirs as weight_ih_l0 and so on; cells as weight_ih.",
    )
