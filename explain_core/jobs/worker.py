"""Work outside the app's process: progress, cancel at once, limits on time and memory, crashes that stay outside.

A `Worker` stands for the process of one person's session and framework. It runs one job after the other, and what
one job leaves open the next one finds. A job that is cancelled, passes a limit or crashes takes the process with it,
and the next job gets a fresh one; so it does after a worker's idle process had to make room for others
(`scheduler.py`). The process runs in a sandbox (`sandbox`), and what a job returns goes to the app as data (`wire`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from explain_core.backends import NAMES
from explain_core.jobs.job import Job, Progress, Report
from explain_core.jobs.scheduler import Scheduler, shared_scheduler
from explain_core.jobs.worker_process import UnexpectedFailure

__all__ = ["Job", "Progress", "Report", "UnexpectedFailure", "Worker"]

P = ParamSpec("P")


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
