"""Sessions of several people at once: own models, own results, own files, and none of them in the others' way."""

import gc
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import xarray as xr
from hostile_jobs import BLOCK, hoard, models_here, pid, sleep, spin_until
from streamlit.testing.v1 import AppTest
from torch import nn

import explain_core as xc
from explain_core.demos import list_demos, load_demo
from explain_core.errors import InputError, JobError
from explain_core.jobs.limits import GB, Limits
from explain_core.jobs.scheduler import Scheduler
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import ModelSource, open_model
from explain_core.jobs.tasks.steps import Process
from ui.outcomes import ReadyJob
from ui.session import Session
from ui.subjects import request_key

SOON = 600  # seconds in which all of these jobs surely end, on a busy machine too
LIMITS = Limits(memory=4 * GB, reserve=0, processes=3, jobs=3, seconds=SOON, spares=False)
PEOPLE = 8
ROOT = Path(__file__).parents[1]
# For jobs that go where a torch model would.
TORCH = ModelSource(load_demo(list_demos()[0].slug).model_path, framework="torch")


class Regressor(nn.Module):
    def __init__(self, features, hidden):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


@pytest.fixture(scope="module")
def scheduler():
    scheduler = Scheduler(LIMITS)
    yield scheduler
    scheduler.stop()


@pytest.fixture
def signal_file(tmp_path, monkeypatch):
    """A file that jobs wait for: what is imported from is what workers can read, beside the files of their jobs."""
    (tmp_path / "meeting").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "meeting")
    return tmp_path / "meeting" / "go"


@pytest.fixture
def session(scheduler):
    session = Session(scheduler)
    yield session
    session.close()


def limited(scheduler, **limits):
    """A session with other limits on its files, on the same processes."""
    session = Session(scheduler)
    session.limits = replace(scheduler.limits, **limits)
    return session


def model_of(person):
    torch.manual_seed(person)
    return Regressor(2 + person % 3, 4 + person % 5)


def upload_model(session, person, folder):
    """Everybody's file has the same name."""
    torch.save(model_of(person).state_dict(), folder / "model.pth")
    path = session.keep_upload("model.pth", (folder / "model.pth").read_bytes(), "model")
    return ModelSource(path, framework="torch")


def sequence_of(person):
    values = np.random.default_rng(person).normal(size=(1, 4 + person % 4, 2 + person % 3)).astype(np.float32)
    return xr.DataArray(values, dims=("sample", "time", "feature"))


def ask(session, person, folder):
    request = Request(upload_model(session, person, folder), sequence_of(person), "zeros", None)
    return request_key(request), request


def wait(*asked):
    """Until all outcomes are there; each is a call that looks at one."""
    deadline = time.monotonic() + SOON
    while True:
        outcomes = [look() for look in asked]  # all are looked at, since the first look hands a job in
        if not any(outcome.running for outcome in outcomes):
            return outcomes
        assert time.monotonic() < deadline
        time.sleep(0.02)


