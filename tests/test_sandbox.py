"""What the sandbox of workers denies, tried for real; and what the app makes of a worker that answers nonsense."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile_jobs import pid, read_address_zero, sleep
from sandbox_jobs import (
    ALLOWED,
    answer,
    answers_that_are_none,
    capabilities,
    close_the_pipe,
    environment,
    processors,
    return_code,
    say_without_end,
    try_each,
    try_in_a_thread,
)
from untrusted_files import Model, script

from explain_core.demos import list_demos, load_demo
from explain_core.errors import JobError, ModelFileError
from explain_core.jobs import sandbox
from explain_core.jobs.limits import GB, Limits
from explain_core.jobs.scheduler import Scheduler
from explain_core.jobs.tasks.explaining import Request, explain
from explain_core.jobs.tasks.opening import ModelSource, open_model
from explain_core.jobs.worker import UnexpectedFailure, Worker
from explain_core.kernels import warm

SOON = 120  # seconds in which a job of these tests surely ends
LIMITS = Limits(memory=4 * GB, reserve=0, processes=3, jobs=3, seconds=SOON, spares=False)
ROOT = Path(__file__).parents[1]
FILES_OF_OTHERS = 0b110  # the two capabilities that stay: reading and writing what others own, as far as Landlock lets

pytestmark = pytest.mark.skipif(not sandbox.status().active, reason="this kernel has no Landlock or no seccomp")


@pytest.fixture(scope="module")
def scheduler():
    scheduler = Scheduler(LIMITS)
    yield scheduler
    scheduler.stop()


@pytest.fixture
def worker(scheduler):
    worker = Worker(scheduler=scheduler)
    yield worker
    worker.close()


@pytest.fixture
def places(tmp_path):
    """A folder and a file that are not the worker's, and an upload that is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("the secret")
    (tmp_path / "upload.txt").write_text("the upload")
    return str(outside), str(outside / "secret.txt"), tmp_path / "upload.txt"


@pytest.mark.parametrize("job", [try_each, try_in_a_thread])
def test_each_attempt_is_denied_and_what_jobs_need_is_not(worker, places, job):
    denied, allowed = worker.run(job, os.getpid(), *places).result(SOON)
    assert {name: said for name, said in denied.items() if said != "denied"} == {}
    assert allowed == dict.fromkeys(ALLOWED, "done")
    outside, secret, upload = places
    assert os.listdir(outside) == ["secret.txt"]
    assert (Path(secret).read_text(), upload.read_text()) == ("the secret", "the upload")


def test_the_manual_says_of_each_attempt_that_it_is_denied(worker, places):
    denied, _ = worker.run(try_each, os.getpid(), *places).result(SOON)
    manual = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \|$", manual, re.MULTILINE)
    named = {name.strip() for row in rows for name in row.split(";")}
    assert denied.keys() - named == set()


def test_a_job_reads_its_own_files_and_not_those_of_the_job_before(worker, tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("one")
    second.write_text("two")
    place, text = worker.run(read_text, first).result(SOON)
    assert text == "one"
    with pytest.raises(UnexpectedFailure, match=r"FileNotFoundError|PermissionError"):
        worker.run(read_named, place, second).result(SOON)


def read_text(report, path):
    return str(path), path.read_text()


def read_named(report, name, other):
    return Path(name).read_text()


def test_the_environment_is_scrubbed(scheduler, monkeypatch):
    secrets = {"AWS_SECRET_ACCESS_KEY": "a", "DATABASE_URL": "b", "OPENAI_API_KEY": "c", "HF_TOKEN": "d"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = Worker(scheduler=scheduler).run(environment).result(SOON)
    assert not secrets.keys() & found.keys()
    assert found["OMP_NUM_THREADS"] == "3"
    assert found["HOME"] != str(Path.home())


def test_root_in_a_worker_has_no_powers(worker):
    found, no_new = worker.run(capabilities).result(SOON)
    assert found & ~FILES_OF_OTHERS == 0
    assert no_new == "1"


@pytest.mark.parametrize("version", range(1, 8))
def test_older_kernels_deny_files_too(tmp_path, version):
    """As if the kernel had an older Landlock; seccomp is the same everywhere."""
    (tmp_path / "own").mkdir()
    (tmp_path / "secret.txt").write_text("the secret")
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r} + "/explain_core/jobs/sandbox/..")
import importlib.util as u
spec = u.spec_from_file_location("alone", {str(ROOT / "explain_core/jobs/sandbox/__init__.py")!r},
                                 submodule_search_locations=[{str(ROOT / "explain_core/jobs/sandbox")!r}])
sys.modules["alone"] = u.module_from_spec(spec); spec.loader.exec_module(sys.modules["alone"])
from alone import landlock, places, seccomp
landlock.restrict(read=places.to_read(), write=[{str(tmp_path / "own")!r}], devices=places.to_use(), version={version})
seccomp.restrict()
os.chdir({str(tmp_path / "own")!r})
open("mine", "w").write("x")
tries = [lambda: open("../secret.txt").read(), lambda: open("../new", "w"), lambda: os.truncate("../secret.txt", 0),
         lambda: os.rename("mine", "../moved"), lambda: os.open("../secret.txt", os.O_RDONLY | os.O_TRUNC),
         lambda: os.kill(os.getppid(), 0), lambda: os.fork()]
