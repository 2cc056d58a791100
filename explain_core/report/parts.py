"""Pieces of HTML. Whatever is not ours goes through `text` or `json_script`, and nowhere else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any


def text(value: object) -> str:
    """Text for the inside of an element or of a quoted attribute."""
    return html.escape(str(value), quote=True)


def json_text(value: Any) -> str:
    """JSON that no HTML parser sees an end of script or a comment in."""
    return _harmless(json.dumps(value, ensure_ascii=True, allow_nan=False))


def json_script(id: str, encoded: str) -> str:
    """JSON text as data of a page."""
    return f'<script type="application/json" id="{text(id)}">{_harmless(encoded)}</script>'


def _harmless(encoded: str) -> str:
    return encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def script_hash(code: str) -> str:
    """How a policy names the one script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode('ascii')}'"


def image(svg: bytes, alt: str, name: str = "") -> str:
    """A picture within the file; nothing in it can run."""
    data = base64.b64encode(svg).decode("ascii")
    return f'<img class="{text(name)}" alt="{text(alt)}" src="data:image/svg+xml;base64,{data}">'


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows."""
    head = "".join(f'<th scope="col">{text(each)}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row">{text(first)}</th>{"".join(f"<td>{text(each)}</td>" for each in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}">'
        f"<table><caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they are."""
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in pairs if value)}</dl>"
