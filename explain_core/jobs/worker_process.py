"""One operating-system process that runs jobs: its start, what goes to it and comes back, and its end however deep in
native code it is.

Other people's files are opened in it, so nothing that comes back is trusted: it is read as data of bounded size, and a
process that answers anything else is ended. The files of a job are put into its folder, where it can read them, and
nothing that it writes there is ever read by the app.
"""

from __future__ import annotations

import compileall
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

import psutil

from explain_core.errors import ExplainError, JobError
from explain_core.jobs.answers import BEGUN, BROKE, DONE, FAILED, LENGTH, SAID
from explain_core.jobs.lent_files import LentFiles, running_script
from explain_core.jobs.limits import Limits
from explain_core.jobs.sandbox import boot, places, status
from explain_core.jobs.workspace import remove_folder
from explain_core.kernels import store
from explain_core.models.permission import FLAG, code_is_trusted

_log = logging.getLogger("pairlift.worker")
_BOOT = Path(boot.__file__)
_MOST_SAID = 2**20  # bytes of one answer that is no result: errors have lists of weights in them
_LONGEST_MESSAGE = 200  # characters about progress
_BETWEEN_ANSWERS = 0.001  # seconds: so that no flood of answers takes the app's time
_LAST_SECONDS = 5.0  # in which a process that has closed the pipe has to end
_LONGEST_TRACE = 20_000  # characters of a traceback
_LAST_WORDS = 2000  # characters that a process printed before its end, for the log


class UnexpectedFailure(Exception):  # noqa: N818 - an error is what people are to expect; this is not one
    """An error in a job that nobody raised on purpose: a bug. Carries the text of its traceback."""


class ProcessEndedError(Exception):
    """The process ended before the job did.

    Attributes:
        code: its exit code, negative for the signal that ended it.
        begun: whether the job had begun, so that it may have been the reason.
    """

    def __init__(self, code: int, begun: bool) -> None:
        super().__init__(code, begun)
        self.code = code
        self.begun = begun


