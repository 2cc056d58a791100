"""What the PyTorch demos share: reproducible training and a small, clean export."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch


def fit(
    parameters: list[torch.nn.Parameter],
    batch_loss: Callable[[torch.Tensor], torch.Tensor],
    samples: int,
    *,
    epochs: int,
    batch: int,
    rate: float,
    decay: float,
    clip: float | None = None,
) -> None:
    """Trains with AdamW and a cosine schedule; the caller has seeded torch.

    Args:
        parameters: what is trained.
        batch_loss: from the indices of a batch, int64 (batch,), to its scalar loss.
        samples: the number of training samples.
        epochs: passes over the training samples.
        batch: samples per step.
        rate: the learning rate at the start; it falls to zero.
        decay: AdamW's weight decay.
        clip: the largest norm that the gradient of a step may have; None is any.
    """
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for indices in torch.randperm(samples).split(batch):
            optimizer.zero_grad()
            batch_loss(indices).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
        schedule.step()


def reproducible(seed: int) -> None:
    """One thread, deterministic kernels, one seed: the same weights on every run on the same machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def export(model: torch.nn.Module, example: tuple[torch.Tensor, ...], path: Path) -> None:
    """Saves `model` as a `.pt2` file that takes any batch size.

    Stack traces would carry the paths of the machine that exported, and example inputs would be stored as a
    pickle, so both are dropped: what remains is the graph as JSON and the weights as raw tensors.

    Args:
        model: in eval mode.
        example: inputs with the batch first and at least two samples.
        path: the file to write.
    """
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        # nn.LSTM and nn.GRU keep aliases of their weights in `_flat_weights` and set them anew while being
        # traced. The graph holds each weight once, under its own name; `check_export` compares the results.
        warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights", UserWarning)
        program = torch.export.export(model, example, dynamic_shapes=tuple({0: batch} for _ in example))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None
    torch.export.save(program, path)


def check_export(model: torch.nn.Module, example: tuple[torch.Tensor, ...], path: Path) -> None:
    """Stops unless the saved program gives the model's own answers for batches of 1, 2 and 7 samples."""
    loaded = torch.export.load(path).module()
    with torch.no_grad():
        for size in (1, 2, 7):
            batch = tuple(tensor[:size] for tensor in example)
            torch.testing.assert_close(loaded(*batch), model(*batch), rtol=0, atol=0)
