"""The Python blocks of the manuals run as they stand, in order, each manual in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = {
    path.relative_to(ROOT).as_posix(): "\n".join(blocks)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if (blocks := BLOCK.findall(path.read_text(encoding="utf-8")))
}


def test_blocks_are_found():
    assert {"README.md", "docs/torch.md", "docs/tensorflow.md", "docs/user-guide.md"} <= set(CODE)


@pytest.mark.parametrize("page", CODE)
def test_the_blocks_of_a_page_run(page):
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE[page]], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
