"""What the server takes in: bounded for one person and for all, before a body is read and while it is."""

import errno
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from benchmarks.tab import HEAD, Tab, served, until
from explain_core.errors import JobError
from explain_core.jobs.limits import Limits
from explain_core.jobs.scheduler import Scheduler
from ui import uploads
from ui.messages import FILES_AT_ONCE, Verdict, judge
from ui.session import Session

MB = 10**6
NONE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def server():
    """With room for 3 MB of one person, for 5 MB of all, and for 4 files at once."""
    limits = {"PAIRLIFT_UPLOAD_GB": "0.003", "PAIRLIFT_UPLOADS_TOTAL_GB": "0.005", "PAIRLIFT_UPLOAD_FILES": "4"}
    with served(PAIRLIFT_SPARES="0", **limits) as (process, port):
        yield process, port


@pytest.fixture
def tab(server):
    with Tab(server[1]) as tab:
        yield tab


def slowly(size, block=100_000):
    for _ in range(size // block):
        yield b"x" * block


def test_a_file_that_the_page_asked_for_is_taken(tab):
    (address,) = tab.addresses("a.csv")
    assert tab.put(address, b"1,2")[0] == 204
    (another,) = tab.addresses("b.csv")
    assert tab.put(another, None, chunks=[b"1,2"])[0] == 204


def test_ids_that_nobody_gave_out_are_refused(tab, server):
    (address,) = tab.addresses("a.csv")
    place = address.rpartition("/")[0]
    for invented in (NONE, f"{NONE}.{'0' * 64}", "a.", ".", NONE + address[-65:]):
        status, words = tab.put(f"{place}/{invented}", b"1,2")
        assert status == 404
        assert "has not asked for this file" in words
    with Tab(server[1]) as other:  # an id is of one session
        assert tab.put(address.replace(tab.session, other.session), b"1,2")[0] == 404


def test_the_files_of_one_person_are_counted_together(tab):
    first, second, third = tab.addresses("a", "b", "c")
    assert tab.put(first, b"x" * 2 * MB)[0] == 204
    status, words = tab.put(second, b"x" * 2 * MB)
    assert status == 413
    assert words.startswith("Your uploads would have 4 MB; they may have 3 MB together.")
    assert tab.put(third, None, chunks=slowly(2 * MB))[0] == 413
    assert tab.ask("DELETE", first)[0] == 204
    assert tab.put(second, b"x" * 2 * MB)[0] == 204


def test_no_more_files_than_a_session_may_have_are_taken(tab):
    addresses = tab.addresses(*"abcde")
    assert [tab.put(address, b"")[0] for address in addresses] == [204] * 4 + [413]


def test_all_people_together_are_bounded(server):
    with Tab(server[1]) as one, Tab(server[1], starts=False) as another:
        another.run()
        assert one.put(*one.addresses("a"), b"x" * 2_900_000)[0] == 204
        status, words = another.put(*another.addresses("b"), b"x" * 2_900_000)
        assert status == 413
        assert "5 MB of uploads at a time from everybody" in words
    with Tab(server[1]) as tab:  # what closed tabs sent has made room
        assert tab.put(*tab.addresses("a"), b"x" * 2_900_000)[0] == 204


@contextmanager
def announced(tab, size):
    """A file that begins to come and stays where it is; the connection."""
    (address,) = tab.addresses("slow")
    with closing(HTTPConnection("127.0.0.1", tab.port, timeout=30)) as connection:
        connection.putrequest("PUT", address)
        for name, value in {**tab.headers, "Content-Length": str(size)}.items():
            connection.putheader(name, value)
        connection.endheaders(HEAD)
        yield connection


def test_an_answer_comes_before_the_body(tab):
    with announced(tab, 100 * MB) as connection:
        assert connection.getresponse().status == 413


def test_what_is_on_its_way_counts(tab):
    (other,) = tab.addresses("other")

    def is_taken():
        taken = tab.put(other, b"x" * 2 * MB)[0] == 204
        tab.ask("DELETE", other)
        return taken

    with announced(tab, 2 * MB):
        until(lambda: not is_taken())
    until(is_taken)  # its connection has ended


def test_a_refusal_stands_on_the_page(tab):
    (address,) = tab.addresses("a")
    assert tab.put(address, b"x" * 4 * MB)[0] == 413
    drawn = tab.until_drawn()  # without anybody having asked for it
    assert any("The file was not taken" in str(message) for message in drawn)
    tab.addresses("b")
    assert not any("The file was not taken" in str(message) for message in tab.run())


def test_refused_bytes_are_not_held(server, tab):
    process = psutil.Process(server[0].pid)
    before = process.memory_info().rss
    for address in tab.addresses(*"abcdef"):
        assert tab.put(address, b"x" * 150 * MB)[0] == 413
    assert process.memory_info().rss - before < 100 * MB


def many_names():
    message = BackMsg()
    message.file_urls_request.file_names.extend([""] * (FILES_AT_ONCE + 1))
    return message


def many_widgets():
    message = BackMsg()
    for number in range(1001):
        message.rerun_script.widget_states.widgets.add(id=str(number), trigger_value=True)
    return message


def long_query():
    return BackMsg(rerun_script=ClientState(query_string="&" * (2**14 + 1)))


@pytest.mark.parametrize(
    "message",
    [
        many_names().SerializeToString(),
        many_widgets().SerializeToString(),
        long_query().SerializeToString(),
        b"x" * 2**21,
    ],
    ids=["names", "widgets", "query", "bytes"],
)
def test_a_message_that_asks_for_too_much_closes_its_connection(server, message):
    with Tab(server[1]) as tab:
        tab.send(message)
        with pytest.raises(Exception, match="1009"):
            tab.until(lambda message: False)


def test_as_many_addresses_as_a_dialogue_may_ask_for_are_given(tab):
    assert len(tab.addresses(*map(str, range(FILES_AT_ONCE)))) == FILES_AT_ONCE


@pytest.mark.parametrize(
    "message",
    [
        BackMsg(clear_cache=True),
        BackMsg(load_git_info=True),
        BackMsg(set_run_on_save=True),
        BackMsg(debug_shutdown_runtime=True),
        BackMsg(backend_operation_request={"install_skills": {}}),
        BackMsg(backend_operation_request={"dismiss_skills_nudge": {}}),
    ],
    ids=lambda message: message.WhichOneof("type"),
)
def test_what_is_not_for_visitors_to_say_is_dropped(message):
    assert judge(message.SerializeToString()) is Verdict.DROPPED


@pytest.mark.parametrize(
    "message",
    [
        BackMsg(rerun_script={"query_string": "a=b", "widget_states": {"widgets": [{"id": "a", "int_value": 1}]}}),
        BackMsg(stop_script=True),
        BackMsg(app_heartbeat=True),
        BackMsg(file_urls_request={"file_names": ["a.csv"]}),
        BackMsg(backend_operation_request={"deferred_file": {"file_id": "a"}}),
        BackMsg(backend_operation_request={"dataframe_chunk": {"source_id": "a"}}),
    ],
    ids=lambda message: message.WhichOneof("type"),
)
def test_what_a_page_says_is_taken(message):
    assert judge(message.SerializeToString()) is Verdict.TAKEN


# What a run of the script does.


@pytest.fixture
def manager(monkeypatch):
    """Streamlit's store of uploads, with three of a session in it."""
    manager = MemoryUploadedFileManager("/upload")
    for name in "abc":
        manager.add_file("session", UploadedFileRec(name, f"{name}.csv", "text/csv", b"1,2"))
    context = SimpleNamespace(uploaded_file_mgr=manager, session_id="session")
    monkeypatch.setattr(uploads, "get_script_run_ctx", lambda: context)
    return manager


def held(manager):
    return {record.file_id: record.data for record in manager.get_files("session", ["a", "b", "c"])}


def test_bytes_of_files_on_disk_are_let_go_of_and_others_stay(manager):
    uploads.let_go({"a", "b"})
    assert held(manager) == {"a": b"", "b": b"", "c": b"1,2"}
    uploads.let_go({"a"})  # another file has come in place of b
    assert held(manager) == {"a": b"", "c": b"1,2"}


def test_files_on_disk_do_not_count(manager, monkeypatch):
    server = SimpleNamespace(uploaded_file_mgr=manager)
    monkeypatch.setattr(uploads.runtime, "get_instance", lambda: server)
    gate = uploads.Gate(None, lambda: Limits(10**9, 0, 1, 1, upload_files=3))
    assert gate._refusal(uploads._Flight("session", 10)) is None
    gate._flights.append(flight := uploads._Flight("session", 10))
    assert "More than 3 files" in gate._refusal(flight).words
    uploads.let_go({"a"})
    assert gate._refusal(flight) is None


def test_a_file_that_could_not_be_kept_leaves_no_part_of_itself(monkeypatch):
    scheduler = Scheduler(Limits(10**9, 0, 1, 1, spares=False))
    session = Session(scheduler)

    def fill(path, data):
        with path.open("wb") as file:
            file.write(data[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(JobError, match="could not be kept: No space left on device"):
        session.keep_upload("a.csv", b"1,2")
    assert not [path for path in session.folder.rglob("*") if path.is_file()]
    session.close()
    scheduler.stop()
