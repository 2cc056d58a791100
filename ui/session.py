"""One person's session: workers of their own, the jobs it was given, what came of them, and its files.

No Streamlit here.
"""

from __future__ import annotations

import shutil
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from explain_core.errors import RunError
from explain_core.explanation import Explanation
from explain_core.jobs import wire
from explain_core.jobs.scheduler import Scheduler, shared_scheduler
from explain_core.jobs.tasks.explaining import Request, explain
from explain_core.jobs.tasks.opening import ModelSource, open_model
from explain_core.jobs.worker import Worker
from explain_core.jobs.workspace import workspace
from explain_core.runs import Run
from ui.demo_jobs import demo_jobs, is_demo
from ui.held_files import HeldFiles, not_kept
from ui.in_words import Shown
from ui.outcomes import AnyJob, Outcome, ReadyJob
from ui.own_runs import OwnRuns, shared_store

_KEPT_OUTCOMES = 32
_KEPT_LOADED = 4  # explanations in memory; others are read from their files again


class Session(HeldFiles):
    """Jobs by key: the first to ask for a key starts its job, the others see how it is.

    Every framework has a process of its own, since one process must not hold both; that of TensorFlow starts with the
    first Keras model.

    Attributes:
        limits: what its files may take.
        folder: all files of this session; gone after `close`.
        notices: sentences for the person, such as what had to make room; whoever shows them takes them out.
        runs: the results that are kept on disk, as this person sees them.
        choices: what was chosen, by its place in Streamlit's state, for a tab that goes on with this session.
        tab: the tab that it belongs to.
        asked: what the person has asked for with a button. A plain set, for callbacks to add to: where one touches
            Streamlit's own state while the browser asks for another run, Streamlit ends it there.
    """

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        self._scheduler = scheduler or shared_scheduler()
        self._demos = demo_jobs() if scheduler is None else None
        self.folder = workspace().new_folder("session")
        super().__init__(self.folder / "uploads", self._scheduler.limits, [])
        self.workers: dict[str | None, Worker] = {}
        self.asked: set[Hashable] = set()
        self.runs = OwnRuns()
        self.choices: dict[str, Any] = {}
        self.tab = ""
        self._outcomes: OrderedDict[Hashable, Outcome] = OrderedDict()
        self._explanations: set[Hashable] = set()
        self._loaded: OrderedDict[str, Explanation] = OrderedDict()
        self._tables: dict[str, dict[str, pd.DataFrame]] = {}  # of explanations, also of those not in memory
        self._shown_runs: OrderedDict[str, Shown] = OrderedDict()
        self._explaining: str | None = None
        self._remove_files = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

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
            self._add(key, partial(self._run, key, model, task, *args), keep)
        self._outcomes.move_to_end(key)
        if self._outcomes[key].interrupted:
            self._outcomes[key].restart()
        self._outcomes[key].settle()
        return self._outcomes[key]

    def _add(self, key: Hashable, start: Callable[[], AnyJob], keep: Callable[[Any], Any] | None) -> None:
        self._outcomes[key] = Outcome(start, start(), keep)
        self._forget_oldest()

    def _run(self, key: Hashable, model: ModelSource | None, task: Callable[..., Any], *args: Any) -> AnyJob:
        # A `Process`, for jobs without a model, is no demo.
        if self._demos is not None and isinstance(model, ModelSource) and is_demo(model):
            if task is explain:
                return self._demos.explanation(str(key), *args)
            if task is open_model:
                return self._demos.run(model, task, *args)
        return self._worker_of(model.framework if model else None).run(task, *args)

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
        if key not in self._outcomes and (found := self.runs.found(key)) is not None:
            self._add(key, partial(ReadyJob, found), partial(self._store, key))
        return self.outcome(key, request.model, explain, request, keep=partial(self._store, key))

    def kept(self, run: Run) -> Shown:
        """A kept run as pages show it; the last few stay in memory.

        Raises:
            RunError: its file is gone or damaged.
        """
        if run.id not in self._shown_runs:
            self._shown_runs[run.id] = replace(self.runs.shown(run), run=run.id)
            if len(self._shown_runs) > _KEPT_LOADED:
                self._shown_runs.popitem(last=False)
        return self._shown_runs[run.id]

    def pin_run(self, run: Run, pinned: bool) -> None:
        """Have one of the person's own kept runs stay when room is made, or not. A callback, as `forget_run`."""
        try:
            shared_store()[0].pin(self.runs.owner, run.id, pinned)
        except RunError as error:
            self.notices.append(error.what)
            if not self.runs.is_there(run.id):
                self.runs.deleted.add(run.id)  # which has been said now

    def forget_run(self, run: Run) -> None:
        """Delete one of the person's own kept runs. A callback, and so says what is wrong later."""
        self.runs.deleted.add(run.id)
        try:
            shared_store()[0].delete(self.runs.owner, run.id)
        except RunError as error:
            self.notices.append(error.what)
        self._shown_runs.pop(run.id, None)
        self.runs.ids.pop(run.about.key, None)
        self.runs.views.pop(run.id, None)

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
            raise not_kept("result", error) from None
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
