"""When a person has left: the processes and files of their session go.

Streamlit keeps the state of a closed tab for `server.disconnectedSessionTTL` seconds, in case the connection comes
back, and lets go of it some time after, when another tab opens or closes. So this looks by itself. The processes hold
by far the most, and go soon; with the files that stay, a connection that comes back pays no more than their start.
"""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass
from functools import cache

from streamlit import config, runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ui.session import Session
from ui.uploads import forget_left

_LOOK_SECONDS = 5.0
_REST_SECONDS = 15.0  # in which a connection that was lost is back
_LATER_SECONDS = 10.0  # than Streamlit, which must not give back the state of a session that is closed


@dataclass
class _Visitor:
    session: weakref.ref[Session]
    seen: float
    rests: bool = False


class Visitors:
    """The sessions of all open tabs, and of those that closed not long ago.

    Args:
        keep_seconds: how long the files of a closed tab stay.
        rest_seconds: how long its processes do.
    """

    def __init__(self, keep_seconds: float, rest_seconds: float = _REST_SECONDS) -> None:
        self._keep_seconds, self._rest_seconds = keep_seconds, rest_seconds
        self._visitors: dict[str, _Visitor] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._look_again_and_again, name="visitors", daemon=True).start()

    def add(self, visitor: str, session: Session) -> None:
        """Watch over the session of the tab with this id."""
        with self._lock:
            self._visitors[visitor] = _Visitor(weakref.ref(session), time.monotonic())

    def adopt(self, owner: str) -> Session | None:
        """The session of this visitor whose tab was closed last, if it is there still. It goes on in another tab."""
        server = runtime.get_instance()
        with self._lock:
            left = [
                (visitor.seen, tab, session)
                for tab, visitor in self._visitors.items()
                if (session := visitor.session()) is not None
                and session.runs.owner == owner
                and not session.closed
                and not server.is_active_session(tab)
            ]
            if not left:
                return None
            _, tab, session = max(left, key=lambda each: each[0])
            del self._visitors[tab]
            return session

    def close_left(self, now: float) -> None:
        """End the processes of sessions whose tab is closed, and later the sessions."""
        try:
            server = runtime.get_instance()
        except RuntimeError:  # it has just ended
            return
        forget_left()
        with self._lock:
            for tab, visitor in [*self._visitors.items()]:
                session = visitor.session()
                if session is None:
                    del self._visitors[tab]
                elif server.is_active_session(tab):
                    visitor.seen, visitor.rests = now, False
                elif now - visitor.seen > self._keep_seconds:
                    del self._visitors[tab]
                    session.close()
                    server.uploaded_file_mgr.remove_session_files(tab)
                elif now - visitor.seen > self._rest_seconds and not visitor.rests:
                    visitor.rests = True
                    session.rest()

    def _look_again_and_again(self) -> None:
        while runtime.exists():
            time.sleep(_LOOK_SECONDS)
            self.close_left(time.monotonic())


@cache
def _visitors() -> Visitors:
    """The one of this process. First runs take turns (`ui/turns.py`), so that there is one."""
    return Visitors(config.get_option("server.disconnectedSessionTTL") + _LATER_SECONDS)


def this_tab() -> str:
    """The id of the tab that is drawn; "" without a server."""
    context = get_script_run_ctx()
    return context.session_id if runtime.exists() and context is not None else ""


def left_by(owner: str | None) -> Session | None:
    """What a visitor left when another tab was closed, as a reload does too."""
    return _visitors().adopt(owner) if owner and this_tab() else None


def close_with_browser(session: Session) -> None:
    """Have the session closed when its tab has been gone for a while. Without a server it ends with its state."""
    session.tab = this_tab()
    if session.tab:
        _visitors().add(session.tab, session)
