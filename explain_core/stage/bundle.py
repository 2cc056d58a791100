"""The stage's JavaScript and CSS, each as one text: for a page and for a file that works without a network alike.

The modules in ``assets`` are ES modules that import names of each other and nothing else. They are put into one module
in the order in which they need each other, without those imports and with the one default export. So names at their top
level must differ; one that is there twice is an error.
"""

from __future__ import annotations

import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
_IMPORT = re.compile(r'^import\s+(?:\{[^}]*\}|\w+)\s+from\s+["\']\./(?P<file>[\w.-]+)["\'];?[ \t]*\n?', re.MULTILINE)
_EXPORT = re.compile(r"^export\s+(?!default\b)(?=(?:async\s+)?(?:function|class|const|let)\b)", re.MULTILINE)
_DEFAULT = re.compile(r"^export\s+default\s+", re.MULTILINE)
_TOP = re.compile(r"^(?:async\s+)?(?:function\*?|class|const|let)\s+(\w+)", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


@cache
def bundle() -> str:
    """One ES module with everything; its default export is ``mount``."""
    return bundled(ASSETS)


def style() -> str:
    """The stage's CSS, made for a page of its own or a shadow root."""
    return (ASSETS / "stage.css").read_text(encoding="utf-8")


def bundled(folder: Path) -> str:
    """The modules of a folder as one.

    Raises:
        ValueError: one imports or exports in a way that cannot be undone, two have the same name at their top, or
            several have a default export.
    """
    sources = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js"))}
    needs = {name: {match["file"] for match in _IMPORT.finditer(text)} for name, text in sources.items()}
    parts, owners = [], dict[str, str]()
    for name in TopologicalSorter(needs).static_order():
        if name not in sources:
            raise ValueError(f"{name} is imported, and is not in {folder}")
        text = _EXPORT.sub("", _IMPORT.sub("", sources[name]))
        bare = _DEFAULT.sub("", text)
        if found := _LEFT.search(bare):
            raise ValueError(
                f"{name}: {found[0]!r}; only {{ names }} of './file.js' and declarations can be put together"
            )
        for top in _TOP.findall(bare) + ["export default"] * (bare != text):
            if top in owners:
                raise ValueError(f"{name} and {owners[top]} both have {top}")
            owners[top] = name
        parts.append(f"// {name}\n{text.strip()}\n")
    return "\n".join(parts)
