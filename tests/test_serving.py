"""The server around the app: headers on every answer, words where it fails, and nothing left behind."""

import asyncio
import errno
import gc
import re
import signal
import socket
import sys
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import InvalidStatus

from benchmarks.tab import Tab, served, until
from explain_core.jobs.limits import GB, Limits
from ui import door, getting_ready, serving, uploads, visitor
from ui.door import Door
from ui.serving import HEADERS

STREAM = (
    "GET /_stcore/stream HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def port():
    with served("--", "--trust-code", PAIRLIFT_SPARES="0") as (_, port):
        yield port


def answer_to(port, method, path, headers=None):
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/layers", 200),
        ("GET", "/static/js/nothing.js", 200),
        ("GET", "/_stcore/health", 200),
        ("GET", "/_stcore/host-config", 200),
        ("GET", "/media/nothing.csv", 404),
        ("GET", "/component/nothing/index.html", 404),
        ("GET", "/..%5c..%5cwindows", 400),
        ("POST", "/_stcore/health", 405),
        ("PUT", "/_stcore/upload_file/a/b", 404),
        ("OPTIONS", "/_stcore/upload_file/a/b", 204),
    ],
)
def test_every_answer_has_the_headers(port, method, path, status):
    answer = answer_to(port, method, path)
    assert answer.status == status
    assert {name: answer.headers.get_all(name) for name in HEADERS} == {
        name: [value] for name, value in HEADERS.items()
    }


