"""Shares the machine among the workers of all sessions: who runs, who waits, who makes room, and who is stopped.

One thread owns everything here and the others only send it messages, so there is nothing to lock.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import signal
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache, partial
from threading import Thread
from typing import TYPE_CHECKING

from explain_core.backends import is_installed
from explain_core.errors import JobError
from explain_core.jobs.answers import too_much_memory
from explain_core.jobs.frameworks import STARTING, warm_up
from explain_core.jobs.job import Job, Progress
from explain_core.jobs.limits import Limits, in_gb
from explain_core.jobs.machine import available_memory
from explain_core.jobs.sandbox import OFF, status
from explain_core.jobs.sandbox.boot import CANNOT
from explain_core.jobs.worker_process import ProcessEndedError, WorkerProcess
from explain_core.jobs.workspace import workspace
from explain_core.kernels.store import compile_in_background

if TYPE_CHECKING:
    from explain_core.jobs.worker import Worker

_log = logging.getLogger("pairlift.scheduler")

WATCH_SECONDS = 0.05  # between looks at running jobs, in which even a fast allocator gets a fraction of a GB
_IDLE_WATCH_SECONDS = 1.0
_CALM_SECONDS = 0.5  # from one job that was stopped for the machine's sake to the next: memory is not free at once


@dataclass(eq=False)
class _Seat:
    """A live process: whose it is (None for a spare), which framework it holds, and what it does."""

    process: WorkerProcess
    owner: object | None
    framework: str | None
    job: Job | None = None
    future: Future | None = None
    preparing: Future | None = None
    last_used: float = field(default_factory=time.monotonic)

    @property
    def is_preparing(self) -> bool:
        return self.preparing is not None and not self.preparing.done()

    @property
    def is_idle(self) -> bool:
        return self.job is None and not self.is_preparing


class Scheduler:
    """Runs jobs in a bounded number of processes.

    Jobs start in the order in which they were handed in, those of one worker one at a time. When all processes are
    taken, the idle one that was used least recently makes room. While nothing runs, one spare process of each
    framework gets ready for whoever comes next.

    Args:
        limits: what jobs may use; those of this machine if None.
        available: says how many bytes of memory the machine has left.
    """

    def __init__(self, limits: Limits | None = None, available: Callable[[], int] = available_memory) -> None:
        self.limits = limits or Limits.of_this_machine()
        self._available = available
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()  # also finalizers may put into it
        self._seats: list[_Seat] = []
        self._waiting: list[Job] = []
        self._ending = 0
        self._calm_until = self._next_watch = 0.0
        self._stopped = False
        self._thread = Thread(target=self._work, name="scheduler", daemon=True)
        self._thread.start()

    # What other threads call.

    def hand_in(self, job: Job) -> None:
        """Run the job when its turn comes."""
        self._inbox.put(partial(self._hand_in, job))

    def cancel(self, job: Job) -> None:
        """End the process that the job is in, if one has taken it."""
        self._inbox.put(partial(self._drop, job))

    def prepare(self, worker: Worker) -> None:
        """Give the worker a process that imports its framework, if there is room for one."""
        self._inbox.put(partial(self._prepare, worker.token, worker.framework))

    def close_worker(self, token: object) -> None:
        """End the process and the jobs of a worker that nobody needs any more."""
        self._inbox.put(partial(self._close_worker, token))

    def stop(self) -> None:
        """End all processes and wait for that. Jobs end with an error."""
        self._inbox.put(self._stop)
        self._thread.join(10)

    @property
    def processes(self) -> int:
        """How many processes are alive."""
        return len(self._seats)

    # What the thread does.

    def _work(self) -> None:
        while not self._stopped or self._ending:
            busy = self._waiting or any(not seat.is_idle for seat in self._seats)
            try:
                self._do(self._inbox.get(timeout=WATCH_SECONDS if busy else _IDLE_WATCH_SECONDS))
                while True:
                    self._do(self._inbox.get_nowait())
            except queue.Empty:
                pass
            if not self._stopped:
                if time.monotonic() >= self._next_watch:
                    self._do(self._watch)
                self._do(self._dispatch)
                self._do(self._keep_spares)

    @staticmethod
    def _do(what: Callable[[], None]) -> None:
        """One thing after the other; a bug in one must not end the thread that everybody's jobs hang on."""
        try:
            what()
        except Exception:  # said in the log, and the next thing is done
            _log.exception("The scheduler failed at something, and goes on")

    def _hand_in(self, job: Job) -> None:
        if self._stopped:
            job.fail(_closed())
        self._waiting.append(job)

    def _drop(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
        for seat in [seat for seat in self._seats if seat.job is job]:
            self._stop_job(seat, _closed())  # the job has its own error already

    def _close_worker(self, token: object) -> None:
        for job in [job for job in self._waiting if job.worker.token is token]:
            self._waiting.remove(job)
            job.fail(_closed())
        for seat in [seat for seat in self._seats if seat.owner is token]:
            self._end(seat, _closed())

    def _stop(self) -> None:
        self._stopped = True
        for job in self._waiting:
            job.fail(_closed())
        self._waiting.clear()
        for seat in [*self._seats]:
            self._end(seat, _closed())

    def _dispatch(self) -> None:
        for job in [*self._waiting]:
            seat = self._seat_of(job.worker.token)
            if seat is not None and not seat.is_idle:
                continue
            if self._running >= self.limits.jobs or not self._has_memory():
                break
            if seat is not None and not seat.process.is_usable:  # somebody killed it while it was idle
                self._end(seat)
                seat = None
            try:
                seat = seat or self._take_seat(job.worker.token, job.worker.framework)
            except (OSError, RuntimeError) as error:  # no room on the disk, no process or thread to be had
                self._waiting.remove(job)
                job.fail(_no_process(error))
                continue
            if seat is None:
                break
            if seat.is_idle:
                self._waiting.remove(job)
                self._start(seat, job)
        for place, job in enumerate(self._waiting):
            job.wait_for(self._before(job, place))

    def _before(self, job: Job, place: int) -> Progress:
        """What a waiting job waits for."""
        seat = self._seat_of(job.worker.token)
        if seat is not None and seat.is_preparing and seat.framework is not None:
            return Progress(0.05, STARTING[seat.framework])
        own_before = [other for other in self._waiting[:place] if other.worker is job.worker]
        if seat is not None and seat.job is not None and not own_before:
            return seat.job.progress  # one's own job, opening the model mostly, which tells more than a number
        others = place + self._running
        return Progress(0.0, f"Waiting for {others} other {'job' if others == 1 else 'jobs'}")

    @property
    def _running(self) -> int:
        return sum(seat.job is not None for seat in self._seats)

    def _has_memory(self) -> bool:
        """Whether one more job may start; the only one always may."""
        return not self._running or self._available() > self.limits.reserve

    def _seat_of(self, token: object) -> _Seat | None:
        return next((seat for seat in self._seats if seat.owner is token), None)

    def _take_seat(self, token: object, framework: str | None) -> _Seat | None:
        """A spare, a new process, or a new one in the place of an idle one; None when all are at work."""
        if (spare := self._spare(framework)) is not None:
            spare.owner = token
            return spare
        if len(self._seats) >= self.limits.processes:
            idle = self._least_needed()
            if idle is None:
                return None
            self._end(idle)
        return self._new_seat(token, framework)

    def _spare(self, framework: str | None) -> _Seat | None:
        spares = (seat for seat in self._seats if seat.owner is None and seat.framework == framework is not None)
        return next((seat for seat in spares if seat.process.is_usable), None)

    def _least_needed(self) -> _Seat | None:
        """The idle process whose end costs least: a spare, or the one that was used least recently."""
        can_go = [seat for seat in self._seats if seat.is_idle or (seat.owner is None and seat.job is None)]
        return min(can_go, key=lambda seat: (seat.owner is not None, seat.last_used), default=None)

    def _new_seat(self, token: object | None, framework: str | None) -> _Seat:
        seat = _Seat(WorkerProcess(workspace().new_folder("process"), self.limits), token, framework)
        self._seats.append(seat)
        return seat

    def _prepare(self, token: object | None, framework: str | None) -> None:
        if self._stopped or framework is None or (token is not None and self._seat_of(token) is not None):
            return
        if token is not None and (spare := self._spare(framework)) is not None:
            spare.owner = token
        elif len(self._seats) < self.limits.processes and self._has_memory() and self._may_prepare:
            try:
                seat = self._new_seat(token, framework)
            except (OSError, RuntimeError) as error:  # whoever needs it is told
                _log.warning("No worker process could be started: %s", error)
                return
            task = warm_up
            if token is None:  # a spare, which no job waits for
                from explain_core.jobs.tasks.rehearsal import rehearse as task  # not for the server's start to wait for

            seat.preparing = seat.process.run(_say_nothing, task, (framework,), {})
            seat.preparing.add_done_callback(lambda _: self._inbox.put(_look))

    @property
    def _may_prepare(self) -> bool:
        """Whether a processor is left to import with. Where many people come at once, others' first jobs bring them a
        process, a bounded number at a time."""
        return sum(seat.is_preparing for seat in self._seats) < (os.cpu_count() or 1)

    def _keep_spares(self) -> None:
        if not self.limits.spares or self._waiting or any(not seat.is_idle for seat in self._seats):
            return
        if not any(seat.owner for seat in self._seats):  # nobody is here
            return
        for framework in STARTING:
            if is_installed(framework) and self._spare(framework) is None:
                self._prepare(None, framework)
                return  # the next when this one is ready

    def _start(self, seat: _Seat, job: Job) -> None:
        seat.job = job
        job.start()
        # The process keeps the last future; that must not keep the job, and with it a session that nobody holds.
        say = weakref.WeakMethod(job.say)
        seat.future = future = seat.process.run(partial(_say, say), job.task, job.args, job.kwargs)
        future.add_done_callback(lambda _: self._inbox.put(partial(self._ended, seat, future)))

    def _try_again(self, seat: _Seat, job: Job) -> None:
        """Give a job that had not begun to another process, once."""
        seat.job = None
        self._end(seat)
        if job.tried_again:
            job.fail(_no_process("it ended before it took the job"))
        else:
            job.tried_again = True
            self._waiting.insert(0, job)

    def _ended(self, seat: _Seat, future: Future) -> None:
        job = seat.job
        if job is None or seat.future is not future:  # it was stopped before
            return
        error = future.exception()
        if isinstance(error, ProcessEndedError):
            if error.begun or error.code == CANNOT:
                self._stop_job(seat, _died(error.code))
            else:
                self._try_again(seat, job)
        else:
            if error is None:
                job.succeed(*future.result())
            else:
                job.fail(error)
            seat.job, seat.future, seat.last_used = None, None, time.monotonic()

    def _stop_job(self, seat: _Seat, error: JobError) -> None:
        """End a job with its process; its worker gets another one, ready for the next job."""
        self._end(seat, error)
        self._prepare(seat.owner, seat.framework)

    def _end(self, seat: _Seat, error: JobError | None = None) -> None:
        self._seats.remove(seat)
        if seat.job is not None:
            seat.job.fail(error or _closed())
            seat.job = None
        self._ending += 1
        seat.process.end(then=lambda: self._inbox.put(self._count_end))

    def _count_end(self) -> None:
        self._ending -= 1

    # Limits.

    def _watch(self) -> None:
        now = time.monotonic()
        self._next_watch = now + WATCH_SECONDS
        is_empty = not any(seat.owner for seat in self._seats)  # so that spares wait for nobody
        for seat in [*self._seats]:
            if seat.job is not None:
                self._watch_job(seat, seat.job, now)
            elif seat.is_idle and (is_empty or seat.owner) and now - seat.last_used > self.limits.idle_seconds:
                self._end(seat)
        if self._running and now > self._calm_until and self._available() < self.limits.reserve:
            self._calm_until = now + _CALM_SECONDS
            self._make_memory()

    def _watch_job(self, seat: _Seat, job: Job, now: float) -> None:
        if seat.process.memory > self.limits.memory:
            self._stop_job(seat, too_much_memory(self.limits.memory))
        elif job.started is not None and now - job.started > job.time_limit:
            self._stop_job(seat, _too_long(job.time_limit))

    def _make_memory(self) -> None:
        """The machine is about to run out: the idle go first, then the largest job."""
        if (idle := self._least_needed()) is not None:
            self._end(idle)
            return
        largest = max(self._seats, key=lambda seat: seat.process.memory)
        if (size := largest.process.memory) > self.limits.reserve:  # others fill the machine otherwise
            self._stop_job(largest, _no_memory_left(size))


@cache
def shared_scheduler() -> Scheduler:
    """The one of this process. It stops, and the temporary files go, when the process ends."""
    if not (sandbox := status()).active:
        _log.warning("Workers run without a sandbox, and open data formats only. %s", sandbox.words)
    compiling = compile_in_background()  # workers may not, and do without until it is done
    scheduler = Scheduler()
    files = workspace()

    def leave() -> None:
        compiling.kill()
        compiling.wait()
        scheduler.stop()
        files.remove()

    atexit.register(leave)
    return scheduler


def _say(method: weakref.WeakMethod, fraction: float, message: str) -> None:
    """Tell a job how far it is, if somebody still wants to know."""
    if (say := method()) is not None:
        say(fraction, message)


def _say_nothing(fraction: float, message: str) -> None:
    """For a job that nobody looks at."""


def _look() -> None:
    """A message without content: the thread looks what there is to do."""


def _no_process(why: object) -> JobError:
    return JobError(
        f"No worker process could be started: {why}.",
        hint="Whoever runs this server may have to make room on its disk or in its memory; its log may say more.",
    )


def _closed() -> JobError:
    return JobError("The worker was closed before the job ended.", hint="Start it again.")


def _too_long(seconds: float) -> JobError:
    return JobError(
        f"The job took longer than {seconds:g} seconds and was stopped.",
        hint="Explain fewer samples, timesteps or outputs at once.",
    )


def _no_memory_left(size: int) -> JobError:
    return JobError(
        f"The machine was about to run out of memory, and this job, which held {in_gb(size)} of it, was stopped.",
        hint="Try again when less is going on, or with fewer samples, timesteps or outputs at once.",
    )


def _died(code: int) -> JobError:
    if code == CANNOT:
        return JobError(
            "A worker process could not enter its sandbox, and so has opened nothing.",
            hint=f"The server's log says why. {OFF}=off runs workers without one; they then open data formats only.",
        )
    if code == -signal.SIGKILL:
        how = "It was killed, most likely because the machine ran out of memory."
    elif code < 0:
        known = -code in {each.value for each in signal.Signals}
        how = f"It crashed ({signal.Signals(-code).name if known else f'signal {-code}'})."
    else:
        how = f"It ended with exit code {code}."
    return JobError(
        f"The process that did the work is gone. {how}",
        hint="Try again with fewer samples or timesteps. Nothing else was affected.",
    )