class WorkerProcess:
    """A process for jobs, one at a time, with a folder for its files that goes when it does.

    Args:
        folder: a new folder, which this takes over.
        limits: what it may use.

    It has to be made by a thread that lives as long as the app: Linux ends the process with the thread that
    started it, which is how no process stays behind when the app is killed.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._lent = LentFiles(folder / "files")
        own = folder / "own"
        own.mkdir()
        _compile_own_code()
        path = [os.path.abspath(entry or ".") for entry in sys.path]
        # The worker gets an opening of its own, of which it may change the ways, and cannot open the file itself.
        self._printed = folder / "printed.txt"
        printed = self._printed.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_BOOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            cwd=own,
            env=places.environment(own, path) | store.for_workers(),
            start_new_session=True,
        )
        printed.close()
        orders = {
            "parent": os.getpid(),
            "write": str(own),
            "read": [*places.to_read(), str(store.folder()), *running_script(), str(folder / "files")],
            "devices": places.to_use(),
            "sandboxed": status().active,
            "memory": limits.memory,
            "file_bytes": limits.file_bytes,
            "answer_bytes": limits.answer_bytes,
            "arguments": [FLAG] if code_is_trusted() else [],
        }
        self._jobs, self._answers = cast(IO[bytes], self._process.stdin), cast(io.BufferedReader, self._process.stdout)
        with suppress(BrokenPipeError):  # it has ended already, and the first job is told so
            self._jobs.write(json.dumps(orders).encode() + b"\n")
            self._jobs.flush()
        self._job: _Running | None = None
        self._ending = False
        self._listener = threading.Thread(target=self._listen, name="worker's answers", daemon=True)
        self._listener.start()

    def run(
        self, say: Callable[[float, str], None], task: Callable[..., Any], args: tuple, kwargs: dict[str, Any]
    ) -> Future:
        """Start ``task(report, *args, **kwargs)``; what it reports is handed to ``say``, in a thread of this process.

        Files in the arguments (as `Path`s) are put where the worker can read them. The future ends with the value, with
        the `ExplainError` or `UnexpectedFailure` that the job raised, or with `ProcessEndedError`.
        """
        self._job = running = _Running(say)
        try:
            threading.Thread(target=self._hand_over, args=(running, task, args, kwargs), daemon=True).start()
        except RuntimeError:  # no thread to be had, as when the interpreter is on its way out
            running.fail(ProcessEndedError(-signal.SIGKILL, begun=False))
        return running.future

    @property
    def memory(self) -> int:
        """Bytes of main memory that the process holds; 0 after it has ended."""
        try:
            if self._process.poll() is not None:
                return 0
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return 0

    @property
    def is_usable(self) -> bool:
        """Whether the process is there to take another job."""
        return not self._ending and self._process.poll() is None

    def end(self, then: Callable[[], None] = lambda: None) -> None:
        """End the process now, whatever it does; its files follow, and ``then`` is called after that."""
        self._kill()
        try:  # nobody has to wait for that
            threading.Thread(target=self._bury, args=(then,), daemon=True).start()
        except RuntimeError:  # the interpreter is on its way out and takes no new threads
            self._bury(then)

    def _kill(self) -> None:
        self._ending = True
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg") and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)  # with any process that it has started
        self._process.kill()

    def _bury(self, then: Callable[[], None]) -> None:
        try:
            self._process.wait()
            if threading.current_thread() is not self._listener:
                self._listener.join()
            with suppress(OSError):  # what could not be written any more
                self._jobs.close()
            self._answers.close()
            remove_folder(self._folder)
        finally:
            then()

    def _hand_over(self, running: _Running, task: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> None:
        try:
            job = self._lent.pack((task, args, kwargs))
            self._jobs.write(len(job).to_bytes(LENGTH, "little"))
            self._jobs.write(job)
            self._jobs.flush()
        except BrokenPipeError:  # the listener says so, unless it saw the end before there was a job
            self._listener.join()
            running.fail(ProcessEndedError(self._process.wait(), running.begun))
        except OSError as error:
            running.fail(
                JobError(
                    f"The files of the job could not be handed to it: {error.strerror}.",
                    hint="Whoever runs this server can make room in its folder for temporary files (TMPDIR).",
                )
            )
        except Exception as error:  # of whatever an argument does as it is pickled
            if self._ending:  # and the pipe is closed
                running.fail(ProcessEndedError(-signal.SIGKILL, begun=False))
            else:
                running.fail(UnexpectedFailure(f"The job cannot be sent to a worker. {type(error).__name__}: {error}"))

    def _listen(self) -> None:
        """Take the process's answers, until it ends."""
        try:
            while kind := self._answers.read(1):
                self._take(kind)
        except EOFError:  # in the middle of an answer
            pass
        except Exception as error:  # whatever it answers, its job ends, and so does the process
            _log.error("A worker's answer could not be read, so it was ended: %s", _printable(str(error)))
            self._fail(_unreadable())
            self._kill()
        try:
            code = self._process.wait(_LAST_SECONDS)
        except subprocess.TimeoutExpired:  # it has closed the pipe, and goes on
            self._kill()
            code = self._process.wait()
        if (running := self._job) is not None:
            self._fail(ProcessEndedError(code, running.begun))
            if not self._ending:
                self._log_last_words(code)

    def _take(self, kind: bytes) -> None:
        # Imported with the first answer: pandas and xarray take most of a second, and the server starts without.
        from explain_core.jobs import wire

        running = self._job
        if kind not in (BEGUN, SAID, DONE, FAILED, BROKE) or running is None or running.begun == (kind == BEGUN):
            raise wire.WireError(f"an answer of the kind {kind!r}")
        value, size = wire.load(self._answers, self._limits.answer_bytes if kind == DONE else _MOST_SAID)
        if kind == BEGUN:
            running.begun = True
        elif kind == SAID:
            fraction, message = value
            running.say(min(fraction, 1.0) if fraction > 0 else 0.0, _printable(message)[:_LONGEST_MESSAGE])
            time.sleep(_BETWEEN_ANSWERS)
        else:
            self._job = None
            if kind == DONE:
                running.succeed((value, size))
            elif kind == FAILED and isinstance(value, ExplainError):
                running.fail(value)
            elif kind == BROKE and isinstance(value, str):
                running.fail(UnexpectedFailure(_quoted(value)))
            else:
                running.fail(_unreadable())

    def _fail(self, error: Exception) -> None:
        running, self._job = self._job, None
        if running is not None:
            running.fail(error)

    def _log_last_words(self, code: int) -> None:
        try:
            with self._printed.open("rb") as file:
                file.seek(max(file.seek(0, io.SEEK_END) - _LAST_WORDS, 0))
                words = _printable(file.read(_LAST_WORDS).decode("utf-8", "replace"))
        except OSError as error:
            words = str(error)
        _log.warning("A worker ended with exit code %s. The last that it printed: %s", code, words or "nothing")


class _Running:
    """A job that a process has: who is told how far it is, and its future, which ends once."""

    def __init__(self, say: Callable[[float, str], None]) -> None:
        self.say = say
        self.future: Future = Future()
        self.begun = False

    def succeed(self, value: Any) -> None:
        if not self.future.done():
            self.future.set_result(value)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@cache
def _compile_own_code() -> None:
    """Have the code of this package compiled once, since workers cannot write what they compile."""
    compileall.compile_dir(Path(__file__).parents[1], quiet=2)


def _printable(text: str) -> str:
    """Text that others have written, in one line without control characters."""
    return "".join(c if c.isprintable() else " " for c in text[:_LAST_WORDS]).rstrip()


def _quoted(text: str) -> str:
    """Lines that others have written, as lines of the log that cannot be taken for its own."""
    lines = text[-_LONGEST_TRACE:].splitlines()
    return "\n".join(f"  | {_printable(line)}" for line in lines)


def _unreadable() -> JobError:
    return JobError(
        "The process that did the work answered with something that cannot be read, and was ended.",
        hint="The server's log says what. Nothing else was affected.",
    )
