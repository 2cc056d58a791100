"""The kernels for GPUs, on the CPU: by Triton's own interpreter, which is chosen at import, so in its own process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from explain_core.backends.torch import cuda

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is for Linux")
@pytest.mark.parametrize(
    ("script", "settings"), [("triton_kernels.py", {"TRITON_INTERPRET": "1"}), ("triton_compiled.py", {})]
)
def test_kernels(script, settings, tmp_path):
    """Against plain loops, and that they compile."""
    settings = {**os.environ, "PYTHONPATH": str(HERE.parent), "TRITON_CACHE_DIR": str(tmp_path), **settings}
    run = [sys.executable, str(HERE / script)]
    done = subprocess.run(run, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_without_a_gpu_they_are_not_used():
    assert not cuda.usable(torch.device("cpu"))
    assert torch.version.cuda is not None or not cuda.usable(torch.device("cuda"))
