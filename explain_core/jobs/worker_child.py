"""What a worker process does: takes jobs from its standard input, and answers on what was its standard output.

Runs in the sandbox (`sandbox.boot`). Jobs come as pickles, from the app, which is trusted; what goes back is data
(`wire`), in the kinds of `answers`.
"""

from __future__ import annotations

import errno
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO

from explain_core.errors import ExplainError, JobError, NoRoomError
from explain_core.jobs import wire
from explain_core.jobs.answers import BEGUN, BROKE, DONE, FAILED, LENGTH, SAID, too_much_memory
from explain_core.jobs.limits import in_gb
from explain_core.models.permission import open_only_data

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What frameworks say, in exceptions of their own, where Python has MemoryError.
_OUT_OF_MEMORY = ("can't allocate", "not enough memory", "bad_alloc", "oom when allocating", "out of memory")
_OUT_OF_CARD = ("cuda out of memory", "cuda_error_out_of_memory", "cudnn_status_alloc_failed", "cublas_status_alloc")


def serve(memory: int, most: int, *, sandboxed: bool) -> None:
    """Run one job after the other, until the app closes the pipe.

    Args:
        memory: bytes that a job may use, for the words where it needs more.
        most: bytes that its result may have.
        sandboxed: whether this process is in its sandbox; without, it opens data formats only.
    """
    if not sandboxed:
        open_only_data()
    jobs, answers = sys.stdin.buffer, _take_over_output()
    while size := int.from_bytes(jobs.read(LENGTH), "little"):
        job = jobs.read(size)
        _answer(answers, BEGUN)
        kind, value = _run(answers, memory, job)
        try:
            _answer(answers, kind, value, most)
        except wire.WireError as error:
            _answer(answers, FAILED, _too_large(error))
        except TypeError as error:
            _answer(answers, BROKE, f"{error}\nIt is in what the job returned.")
        del job, value  # or they would take memory until the next job


def _take_over_output() -> BinaryIO:
    """The pipe to the app, for this module alone: whatever else is printed goes where errors go."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _answer(answers: BinaryIO, kind: bytes, value: Any = None, most: int | None = None) -> None:
    """Write one answer, or nothing of it.

    Raises:
        WireError: it has more than ``most`` bytes.
        TypeError: it is nothing that can be sent.
    """
    pieces = [*wire.dump(value)]
    if most is not None and (size := sum(map(len, pieces))) > most:
        raise wire.WireError(f"{in_gb(size)}; the limit is {in_gb(most)}")
    answers.write(kind)
    for piece in pieces:
        answers.write(piece)
    answers.flush()


def _run(answers: BinaryIO, memory: int, job: bytes) -> tuple[bytes, Any]:
    one_at_a_time = threading.Lock()  # jobs may report from threads of their own,
    ended = False  # and go on after they have ended

    def report(fraction: float, message: str) -> None:
        with one_at_a_time:
            if not ended:
                _answer(answers, SAID, [float(fraction), str(message)])

    try:
        task, args, kwargs = pickle.loads(job)
        return DONE, task(report, *args, **kwargs)
    except BaseException as error:  # the boundary of the process: what it was, is said to the app
        if (said := resource_error(error, memory)) is not None:
            return FAILED, said
        if isinstance(error, ExplainError):
            return FAILED, error
        return BROKE, traceback.format_exc()
    finally:
        with one_at_a_time:
            ended = True


def resource_error(error: BaseException, memory: int) -> JobError | None:
    """What a job ran out of, if that is what ended it, also where another error was made of it."""
    for one in _causes(error):
        is_own = isinstance(one, ExplainError) and not isinstance(one, NoRoomError)
        text = "" if is_own else str(one).lower()
        if any(words in text for words in _OUT_OF_CARD):
            return JobError(
                "The graphics card ran out of memory.",
                hint='Explain fewer samples, timesteps or outputs at once, or choose "Processor (CPU)".',
            )
        if isinstance(one, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
            return too_much_memory(memory)
        if isinstance(one, OSError) and one.errno in _FULL_DISK:
            return JobError(
                "There is no room on the disk for what the job had to write.",
                hint="Whoever runs this server can make room in its folder for temporary files (TMPDIR).",
            )
    return None


def _too_large(why: wire.WireError) -> JobError:
    return JobError(
        f"The result is larger than one result may be: {why}.",
        hint="Explain fewer samples, timesteps or outputs at once.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
