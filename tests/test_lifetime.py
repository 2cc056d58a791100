"""What is held of a tab that was closed: its processes for seconds, its files until the connection cannot come back."""

import threading
import time
from contextlib import ExitStack
from types import SimpleNamespace

import psutil
import pytest
import streamlit
from hostile_jobs import pid, sleep
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from benchmarks.tab import SOON, until
from explain_core.demos import list_demos, load_demo
from explain_core.jobs.limits import GB, Limits
from explain_core.jobs.scheduler import Scheduler
from explain_core.jobs.tasks.opening import ModelSource
from ui import lifetime, turns
from ui.session import Session
from ui.uploads import Kept

TORCH = ModelSource(load_demo(list_demos()[0].slug).model_path, framework="torch")


@pytest.fixture(scope="module")
def scheduler():
    scheduler = Scheduler(Limits(memory=4 * GB, reserve=0, processes=3, jobs=3, seconds=600, spares=False))
    yield scheduler
    scheduler.stop()


@pytest.fixture
def session(scheduler):
    session = Session(scheduler)
    yield session
    session.close()


class Server:
    """What Streamlit knows of tabs."""

    def __init__(self):
        self.open_tabs = {"tab"}
        self.uploaded_file_mgr = MemoryUploadedFileManager("/upload")

    def is_active_session(self, tab):
        return tab in self.open_tabs

    def give(self, tab, name):
        self.uploaded_file_mgr.add_file(tab, UploadedFileRec(name, f"{name}.csv", "text/csv", b"1,2"))

    @property
    def uploads(self):
        return {tab: [*files] for tab, files in self.uploaded_file_mgr.file_storage.items()}


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(lifetime.runtime, "exists", lambda: False)  # the thread ends; the tests call it instead
    monkeypatch.setattr(lifetime.runtime, "get_instance", lambda: server)
    return server


def test_processes_rest_soon_after_a_tab_was_closed_and_files_stay(session, server):
    visitors = lifetime.Visitors(keep_seconds=100, rest_seconds=15)
    visitors.add("tab", session)
    process = session.outcome("pid", TORCH, pid).job.result(SOON)
    kept = session.keep_upload("a.csv", b"1,2")
    now = time.monotonic()
    visitors.close_left(now + 50)
    server.open_tabs.clear()
    visitors.close_left(now + 64)
    assert psutil.pid_exists(process)
    visitors.close_left(now + 66)
    until(lambda: not psutil.pid_exists(process))
    assert not session.closed
    assert kept.read_bytes() == b"1,2"
    assert session.outcome("pid", TORCH, pid).value == process  # what was found before is there
    assert session.outcome("another", TORCH, pid).job.result(SOON) != process


def test_a_connection_that_comes_back_soon_costs_nothing(session, server):
    visitors = lifetime.Visitors(keep_seconds=100, rest_seconds=15)
    visitors.add("tab", session)
    process = session.outcome("pid", TORCH, pid).job.result(SOON)
    now = time.monotonic()
    visitors.close_left(now)
    server.open_tabs.clear()
    visitors.close_left(now + 14)
    server.open_tabs.add("tab")
    visitors.close_left(now + 20)
    visitors.close_left(now + 300)
    assert session.outcome("again", TORCH, pid).job.result(SOON) == process


def test_a_tab_that_comes_back_and_goes_again_rests_again(session, server):
    visitors = lifetime.Visitors(keep_seconds=100, rest_seconds=15)
    visitors.add("tab", session)
    now = time.monotonic()
    for away in (20, 120):
        process = session.outcome(away, TORCH, pid).job.result(SOON)
        server.open_tabs.clear()
        visitors.close_left(now + away)
        until(lambda process=process: not psutil.pid_exists(process))
        server.open_tabs.add("tab")
        visitors.close_left(now + away + 50)
    assert not session.closed


def test_a_job_that_nobody_watched_starts_again_when_it_is_asked_for(session):
    outcome = session.outcome("long", TORCH, sleep, SOON)
    until(lambda: outcome.job.started)
    session.rest()
    until(lambda: outcome.job.done)
    again = session.outcome("long", TORCH, sleep, SOON)
    assert again.running
    assert not again.was_cancelled
    until(lambda: again.job.started)
    again.job.cancel()


def test_a_session_ends_some_time_after_its_tab_was_closed(session, server):
    visitors = lifetime.Visitors(keep_seconds=100)
    visitors.add("tab", session)
    now = time.monotonic()
    visitors.close_left(now + 500)
    assert not session.closed
    server.open_tabs.clear()
    visitors.close_left(now + 590)
    assert not session.closed
    visitors.close_left(now + 601)
    assert session.closed
    assert not session.folder.exists()


def test_uploads_of_closed_tabs_go_unless_they_are_on_disk(session, server):
    visitors = lifetime.Visitors(keep_seconds=100)
    visitors.add("tab", session)
    server.open_tabs.add("open")
    for tab in ("tab", "never drawn", "open"):
        server.give(tab, "a")
    server.uploaded_file_mgr.add_file("tab", Kept("b", "b.csv", "text/csv", b""))
    now = time.monotonic()
    visitors.close_left(now)
    server.open_tabs.remove("tab")
    visitors.close_left(now + 5)
    assert server.uploads == {"tab": ["b"], "never drawn": [], "open": ["a"]}
    visitors.close_left(now + 101)
    assert "tab" not in server.uploads


def test_one_watches_over_all_whatever_is_cleared(server):
    before = lifetime._visitors()
    streamlit.cache_resource.clear()
    assert lifetime._visitors() is before


# Turns.


def test_a_run_of_somebody_who_is_there_does_not_wait_for_those_who_come(monkeypatch):
    states = {}
    ended = []

    class State:
        def __contains__(self, key):
            return states[threading.current_thread()]

    def run(name):
        with turns.turn():
            ended.append(name)

    def starts(name, is_there):
        thread = threading.Thread(target=run, args=[name])
        states[thread] = is_there
        thread.start()
        return thread

    monkeypatch.setattr(turns, "st", SimpleNamespace(session_state=State()))
    states[threading.current_thread()] = False
    with turns.turn():
        comes = starts("comes", False)
        starts("there", True).join(SOON)
        assert ended == ["there"]
    comes.join(SOON)
    assert ended == ["there", "comes"]


def test_no_more_runs_than_places_are_under_way(monkeypatch):
    monkeypatch.setattr(turns, "st", SimpleNamespace(session_state={"session": None}))
    ended = []

    def run():
        with turns.turn():
            ended.append(1)

    with ExitStack() as held:
        for _ in range(turns._PLACES):
            held.enter_context(turns.turn())
        waits = threading.Thread(target=run)
        waits.start()
        waits.join(0.1)
        assert not ended
    waits.join(SOON)
    assert ended


def test_a_run_that_nobody_waits_for_any_more_leaves_the_queue(monkeypatch):
    class NobodyWaitsError(Exception):
        pass

    class State:
        looked = False

        def __contains__(self, key):
            if self.looked:
                raise NobodyWaitsError
            self.looked = True
            return False

    monkeypatch.setattr(turns, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(turns, "st", SimpleNamespace(session_state=State()))
    with turns._FIRST_RUNS, pytest.raises(NobodyWaitsError), turns.turn():
        pass
