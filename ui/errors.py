"""The one place where errors become words on the page."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from explain_core.errors import ExplainError
from ui.data_options import offer

_log = logging.getLogger("pairlift.app")


@contextmanager
def boundary() -> Iterator[None]:
    """Show errors raised inside; the app goes on."""
    try:
        yield
    except Exception as error:  # the one boundary
        show(error)


def show(error: Exception) -> None:
    """An error as a box: what is wrong, where, what to do next. A bug gets an id, also found in the log."""
    if not isinstance(error, ExplainError):
        number = secrets.token_hex(4)
        _log.error("Unexpected error %s", number, exc_info=error)
        st.error(
            f"**Something went wrong that should not have.** It is in the server's log as `{number}`; "
            "please report it with that number. Nothing was lost; you can go on.",
            icon=":material/bug_report:",
        )
        return
    where = f"  \n:small[in {plain(error.where)}]" if error.where else ""
    words, code = _words_in(error.hint), code_in(error.hint)
    what, _, listed = error.what.partition("\n")  # such as the weights found in a file
    details = f"  \n:small[{plain(listed)}]" if listed else ""
    st.error(f"**{plain(what)}**{details}{where}" + (f"\n\n{plain(words)}" if words else ""), icon=":material/error:")
    if code:
        st.code(code, language="python")
    offer(error.fixes)


def plain(text: object) -> str:
    """Text as it is: Markdown would read marks in it."""
    return re.sub(r"([\\`*_{}\[\]<>()#|$~^]|:(?=\w))", r"\\\1", str(text)).replace("\n", "  \n")


def code_in(hint: str) -> str:
    """The indented lines of a hint, which are Python."""
    return "\n".join(line.strip() for line in hint.splitlines() if line.startswith("    "))


def _words_in(hint: str) -> str:
    return "\n".join(line for line in hint.splitlines() if not line.startswith("    "))
