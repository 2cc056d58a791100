"""The kept runs as one visitor sees them: what is put away of a result, and how it is shown again.

No Streamlit here.
"""

from __future__ import annotations

import logging
import platform
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import explain_core
from explain_core.errors import ExplainError, RunError
from explain_core.explanation import Explanation
from explain_core.installed import versions_of
from explain_core.jobs.limits import Limits
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import ModelSource
from explain_core.jobs.workspace import workspace
from explain_core.runs import About, Bounds, Run, RunStore, data_folder, is_nameless, nameless
from ui.baselines import Baseline
from ui.demo_jobs import is_demo
from ui.in_words import Shown
from ui.subjects import Subject, asked_of, digest, file_digest

_log = logging.getLogger("pairlift.runs")
_KEPT_VIEWS = 100
GONE = "The run that was shown here is gone: it was deleted in another tab, or had to make room."
_PACKAGES = ("torch", "tensorflow", "numpy")


@dataclass(frozen=True)
class View:
    """The choices in the sidebar that led to a run, by widget, and the files that were in use."""

    choices: dict[str, Any]
    slots: dict[str, Path]


@dataclass
class OwnRuns:
    """A visitor's runs.

    Attributes:
        owner: the visitor's secret; a nameless one where their browser keeps no cookies.
        ids: of the runs that belong to the keys of explanations of this session.
        views: what the sidebar showed for a run of this session.
        unkept: keys of what could not be kept, which has been said.
        deleted: ids of the runs that were deleted in this session, or of which it was said that they are gone.
        gone: the key of what is shown and whose run has gone meanwhile; "" where there is none.
    """

    owner: str = field(default_factory=nameless)
    ids: dict[str, str] = field(default_factory=dict)
    views: OrderedDict[str, View] = field(default_factory=OrderedDict)
    unkept: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    gone: str = ""

    @property
    def lasts(self) -> bool:
        """Whether the visitor finds them again at the next visit."""
        return not is_nameless(self.owner)

    def found(self, key: str) -> Explanation | None:
        """What was found before for a key: by this visitor, or of a demo by anybody."""
        try:
            content = shared_store()[0].found(self.owner, key)
            return None if content is None else _parts(content)[0]
        except RunError as error:
            _log.warning("%s", error)
            return None

    def keep(self, shown: Shown, request: Request, seconds: float, origin: dict[str, str]) -> str:
        """Put a result away; returns its id, or "" where it cannot be kept.

        What went while it was shown stays away until something else was looked at: whoever deletes a run in one tab
        would find it again, put back by another.

        Raises:
            RunError: the first time that it cannot be kept, or that its run is gone; says why.
        """
        self.gone = self.gone if self.gone == shown.key else ""
        if shown.key in self.ids and not self.is_there(self.ids[shown.key]):
            self.deleted.add(self.ids.pop(shown.key))
            self.gone = shown.key
            raise RunError(GONE, hint="Choose it again to keep it.")
        if self.gone:
            return ""
        if shown.key not in self.ids and shown.key not in self.unkept:
            try:
                about = _about(shown, request, seconds, origin)
                run = shared_store()[0].add(self.owner, about, _content(shown), shared=is_demo(request.model))
            except (RunError, TypeError) as error:
                self.unkept.add(shown.key)
                if isinstance(error, RunError):
                    raise
                _log.error("Something of a result has a type that is not kept: %s", error)
                return ""
            self.ids[shown.key] = run.id
        return self.ids.get(shown.key, "")

    def share(self, shown: Shown) -> None:
        """Put away what everybody may have, without a run of this visitor.

        Raises:
            RunError: there is no room for it.
        """
        shared_store()[0].share(shown.key, _content(shown))

    def remember(self, run_id: str, view: View) -> None:
        """What the sidebar shows for a run."""
        self.views[run_id] = view
        self.views.move_to_end(run_id)
        if len(self.views) > _KEPT_VIEWS:
            self.views.popitem(last=False)

    def run(self, run_id: str) -> Run:
        """The run with an id, whoever's it is.

        Raises:
            RunError: there is none.
        """
        return shared_store()[0].run(run_id, self.owner)

    def is_there(self, run_id: str) -> bool:
        """Whether there still is a run with an id; it is taken to be there where nobody can tell."""
        try:
            return shared_store()[0].has(run_id)
        except RunError as error:
            _log.warning("%s", error)
            return True

    def all(self) -> list[Run]:
        """The visitor's own, the newest first."""
        return shared_store()[0].runs_of(self.owner)

    def shown(self, run: Run) -> Shown:
        """A run as pages show it, without its model.

        Raises:
            RunError: its file is gone or damaged.
        """
        content = shared_store()[0].content(run)
        explanation, subject, baseline = _parts(content)
        subject = _rebuilt(Subject, subject, model=_model(run.about.model, content.get("model")))
        baseline = _rebuilt(Baseline, baseline)
        asked = None
        if "target" in content:
            asked = asked_of(subject.request(baseline, content["target"], "auto", "auto"))
        return Shown(subject, baseline, explanation, run.about.key, asked=asked)


