"""PyTorch's half of the published experiments; runs in a process of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from explain_core.diagnostics import published_cell as given
from explain_core.diagnostics.measured import measure

COMPARED = ("deep_explainer", "deep_lift", "pairlift")


class OneStep(nn.Module):
    """A cell alone: (N, I + 2H), input, hidden and cell state side by side, to the cell state after it (N, H)."""

    def __init__(self, cell: nn.LSTMCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, row: Tensor) -> Tensor:
        x, h, c = row.split((self.cell.input_size, self.cell.hidden_size, self.cell.hidden_size), -1)
        return self.cell(x, (h, c))[1]


class Looped(nn.Module):
    """The cell over a sequence (N, T, I), from zeros, to the hidden state after the last step (N, H)."""

    def __init__(self, cell: nn.LSTMCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.cell.hidden_size)
        for step in x.unbind(1):
            h, c = self.cell(step, (h, c))
        return h


class Layer(nn.Module):
    """The same as ``nn.LSTM``."""

    def __init__(self, cell: nn.LSTMCell) -> None:
        super().__init__()
        self.lstm = nn.LSTM(cell.input_size, cell.hidden_size, batch_first=True)
        self.lstm.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0][:, -1]


def known_cell() -> nn.LSTMCell:
    """The cell whose weights were published."""
    cell = nn.LSTMCell(given.INPUTS, given.UNITS)
    cell.load_state_dict({name: torch.from_numpy(array) for name, array in given.weights().items()})
    return cell


def drawn_cell(seed: int) -> nn.LSTMCell:
    """A cell as in the three published steps: 2 inputs, 2 units, PyTorch's own random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.LSTMCell(2, 2)


def half() -> dict[str, Any]:
    """Every measurement on PyTorch, and the cell states after the single step."""
    rows = []

    def add(experiment: str, model: str, net: nn.Module, test: np.ndarray, base: np.ndarray) -> None:
        for method in COMPARED:
            rows.append(given.row(experiment, "torch", model, method, measure(method, net.eval(), test, base)))

    one = OneStep(known_cell())
    add(given.ONE_STEP, "nn.LSTMCell", one, given.TEST, given.BASELINE)
    test, base = given.sequence()
    add(given.KNOWN_THREE, "nn.LSTMCell in a loop", Looped(one.cell), test, base)
    add(given.KNOWN_THREE, "nn.LSTM", Layer(one.cell), test, base)
    levels = [np.full((1, given.STEPS, 2), level, np.float32) for level in (given.LEVEL, given.BASELINE_LEVEL)]
    cell = drawn_cell(given.SEED)
    add(given.THREE_STEPS, "nn.LSTMCell in a loop", Looped(cell), *levels)
    starts = [np.concatenate([level[:, 0], np.zeros((1, 4), np.float32)], -1) for level in levels]
    add(given.ONE_OF_THREE, "nn.LSTMCell", OneStep(cell), *starts)
    with torch.no_grad():
        states = one(torch.from_numpy(given.TEST)).numpy()
    return {"rows": rows, "states": states.tolist(), "over_seeds": _over_seeds(levels)}


def _over_seeds(levels: list[np.ndarray]) -> list[float]:
    """shap's relative error on the three steps, for one seed after the other."""
    found = [measure("deep_explainer", Looped(drawn_cell(seed)).eval(), *levels) for seed in range(given.SEEDS)]
    return [float(one.error[0] / abs(one.expected[0])) for one in found if one.size]
