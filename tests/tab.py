"""A server started as `make app` does, and a tab of it without a browser: what a page sends, and nothing drawn."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

ROOT = Path(__file__).parents[1]
SOON = 90  # seconds in which everything here surely happens
_BOUNDARY = "a-line-between-parts"
HEAD = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode()


@contextmanager
def served(*arguments, **environment):
    """The process of a server and its port; variables of the environment are given by name."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.headless=true", f"--server.port={port}", *arguments]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        yield server, port
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(url):
    deadline = time.monotonic() + SOON
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)


def until(condition):
    deadline = time.monotonic() + SOON
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


class Tab:
    """An open tab.

    Args:
        port: the server's.
        starts: whether it asks for the page; a connection alone is a session too.
    """

    def __init__(self, port, starts=True):
        self.port = port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
            token = answer.headers["set-cookie"].split(";")[0].partition("=")[2]
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
            "X-Xsrftoken": token,
            "Cookie": f"_streamlit_xsrf={token}",
        }
        self._open = ExitStack()
        stream = connect(
            f"ws://127.0.0.1:{port}/_stcore/stream",
            subprotocols=["streamlit", token],
            additional_headers={"Cookie": self.headers["Cookie"]},
            max_size=None,
            max_queue=None,
            ping_interval=None,
        )
        self._socket = self._open.enter_context(stream)
        self.session = None
        if starts:
            self.run()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the tab."""
        self._open.close()

    def send(self, message):
        """Send bytes to the app."""
        self._socket.send(message)

    def next(self, timeout=SOON):
        """The next message of the app."""
        message = ForwardMsg.FromString(self._socket.recv(timeout))
        if message.WhichOneof("type") == "new_session":
            self.session = message.new_session.initialize.session_id
        return message

    def until(self, wanted):
        """The first message that ``wanted`` says yes to; those before are dropped."""
        deadline = time.monotonic() + SOON
        while True:
            message = self.next(max(deadline - time.monotonic(), 0.01))
            if wanted(message):
                return message

    def run(self, page=""):
        """Ask for a page, and wait until it is drawn; all that it drew."""
        request = BackMsg()
        request.rerun_script.page_name = page
        request.rerun_script.SetInParent()
        self.send(request.SerializeToString())
        return self.until_drawn()

    def until_drawn(self):
        """Wait for the end of the run under way; all that it drew."""
        drawn = []

        def ends(message):
            drawn.append(message)
            return message.WhichOneof("type") == "script_finished"

        self.until(ends)
        return drawn

    def addresses(self, *names):
        """Ask where to send files to, as a file uploader does."""
        request = BackMsg()
        request.file_urls_request.request_id = "1"
        request.file_urls_request.file_names.extend(names)
        self.send(request.SerializeToString())
        answer = self.until(lambda message: message.WhichOneof("type") == "file_urls_response")
        return [file.upload_url for file in answer.file_urls_response.file_urls]

    def put(self, address, data, *, chunks=None):
        """Send a file; the answer's status and words.

        Args:
            chunks: pieces that are sent without their length being told before, instead of ``data``.
        """
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
        body = [HEAD, *chunks, tail] if chunks is not None else HEAD + data + tail
        return self.ask("PUT", address, body, encode_chunked=chunks is not None)

    def ask(self, method, address, body=None, **options):
        """A request of this tab; the answer's status and words."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=SOON)) as connection:
            connection.request(method, address, body, self.headers, **options)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
