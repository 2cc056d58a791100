"""Jobs for real: another process is started, killed, hung, cancelled, and the next job works."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_jobs import Unreadable, Unsendable, count_openings, let_late_reports_go, openings, report_late

from explain_core.demos import list_demos, load_demo
from explain_core.errors import InputError, JobError, ModelFileError
from explain_core.jobs.tasks.opening import ModelSource, open_model
from explain_core.jobs.worker import Progress, UnexpectedFailure, Worker

SOON = 60  # seconds in which a job of these tests surely ends


@pytest.fixture(scope="module")
def worker():
    worker = Worker(time_limit=SOON)
    yield worker
    worker.close()


# Jobs. They are functions of this module, so that the other process can import them.


def pid(report):
    return os.getpid()


def count_steps(report, steps):
    for step in range(steps):
        report(step / steps, f"Step {step + 1}")
    return steps


def hang(report):
    report(0.5, "Hanging")
    while True:
        pass


def crash(report):
    os.abort()


def raise_typed(report):
    raise InputError("Too short.", where="x", hint="Longer.")


def raise_bug(report):
    raise ZeroDivisionError("one over nothing")


def wait_for_message(job, message):
    deadline = time.monotonic() + SOON
    while job.progress.message != message:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_end(process):
    deadline = time.monotonic() + SOON
    while is_running(process):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_runs_elsewhere_and_the_process_stays_warm(worker):
    first = worker.run(pid).result(SOON)
    assert first != os.getpid()
    assert worker.run(pid).result(SOON) == first


def test_progress(worker):
    job = worker.run(count_steps, 3)
    assert job.result(SOON) == 3
    assert job.done
    assert job.progress == Progress(2 / 3, "Step 3")


def test_typed_errors_come_back_as_they_are(worker):
    with pytest.raises(InputError) as caught:
        worker.run(raise_typed).result(SOON)
    assert (caught.value.what, caught.value.where, caught.value.hint) == ("Too short.", "x", "Longer.")


def test_a_bug_comes_back_with_its_traceback(worker):
    with pytest.raises(UnexpectedFailure, match="ZeroDivisionError: one over nothing"):
        worker.run(raise_bug).result(SOON)


def test_reports_of_a_job_that_has_ended_are_left_out(worker):
    process = worker.run(report_late).result(SOON)
    assert worker.run(let_late_reports_go).result(SOON) == process
    assert worker.run(pid).result(SOON) == process


def test_an_argument_that_cannot_be_read_is_a_bug_and_the_worker_goes_on(worker):
    process = worker.run(pid).result(SOON)
    with pytest.raises(UnexpectedFailure, match="invalid literal for int"):
        worker.run(count_steps, Unreadable()).result(SOON)
    for odd in (lambda: 1, Unsendable()):
        with pytest.raises(UnexpectedFailure, match="cannot be sent to a worker"):
            worker.run(count_steps, odd).result(SOON)
    assert worker.run(pid).result(SOON) == process


def test_a_job_may_stand_in_the_script_that_runs(tmp_path):
    (tmp_path / "script.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from explain_core.jobs.worker import Worker\n"
        "def job(report): return __name__\n"
        "if __name__ == '__main__': print(Worker().run(job).result(60))\n"
    )
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "script\n", done.stderr


def test_cancel_is_at_once_and_the_next_job_works(worker):
    before = worker.run(pid).result(SOON)
    job = worker.run(hang)
    wait_for_message(job, "Hanging")
    job.cancel()
    with pytest.raises(JobError, match="cancelled"):
        job.result(timeout=0)
    assert worker.run(pid).result(SOON) != before
    wait_for_end(before)


def test_a_hang_ends_at_the_time_limit_and_the_next_job_works(worker):
    worker.run(pid).result(SOON)
    worker.time_limit = 1.0
    try:
        with pytest.raises(JobError, match="longer than 1 seconds"):
            worker.run(hang).result(SOON)
    finally:
        worker.time_limit = SOON
    assert worker.run(count_steps, 1).result(SOON) == 1


def test_kill_9_is_a_typed_error_and_the_next_job_works(worker):
    process = worker.run(pid).result(SOON)
    job = worker.run(hang)
    wait_for_message(job, "Hanging")
    os.kill(process, signal.SIGKILL)
    with pytest.raises(JobError, match="killed, most likely because the machine ran out of memory"):
        job.result(SOON)
    assert worker.run(count_steps, 1).result(SOON) == 1


def test_a_crash_in_native_code_is_a_typed_error_and_the_next_job_works(worker):
    with pytest.raises(JobError, match="SIGABRT"):
        worker.run(crash).result(SOON)
    assert worker.run(count_steps, 1).result(SOON) == 1


def test_waiting_too_briefly_says_so_and_leaves_the_job_alone(worker):
    job = worker.run(hang)
    with pytest.raises(TimeoutError):
        job.result(0.01)
    assert not job.done
    job.cancel()


def test_closing_ends_the_process_and_removes_the_files():
    worker = Worker()
    process = worker.run(pid).result(SOON)
    worker.close()
    wait_for_end(process)


def test_the_process_leaves_when_the_app_is_killed(tmp_path):
    code = (
        "import os, sys; sys.path[:0] = ['tests', '.']; from test_worker import Worker, pid\n"
        "if __name__ == '__main__': print(Worker().run(pid).result(), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    wait_for_end(int(done.stdout))


def test_a_model_opens_in_the_worker_and_stays_open(worker):
    source = ModelSource(load_demo(list_demos()[0].slug).model_path)
    worker.run(count_openings).result(SOON)
    opened = worker.run(open_model, source).result(SOON)
    assert opened.summary.recurrent_layers
    assert opened.devices[0][0] == "cpu"
    assert worker.run(open_model, source).result(SOON) == opened
    assert worker.run(openings).result(SOON) == [source.path.name]


def test_a_bad_model_is_a_typed_error(worker, tmp_path):
    (tmp_path / "m.pt2").write_text("nothing")
    with pytest.raises(ModelFileError, match="text file, not a model"):
        worker.run(open_model, ModelSource(tmp_path / "m.pt2")).result(SOON)
