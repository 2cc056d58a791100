"""Who is let in, and what they may say: by the server's own names, so many at once, messages that a page sends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from explain_core.errors import JobError
from explain_core.jobs.limits import Limits
from ui.messages import MOST_QUERY, Verdict, judge

_log = logging.getLogger("pairlift.server")
_TOO_BIG = 1009  # what WebSockets call a message that is larger than is taken
_MESSAGE_SECONDS = 0.05  # between messages of one browser, in the long run
_AT_ONCE = 50  # that may come without
_TOO_LONG = """<!doctype html><meta charset="utf-8"><title>PairLift</title>
<body style="font: 1rem/1.5 system-ui, sans-serif; margin: 3rem">
<h1 style="font-size: 1.4rem">This address is too long</h1>
<p>It has more than what names a run and a view of it, so nothing of it is used.</p>
<p><a href="?">Open PairLift without it</a></p>"""


class Door:
    """Middleware that refuses names that are not the server's, and people for whom there is no place.

    Args:
        app: what comes after it.
        limits: how many may be there; asked when somebody comes.
    """

    def __init__(self, app: ASGIApp, limits: Callable[[], Limits]) -> None:
        self._app, self._limits = app, limits
        self._places: Counter[str] = Counter()  # open WebSockets by address; each is a session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
        elif scope["type"] == "http":
            await self._app(scope, receive, send)
        else:
            with self._place(_address(scope)):
                await self._app(scope, _bounded(receive, send), send)

    @contextmanager
    def _place(self, address: str) -> Iterator[None]:
        self._places[address] += 1
        try:
            yield
        finally:
            self._places[address] -= 1
            self._places += Counter()  # which drops addresses without any

    def _refusal(self, scope: Scope) -> Response | None:
        names = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host" and value]
        if not all(map(is_host_allowed, names)):  # a browser always names one; what asks without is no browser
            _log.warning("A request for the name %.100r was refused: it is not in allowedHosts.", names[0])
            return PlainTextResponse("This server does not go by that name. See server.allowedHosts.", 403)
        if scope["type"] == "http" and not _is_page(scope):
            return None
        if len(scope.get("query_string", b"")) > MOST_QUERY:  # the page's first message would be refused for it
            return HTMLResponse(_TOO_LONG, 414)
        words = self._no_room(_address(scope))
        if not words:
            return None
        _log.warning("Somebody was refused: %s", words)
        return PlainTextResponse(words, 503, headers={"Retry-After": "60"})

    def _no_room(self, address: str) -> str:
        """Why nobody else is let in; empty where there is room."""
        try:
            limits = self._limits()
        except JobError:  # a limit that is no number, which the page says
            return ""
        if self._places.total() >= limits.sessions:
            return (
                f"All {limits.sessions} places on this server are taken. Try again in a minute. "
                "Whoever runs it can allow more with PAIRLIFT_SESSIONS."
            )
        if self._places[address] >= limits.sessions_of_address:
            return (
                f"{limits.sessions_of_address} tabs are open at your address, and more are not taken. Close one. "
                "Whoever runs this server can allow more with PAIRLIFT_SESSIONS_PER_ADDRESS."
            )
        return ""


def _address(scope: Scope) -> str:
    """Where a connection comes from; a proxy on this machine that sets X-Forwarded-For has been asked by the server."""
    return scope["client"][0] if scope.get("client") else ""


def _is_page(scope: Scope) -> bool:
    """Whether a browser goes to a page, and not for a part of one."""
    return scope["method"] == "GET" and b"text/html" in dict(scope["headers"]).get(b"accept", b"")


def _bounded(receive: Receive, send: Send) -> Receive:
    """Messages of a page, as fast as a person makes them. One that asks for too much closes the connection."""
    due = 0.0

    async def next_taken() -> Message:
        nonlocal due
        while True:
            message = await receive()
            now = time.monotonic()
            due = max(due + _MESSAGE_SECONDS, now - _AT_ONCE * _MESSAGE_SECONDS)
            if due > now:  # each may start a run of the script
                await asyncio.sleep(due - now)
            verdict = judge(message.get("bytes") or (message.get("text") or "").encode())
            if message["type"] != "websocket.receive" or verdict is Verdict.TAKEN:
                return message
            if verdict is Verdict.TOO_MUCH:
                _log.warning("A connection was closed on a message that asks for too much.")
                await send({"type": "websocket.close", "code": _TOO_BIG})
                return {"type": "websocket.disconnect", "code": _TOO_BIG}

    return next_taken
