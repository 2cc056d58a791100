"""How a person wants an uploaded file read: kept for each file while the session lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from explain_core.errors import Fix
from explain_core.sequences import Options

_STATE, _VERSION = "data options", "data version"


def options(path: Path) -> Options:
    """What was chosen for a file; the defaults for a new one."""
    return st.session_state.setdefault(_STATE, {}).get(path, Options())


def current() -> Path | None:
    """The file of sequences that is in use."""
    return st.session_state.get("path data")


def take(changes: dict[str, Any], path: Path | None) -> None:
    """Change what is chosen for a file; not when another one has taken its place meanwhile.

    Widgets that fall away with a file report a change of their own while the next file comes in.
    """
    if path is not None and path == current():
        st.session_state[_STATE] = {**st.session_state.get(_STATE, {}), path: options(path).changed(changes)}
        _renew()


def reset() -> None:
    """Forget what was chosen for the file in use."""
    st.session_state.get(_STATE, {}).pop(current(), None)
    _renew()


def widget_key(name: str) -> str:
    """A key for a widget that shows an option: another one for each file and after each change, to show what holds."""
    path = current()
    return f"{name} {path.parent.name if path else ''} {st.session_state.get(_VERSION, 0)}"


def _renew() -> None:
    st.session_state[_VERSION] = st.session_state.get(_VERSION, 0) + 1


def offer(fixes: tuple[Fix, ...]) -> None:
    """A button for each way to go on; the first is the likeliest."""
    if not fixes or current() is None:
        return
    with st.container(horizontal=True):
        for i, fix in enumerate(fixes):
            st.button(
                fix.label.replace("[", "(").replace("]", ")"),
                key=f"fix {fix.label}",
                type="primary" if i == 0 else "secondary",
                on_click=take,
                args=(fix.changes, current()),
            )