def test_files_of_the_page_have_the_headers(port):
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/")
        script = re.search(r"static/js/[\w.-]+\.js", connection.getresponse().read().decode())
    answer = answer_to(port, "GET", f"/{script[0]}")
    assert answer.headers["content-type"].startswith("application/javascript")  # or nosniff would stop it
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_arguments_after_two_dashes_reach_the_app(port):
    with Tab(port) as tab:
        assert "Code is trusted" in str(tab.run("settings"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_ends_leaves_no_files(tmp_path, how):
    with served(PAIRLIFT_SPARES="0", TMPDIR=str(tmp_path)) as (server, port), Tab(port):
        assert [*tmp_path.glob("pairlift-app-*")]
        server.send_signal(how)
        server.wait(60)
    assert not [*tmp_path.iterdir()]


def raw_answer(port, request):
    """The status line and headers of the answer to a request as it is written here."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(4096)):
            answer += part
    return answer.decode().lower()


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/_stcore/host-config", "/static/js/nothing.js"])
@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8501", "127.0.0.1.evil.example", "localhost@evil.example"]
)
def test_other_names_are_refused(port, path, name):
    answer = raw_answer(port, f"GET {path} HTTP/1.1\nHost: {name}\nConnection: close\n\n")
    assert answer.startswith("http/1.1 403")
    assert "frame-ancestors 'self'" in answer


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1\nHost: localhost",
        "HTTP/1.1\nHost: LOCALHOST:80",
        "HTTP/1.1\nHost: 127.0.0.1:8501",
        "HTTP/1.1\nHost: [::1]",
        "HTTP/1.1\nHost: [::1]:8501",
        "HTTP/1.1\nHost:",
        "HTTP/1.0",
    ],
)
def test_own_names_and_none_are_answered(port, head):
    assert " 200" in raw_answer(port, f"GET /_stcore/health {head}\nConnection: close\n\n").splitlines()[0]


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_refused_stream_has_the_headers(port, origin):
    answer = raw_answer(port, f"{STREAM}Host: 127.0.0.1:{port}\nOrigin: {origin}\n\n")
    assert answer.startswith("http/1.1 403")
    for name, value in HEADERS.items():
        assert f"{name.lower()}: {value.lower()}" in answer


def test_a_full_server_says_so_and_takes_people_when_others_leave():
    with served(PAIRLIFT_SPARES="0", PAIRLIFT_SESSIONS="2", PAIRLIFT_SESSIONS_PER_ADDRESS="2") as (_, port):
        with Tab(port, starts=False), Tab(port, starts=False):
            page = answer_to(port, "GET", "/", {"Accept": "text/html,*/*"})
            assert page.status == 503
            assert page.headers["retry-after"]
            assert answer_to(port, "GET", "/_stcore/health").status == 200
            with pytest.raises(InvalidStatus, match="503"):
                Tab(port)
        until(lambda: answer_to(port, "GET", "/", {"Accept": "text/html,*/*"}).status == 200)
        with Tab(port) as tab:
            assert tab.session


# Without a server.


def call(app, method="GET", path="/", headers=(), query=b""):
    """The status, headers and words that an app answers."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"1,2", "more_body": False}

    async def send(message):
        sent.append(message)

    headers = [*headers, (b"host", b"localhost")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": query}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads.runtime, "get_instance", NoSessions)
        with suppress(ZeroDivisionError):  # Starlette raises it again after its answer
            asyncio.run(app(scope, receive, send))
    start = sent[0]
    words = b"".join(message.get("body", b"") for message in sent[1:]).decode()
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, words


class NoSessions:
    """Streamlit without anybody there."""

    def __init__(self):
        self.file_storage = {}

    @property
    def uploaded_file_mgr(self):
        return self

    def get_app_session(self, session):
        return None


async def nobody(*_):
    """An app that does nothing, or a person who has not said anything yet."""


def test_an_address_that_is_too_long_is_answered_with_a_page_and_a_way_on():
    door = Door(nobody, lambda: Limits(GB, 0, 1, 1))
    status, headers, words = call(door, headers=[(b"accept", b"text/html")], query=b"run=" + b"x" * 20_000)
    assert (status, headers["content-type"]) == (414, "text/html; charset=utf-8")
    assert "This address is too long" in words
    assert 'href="?"' in words
    assert "xxx" not in words


def test_places_are_counted_for_all_and_for_each_address():
    door = Door(nobody, lambda: Limits(GB, 0, 1, 1, sessions=3, sessions_of_address=2))
    with door._place("a"), door._place("a"):
        assert "2 tabs are open at your address" in door._no_room("a")
        assert not door._no_room("b")
        with door._place("b"):
            assert "All 3 places" in door._no_room("c")
        assert not door._no_room("c")
    assert not door._no_room("a")
    assert not door._places


@pytest.mark.parametrize(("messages", "waits"), [(40, False), (60, True)])
def test_a_browser_that_sends_faster_than_a_person_is_taken_later(monkeypatch, messages, waits):
    waited = []

    async def rest(seconds):
        waited.append(seconds)

    async def receive():
        return {"type": "websocket.receive", "bytes": BackMsg(app_heartbeat=True).SerializeToString()}

    async def read():
        taken = door._bounded(receive, nobody)
        for _ in range(messages):
            await taken()

    monkeypatch.setattr(door, "time", SimpleNamespace(monotonic=lambda: 100.0))
    monkeypatch.setattr(door.asyncio, "sleep", rest)
    asyncio.run(read())
    assert bool(waited) == waits


def test_what_is_imported_is_left_out_of_collecting_garbage():
    before, frozen = sys.getswitchinterval(), gc.get_freeze_count()
    made = [[] for _ in range(100)]
    try:
        getting_ready._import_what_draws()
        assert gc.get_freeze_count() >= frozen + len(made)
        assert sys.getswitchinterval() < before
    finally:
        sys.setswitchinterval(before)


def asks(cookie="", accept="text/html", method="GET"):
    headers = [(b"accept", accept.encode()), (b"cookie", cookie.encode())]
    answer = visitor.cookie({"method": method, "headers": headers})
    return "" if answer is None else answer.decode()


def test_a_visitor_keeps_the_token_for_another_year_at_each_visit():
    first = asks()
    token = first.partition(";")[0]
    assert asks(f"theme=dark; {token}") == first
    assert "Max-Age=31536000; HttpOnly; SameSite=Lax" in first
    for made_up in ("pairlift_visitor=", "pairlift_visitor=short", f"{token}x", "\0=;;", f"other{token}"):
        assert asks(made_up).partition(";")[0] not in ("", token, made_up)
    assert asks(token, accept="*/*") == asks(token, method="POST") == ""


def test_a_limit_that_is_no_number_is_left_to_the_page():
    assert not Door(nobody, lambda: Limits.of_this_machine({"PAIRLIFT_SESSIONS": "many"}))._no_room("a")


def test_a_bug_of_the_server_has_the_headers_and_a_number_in_the_log(caplog):
    def fail(request):
        return 1 / 0

    parts = serving.parts()
    app = Starlette(
        routes=[Route("/", fail)], middleware=parts["middleware"], exception_handlers=parts["exception_handlers"]
    )
    status, headers, words = call(app)
    assert status == 500
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS
    assert words.split()[-1].rstrip(".") in caplog.text


def issued(session="session"):
    return f"/_stcore/upload_file/{session}/a.{uploads._mark(session, 'a')}"


def test_a_full_disk_is_a_message():
    async def full(scope, receive, send):
        raise OSError(errno.ENOSPC, "No space left on device")

    status, _, words = call(uploads.Gate(full, lambda: Limits(GB, 0, 1, 1)), "PUT", issued())
    assert status == 507
    assert "The server's disk is full" in words


def test_another_error_is_not_called_a_full_disk():
    async def broken(scope, receive, send):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        call(uploads.Gate(broken, lambda: Limits(GB, 0, 1, 1)), "PUT", issued())
