"""The kernels for GPUs, on the CPU by Triton's own interpreter, in a process of its own: it is chosen at import."""

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
def test_kernels_against_plain_loops():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE.parent)}
    run = [sys.executable, str(HERE / "triton_kernels.py")]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_without_a_gpu_they_are_not_used():
    assert not cuda.usable(torch.device("cpu"))
    assert torch.version.cuda is not None or not cuda.usable(torch.device("cuda"))


def test_triton_is_imported_only_where_it_runs():
    script = (
        "import sys, explain_core, explain_core.backends.torch, explain_core.backends.torch.cuda\n"
        "assert 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=HERE.parent)
