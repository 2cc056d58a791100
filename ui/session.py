"""One person's session: workers of their own, the jobs it was given, what came of them, and its files.

No Streamlit here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from explain_core.errors import ExplainError, InputError, JobError
from explain_core.explanation import Explanation
from explain_core.jobs import wire
from explain_core.jobs.limits import in_gb
from explain_core.jobs.scheduler import Scheduler, shared_scheduler
from explain_core.jobs.tasks.explaining import Request, explain
from explain_core.jobs.tasks.opening import ModelSource
from explain_core.jobs.worker import Job, UnexpectedFailure, Worker
from explain_core.jobs.workspace import workspace

_KEPT_OUTCOMES = 32
_KEPT_LOADED = 4  # explanations in memory; others are read from their files again


@dataclass
class Outcome:
    """What is known of a job: still running, its value, or its error."""

    start: Callable[[], Job]
    job: Job
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

    def settle(self) -> None:
        """Take the job's result, if it has ended."""
        if self.settled or not self.job.done:
            return
        self.settled = True
        try:
            self.value = self.job.result() if self.keep is None else self.keep(self.job.result())
        except (ExplainError, UnexpectedFailure) as error:
            self.error = error


class Session:
    """Jobs by key: the first to ask for a key starts its job, the others see how it is.

    Every framework has a process of its own, since one process must not hold both; that of TensorFlow starts with the
    first Keras model.

    Attributes:
        limits: what its files may take.
        folder: all files of this session; gone after `close`.
        notices: sentences for the person, such as what had to make room; whoever shows them takes them out.
        asked: what the person has asked for with a button. A plain set, for callbacks to add to: where one touches
            Streamlit's own state while the browser asks for another run, Streamlit ends it there.
    """

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        self._scheduler = scheduler or shared_scheduler()
        self.limits = self._scheduler.limits
        self.folder = workspace().new_folder("session")
        self.workers: dict[str | None, Worker] = {}
        self.notices: list[str] = []
        self.asked: set[Hashable] = set()
        self._outcomes: OrderedDict[Hashable, Outcome] = OrderedDict()
        self._uploads: OrderedDict[str, Path] = OrderedDict()
        self._held: dict[str, Path] = {}
        self._explanations: set[Hashable] = set()
        self._loaded: OrderedDict[str, Explanation] = OrderedDict()
        self._tables: dict[str, dict[str, pd.DataFrame]] = {}  # of explanations, also of those not in memory
        self._explaining: str | None = None
        self._remove_files = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._worker_of("torch")

    def close(self) -> None:
        """Stop the processes and remove the files; so does dropping the last reference."""
        for worker in self.workers.values():
            worker.close()
        self._remove_files()

    def rest(self) -> None:
        """End the processes, since nobody watches; files and results stay. A job under way starts again when asked for.

        May be called from any thread.
        """
        for outcome in [*self._outcomes.values()]:
            outcome.interrupted = not outcome.job.done
        for worker in [*self.workers.values()]:
            self._scheduler.close_worker(worker.token)  # and not the worker, which gets a process with its next job

    @property
    def closed(self) -> bool:
        """Whether its files are gone."""
        return not self._remove_files.alive

    def _worker_of(self, framework: str | None) -> Worker:
        if framework not in self.workers:
            self.workers[framework] = Worker(framework, scheduler=self._scheduler)
            self.workers[framework].prepare()
        return self.workers[framework]

    def outcome(
        self,
        key: Hashable,
        model: ModelSource | None,
        task: Callable[..., Any],
        *args: Any,
        keep: Callable[[Any], Any] | None = None,
    ) -> Outcome:
        """The outcome of ``task(*args)``; starts it the first time that ``key`` is asked for.

        It runs in the process of the model's framework; without a model in one that holds none, such as for reading
        files of data.
        """
        if key not in self._outcomes:
            if model is not None and not model.framework:
                raise ValueError(f"Nobody has found out yet which framework opens {model.path.name}.")
            start = partial(self._worker_of(model.framework if model else None).run, task, *args)
            self._outcomes[key] = Outcome(start, start(), keep)
            self._forget_oldest()
        self._outcomes.move_to_end(key)
        if self._outcomes[key].interrupted:
            self._outcomes[key].restart()
        self._outcomes[key].settle()
        return self._outcomes[key]

    def knows(self, key: Hashable) -> bool:
        """Whether a job was started for the key."""
        return key in self._outcomes

    def explanation(self, key: str, request: Request) -> Outcome:
        """The explanation of a request, which `load` returns; one that still runs for an earlier request is stopped."""
        before, self._explaining = self._explaining, key
        if before is not None and before != key and before in self._outcomes:
            outcome = self._outcomes[before]
            outcome.settle()
            if outcome.running:
                self._forget(before)
        self._explanations.add(key)
        return self.outcome(key, request.model, explain, request, keep=partial(self._store, key))

    def _store(self, key: str, explanation: Explanation) -> Path:
        """Write an explanation to a file of the session, so that not all of them take memory.

        Raises:
            JobError: the disk is full.
        """
        file = self._result_file(key)
        try:
            file.parent.mkdir(exist_ok=True)
            with file.open("wb") as stream:
                stream.writelines(wire.dump(explanation))
        except OSError as error:
            file.unlink(missing_ok=True)
            raise _not_kept("result", error) from None
        self._tables[key] = explanation.diagnostics
        self._remember(key, explanation)
        return file

    def load(self, key: str) -> Explanation:
        """The explanation with this key, once its outcome is there. Tables that are put into it stay in it."""
        if key not in self._loaded:
            file = self._result_file(key)
            with file.open("rb") as stream:
                explanation, _ = wire.load(stream, file.stat().st_size)
            explanation.diagnostics = self._tables[key]
            self._remember(key, explanation)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _remember(self, key: str, explanation: Explanation) -> None:
        self._loaded[key] = explanation
        if len(self._loaded) > _KEPT_LOADED:
            self._loaded.popitem(last=False)

    def _result_file(self, key: str) -> Path:
        return self.folder / "results" / key

    def _forget_oldest(self) -> None:
        """Make room for outcomes: the last is new, those under way stay, and files may only take so much."""
        settled = []
        for key, outcome in [*self._outcomes.items()][:-1]:
            outcome.settle()
            if not outcome.running:
                settled.append(key)
        results = self.folder / "results"
        sizes = {file.name: file.stat().st_size for file in results.iterdir()} if results.exists() else {}
        while settled and (
            len(self._outcomes) > _KEPT_OUTCOMES
            or sum(sizes.values()) > self.limits.result_bytes
            or self._bytes_in_memory() > self.limits.answer_bytes
        ):
            self._forget(settled[0])
            sizes.pop(settled.pop(0), None)

    def _bytes_in_memory(self) -> int:
        """Of the values of outcomes, but for what was put into files."""
        return sum(outcome.job.size for outcome in self._outcomes.values() if outcome.keep is None)

    def _forget(self, key: Hashable) -> None:
        self._outcomes.pop(key).job.cancel()
        if key in self._explanations:
            self._explanations.remove(key)
            self._loaded.pop(key, None)
            self._tables.pop(key, None)
            self._result_file(key).unlink(missing_ok=True)

    # Uploads.

    def keep_upload(self, name: str, data: bytes, slot: str | None = None) -> Path:
        """Write an uploaded file to the session's folder; the oldest make room, with a notice.

        Args:
            name: what it was called on the person's machine.
            data: its bytes.
            slot: where it is used, a model or a sequence for instance. The file in a slot never makes room; another
                file in the same slot frees the one before.

        Raises:
            InputError: it is larger than all of a session's uploads may be together.
            JobError: the disk is full.
        """
        limits = self.limits
        if len(data) > limits.upload_bytes:
            raise InputError(
                f"The file has {in_gb(len(data))}; uploads may have {in_gb(limits.upload_bytes)} together.",
                where=name,
                hint="Give a smaller file, or run PairLift yourself with a larger PAIRLIFT_UPLOAD_GB.",
            )
        name = re.sub(r"[^\w.()+= -]", "_", name.replace("\\", "/").rpartition("/")[2])[-60:].strip(". ") or "upload"
        found = hashlib.sha256(name.encode())
        found.update(data)
        digest = found.hexdigest()
        path = self._uploads.get(digest)
        if path is None or not path.exists():
            path = self.folder / "uploads" / digest[:16] / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except OSError as error:
                shutil.rmtree(path.parent, ignore_errors=True)  # a part of it would fill the disk for nothing
                raise _not_kept("file", error, name) from None
            self._uploads[digest] = path
        self._uploads.move_to_end(digest)
        if slot is not None:
            self._held[slot] = path
        self._make_room(digest)
        return path

    def held(self, slot: str) -> Path | None:
        """The file in a slot."""
        return self._held.get(slot)

    def free_slot(self, slot: str) -> None:
        """The file in a slot is not used any more, and may make room."""
        self._held.pop(slot, None)

    def _make_room(self, newest: str) -> None:
        limits = self.limits
        held = set(self._held.values())
        removable = [digest for digest, path in self._uploads.items() if digest != newest and path not in held]
        sizes = {digest: path.stat().st_size for digest, path in self._uploads.items() if path.exists()}
        while removable and (len(sizes) > limits.upload_files or sum(sizes.values()) > limits.upload_bytes):
            digest = removable.pop(0)
            path = self._uploads.pop(digest)
            sizes.pop(digest, None)
            shutil.rmtree(path.parent, ignore_errors=True)
            self.notices.append(
                f"{path.name} was removed to make room: a session keeps {limits.upload_files} files and "
                f"{in_gb(limits.upload_bytes)} of uploads. Give it again to use it again."
            )


def _not_kept(what: str, error: OSError, where: str = "") -> JobError:
    return JobError(
        f"The {what} could not be kept: {error.strerror}.",
        where=where,
        hint="Whoever runs this server can make room in its folder for temporary files (TMPDIR).",
    )
