"""Work outside the app's process: progress, cancel at once, limits on time and memory, crashes that stay outside.

A `Worker` stands for the process of one person's session and framework. It runs one job after the other, and what
one job leaves open the next one finds. A job that is cancelled, passes a limit or crashes takes the process with it,
and the next job gets a fresh one; so it does after a worker's idle process had to make room for others
(`scheduler.py`). The process runs in a sandbox (`sandbox`), and what a job returns goes to the app as data (`wire`).
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from explain_core.backends import NAMES
from explain_core.errors import JobError
from explain_core.jobs.worker_process import UnexpectedFailure

if TYPE_CHECKING:
    from explain_core.jobs.scheduler import Scheduler

__all__ = ["Job", "Progress", "Report", "UnexpectedFailure", "Worker"]

P = ParamSpec("P")
#: What a job calls to say how far it is: a fraction of 0 to 1 and a few words for people.
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    fraction: float = 0.0
    message: str = "Starting"


class Job:
    """One piece of work, waiting, under way or done; made by `Worker.run`."""

    def __init__(self, worker: Worker, task: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> None:
        self.worker = worker  # a worker nobody refers to is closed, and a job needs its worker
        self.task, self.args, self.kwargs = task, args, kwargs
        self.time_limit = worker.time_limit
        self.handed_in = time.monotonic()
        self.started: float | None = None
        self.cancelled = False
        self.size = 0  # bytes that its result came in
        self.tried_again = False
        self._last = Progress()
        self._outcome: Future = Future()

    @property
    def done(self) -> bool:
        """Whether `result` returns at once."""
        return self._outcome.done()

    @property
    def seconds(self) -> float:
        """Time since the job was handed in."""
        return time.monotonic() - self.handed_in

    @property
    def progress(self) -> Progress:
        """What the job last said, or what it waits for."""
        return self._last

    def cancel(self) -> None:
        """Stop the job at once, with its process. A job that has ended stays as it is."""
        if self.fail(JobError("The job was cancelled.", hint="Start it again when you like.")):
            self.cancelled = True
        self.worker.scheduler.cancel(self)

    def result(self, timeout: float | None = None) -> Any:
        """What the job returned; waits for it.

        Raises:
            ExplainError: what the job itself raised.
            JobError: it was cancelled, passed a limit, or its process died.
            UnexpectedFailure: a bug in the job.
            TimeoutError: it is not done after ``timeout`` seconds.
        """
        return self._outcome.result(timeout)

    # What the scheduler tells it.

    def wait_for(self, progress: Progress) -> None:
        """Something else comes first."""
        self._last = progress

    def start(self) -> None:
        """A process has taken it."""
        self._last = Progress()
        self.started = time.monotonic()

    def say(self, fraction: float, message: str) -> None:
        """It is so far."""
        self._last = Progress(fraction, message)

    def succeed(self, value: Any, size: int) -> None:
        self.size = size
        self._end(self._outcome.set_result, value)

    def fail(self, error: BaseException) -> bool:
        """End it with an error; says whether it had not ended before."""
        return self._end(self._outcome.set_exception, error)

    def _end(self, settle: Callable[[Any], None], what: Any) -> bool:
        try:
            settle(what)
        except InvalidStateError:  # it was cancelled while it ended, or the other way round
            return False
        return True


class Worker:
    """Runs the jobs of one session, one at a time, in a process that holds one framework.

    Args:
        framework: "torch" or "tensorflow"; a process that has imported it already may be waiting. None for neither.
            Anything else is a ValueError.
        time_limit: seconds that a job may take; the scheduler's limit if None.
        scheduler: what shares the machine among all workers; the app's if None.

    The process starts with the first job, or with `prepare`. `close` ends it; so does dropping the last reference.
    """

    def __init__(
        self, framework: str | None = None, *, time_limit: float | None = None, scheduler: Scheduler | None = None
    ) -> None:
        from explain_core.jobs.scheduler import shared_scheduler

        if framework not in (None, *NAMES):
            raise ValueError(f"There is no framework {framework!r}.")
        self.scheduler = scheduler or shared_scheduler()
        self.framework = framework
        self.time_limit = time_limit or self.scheduler.limits.seconds
        self.token = object()  # what the scheduler knows it by, without keeping it alive
        self._close = weakref.finalize(self, self.scheduler.close_worker, self.token)

    def run(self, task: Callable[Concatenate[Report, P], Any], *args: P.args, **kwargs: P.kwargs) -> Job:
        """Hand in a job: ``task(report, *args, **kwargs)``, where ``task`` is a function of a module.

        It finds the files that are among the arguments as `Path`s, under other paths, and no others. What it returns
        has to be plain values, arrays, tables, and the classes that `wire` knows.
        """
        job = Job(self, task, args, kwargs)
        self.scheduler.hand_in(job)
        return job

    def prepare(self) -> None:
        """Have a process ready with the framework imported, if that takes nothing away from anybody."""
        self.scheduler.prepare(self)

    def close(self) -> None:
        """End the process, and the jobs that are not done."""
        self._close()
