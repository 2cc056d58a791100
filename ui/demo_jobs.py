"""What is the same for everybody is done once: opening the demos' models, and explaining their sequences.

It is done by processes that open nothing else: a model that somebody gave may take over the process it is opened in,
and must not answer for results of others. No Streamlit here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from explain_core.demos import DEMO_ROOT
from explain_core.errors import JobError
from explain_core.jobs.job import Job, Progress
from explain_core.jobs.scheduler import Scheduler, shared_scheduler
from explain_core.jobs.tasks.explaining import Request, explain
from explain_core.jobs.tasks.opening import ModelSource
from explain_core.jobs.tasks.rehearsal import rehearse
from explain_core.jobs.worker import Worker

_KEPT_JOBS = 4  # of those that ended: their results are on disk soon


class WatchedJob:
    """A job that others may wait for too: who cancels it stops waiting, and the job goes on."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.cancelled = False

    @property
    def done(self) -> bool:
        """Whether `result` returns at once."""
        return self.cancelled or self._job.done

    @property
    def seconds(self) -> float:
        """Time since it was first asked for."""
        return self._job.seconds

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._job.progress

    @property
    def size(self) -> int:
        """Bytes of its result."""
        return self._job.size

    def cancel(self) -> None:
        """Wait for it no longer."""
        self.cancelled = not self._job.done

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, or for some seconds."""
        if not self.cancelled:
            self._job.wait(seconds)

    def result(self, timeout: float | None = None) -> Any:
        """What it returned, as `Job.result` does."""
        if self.cancelled:
            raise JobError("The job was cancelled.", hint="Start it again when you like.")
        return self._job.result(timeout)


class DemoJobs:
    """Jobs on the demos' models, by what was asked, in a process for each framework."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._workers: dict[str, Worker] = {}
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def prepare(self, framework: str) -> None:
        """Have a process ready that has explained once."""
        with self._lock:
            self._worker_of(framework).run(rehearse, framework)

    def explanation(self, key: str, request: Request) -> WatchedJob:
        """The job that explains, which is under way already where somebody else has asked."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or (job.done and job.failed):
                self._jobs[key] = job = self._worker_of(request.model.framework).run(explain, request)
            for ended in [key for key, other in self._jobs.items() if other.done][:-_KEPT_JOBS]:
                del self._jobs[ended]
        return WatchedJob(job)

    def run(self, model: ModelSource, task: Callable[..., Any], *args: Any) -> Job:
        """Any other job on a demo's model."""
        with self._lock:
            return self._worker_of(model.framework).run(task, *args)

    def _worker_of(self, framework: str) -> Worker:
        if framework not in self._workers:
            self._workers[framework] = Worker(framework, scheduler=self._scheduler)
        return self._workers[framework]


def is_demo(model: ModelSource) -> bool:
    """Whether a model came with the package."""
    return model.path.is_relative_to(DEMO_ROOT) and model.code is None


@cache
def demo_jobs() -> DemoJobs:
    """Those of this process."""
    return DemoJobs(shared_scheduler())
