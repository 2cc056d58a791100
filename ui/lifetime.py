"""When a person has left: the processes and files of their session go.

Streamlit keeps the state of a closed tab for `server.disconnectedSessionTTL` seconds, in case the connection comes
back, and lets go of it some time after, when another tab opens or closes. So this looks by itself.
"""

from __future__ import annotations

import threading
import time
import weakref

import streamlit as st
from streamlit import config, runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ui.session import Session

_LOOK_SECONDS = 5.0
_LATER_SECONDS = 10.0  # than Streamlit, which must not give back the state of a session that is closed


class Visitors:
    """The sessions of all open tabs, and of those that closed not long ago."""

    def __init__(self, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._last_seen: dict[str, tuple[weakref.ref[Session], float]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._look_again_and_again, name="visitors", daemon=True).start()

    def add(self, visitor: str, session: Session) -> None:
        """Watch over the session of the tab with this id."""
        with self._lock:
            self._last_seen[visitor] = weakref.ref(session), time.monotonic()

    def close_left(self, now: float) -> None:
        """Close the sessions whose tab has been closed for long enough."""
        try:
            server = runtime.get_instance()
        except RuntimeError:  # it has just ended
            return
        with self._lock:
            for visitor, (reference, seen) in [*self._last_seen.items()]:
                session = reference()
                if session is None:
                    del self._last_seen[visitor]
                elif server.is_active_session(visitor):
                    self._last_seen[visitor] = reference, now
                elif now - seen > self._keep_seconds:
                    del self._last_seen[visitor]
                    session.close()

    def _look_again_and_again(self) -> None:
        while runtime.exists():
            time.sleep(_LOOK_SECONDS)
            self.close_left(time.monotonic())


@st.cache_resource(show_spinner=False)
def _visitors() -> Visitors:
    return Visitors(config.get_option("server.disconnectedSessionTTL") + _LATER_SECONDS)


def close_with_browser(session: Session) -> None:
    """Have the session closed when its tab has been gone for a while. Without a server it ends with its state."""
    context = get_script_run_ctx()
    if runtime.exists() and context is not None:
        _visitors().add(context.session_id, session)
