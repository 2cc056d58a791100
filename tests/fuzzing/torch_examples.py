"""Small valid PyTorch files, one of each way to save them."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn


class Regressor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True)
        self.head = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def valid_files(folder: Path) -> dict[str, Path]:
    """Write the files; their paths by name."""
    torch.manual_seed(0)
    model, x = Regressor(), torch.randn(2, 4, 2)
    state = model.state_dict()
    saved = {
        "state dict": lambda path: torch.save(state, path),
        "before 1.6": lambda path: torch.save(state, path, _use_new_zipfile_serialization=False),
        "checkpoint": lambda path: torch.save({"epoch": 3, "state_dict": state}, path),
        "stock modules": lambda path: torch.save(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), path),
        "script": lambda path: torch.jit.save(torch.jit.trace(model, x), path),
        "exported": lambda path: torch.export.save(torch.export.export(model, (x,)), path),
    }
    paths = {name: folder / f"{name.replace(' ', '-')}.pt2" for name in saved}
    with warnings.catch_warnings():  # the exporters' own
        warnings.simplefilter("ignore")
        for name, save in saved.items():
            save(paths[name])
    return paths
