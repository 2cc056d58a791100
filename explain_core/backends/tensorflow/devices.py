"""Where an explanation runs, and in which precision its matrix products are."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import tensorflow as tf

from ...errors import BackendError


def device_of(name: str) -> str:
    """TensorFlow's name of a device that is called "auto", "cpu", "cuda" or "cuda:1"."""
    gpus = tf.config.list_logical_devices("GPU")
    if name == "cpu" or (name == "auto" and not gpus):
        return "/CPU:0"
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cuda") or not (number or "0").isdigit():
        raise BackendError(f"unknown device {name!r}", hint="Use 'auto', 'cpu', 'cuda' or 'cuda:1'.")
    place = int(number or 0)
    if place >= len(gpus):
        raise BackendError(
            f"device {name!r} is not there: TensorFlow sees {len(gpus)} GPUs",
            hint="Use device='cpu', or install a TensorFlow build that finds your GPU.",
        )
    return f"/GPU:{place}"


def is_no_room(error: BaseException) -> bool:
    """Whether memory is what an operation lacked."""
    return isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)


_SWITCH = threading.RLock()
_runs = 0
_given = True  # what the process had set before the first of the runs that are going on


@contextmanager
def full_precision() -> Generator[None]:
    """Matrix products in the full precision of their type: TensorFloat-32 rounds to three digits.

    The switch belongs to the process and runs may go on in several threads: the last to end puts it back.
    """
    global _runs, _given
    with _SWITCH:
        if not _runs:
            _given = tf.config.experimental.tensor_float_32_execution_enabled()
            tf.config.experimental.enable_tensor_float_32_execution(False)
        _runs += 1
    try:
        yield
    finally:
        with _SWITCH:
            _runs -= 1
            if not _runs:
                tf.config.experimental.enable_tensor_float_32_execution(_given)


@contextmanager
def coarse_as_given() -> Generator[bool]:
    """Within a run, TensorFloat-32 as the process had it, and whether it is on: only on a GPU, and in one run alone."""
    with _SWITCH:
        is_on = _given and _runs == 1 and "GPU" in tf.constant(0.0).device
        tf.config.experimental.enable_tensor_float_32_execution(is_on)
        try:
            yield is_on
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(False)