@cache
def shared_store() -> tuple[RunStore, str]:
    """The store of this server, and why it does not outlast it, or ""."""
    limits = Limits.of_this_machine()
    bounds = Bounds(limits.runs_bytes, limits.runs, limits.runs_bytes_of_visitor, limits.runs_of_visitor)
    folder, note = data_folder(workspace().folder)
    try:
        return RunStore(folder, bounds), note
    except RunError as error:
        _log.error("%s: %s", folder, error)
        words = f"Runs are kept until the server ends. {error.what} {error.hint}"
        return RunStore(workspace().new_folder("runs"), bounds), words


def _about(shown: Shown, request: Request, seconds: float, origin: dict[str, str]) -> About:
    explanation = shown.explanation
    return About(
        key=shown.key,
        title=shown.subject.title,
        sequence=shown.subject.sequence,
        model=request.model.path.name,
        model_digest=file_digest(request.model.path),
        data_digest=digest(request.inputs),
        target=", ".join(explanation.outputs),
        outputs=tuple(explanation.outputs),
        predictions=tuple(explanation.prediction[0].values.astype(float).tolist()),
        baseline_predictions=tuple(explanation.baseline_prediction[0].values.astype(float).tolist()),
        baseline=shown.baseline.words,
        residual=explanation.residual_in_words(0, explanation.outputs[0]),
        seconds=float(seconds),
        versions=versions(),
        origin=origin,
    )


@cache
def versions() -> dict[str, str]:
    """Of PairLift and what it stands on, where it is installed."""
    return {"PairLift": explain_core.__version__, "Python": platform.python_version()} | versions_of(_PACKAGES)


def _content(shown: Shown) -> dict[str, Any]:
    """All that is needed to show it again, as values that files may have."""
    model = shown.subject.model
    return {
        "explanation": shown.explanation,
        "subject": _values(shown.subject, "model"),
        "baseline": _values(shown.baseline),
        "model": {"architecture": dict(model.architecture), "code": "" if model.code is None else model.code.name},
        **({} if shown.asked is None else {"target": shown.asked.target}),
    }


def _values(what: Subject | Baseline, *without: str) -> dict[str, Any]:
    found = {each.name: getattr(what, each.name) for each in fields(what) if each.name not in without}
    return {name: _SENT[type(value)](value) if type(value) in _SENT else value for name, value in found.items()}


_SENT: dict[type, Callable[[Any], Any]] = {frozenset: sorted, MappingProxyType: dict}


def _model(name: str, told: Any) -> ModelSource:
    """The model of a run by its names, for there is none of its files."""
    match told:
        case {"architecture": dict(architecture), "code": str(code)}:
            return ModelSource(Path(name), architecture, Path(code) if code else None)
    return ModelSource(Path(name))


def _parts(content: Any) -> tuple[Explanation, dict, dict]:
    """What `_content` made.

    Raises:
        RunError: it is something else.
    """
    match content:
        case {"explanation": Explanation() as explanation, "subject": dict(subject), "baseline": dict(baseline)}:
            return explanation, subject, baseline
    raise _of_another_kind()


def _rebuilt(kind: type, values: dict, **more: Any) -> Any:
    """A dataclass of what was kept; what this version does not know is left out."""
    known = {each.name: values[each.name] for each in fields(kind) if each.name in values}
    sets = {each.name for each in fields(kind) if isinstance(each.default, frozenset)}
    try:
        return kind(**{name: frozenset(known[name]) if name in sets else known[name] for name in known}, **more)
    except TypeError:
        raise _of_another_kind() from None


def _of_another_kind() -> ExplainError:
    return RunError("The file of this run has something else in it.", hint="Delete the run and explain again.")
