"""Packed sequences, whose layout is data, seen during capture as what they are: an index into padded rows.

Packing picks the rows of real timesteps, unpacking puts them back; both are linear. The lengths are constants of the
captured graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explain_core.errors import CaptureError


class PackingMode(TorchFunctionMode):
    """While active, packing and unpacking are recorded as index operations."""

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "_pack_padded_sequence":
            return _pack(*args, **(kwargs or {}))
        if name == "_pad_packed_sequence":
            return _unpack(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _pack(padded: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Rows in packed order (all samples at step 0, then at step 1, ...) and how many samples each step has."""
    try:
        counts = lengths.tolist()
    except RuntimeError as error:
        raise CaptureError(
            "the lengths of packed sequences are computed from the explained input",
            hint="Give the lengths to the model as an input of their own.",
        ) from error
    if batch_first:
        padded = padded.transpose(0, 1)
    steps, samples = padded.shape[:2]
    if sorted(counts, reverse=True) != counts or min(counts) < 1 or max(counts) > steps:
        raise CaptureError(
            f"sequences can't be packed with the lengths {counts}",
            hint=f"Each must be from 1 to {steps}, and they must descend unless enforce_sorted=False.",
        )
    sizes = [sum(count > step for count in counts) for step in range(max(counts))]
    rows = [step * samples + sample for step, size in enumerate(sizes) for sample in range(size)]
    index = torch.tensor(rows, device=padded.device)
    return padded.flatten(0, 1).index_select(0, index), torch.tensor(sizes)


def _unpack(
    data: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int = -1
) -> tuple[Tensor, Tensor]:
    """Padded sequences (T, N, ...), or (N, T, ...), and their lengths."""
    sizes = batch_sizes.tolist()
    steps, samples = max(len(sizes), total_length), sizes[0]
    rows = [step * samples + sample for step, size in enumerate(sizes) for sample in range(size)]
    index = torch.tensor(rows, device=data.device)
    padded = data.new_full((steps * samples, *data.shape[1:]), padding_value).index_copy(0, index, data)
    padded = padded.unflatten(0, (steps, samples))
    lengths = [sum(size > sample for size in sizes) for sample in range(samples)]
    return padded.transpose(0, 1) if batch_first else padded, torch.tensor(lengths)
