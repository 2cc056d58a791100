"""Uploads on their way in: how many bytes the server takes, from one person and from all.

Streamlit holds an upload in the memory of the app's process, under any id that a browser makes up, for as long as the
session lives. Here only ids are let in that Streamlit has given out, what is on its way and what waits in memory is
counted, and what the session has written to its folder is let go of.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFileRec, UploadFileUrlInfo

from explain_core.jobs.limits import Limits, in_gb

_log = logging.getLogger("pairlift.uploads")
_KEY = secrets.token_bytes(32)  # of this server; ids of an earlier one are refused
_PLACE = "/_stcore/upload_file/"
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# A refused body is read and dropped, so that the browser gets to read the answer: so much, so long, so many at once.
_DRAINED = 2**28
_DRAIN_SECONDS = 30.0
_DRAINS = 2
_OWN_HINT = "Give a smaller file, or run PairLift yourself with a larger PAIRLIFT_UPLOAD_GB."

_refusals: dict[str, str] = {}  # the last words for each session, until it sends something else


class Kept(UploadedFileRec):
    """An upload that lies in its session's folder, so that its bytes need no memory any more."""


@dataclass(frozen=True)
class Refusal:
    """Why an upload is not taken: an HTTP status and words for people."""

    status: int
    words: str


class _RefusedOnTheWay(Exception):  # noqa: N818 - how reading ends where it has been too much
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.words)
        self.refusal = refusal


@dataclass(eq=False)
class _Flight:
    """One body that is being read."""

    session: str
    announced: int
    received: int = 0

    @property
    def size(self) -> int:
        return max(self.announced, self.received)


