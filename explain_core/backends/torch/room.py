"""What PyTorch says when a batch does not fit into memory, the device's or the processor's own."""

from __future__ import annotations

import torch

_ON_THE_CPU = "DefaultCPUAllocator"


def is_no_room(error: BaseException) -> bool:
    """Whether memory is what an operation lacked."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _ON_THE_CPU in str(error)
