"""The package that pip installs holds all that the checkout holds, and explains a model from where it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import explain_core

ROOT = Path(__file__).resolve().parents[1]
# Building needs no more of the checkout than this. It is built from a copy, since setuptools leaves a folder `build`.
SOURCES = ("pyproject.toml", "README.md", "explain_core")
EXPLAIN = """
import importlib.metadata
import numpy as np, torch
import explain_core as xc

model = torch.nn.GRU(3, 4, batch_first=True).eval()
explained = xc.explain(model, np.ones((2, 5, 3), np.float32))
assert float(explained.relative_residual.max()) < 1e-5, explained.relative_residual
torch.save(model.state_dict(), "weights.pt")
print(xc.__file__, importlib.metadata.version("pairlift"), xc.load_model("weights.pt").framework)
"""


def pip(*arguments: str | Path) -> None:
    """Runs pip without an index: what it needs is here, or it fails."""
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--no-deps", "--no-index", *arguments[1:]]
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, source / name)
    pip("wheel", "--no-build-isolation", "--wheel-dir", built, source)
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_package(wheel):
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "explain_core").rglob("*") if path.is_file()}
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert "explain_core/py.typed" in in_wheel
    assert in_wheel == {name for name in here if "__pycache__" not in name}


def test_an_installed_package_explains_a_model(wheel, tmp_path):
    installed = tmp_path / "installed"
    pip("install", "--target", installed, wheel)
    ran = subprocess.run(
        [sys.executable, "-c", EXPLAIN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found, version, framework = ran.stdout.split()
    assert Path(found).parent == installed / "explain_core"
    assert version == explain_core.__version__
    assert framework == "torch"
