"""One operating-system process that runs jobs: its start, its limits, and its end however deep in native code it is."""

from __future__ import annotations

import ctypes
import errno
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from pebble import ProcessFuture, ProcessPool

from explain_core.errors import ExplainError, JobError
from explain_core.limits import GB, Limits, in_gb

_PID = "pid"
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What frameworks say, in exceptions of their own, where Python has MemoryError.
_OUT_OF_MEMORY = ("can't allocate", "not enough memory", "bad_alloc", "oom when allocating", "out of memory")
_OUT_OF_CARD = ("cuda out of memory", "cuda_error_out_of_memory", "cudnn_status_alloc_failed", "cublas_status_alloc")


class UnexpectedFailure(Exception):  # noqa: N818 - an error is what people are to expect; this is not one
    """An error in a job that nobody raised on purpose: a bug. Carries the text of its traceback."""


class WorkerProcess:
    """A process for jobs, one at a time, with a folder for its temporary files that goes when it does.

    Args:
        folder: a new folder, which this takes over.
        limits: what it may use.

    It has to be made by a thread that lives as long as the app: Linux ends the process with the thread that
    started it, which is how no process stays behind when the app is killed.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self._limits = limits
        self._process: psutil.Process | None = None
        self._pool = ProcessPool(
            max_workers=1,
            context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(os.getpid(), folder, limits),
        )

    def run(self, progress_file: Path, task: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> ProcessFuture:
        """Start ``task(report, *args, **kwargs)``.

        Raises:
            RuntimeError: the process is gone.
        """
        return self._pool.schedule(_run, args=[task, progress_file, args, kwargs])

    @property
    def memory(self) -> int:
        """Bytes of main memory that the process holds; 0 before it has started and after it has ended."""
        try:
            process = self._find()
            return process.memory_info().rss if process else 0
        except psutil.Error:
            return 0

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended; one that is only starting has not."""
        try:
            process = self._find()
            return process is not None and process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    @property
    def is_usable(self) -> bool:
        """Whether the process takes another job."""
        return not self.is_gone and self._pool.active

    def end(self, then: Callable[[], None] = lambda: None) -> None:
        """End the process now, whatever it does; its files follow, and ``then`` is called after that."""
        self._pool.stop()
        try:
            if process := self._find():
                process.kill()
        except psutil.Error:  # it has ended
            pass
        try:  # the pool's threads take moments to end, and nobody has to wait for them
            threading.Thread(target=self._bury, args=(then,), daemon=True).start()
        except RuntimeError:  # the interpreter is on its way out and takes no new threads
            self._bury(then)

    def _bury(self, then: Callable[[], None]) -> None:
        self._pool.join()
        shutil.rmtree(self.folder, ignore_errors=True)
        then()

    def _find(self) -> psutil.Process | None:
        if self._process is None:
            try:
                self._process = psutil.Process(int((self.folder / _PID).read_text(encoding="ascii")))
            except (OSError, ValueError):  # it is only starting
                return None
        return self._process


def too_much_memory(limit: int) -> JobError:
    """What a job that needs more memory than it may have ends in."""
    return JobError(
        f"The job needed more than the {in_gb(limit)} of memory that one job may use, and was stopped.",
        hint="Explain fewer samples, timesteps, outputs or background sequences at once. Nothing else was affected.",
    )


# From here on: what happens in the process itself.

_memory_limit = 0


def _start(parent: int, folder: Path, limits: Limits) -> None:
    global _memory_limit
    _memory_limit = limits.memory
    # The default action of SIGTERM ends a process also while it is deep in native code; nothing needs saving.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    tempfile.tempdir = os.environ["TMPDIR"] = os.environ["TEMP"] = os.environ["TMP"] = str(folder)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "torchinductor")  # PyTorch makes one as it is imported
    os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")  # and Keras imports what makes this one
    _limit_resources(limits)
    _end_with_parent(parent)
    unfinished = folder / "pid.part"
    unfinished.write_text(str(os.getpid()), encoding="ascii")
    unfinished.replace(folder / _PID)


def _limit_resources(limits: Limits) -> None:
    """Limits that the kernel enforces. Windows has none of these calls; the watch from outside works there too."""
    if hasattr(os, "nice"):
        os.nice(5)  # the app's own process answers first
    if sys.platform == "win32":
        return
    import resource

    _lower(resource.RLIMIT_CORE, 0)  # a crash would write all its memory to the disk
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    if sys.platform == "linux":
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")  # before the app, if it comes to that
        if not Path("/proc/driver/nvidia").exists():  # what drivers map for a card would count as data
            # Ends one giant allocation where it is asked for. The margin is for memory that is asked for and never
            # touched, stacks of threads above all; what is touched is watched from outside, at the limit itself.
            _lower(resource.RLIMIT_DATA, limits.memory + limits.memory // 4 + 2 * GB)


def _lower(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, hard))


def _end_with_parent(parent: int) -> None:
    """End this process when its parent has gone without a word, so that none is left over."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # of prctl; reaches a process also where no Python can run
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_leave_without_parent, args=(parent,), daemon=True).start()


def _leave_without_parent(parent: int) -> None:
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
    except BaseException as error:
        # The boundary of the process: other exceptions may be of classes that only a framework can unpickle, and
        # one that asks for the interpreter's end must not be raised in the app.
        if (said := _resource_error(error)) is not None:
            raise said from None
        if isinstance(error, ExplainError):
            raise
        raise UnexpectedFailure(traceback.format_exc()) from None


def _resource_error(error: BaseException) -> JobError | None:
    """What a job ran out of, if that is what ended it, also where another error was made of it."""
    for one in _causes(error):
        text = "" if isinstance(one, ExplainError) else str(one).lower()
        if any(words in text for words in _OUT_OF_CARD):
            return JobError(
                "The graphics card ran out of memory.",
                hint='Explain fewer samples, timesteps or outputs at once, or choose "Processor (CPU)".',
            )
        if isinstance(one, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
            return too_much_memory(_memory_limit)
        if isinstance(one, OSError) and one.errno in _FULL_DISK:
            return JobError(
                "There is no room on the disk for what the job had to write.",
                hint="Whoever runs this server can make room in its folder for temporary files (TMPDIR).",
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
