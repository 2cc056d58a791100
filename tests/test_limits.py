"""What becomes of jobs that take too much, never end, or take their process with them; and who makes room for whom."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hostile_jobs import (
    allocation_error_in_other_words,
    ask_to_end,
    count_openings,
    end_by_an_unnamed_signal,
    end_quietly,
    fill_the_disk,
    hoard,
    leave_a_file_and_crash,
    one_giant_array,
    one_giant_tensor,
    openings,
    pid,
    read_address_zero,
    refuse_to_end,
    sleep,
    sleep_in_native_code,
)

from explain_core.demos import list_demos, load_demo
from explain_core.errors import JobError
from explain_core.jobs import machine
from explain_core.jobs.limits import GB, Limits
from explain_core.jobs.scheduler import Scheduler
from explain_core.jobs.tasks.opening import ModelSource, open_model
from explain_core.jobs.worker import UnexpectedFailure, Worker
from explain_core.jobs.workspace import Workspace, remove_abandoned, remove_folder, workspace

SOON = 90  # seconds in which a job of these tests surely ends
LIMITS = Limits(memory=GB, reserve=0, processes=3, jobs=3, seconds=SOON, spares=False, file_bytes=GB // 4)
MACHINE = 100 * GB  # what the machine pretends to have left


@pytest.fixture
def scheduler():
    scheduler = Scheduler(LIMITS, available=lambda: MACHINE)
    yield scheduler
    scheduler.stop()


@pytest.fixture(scope="module")
def shared():
    scheduler = Scheduler(LIMITS, available=lambda: MACHINE)
    yield Worker(scheduler=scheduler)
    scheduler.stop()


def until(condition, what="it"):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.02)


def gone(process):
    """Not running, and no zombie either."""
    return not psutil.pid_exists(process)


# A job that passes a limit, or takes its process with it. After each the same worker does the next job.


@pytest.mark.parametrize("task", [hoard, one_giant_array, one_giant_tensor, allocation_error_in_other_words])
def test_too_much_memory_is_one_clear_error(shared, task):
    with pytest.raises(JobError, match=r"needed more than the 1\.0 GB of memory that one job may use"):
        shared.run(task).result(SOON)
    assert shared.run(sleep, 0).result(SOON)


def test_a_hoarder_is_stopped_near_the_limit(scheduler):
    job = Worker(scheduler=scheduler).run(hoard)
    with pytest.raises(JobError):
        job.result(SOON)
    assert int(job.progress.message) * 64 * 2**20 < 2 * GB  # typically 1.0 to 1.1 GB


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (read_address_zero, "SIGSEGV"),
        (leave_a_file_and_crash, "SIGABRT"),
        (end_quietly, "exit code 0"),
        (end_by_an_unnamed_signal, "signal 37"),
    ],
)
def test_a_process_that_dies_is_a_typed_error(shared, task, said):
    with pytest.raises(JobError, match=said):
        shared.run(task).result(SOON)
    assert shared.run(sleep, 0).result(SOON)


def test_a_job_that_asks_to_end_the_interpreter_is_a_bug_of_that_job(shared):
    with pytest.raises(UnexpectedFailure, match="SystemExit"):
        shared.run(ask_to_end).result(SOON)


def test_a_file_larger_than_allowed_is_a_typed_error(shared):
    with pytest.raises(JobError, match="no room on the disk"):
        shared.run(fill_the_disk).result(SOON)


@pytest.mark.parametrize(("task", "said"), [(sleep_in_native_code, "Asleep"), (refuse_to_end, "Deaf")])
def test_cancel_reaches_native_code_and_leaves_no_process(scheduler, task, said):
    worker = Worker(scheduler=scheduler)
    process = worker.run(pid).result(SOON)
    job = worker.run(task)
    until(lambda: job.progress.message == said)
    job.cancel()
    assert job.done
    assert job.cancelled
    until(lambda: gone(process))
    assert worker.run(pid).result(SOON) != process


def test_a_hang_in_native_code_ends_at_the_time_limit(scheduler):
    worker = Worker(scheduler=scheduler, time_limit=1.5)
    with pytest.raises(JobError, match=r"longer than 1\.5 seconds"):
        worker.run(sleep_in_native_code).result(SOON)
    worker.time_limit = SOON  # the next one starts a process first
    assert worker.run(sleep, 0).result(SOON)


def test_a_process_killed_while_idle_is_replaced(scheduler):
    worker = Worker(scheduler=scheduler)
    before = worker.run(pid).result(SOON)
    os.kill(before, signal.SIGKILL)
    assert worker.run(pid).result(SOON) != before


def test_a_process_killed_just_as_a_job_is_handed_in(scheduler):
    worker = Worker(scheduler=scheduler)
    for _ in range(3):
        process = worker.run(pid).result(SOON)
        job = worker.run(sleep, 0.1)
        os.kill(process, signal.SIGKILL)
        with suppress(JobError):  # it had begun
            assert job.result(SOON) != process


def test_a_bug_of_the_scheduler_ends_no_more_than_one_step(scheduler, monkeypatch):
    def fail(code):
        raise ZeroDivisionError(code)

    worker = Worker(scheduler=scheduler)
    worker.run(sleep, 0).result(SOON)
    with monkeypatch.context() as broken:
        broken.setattr("explain_core.jobs.scheduler._died", fail)
        lost = worker.run(end_quietly)
        until(lambda: not any(seat.process.is_usable for seat in scheduler._seats))
    assert Worker(scheduler=scheduler).run(sleep, 0).result(SOON)
    lost.cancel()


def test_there_is_no_third_framework(scheduler):
    with pytest.raises(ValueError, match="no framework 'evil'"):
        Worker("evil", scheduler=scheduler)


def test_temporary_files_of_a_crash_are_removed(scheduler):
    worker = Worker(scheduler=scheduler)
    with pytest.raises(JobError):
        worker.run(leave_a_file_and_crash).result(SOON)

    def left():
        return [name for _, _, names in os.walk(workspace().folder) for name in names if name.startswith("left")]

    until(lambda: not left())


def test_the_process_leaves_in_the_middle_of_native_code_when_the_app_is_killed():
    code = (
        "import os, sys, time; sys.path[:0] = ['tests', '.']\n"
        "from hostile_jobs import *\nfrom explain_core.jobs.worker import Worker\n"
        "if __name__ == '__main__':\n"
        "    worker = Worker(); print(worker.run(pid).result(), flush=True); job = worker.run(sleep_in_native_code)\n"
        "    while job.progress.message != 'Asleep': time.sleep(0.02)\n"
        "    os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    process = int(done.stdout)
    until(lambda: gone(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE, "its end")


# Many workers, few processes.


def test_the_least_recently_used_process_makes_room_and_its_worker_notices_nothing(scheduler):
    workers = [Worker(scheduler=scheduler) for _ in range(4)]
    first = [worker.run(pid).result(SOON) for worker in workers[:3]]
    assert workers[0].run(pid).result(SOON) == first[0]  # so that the second is the oldest now
    workers[3].run(pid).result(SOON)
    assert scheduler.processes == 3
    until(lambda: gone(first[1]))
    assert not gone(first[0])
    assert not gone(first[2])
    assert workers[1].run(pid).result(SOON) not in first


def test_jobs_beyond_the_bound_wait_and_say_for_how_many():
    scheduler = Scheduler(replace(LIMITS, jobs=1), available=lambda: MACHINE)
    workers = [Worker(scheduler=scheduler) for _ in range(3)]
    jobs = [worker.run(sleep, 0.5) for worker in workers]
    until(lambda: jobs[2].progress.message == "Waiting for 2 other jobs")
    until(lambda: jobs[2].progress.message == "Waiting for 1 other job")
    assert len({job.result(SOON) for job in jobs}) == 3
    scheduler.stop()


def test_a_waiting_job_can_be_cancelled_and_the_one_behind_it_still_runs():
    scheduler = Scheduler(replace(LIMITS, jobs=1), available=lambda: MACHINE)
    workers = [Worker(scheduler=scheduler) for _ in range(3)]
    running, waiting, last = [worker.run(sleep, 0.5) for worker in workers]
    waiting.cancel()
    with pytest.raises(JobError, match="cancelled"):
        waiting.result(SOON)
    assert running.result(SOON) != last.result(SOON)
    scheduler.stop()


def test_idle_processes_end_after_a_while_and_start_again():
    scheduler = Scheduler(replace(LIMITS, idle_seconds=0.3), available=lambda: MACHINE)
    worker = Worker(scheduler=scheduler)
    process = worker.run(pid).result(SOON)
    until(lambda: gone(process))
    assert worker.run(pid).result(SOON) != process
    scheduler.stop()


def test_before_the_machine_runs_out_the_idle_go_first_and_then_the_largest_job():
    left = [MACHINE]
    scheduler = Scheduler(replace(LIMITS, memory=50 * GB, reserve=GB // 4), available=lambda: left[0])
    idle, small, large = (Worker(scheduler=scheduler) for _ in range(3))
    process = idle.run(pid).result(SOON)
    modest, greedy = small.run(sleep, SOON), large.run(hoard)
    until(lambda: greedy.progress.message.isdigit() and int(greedy.progress.message) > 8)
    left[0] = 0
    with pytest.raises(JobError, match="The machine was about to run out of memory, and this job, which held"):
        greedy.result(SOON)
    left[0] = MACHINE
    until(lambda: gone(process))
    assert not modest.done
    scheduler.stop()


def test_a_spare_that_has_explained_once_is_there_for_whoever_comes():
    scheduler = Scheduler(replace(LIMITS, spares=True, processes=2), available=lambda: MACHINE)
    first = Worker("torch", scheduler=scheduler)
    first.run(pid).result(SOON)
    until(lambda: scheduler.processes == 2)
    second = Worker("torch", scheduler=scheduler)
    spare = second.run(pid).result(SOON)
    assert second.run(_modules).result(SOON) == ["torch", "numba"]
    assert scheduler.processes == 2
    assert first.run(pid).result(SOON) != spare
    scheduler.stop()


def test_spares_end_after_a_while_when_nobody_is_there():
    scheduler = Scheduler(replace(LIMITS, spares=True, processes=2, idle_seconds=0.3), available=lambda: MACHINE)
    worker = Worker("torch", scheduler=scheduler)
    worker.run(pid).result(SOON)
    until(lambda: scheduler.processes == 2)
    worker.close()
    until(lambda: scheduler.processes == 0)
    scheduler.stop()


def _modules(report):
    return [name for name in ("torch", "tensorflow", "numba") if name in sys.modules]


def test_a_warm_worker_opens_a_model_once(scheduler):
    demo = load_demo(list_demos()[0].slug)
    source = ModelSource(demo.model_path)
    worker = Worker("torch", scheduler=scheduler)
    worker.run(count_openings).result(SOON)
    for _ in range(3):
        worker.run(open_model, source).result(SOON)
    assert worker.run(openings).result(SOON) == [demo.model_path.name]


# The limits themselves.


def test_limits_come_from_the_environment():
    limits = Limits.of_this_machine(
        {"PAIRLIFT_JOB_MEMORY_GB": "2.5", "PAIRLIFT_PROCESSES": "3", "PAIRLIFT_SPARES": "0"}
    )
    assert (limits.memory, limits.processes, limits.spares) == (2_500_000_000, 3, False)
    assert limits.jobs <= 3


@pytest.mark.parametrize("value", ["much", "-1", "nan", "0"])
def test_a_nonsensical_limit_is_named(value):
    with pytest.raises(JobError, match="PAIRLIFT_JOB_SECONDS must be a positive number"):
        Limits.of_this_machine({"PAIRLIFT_JOB_SECONDS": value})


@pytest.mark.parametrize("version", [1, 2])
def test_the_containers_memory_counts_not_the_machines(tmp_path, monkeypatch, version):
    own = tmp_path / "cgroup"
    group = tmp_path / ("memory" if version == 1 else "") / "outer" / "inner"
    group.mkdir(parents=True)
    own.write_text("5:cpu:/x\n4:memory:/outer/inner\n" if version == 1 else "0::/outer/inner\n")
    names = [("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")][version - 1]
    for folder, limit, used in [(group.parent, "3000000", "1500000"), (group, "max", "1000000")]:
        (folder / names[0]).write_text(limit)
        (folder / names[1]).write_text(used)
        (folder / "memory.stat").write_text("anon 7\ninactive_file 500000\ntotal_inactive_file 500000\n")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_GROUPS", own)
    assert machine.total_memory() == 3_000_000
    assert machine.available_memory() == 2_000_000


def test_a_folder_goes_however_deep_and_whatever_its_rights(tmp_path):
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(3000):  # deeper than a path may be long, and than Python may call itself
        os.mkdir("a folder with a long name")
        os.chdir("a folder with a long name")
    os.chdir(here)
    (folder / "closed").mkdir()
    (folder / "closed" / "inside").mkdir(mode=0)
    (folder / "closed").chmod(0)
    remove_folder(folder)
    assert [*tmp_path.iterdir()] == [outside]
    assert (outside / "kept").read_text() == "kept"


def test_folders_of_apps_that_were_killed_go_and_those_in_use_stay(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from explain_core.jobs.workspace import Workspace\n"
        "place = Workspace(Path(sys.argv[1])); place.new_folder('session'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[1], check=False)
    (abandoned,) = tmp_path.iterdir()
    in_use = Workspace(tmp_path)
    assert not abandoned.exists()
    remove_abandoned(tmp_path)
    assert in_use.folder.exists()
    in_use.remove()
    assert not [*tmp_path.iterdir()]
