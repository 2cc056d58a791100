"""One thread at a time in the engine: recording switches parts of PyTorch that all threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Alone, and where a tape can be kept, even if `explain` was called in inference mode.

    The modes of `make_fx`, the switch of the fast path of transformers, dynamo's settings and the filters of warnings
    belong to the process and not to the thread.
    """
    with _LOCK, torch.inference_mode(False):
        yield
