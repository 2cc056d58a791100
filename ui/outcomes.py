"""What is known of a job: still running, its value, or its error. No Streamlit here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from explain_core.errors import ExplainError, JobError
from explain_core.jobs.job import Progress
from explain_core.jobs.worker import UnexpectedFailure


class AnyJob(Protocol):
    """What an outcome needs of a job."""

    cancelled: bool

    @property
    def done(self) -> bool: ...
    @property
    def seconds(self) -> float: ...
    @property
    def progress(self) -> Progress: ...
    @property
    def size(self) -> int: ...
    def cancel(self) -> None: ...
    def wait(self, seconds: float) -> None: ...
    def result(self, timeout: float | None = None) -> Any: ...


@dataclass
class ReadyJob:
    """A job that was done before."""

    value: Any
    cancelled: bool = False
    done: bool = True
    seconds: float = 0.0
    progress: Progress = field(default_factory=Progress)
    size: int = 0

    def cancel(self) -> None:
        """There is nothing to stop."""

    def wait(self, seconds: float) -> None:
        """It has ended."""

    def result(self, timeout: float | None = None) -> Any:
        """What came of it."""
        return self.value


@dataclass
class Outcome:
    """What is known of a job: still running, its value, or its error."""

    start: Callable[[], AnyJob]
    job: AnyJob
    keep: Callable[[Any], Any] | None = None  # puts the value away, and says what is known of it instead
    value: Any = None
    error: ExplainError | UnexpectedFailure | None = None
    settled: bool = False
    interrupted: bool = False  # while nobody watched; it starts again when it is asked for

    @property
    def running(self) -> bool:
        return not self.settled

    @property
    def was_cancelled(self) -> bool:
        """Whether the job ended because somebody pressed cancel."""
        return self.settled and self.job.cancelled

    @property
    def may_go_better(self) -> bool:
        """Whether the same job could end otherwise next time: it was stopped, or its process died."""
        return isinstance(self.error, JobError | UnexpectedFailure)

    def restart(self) -> None:
        """Do the same job again."""
        self.job, self.value, self.error, self.settled, self.interrupted = self.start(), None, None, False, False

    def settle(self, within: float = 0.0) -> None:
        """Take the job's result, if it has ended or ends within some seconds."""
        if within > 0 and self.running:
            self.job.wait(within)
        if self.settled or not self.job.done:
            return
        self.settled = True
        try:
            self.value = self.job.result() if self.keep is None else self.keep(self.job.result())
        except (ExplainError, UnexpectedFailure) as error:
            self.error = error
