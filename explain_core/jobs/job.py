"""One piece of work for a worker: how far it is, its result, and its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from explain_core.errors import JobError

if TYPE_CHECKING:
    from explain_core.jobs.worker import Worker

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
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return self._outcome.done() and self._outcome.exception() is not None

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

    def wait(self, seconds: float) -> None:
        """Wait until it has ended, or for some seconds."""
        wait([self._outcome], seconds)

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
