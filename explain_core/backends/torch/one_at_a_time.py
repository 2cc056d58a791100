"""One thread at a time in the engine: recording switches parts of PyTorch that all threads share."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import torch

from explain_core.backends.torch.precision import full_precision

_LOCK = threading.RLock()


@contextmanager
def one_at_a_time() -> Generator[None]:
    """Alone, where a tape can be kept, even if `explain` was called in inference mode, and in full precision.

    The modes of `make_fx`, the switch of the fast path of transformers, dynamo's settings, the filters of warnings and
    the precision of products belong to the process and not to the thread.
    """
    with _LOCK, torch.inference_mode(False), full_precision():
        yield
