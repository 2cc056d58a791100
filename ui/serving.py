"""The server around the app: what is added to every answer, and what happens as it starts and ends."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import cli_util, config, runtime
from streamlit.web.server import server_util

from explain_core.jobs.limits import Limits
from explain_core.jobs.scheduler import shared_scheduler
from explain_core.jobs.workspace import workspace
from ui import getting_ready, visitor
from ui.door import Door
from ui.uploads import Gate, give_out_marked_ids

_log = logging.getLogger("pairlift.server")
HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Frame:
    """Middleware that puts `HEADERS` on every answer, also on refused WebSockets, and gives visitors their cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        cookie = visitor.cookie(scope) if scope["type"] == "http" else None
        opens = scope["type"] == "websocket"  # and has not been taken or refused yet

        async def with_headers(message: Message) -> None:
            nonlocal opens
            if opens and message["type"] == "websocket.close":  # the server would answer 403 without headers
                await send({"type": "websocket.http.response.start", "status": 403, "headers": _RAW_HEADERS})
                message = {"type": "websocket.http.response.body", "body": b""}
            elif message["type"] in ("http.response.start", "websocket.http.response.start"):
                names = {name for name, _ in _RAW_HEADERS}
                own = [pair for pair in message.get("headers", ()) if pair[0].lower() not in names]
                given = [(b"set-cookie", cookie)] if cookie else []
                message = {**message, "headers": [*own, *_RAW_HEADERS, *given]}
            opens = False
            await send(message)

        await self._app(scope, receive, with_headers)


def parts() -> dict[str, Any]:
    """What `streamlit.starlette.App` is made with."""
    limits = cache(Limits.of_this_machine)
    return {
        "middleware": [Middleware(Frame), Middleware(Door, limits), Middleware(Gate, limits)],
        "exception_handlers": {Exception: _say_that_it_failed},
        "lifespan": _live,
    }


@asynccontextmanager
async def _live(_: Any) -> AsyncIterator[None]:
    getting_ready.begin()
    give_out_marked_ids(runtime.get_instance().uploaded_file_mgr)
    _open_browser()
    yield
    if shared_scheduler.cache_info().currsize:  # a signal may end the process before `atexit` comes to it
        shared_scheduler().stop()
        workspace().remove()


def _open_browser() -> None:
    """Open the page, which Streamlit does by itself only where there is no `App`."""
    by_streamlit = Path(sys.argv[0]).name == "app.py"  # and not by another server of such apps
    if by_streamlit and not config.get_option("server.headless"):
        option = "browser.serverAddress" if config.is_manually_set("browser.serverAddress") else "server.address"
        address = server_util.get_display_address(config.get_option(option) or "localhost")
        cli_util.open_browser(server_util.get_url(address))


async def _say_that_it_failed(_: Request, error: Exception) -> Response:
    """The answer to a request that the server failed at, which Starlette's own would give without our headers."""
    number = secrets.token_hex(4)
    _log.error("Unexpected error %s", number, exc_info=error)
    words = f"Something went wrong that should not have. It is in the server's log as {number}."
    return PlainTextResponse(words, 500, headers=HEADERS)