def until(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_many_people_at_once_each_get_their_own_result(scheduler, tmp_path):
    sessions = [Session(scheduler) for _ in range(PEOPLE)]
    asked = [ask(session, person, tmp_path) for person, session in enumerate(sessions)]
    outcomes = wait(
        *(
            lambda session=session, key=key, request=request: session.explanation(key, request)
            for session, (key, request) in zip(sessions, asked, strict=True)
        )
    )
    assert scheduler.processes <= LIMITS.processes
    for person, (session, (key, _), outcome) in enumerate(zip(sessions, asked, outcomes, strict=True)):
        assert outcome.error is None, outcome.error
        own = xc.explain(model_of(person), sequence_of(person), "zeros")
        found = session.load(key)
        np.testing.assert_allclose(found.attributions, own.attributions, rtol=1e-5, atol=1e-7)
        # A worker may be without compiled kernels yet, and those round otherwise.
        np.testing.assert_allclose(found.prediction.item(), own.prediction.item(), rtol=1e-6, atol=1e-7)
        assert found.adds_up(0, found.outputs[0])
        assert not any(other.knows(key) for other in sessions if other is not session)
        session.close()
        assert not session.folder.exists()


def test_nothing_of_one_person_is_in_the_process_or_reach_of_another(scheduler, tmp_path):
    one, other = Session(scheduler), Session(scheduler)
    source = upload_model(one, 1, tmp_path)
    wait(lambda: one.outcome("open", source, open_model, source))
    (here,) = wait(lambda: one.outcome("models", TORCH, models_here))
    (there,) = wait(lambda: other.outcome("models", TORCH, models_here))
    assert (here.value, there.value) == (1, 0)
    pids = wait(lambda: one.outcome("pid", TORCH, pid), lambda: other.outcome("pid", TORCH, pid))
    assert pids[0].value != pids[1].value
    assert re.fullmatch(r"session-[0-9a-f]{32}", one.folder.name)
    assert one.folder.stat().st_mode & 0o077 == 0
    assert one.folder.parent.stat().st_mode & 0o077 == 0
    one.close()
    other.close()


def test_kill_9_in_the_middle_of_a_job_is_an_error_and_trying_again_works(signal_file, session):
    (first,) = wait(lambda: session.outcome("pid", TORCH, pid))
    busy = session.outcome("busy", TORCH, spin_until, signal_file)
    until(lambda: busy.job.progress.message == "Spinning")
    os.kill(first.value, signal.SIGKILL)
    wait(lambda: session.outcome("busy", TORCH, spin_until, signal_file))
    assert isinstance(busy.error, JobError)
    assert busy.may_go_better
    assert not busy.was_cancelled
    signal_file.touch()
    busy.restart()
    (again,) = wait(lambda: session.outcome("busy", TORCH, spin_until, signal_file))
    assert again.value != first.value
    until(lambda: not psutil.pid_exists(first.value))


def test_a_model_is_opened_again_unasked_after_its_process_died(session, tmp_path):
    key, request = ask(session, 3, tmp_path)
    wait(lambda: session.outcome("open", request.model, open_model, request.model))
    os.kill(wait(lambda: session.outcome("pid", TORCH, pid))[0].value, signal.SIGKILL)
    (outcome,) = wait(lambda: session.explanation(key, request))
    assert outcome.error is None


def test_a_hoard_of_one_person_leaves_the_others_alone(tmp_path):
    scheduler = Scheduler(replace(LIMITS, memory=GB))
    greedy, modest = Session(scheduler), Session(scheduler)
    (before,) = wait(lambda: modest.outcome("pid", TORCH, pid))
    hoarding, working = wait(
        lambda: greedy.outcome("hoard", TORCH, hoard),
        lambda: modest.outcome("sleep", TORCH, sleep, 0.5),
    )
    assert "of memory that one job may use" in hoarding.error.what
    assert int(hoarding.job.progress.message) * BLOCK < 2 * GB
    assert working.value == before.value
    scheduler.stop()


def test_only_a_newer_explanation_stops_an_older_one(signal_file, session, tmp_path):
    other_kind = session.outcome("another kind", TORCH, spin_until, signal_file)
    first_key, first = ask(session, 4, tmp_path)
    second_key, second = ask(session, 5, tmp_path)
    older = session.explanation(first_key, first)
    newer = session.explanation(second_key, second)
    later = session.outcome("a third kind", TORCH, pid)
    until(lambda: newer.job.progress.message == "Spinning")  # what it waits for
    assert older.job.cancelled
    assert not session.knows(first_key)
    assert not other_kind.job.done
    signal_file.touch()
    outcomes = wait(
        lambda: session.explanation(second_key, second), lambda: session.outcome("a third kind", TORCH, pid)
    )
    assert all(outcome.error is None for outcome in outcomes)
    assert later.value == other_kind.job.result()


def test_lengths_and_times_are_in_the_result(session, tmp_path):
    key, request = ask(session, 0, tmp_path)
    series = sequence_of(0).assign_coords(time=["a", "b", "c", "d"], length=("sample", [3]))
    request = replace(request, inputs=series)
    (outcome,) = wait(lambda: session.explanation(key, request))
    assert outcome.error is None, outcome.error
    found = session.load(key)
    for array in (found.attributions, found.inputs, found.baselines):
        assert array["length"].values.tolist() == [3]
        assert array["time"].values.tolist() == ["a", "b", "c", "d"]
    assert all(gates["length"].values.tolist() == [3] for gates in found.gates.values())


def test_the_page_answers_while_a_job_is_busy(signal_file, monkeypatch):
    """No time is measured: the job ends only after the page has answered."""
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(ROOT / "app.py", default_timeout=SOON).run()
    session = app.session_state["session"]
    busy = session.outcome("busy", TORCH, spin_until, signal_file)
    until(lambda: busy.job.progress.message == "Spinning")
    app.switch_page("pages/how.py").run()
    assert app.title
    assert not app.exception
    assert not busy.job.done
    signal_file.touch()
    assert busy.job.result(SOON)
    session.close()


# Files.


def test_the_oldest_upload_makes_room_with_a_notice_and_what_is_in_use_stays(scheduler):
    session = limited(scheduler, upload_files=3)
    model = session.keep_upload("model.pth", b"weights", "model")
    first = session.keep_upload("one.csv", b"1", "data")
    second = session.keep_upload("two.csv", b"2", "data")
    assert not session.notices
    third = session.keep_upload("three.csv", b"3", "data")
    assert [path.exists() for path in (model, first, second, third)] == [True, False, True, True]
    assert "one.csv was removed to make room: a session keeps 3 files" in session.notices[0]
    session.free_slot("model")
    session.keep_upload("four.csv", b"4", "data")
    assert not model.exists()
    session.close()


def test_uploads_are_bounded_in_bytes(scheduler):
    session = limited(scheduler, upload_bytes=1000)
    first = session.keep_upload("a.csv", bytes(600), "data")
    session.keep_upload("b.csv", bytes(700), "data")
    assert not first.exists()
    with pytest.raises(InputError, match="uploads may have 0 MB together"):
        session.keep_upload("c.csv", bytes(1001), "data")
    session.close()


@pytest.mark.parametrize(
    "name", ["../../x", "..", "", "/etc/passwd", "a\0b", "C:\\x\\..", "é" * 300, "a/b\nc", "con.", "|"]
)
def test_whatever_an_upload_is_called_it_stays_in_the_session_folder(session, name):
    path = session.keep_upload(name, b"data")
    assert path.read_bytes() == b"data"
    assert path.resolve().is_relative_to(session.folder.resolve())


def test_the_oldest_results_make_room_and_come_again_when_asked(scheduler, tmp_path):
    session = limited(scheduler, result_bytes=1)
    asked = [ask(session, person, tmp_path) for person in (0, 3)]
    for key, request in asked:
        (outcome,) = wait(lambda key=key, request=request: session.explanation(key, request))
        assert outcome.error is None
    assert not (session.folder / "results" / asked[0][0]).exists()
    (outcome,) = wait(lambda: session.explanation(*asked[0]))
    assert outcome.error is None
    assert session.load(asked[0][0]).outputs
    session.close()


def test_a_session_that_nobody_holds_ends(scheduler):
    session = Session(scheduler)
    process, folder = session.outcome("pid", TORCH, pid).job.result(SOON), session.folder
    del session
    gc.collect()
    until(lambda: not psutil.pid_exists(process))
    assert not folder.exists()


def test_a_page_whose_session_has_ended_starts_a_new_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(ROOT / "app.py", default_timeout=SOON).run()
    before = app.session_state["session"]
    before.close()
    app.run()
    assert not app.exception
    assert not app.session_state["session"].closed
    app.session_state["session"].close()


def test_a_job_without_a_model_runs_in_a_session_that_shares_the_demos(monkeypatch):
    """As on the page of both frameworks."""

    class Own:
        def run(self, task, *args):
            return ReadyJob(task(*args))

    session = Session()
    monkeypatch.setattr(session, "_worker_of", {"tensorflow": Own()}.get)
    assert session.outcome("which", Process("tensorflow"), str.upper, "run").value == "RUN"
    session.close()
