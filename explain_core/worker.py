"""Work in a process of its own: progress, cancel at once, a time limit, and crashes that stay outside.

A `Worker` is one warm process for one person's session. It runs one job after the other; a job that is
cancelled, runs over its time or crashes takes the process with it, and the next job gets a fresh one. What a
job returns must be plain values, since the caller's process has no framework to unpickle others.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from explain_core.errors import ExplainError, JobError

DEFAULT_TIME_LIMIT = 600.0  # seconds

P = ParamSpec("P")
#: What a job calls to say how far it is: a fraction of 0 to 1 and a few words for people.
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    fraction: float = 0.0
    message: str = "Starting"


class UnexpectedFailure(Exception):  # noqa: N818 - an error is what people are to expect; this is not one
    """An error in a job that nobody raised on purpose: a bug. Carries the text of its traceback."""


class Job:
    """One piece of work under way; made by `Worker.run`."""

    def __init__(self, worker: Worker, future: ProcessFuture, progress_file: Path) -> None:
        self._worker = worker  # a worker nobody refers to is closed, and a job needs its worker
        self._future = future
        self._progress_file = progress_file
        self._time_limit = worker.time_limit
        self.started = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether `result` returns at once."""
        return self._future.done()

    @property
    def seconds(self) -> float:
        """Time since the job was handed in."""
        return time.monotonic() - self.started

    @property
    def progress(self) -> Progress:
        """What the job last said."""
        try:
            return Progress(**json.loads(self._progress_file.read_text(encoding="utf-8")))
        except FileNotFoundError:  # it has not said anything yet
            return Progress()

    def cancel(self) -> None:
        """Stop the job at once, with its process. A job that has ended stays as it is."""
        self._future.cancel()

    def result(self, timeout: float | None = None) -> Any:
        """What the job returned; waits for it.

        Raises:
            ExplainError: what the job itself raised.
            JobError: it was cancelled, ran over its time limit, or its process died.
            UnexpectedFailure: a bug in the job.
        """
        try:
            return self._future.result(timeout)
        except CancelledError:
            raise JobError("The job was cancelled.", hint="Start it again when you like.") from None
        except BrokenProcessPool:
            raise JobError("The worker was closed before the job ended.", hint="Start it again.") from None
        except ProcessExpired as error:
            raise _died(error) from None
        except TimeoutError:
            if not self._future.done():  # the caller's timeout, not the job's
                raise
            raise JobError(
                f"The job took longer than {self._time_limit:g} seconds and was stopped.",
                hint="Explain fewer samples, timesteps or outputs at once.",
            ) from None


class Worker:
    """A process that runs jobs for one session, one at a time.

    Args:
        time_limit: seconds that a job may take unless `run` says otherwise.

    The process starts with the first job. `close` ends it; so does dropping the last reference.
    """

    def __init__(self, *, time_limit: float = DEFAULT_TIME_LIMIT) -> None:
        self.time_limit = time_limit
        self.folder = Path(tempfile.mkdtemp(prefix="pairlift-"))
        self._numbers = count(1)
        self._pool = ProcessPool(
            max_workers=1,
            context=multiprocessing.get_context("spawn"),
            initializer=_start_process,
            initargs=(os.getpid(),),
        )
        self._close = weakref.finalize(self, _close, self._pool, self.folder)

    def run(
        self,
        task: Callable[Concatenate[Report, P], Any],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job:
        """Hand in a job: ``task(report, *args, **kwargs)``, where ``task`` is a function of a module."""
        progress_file = self.folder / f"progress-{next(self._numbers)}.json"
        future = self._pool.schedule(_run, args=[task, progress_file, args, kwargs], timeout=self.time_limit)
        return Job(self, future, progress_file)

    def close(self) -> None:
        """Stop the process and remove its files."""
        self._close()


def _close(pool: ProcessPool, folder: Path) -> None:
    pool.stop()
    shutil.rmtree(folder, ignore_errors=True)
    try:  # the process ends while the pool is joined, which must not happen in one of the pool's own threads
        threading.Thread(target=pool.join, daemon=True).start()
    except RuntimeError:  # the interpreter is on its way out and takes no new threads
        pool.join()


def _start_process(parent: int) -> None:
    # The default action of SIGTERM ends a process also while it is deep in native code; nothing needs saving.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()


def _leave_with_parent(parent: int) -> None:
    """End this process when its parent has gone without a word, so that none is left over."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def _run(task: Callable[..., Any], progress_file: Path, args: tuple, kwargs: dict[str, Any]) -> Any:
    def report(fraction: float, message: str) -> None:
        unfinished = progress_file.with_suffix(".part")
        unfinished.write_text(json.dumps({"fraction": fraction, "message": message}), encoding="utf-8")
        unfinished.replace(progress_file)

    try:
        return task(report, *args, **kwargs)
    except ExplainError:
        raise
    except Exception:
        # The boundary of the process: other exceptions may be of classes that only a framework can unpickle.
        raise UnexpectedFailure(traceback.format_exc()) from None


def _died(error: ProcessExpired) -> JobError:
    code = error.exitcode
    if code == -signal.SIGKILL:
        how = "It was killed, most likely because the machine ran out of memory."
    elif code < 0:
        how = f"It crashed ({signal.Signals(-code).name})."
    else:
        how = f"It ended with exit code {code}."
    return JobError(
        f"The process that did the work is gone. {how}",
        hint="Try again with fewer samples or timesteps. Nothing else was affected.",
    )
