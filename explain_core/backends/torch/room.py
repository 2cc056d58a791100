"""What PyTorch says when a batch does not fit into memory, by the device or by the processor's own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from explain_core.errors import NoRoomError

_ON_THE_CPU = "DefaultCPUAllocator"


def is_no_room(error: BaseException) -> bool:
    """Whether memory is what an operation lacked."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _ON_THE_CPU in str(error)


@contextmanager
def in_room(rows: int) -> Generator[None]:
    """Turn what PyTorch says of full memory into a `NoRoomError`.

    Args:
        rows: how many are explained at once.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_no_room(error):
            raise
        raise NoRoomError.with_rows(rows, error) from None
