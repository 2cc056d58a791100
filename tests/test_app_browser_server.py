"""What a person sees of the server's bounds, in a real browser; and what the server holds of a person."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import psutil
import pytest
from browser_tools import SOON, browser, give, own_files  # noqa: F401  a fixture

from benchmarks.tab import served, until

pytestmark = pytest.mark.browser

MB = 10**6


@pytest.fixture(scope="module")
def server():
    with served(PAIRLIFT_SPARES="0", PAIRLIFT_UPLOAD_GB="0.1") as (process, port):
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}"


@pytest.fixture
def page(browser, server):  # noqa: F811
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(SOON)
    page = context.new_page()
    page.goto(server[1])
    yield page
    context.close()


@pytest.fixture
def large(tmp_path):
    """A file of no kind of this many MB."""

    def write(size):
        path = tmp_path / f"{size}.csv"
        path.write_bytes(b"\x00\x01" * (size * MB // 2))
        return path

    return write


def test_a_file_that_is_too_much_is_refused_in_words_and_the_next_is_taken(page, large, tmp_path):
    (tmp_path / "walk.csv").write_text("speed,slope\n1,2\n3,4\n")
    own_files(page)
    give(page, 1, large(120))
    page.get_by_text("Your uploads would have 120 MB; they may have 100 MB together.").wait_for()
    give(page, 1, tmp_path / "walk.csv")
    page.get_by_text("The sequence is read.").wait_for()
    page.get_by_text("Your uploads would have").wait_for(state="detached")


def test_the_app_lets_go_of_an_upload_that_is_on_disk(page, large, server):
    own_files(page)
    before = server[0].memory_info().rss
    give(page, 1, large(90))
    page.get_by_role("alert").first.wait_for()  # it is no sequence
    until(lambda: server[0].memory_info().rss < before + 40 * MB)


def test_the_processes_of_a_closed_tab_end(browser, server):  # noqa: F811
    def is_worker(child):
        try:
            return child.memory_info().rss > 100 * MB
        except psutil.NoSuchProcess:  # it has ended since it was listed
            return False

    def workers():
        return {child.pid for child in server[0].children(recursive=True) if is_worker(child)}

    page = browser.new_page()
    page.goto(server[1])
    page.get_by_text("adds up").first.wait_for(timeout=SOON)
    before = workers()  # that of the demos, which is everybody's
    page.goto(f"{server[1]}/steps")
    until(lambda: workers() - before)
    page.close()
    until(lambda: workers() <= before)


@pytest.fixture
def another_site(server):
    """The address of a page with the app in a frame."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<iframe src='{server[1]}'></iframe>".encode())

        def log_message(self, *_):
            """Keep silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()


def test_no_other_page_may_put_the_app_in_a_frame(browser, another_site):  # noqa: F811
    page = browser.new_page()
    failed = []
    page.on("requestfailed", lambda request: failed.append(request.failure))
    page.goto(another_site)
    until(lambda: page.evaluate("1") and failed)
    assert failed == ["net::ERR_BLOCKED_BY_RESPONSE"]
    page.close()
