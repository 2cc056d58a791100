"""How much a job, a session and all of them together may use; each limit can be set by an environment variable."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from explain_core.errors import JobError
from explain_core.jobs.machine import total_memory

GB = 10**9


@dataclass(frozen=True)
class Limits:
    """Limits on what people's work may use. See docs/operations.md.

    Attributes:
        memory: bytes that one worker process may hold; a job that passes it is stopped.
        reserve: bytes of the machine that stay free; the largest job is stopped before they are used.
        seconds: how long one job may take.
        processes: worker processes that are alive at once.
        jobs: jobs that run at once; more of them wait.
        idle_seconds: after this long without a job a worker process is ended.
        spares: whether a process with its framework already imported is kept for whoever comes next.
        upload_files, upload_bytes: what is kept of the uploads of one session, and what it may be sending at once.
        uploads_in_memory: bytes of uploads of all sessions that the app's process holds until they are on disk.
        sessions, sessions_of_address: tabs that are open at once, and those of one address on the network.
        result_bytes: what is kept of the results of one session.
        runs, runs_of_visitor: results that are kept on disk when their session has ended, of all and of one visitor.
        runs_bytes, runs_bytes_of_visitor: what those of all, and of one visitor, may have together.
        file_bytes: the largest file that a job may write.
        answer_bytes: the largest result that a job may hand to the app.
    """

    memory: int
    reserve: int
    processes: int
    jobs: int
    seconds: float = 600.0
    idle_seconds: float = 900.0
    spares: bool = True
    upload_files: int = 16
    upload_bytes: int = GB
    uploads_in_memory: int = GB
    sessions: int = 64
    sessions_of_address: int = 32
    result_bytes: int = 2 * GB
    runs: int = 5000
    runs_of_visitor: int = 200
    runs_bytes: int = 5 * GB
    runs_bytes_of_visitor: int = GB
    file_bytes: int = 4 * GB
    answer_bytes: int = GB

    @classmethod
    def of_this_machine(cls, environment: Mapping[str, str] = os.environ) -> Limits:
        """Defaults that fit the machine or the container, and what the environment says instead.

        Raises:
            JobError: a variable that is not a positive number; names it.
        """
        total = total_memory()
        read = _Reader(environment)
        memory = read("PAIRLIFT_JOB_MEMORY_GB", total / 2 / GB) * GB
        sessions = max(round(read("PAIRLIFT_SESSIONS", cls.sessions)), 1)
        processes = round(read("PAIRLIFT_PROCESSES", min(max(total // (2 * GB), 2), 32)))
        return cls(
            memory=round(memory),
            reserve=round(min(max(total * 0.05, 0.25 * GB), 2 * GB)),
            processes=max(processes, 1),
            jobs=max(round(read("PAIRLIFT_JOBS", min(processes, max(4, os.cpu_count() or 1)))), 1),
            seconds=read("PAIRLIFT_JOB_SECONDS", cls.seconds),
            idle_seconds=60 * read("PAIRLIFT_IDLE_MINUTES", cls.idle_seconds / 60),
            spares=environment.get("PAIRLIFT_SPARES", "1") != "0",
            upload_files=max(round(read("PAIRLIFT_UPLOAD_FILES", cls.upload_files)), 1),
            upload_bytes=round(read("PAIRLIFT_UPLOAD_GB", cls.upload_bytes / GB) * GB),
            uploads_in_memory=round(read("PAIRLIFT_UPLOADS_TOTAL_GB", max(total / 16, 0.5 * GB) / GB) * GB),
            sessions=sessions,
            sessions_of_address=max(round(read("PAIRLIFT_SESSIONS_PER_ADDRESS", max(sessions // 2, 1))), 1),
            result_bytes=round(read("PAIRLIFT_RESULT_GB", cls.result_bytes / GB) * GB),
            runs=max(round(read("PAIRLIFT_RUNS", cls.runs)), 1),
            runs_of_visitor=max(round(read("PAIRLIFT_RUNS_OF_VISITOR", cls.runs_of_visitor)), 1),
            runs_bytes=round(read("PAIRLIFT_RUNS_GB", cls.runs_bytes / GB) * GB),
            runs_bytes_of_visitor=round(read("PAIRLIFT_RUNS_OF_VISITOR_GB", cls.runs_bytes_of_visitor / GB) * GB),
            answer_bytes=round(read("PAIRLIFT_ANSWER_GB", cls.answer_bytes / GB) * GB),
        )


@dataclass(frozen=True)
class _Reader:
    environment: Mapping[str, str]

    def __call__(self, name: str, default: float) -> float:
        text = self.environment.get(name, "")
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise JobError(
                f"{name} must be a positive number; it is {text!r}.",
                where="the environment that the app was started in",
                hint="Set it to a number, or unset it for the default. docs/operations.md has the list.",
            )
        return value


def in_gb(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / GB:.1f} GB" if size >= GB else f"{max(size / 1e6, 0):.0f} MB"
