"""Where an explanation runs, and in which precision its matrix products are."""

from __future__ import annotations

from collections.abc import Iterator
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


@contextmanager
def full_precision() -> Iterator[None]:
    """Matrix products in the full precision of their type: TensorFloat-32 rounds to three digits."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
