"""How a person wants an uploaded file read: kept for each file while the session lasts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from explain_core.errors import Fix
from explain_core.sequences import Options


class Choices:
    """What was chosen for each file.

    A plain object, for callbacks to change: where one touches Streamlit's own state while the browser asks for
    another run, Streamlit ends it there, and a click would be lost.

    Attributes:
        version: another one after each change.
        faulty: the file that the error on the page is of, where it is not that of the sequence.
    """

    def __init__(self) -> None:
        self._of: dict[Path, Options] = {}
        self.version = 0
        self.faulty: Path | None = None

    def of(self, path: Path) -> Options:
        """What was chosen for a file; the defaults for a new one."""
        return self._of.get(path, Options())

    def change(self, path: Path, changes: dict[str, Any]) -> None:
        """Choose something else for a file."""
        self._of[path] = self.of(path).changed(changes)
        self.version += 1

    def forget(self, path: Path) -> None:
        """Read a file as it shows itself."""
        self._of.pop(path, None)
        self.version += 1


def choices() -> Choices:
    """Those of this session."""
    return st.session_state.setdefault("data options", Choices())


def widget_key(name: str, path: Path) -> str:
    """A key for a widget that shows an option: another one for each file and after each change, to show what holds."""
    return f"{name} {path.parent.name} {choices().version}"


def choose(path: Path, changes: dict[str, Any]) -> None:
    """Take what a widget says, and draw anew all that hangs on it."""
    choices().change(path, changes)
    st.rerun()


def offer(fixes: tuple[Fix, ...]) -> None:
    """A button for each way to go on with the file that does not fit; the first is the likeliest."""
    session = st.session_state.get("session")
    path = choices().faulty or (session.held("data") if session is not None else None)
    if not fixes or path is None:
        return
    with st.container(horizontal=True):
        for i, fix in enumerate(fixes):
            st.button(
                fix.label.replace("[", "(").replace("]", ")"),
                key=f"fix {fix.label}",
                type="primary" if i == 0 else "secondary",
                on_click=choices().change,
                args=(path, fix.changes),
            )
