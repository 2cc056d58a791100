"""Importing PairLift is cheap, and each framework stays where it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import explain_core

PACKAGE = Path(explain_core.__file__).parent
HEAVY = ("torch", "tensorflow", "keras", "streamlit", "shap", "captum", "plotly")
EXPLAIN_A_TORCH_MODEL = """
import numpy as np, torch
ex = explain_core.explain(torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Tanh()), np.ones((2, 3)))
assert float(ex.relative_residual.max()) < 1e-5
"""


def loaded_after(code: str) -> set[str]:
    """The top-level modules in memory after ``code`` in a fresh interpreter."""
    program = f"import json, sys\nimport explain_core\n{code}\nprint(json.dumps([*sys.modules]))"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=300
    )
    return {name.partition(".")[0] for name in json.loads(answer.stdout.splitlines()[-1])}


def test_import_brings_no_framework():
    assert not loaded_after("") & set(HEAVY)


def test_explaining_a_torch_model_brings_no_other_framework():
    assert loaded_after(EXPLAIN_A_TORCH_MODEL) & set(HEAVY) == {"torch"}


def test_an_engine_needs_its_framework_and_numpy_alone():
    program = """
import sys
sys.modules.update(dict.fromkeys(["pandas", "xarray"]))
import explain_core.backends.torch.cuda, explain_core.backends.protocol
assert "triton" not in sys.modules
try:
    explain_core.explain
except ImportError as error:
    print(error)
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "explain_core.explain needs pandas and xarray; explain_core.backends needs neither"
