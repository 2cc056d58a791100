"""The frameworks that a worker may hold: what people call them, and getting one ready."""

from __future__ import annotations

import os
import sys

from explain_core.jobs.job import Report

FRAMEWORKS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
#: What is said while a framework is imported: most of the waiting for a first result.
STARTING = {"torch": "Starting PyTorch", "tensorflow": "Starting TensorFlow, about 10 seconds the first time"}


def warm_up(report: Report, framework: str = "torch") -> None:
    """Import the framework ahead of the first job, which is most of the waiting."""
    if framework in sys.modules:
        return
    report(0.05, STARTING[framework])
    if framework == "torch":
        import torch

        torch.zeros(1)
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # it reports its own start otherwise
        import tensorflow as tf

        tf.zeros(1)
