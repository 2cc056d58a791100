"""The run that is prepared for a machine with a GPU goes through on the CPU, with NumPy and PyTorch alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ABSENT = ("pandas", "xarray", "plotly", "h5netcdf", "h5py", "safetensors", "shap", "captum", "numba", "triton")
SCRIPT = """
import sys
sys.modules.update(dict.fromkeys({absent}))
from benchmarks import gpu
raise SystemExit(bool(gpu.main(["--device", "cpu", "--quick", "--out", {out!r}])["stopped"]))
"""


def test_it_goes_through_without_a_gpu(tmp_path):
    script = SCRIPT.format(absent=ABSENT, out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu-cpu.json").read_text())
    assert found["stopped"] == {}
    for name, of in found["residuals"].items():
        assert of["residual"] < (1e-5 if "float32" in name else 1e-12)
        assert of["same twice"]
        assert of["equal members give zero"]
    assert [row["cell"] for row in found["speed"]] == ["LSTM", "LSTM", "GRU", "GRU"]
    assert "cuDNN" in done.stdout
