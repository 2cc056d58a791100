"""What the person who explains a torch model should know of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch


def training_notes(was_training: bool) -> list[str]:
    """That a model in training mode is explained as in evaluation."""
    return ["The model was in training mode; it was explained as in evaluation (no dropout)."] if was_training else []


def carried_notes(carried: Sequence[str]) -> list[str]:
    """That a model keeps values between calls, with their names."""
    if not carried:
        return []
    listed = ", ".join(carried[:4]) + (", ..." if len(carried) > 4 else "")
    return [f"The model keeps values between calls ({listed}); every run starts from those it was given with."]


def digits_notes(what: str, fewer: Iterable[torch.dtype], explained_in: str) -> list[str]:
    """That the model, or a part of it, computes in fewer digits than it is explained in."""
    names = sorted(str(dtype).removeprefix("torch.") for dtype in fewer)
    return [f"{what} computes in {name}; it is explained in {explained_in}." for name in names]


def zeroed_notes(encoders: Collection[str]) -> list[str]:
    """That these encoders put zeros in place of padding."""
    return [
        f"In evaluation without gradients PyTorch puts zeros in place of padded timesteps ({path or 'the encoder'}); "
        "that is what is explained."
        for path in encoders
    ]