for attempt in tries:
    try: attempt()
    except OSError: continue
    sys.exit("an attempt was not denied")
print(sum(range(10)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("45\n", "")
    assert (tmp_path / "secret.txt").read_text() == "the secret"


def test_what_a_job_returns_is_data_and_code_in_it_is_refused(worker, tmp_path):
    with pytest.raises(UnexpectedFailure, match=r"sandbox_jobs\.Evil cannot be sent to the app"):
        worker.run(return_code, str(tmp_path / "canary")).result(SOON)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", answers_that_are_none(""))
def test_an_answer_that_is_none_ends_the_worker_and_nothing_else(worker, tmp_path, name):
    before = worker.run(pid).result(SOON)
    with pytest.raises(JobError, match="answered with something that cannot be read"):
        worker.run(answer, answers_that_are_none(str(tmp_path / "canary"))[name]).result(SOON)
    assert not (tmp_path / "canary").exists()
    assert worker.run(pid).result(SOON) != before


def test_a_result_larger_than_results_may_be_is_a_typed_error():
    scheduler = Scheduler(replace(LIMITS, answer_bytes=10**6))
    worker = Worker(scheduler=scheduler)
    with pytest.raises(JobError, match=r"larger than one result may be: 8 MB; the limit is 1 MB"):
        worker.run(numbers, 10**6).result(SOON)
    with pytest.raises(JobError, match="larger than one result may be: a head of"):
        worker.run(lists, 2 * 10**6).result(SOON)
    assert len(worker.run(numbers, 10**5).result(SOON)) == 10**5
    scheduler.stop()


def numbers(report, count):
    return np.zeros(count)


def lists(report, count):
    return [[]] * count


def test_progress_of_odd_numbers_is_between_nothing_and_all(worker):
    for fraction, shown in ((float("nan"), 0.0), (float("inf"), 1.0), (-3, 0.0), (0.25, 0.25)):
        job = worker.run(say, fraction, "so *far*\n" * 1000)
        job.result(SOON)
        assert job.progress.fraction == shown
        assert len(job.progress.message) <= 200


def say(report, fraction, message):
    report(fraction, message)


def test_a_worker_that_stops_talking_is_ended(worker):
    with pytest.raises(JobError, match="is gone"):
        worker.run(close_the_pipe).result(SOON)
    assert worker.run(sleep, 0).result(SOON)


def test_a_flood_of_progress_leaves_the_app_free(worker):
    job = worker.run(say_without_end)
    while job.progress.message != "still":
        pass
    assert sum(range(1000)) == 499_500
    job.cancel()
    assert worker.run(sleep, 0).result(SOON)


def test_a_crash_of_native_code_is_an_error_and_the_next_job_works(worker):
    with pytest.raises(JobError, match="SIGSEGV"):
        worker.run(read_address_zero).result(SOON)
    assert worker.run(sleep, 0).result(SOON)


def test_an_explanation_comes_out_of_the_sandbox_as_it_would_without(worker):
    warm()  # where no kernels are stored the worker takes the plain loop, which rounds otherwise
    demo = load_demo(list_demos()[0].slug)
    source = ModelSource(demo.model_path, framework="torch")
    request = Request(source, demo.x[:1], "zeros", None)
    found, own = worker.run(explain, request).result(SOON), explain(lambda *said: None, request)
    np.testing.assert_array_equal(found.attributions.values, own.attributions.values)
    assert found.attributions.dims == own.attributions.dims
    assert found.gates.keys() == own.gates.keys()


def test_explanations_leave_nothing_in_the_folder_of_their_worker(worker):
    demo = load_demo(list_demos()[0].slug)
    request = Request(ModelSource(demo.model_path, framework="torch"), demo.x[:1], "zeros", None)
    worker.run(explain, request).result(SOON)
    before = worker.run(what_is_here).result(SOON)
    for _ in range(3):
        worker.run(explain, request).result(SOON)
    assert worker.run(what_is_here).result(SOON) == before


def what_is_here(report):
    return sorted(str(path) for path in Path().rglob("*"))


def test_numbers_are_crunched_on_as_many_processors_as_without(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = []
    for switch in ("on", "off"):
        monkeypatch.setenv(sandbox.OFF, switch)
        scheduler = Scheduler(LIMITS)
        found.append(Worker(scheduler=scheduler).run(processors).result(SOON))
        scheduler.stop()
    assert found[0] == found[1]


def test_without_a_sandbox_only_data_opens(monkeypatch, tmp_path):
    script(Model(), tmp_path / "model.pt")
    monkeypatch.setenv(sandbox.OFF, "off")
    assert not sandbox.status().active
    scheduler = Scheduler(LIMITS)
    worker = Worker(scheduler=scheduler)
    with pytest.raises(ModelFileError, match="sandbox"):
        worker.run(open_model, ModelSource(tmp_path / "model.pt")).result(SOON)
    demo = load_demo(list_demos()[0].slug)
    assert worker.run(open_model, ModelSource(demo.model_path)).result(SOON).summary.recurrent_layers
    scheduler.stop()