class Gate:
    """Middleware that lets uploads in, or answers 413 before it reads them, or while it does where no length was given.

    Args:
        app: what comes after it.
        limits: how much may be there; asked when an upload comes.
    """

    def __init__(self, app: ASGIApp, limits: Callable[[], Limits]) -> None:
        self._app, self._limits = app, limits
        self._flights: list[_Flight] = []
        self._drains = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_upload = scope["type"] == "http" and scope["method"] == "PUT" and _PLACE in scope["path"]
        refusal = await self._let_in(scope, receive, send) if is_upload else await self._app(scope, receive, send)
        if refusal is not None:
            _log.warning("An upload was refused: %s", refusal.words)
            session, _ = _asked_for(scope)
            tell(session, refusal.words)
            await self._answer(refusal, scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> Refusal | None:
        session, file_id = _asked_for(scope)
        if not is_issued(session, file_id):
            return Refusal(404, "The app has not asked for this file. Reload the page and choose it again.")
        flight = _Flight(session, _length(scope))
        answered = False

        async def count() -> Message:
            message = await receive()
            flight.received += len(message.get("body", b""))
            if (refusal := self._refusal(flight)) is not None:
                raise _RefusedOnTheWay(refusal)
            return message

        async def watch(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        self._flights.append(flight)
        try:
            if (refusal := self._refusal(flight)) is not None:
                return refusal
            await self._app(scope, count, watch)
        except _RefusedOnTheWay as error:
            return error.refusal
        except OSError as error:  # Streamlit writes what it reads to a temporary file first
            if answered or error.errno not in _FULL_DISK:
                raise
            return Refusal(507, "The server's disk is full. Whoever runs it can make room where TMPDIR points to.")
        finally:
            self._flights.remove(flight)
        return None

    def _refusal(self, flight: _Flight) -> Refusal | None:
        """What speaks against a body that is announced or being read. The total counts what has come, not what others
        announce, so that nobody can take the room of all by announcing."""
        limits, held = self._limits(), runtime.get_instance().uploaded_file_mgr.file_storage
        own = [*held.get(flight.session, {}).values()]
        flying = [other for other in self._flights if other.session == flight.session]
        files = sum(not isinstance(record, Kept) for record in own) + len(flying)
        if files > limits.upload_files:
            return Refusal(413, f"More than {limits.upload_files} files at once are not taken. {_OWN_HINT}")
        size = _size(own) + sum(other.size for other in flying)
        if size > limits.upload_bytes:
            most = in_gb(limits.upload_bytes)
            return Refusal(413, f"Your uploads would have {in_gb(size)}; they may have {most} together. {_OWN_HINT}")
        flying_size = sum(other.received for other in self._flights if other is not flight) + flight.size
        room = limits.uploads_in_memory - flying_size
        if _held() > room:
            forget_left()
        if _held() > room:
            return Refusal(
                413,
                f"The server takes {in_gb(limits.uploads_in_memory)} of uploads at a time from everybody together. "
                "Try again in a minute, or give a smaller file.",
            )
        return None

    async def _answer(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once, and read on for a while where a browser asks: a connection that is closed on one that still
        sends is an error without words there."""
        words = refusal.words.encode()
        headers = {
            "content-type": "text/plain; charset=utf-8",
            "content-length": str(len(words)),
            "connection": "close",
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await send({"type": "http.response.body", "body": words, "more_body": True})
        waits_for_an_answer = b"expect" in dict(scope["headers"])
        if refusal.status != 404 and not waits_for_an_answer and self._drains < _DRAINS:
            self._drains += 1
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(_drain(receive), _DRAIN_SECONDS)
            finally:
                self._drains -= 1
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _held() -> int:
    held = runtime.get_instance().uploaded_file_mgr.file_storage
    return sum(_size([*records.values()]) for records in [*held.values()])


def _size(records: Collection[UploadedFileRec]) -> int:
    return sum(len(record.data) for record in records)


def _length(scope: Scope) -> int:
    """What Content-Length says; 0 where it says nothing."""
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text) if text.isdigit() else 0


def _asked_for(scope: Scope) -> tuple[str, str]:
    """The session and the id of the file that an upload's address names."""
    session, _, file_id = scope["path"].partition(_PLACE)[2].partition("/")
    return session, file_id


async def _drain(receive: Receive) -> None:
    dropped, more = 0, True
    while more and dropped < _DRAINED:
        message = await receive()
        dropped += len(message.get("body", b""))
        more = message.get("more_body", False)


# Ids.


def give_out_marked_ids(manager: MemoryUploadedFileManager) -> None:
    """Have Streamlit give out ids for uploads that `is_issued` knows again, so that none need to be remembered."""
    give_out = manager.get_upload_urls

    def marked(session: str, file_names: Any) -> list[UploadFileUrlInfo]:
        _refusals.pop(session, None)
        return [_marked(session, info) for info in give_out(session, file_names)]

    manager.get_upload_urls = marked


def is_issued(session: str, file_id: str) -> bool:
    """Whether this server gave the id to this session."""
    plain, _, mark = file_id.rpartition(".")
    return hmac.compare_digest(mark.encode(), _mark(session, plain).encode())


def _marked(session: str, info: UploadFileUrlInfo) -> UploadFileUrlInfo:
    ending = f".{_mark(session, info.file_id)}"
    return UploadFileUrlInfo(info.file_id + ending, info.upload_url + ending, info.delete_url + ending)


def _mark(session: str, file_id: str) -> str:
    return hmac.digest(_KEY, f"{session}/{file_id}".encode(), "sha256").hex()


# What the rest of the app calls.


def forget_left() -> None:
    """Let go of what tabs sent that were closed before it was on disk. One that comes back has to give it again."""
    server = runtime.get_instance()
    manager = server.uploaded_file_mgr
    for session, records in [*manager.file_storage.items()]:
        if not server.is_active_session(session):
            for record in [*records.values()]:
                if not isinstance(record, Kept):
                    manager.remove_file(session, record.file_id)


def let_go(kept: Collection[str]) -> None:
    """Let go of the bytes of uploads that are on disk.

    Args:
        kept: the ids of the files that the session has written to its folder and still uses.
    """
    context = get_script_run_ctx()
    if context is None:
        return
    manager, session = context.uploaded_file_mgr, context.session_id
    for record in [*manager.file_storage.get(session, {}).values()]:
        if isinstance(record, Kept):
            if record.file_id not in kept:
                manager.remove_file(session, record.file_id)
        elif record.file_id in kept:
            manager.add_file(session, Kept(record.file_id, record.name, record.type, b""))


def refusal() -> str:
    """Why the last upload of this session was refused; empty where it was not."""
    context = get_script_run_ctx()
    return "" if context is None else _refusals.get(context.session_id, "")


def tell(session: str, words: str) -> None:
    """Have the page of a session say why its upload was refused. To be called by the server's own thread."""
    server = runtime.get_instance()
    for other in [*_refusals]:
        if not server.is_active_session(other):
            del _refusals[other]
    tab = server.get_app_session(session)
    if tab is not None:
        _refusals[session] = words
        tab.request_rerun(tab._client_state)  # as Streamlit does where a source file has changed
