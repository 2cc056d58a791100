"""How both benchmarks print: a table for people or for Markdown, and what was installed."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def table(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Rows of text under a header, the first column to the left and the others to the right."""
    if markdown:
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    widths = [max(len(cells[i]) for cells in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, widths, strict=True))
        return "  ".join([first, *others])

    sides = ["<", *">" * (len(header) - 1)]
    return "\n".join(line(cells) for cells in (header, *rows))


def installed() -> dict[str, Any]:
    """What a figure depends on: versions, threads and device name, but nothing that names a machine."""
    packages = {name: version(name) for name in ("torch", "shap", "captum", "numpy")}
    return {**packages, "python": platform.python_version(), "threads": torch.get_num_threads()}


def installed_in_words() -> str:
    """`installed` as one line."""
    about = installed()
    threads = about.pop("threads")
    return f"{', '.join(f'{name} {number}' for name, number in about.items())}; {threads} CPU threads"


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write ``content`` with `installed`, where a path was given."""
    if path is not None:
        path.write_text(json.dumps({"installed": installed(), **content}, indent=2) + "\n", encoding="utf-8")
