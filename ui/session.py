"""One person's session: workers of their own, the jobs it was given, and what came of them.

No Streamlit here.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from explain_core.errors import ExplainError, JobError
from explain_core.jobs import ModelSource, Request, explain, warm_up
from explain_core.worker import Job, UnexpectedFailure, Worker

_KEPT_OUTCOMES = 24
_KEPT_UPLOADS = 8


@dataclass
class Outcome:
    """What is known of a job: still running, its value, or its error."""

    start: Callable[[], Job]
    job: Job
    value: Any = None
    error: ExplainError | UnexpectedFailure | None = None
    settled: bool = False

    @property
    def running(self) -> bool:
        return not self.settled

    @property
    def was_cancelled(self) -> bool:
        """Whether the job ended because somebody pressed cancel."""
        return isinstance(self.error, JobError) and "cancelled" in self.error.what

    @property
    def may_go_better(self) -> bool:
        """Whether the same job could end otherwise next time: it was stopped, or its process died."""
        return isinstance(self.error, JobError | UnexpectedFailure)

    def restart(self) -> None:
        """Do the same job again."""
        self.job, self.value, self.error, self.settled = self.start(), None, None, False

    def settle(self) -> None:
        """Take the job's result, if it has ended."""
        if self.settled or not self.job.done:
            return
        self.settled = True
        try:
            self.value = self.job.result()
        except (ExplainError, UnexpectedFailure) as error:
            self.error = error


class Session:
    """Jobs by key: the first to ask for a key starts its job, the others see how it is.

    Every framework has a process of its own, since one process must not hold both; that of TensorFlow starts with the
    first Keras model. ``worker`` is PyTorch's, and its folder has the files of both.
    """

    def __init__(self) -> None:
        self.worker = Worker()
        self.workers = {"torch": self.worker}
        self._outcomes: OrderedDict[Hashable, Outcome] = OrderedDict()
        self._uploads: OrderedDict[str, Path] = OrderedDict()
        self._explaining: str | None = None
        self.worker.run(warm_up)

    def close(self) -> None:
        """Stop the processes and remove their files."""
        for worker in self.workers.values():
            worker.close()

    def _worker_of(self, framework: str) -> Worker:
        if framework not in self.workers:
            self.workers[framework] = Worker()
            self.workers[framework].run(warm_up, framework)
        return self.workers[framework]

    def outcome(self, key: Hashable, model: ModelSource, task: Callable[..., Any], *args: Any) -> Outcome:
        """The outcome of ``task(*args)`` on a model; starts it the first time that ``key`` is asked for."""
        if key not in self._outcomes:
            start = partial(self._worker_of(model.framework).run, task, *args)
            self._outcomes[key] = Outcome(start, start())
            while len(self._outcomes) > _KEPT_OUTCOMES:
                self._outcomes.popitem(last=False)[1].job.cancel()
        self._outcomes.move_to_end(key)
        self._outcomes[key].settle()
        return self._outcomes[key]

    def knows(self, key: Hashable) -> bool:
        """Whether a job was started for the key."""
        return key in self._outcomes

    def explanation(self, key: str, request: Request) -> Outcome:
        """The explanation of a request, in a file. One that still runs for an earlier request is stopped."""
        before, self._explaining = self._explaining, key
        if before is not None and before != key and before in self._outcomes:
            outcome = self._outcomes[before]
            outcome.settle()
            if outcome.running:
                outcome.job.cancel()
                del self._outcomes[before]
        return self.outcome(key, request.model, explain, request, self.result_file(key))

    def keep_upload(self, name: str, data: bytes) -> Path:
        """Write an uploaded file to the session's folder; the oldest make room."""
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._uploads:
            folder = self.worker.folder / "uploads" / digest[:16]
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / (Path(name.replace("\\", "/")).name or "upload")
            path.write_bytes(data)
            self._uploads[digest] = path
            while len(self._uploads) > _KEPT_UPLOADS:
                shutil.rmtree(self._uploads.popitem(last=False)[1].parent)
        self._uploads.move_to_end(digest)
        return self._uploads[digest]

    def result_file(self, key: str) -> Path:
        """Where the explanation with this key is written."""
        folder = self.worker.folder / "results"
        folder.mkdir(exist_ok=True)
        return folder / f"{key}.nc"
