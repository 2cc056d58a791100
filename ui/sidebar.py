"""The choices that all pages share: what to explain, against what, and on which device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explain_core.backends import is_installed
from explain_core.demos import Demo, list_demos, load_demo
from explain_core.errors import ExplainError
from explain_core.jobs.frameworks import FRAMEWORKS
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import ModelSource, OpenedModel, open_model
from explain_core.jobs.tasks.trying import Trial, try_out
from ui.baselines import Baseline, demo_material, together
from ui.beside import Beside, draw_beside
from ui.components.baseline_choice import choose_baseline, choose_each, upload_material
from ui.components.baseline_preview import draw_preview
from ui.data import Data, draw_data
from ui.data_options import choices
from ui.errors import plain
from ui.in_words import Shown
from ui.kept_runs import NOTHING, choose_run
from ui.layout import take_inputs, try_layout
from ui.model import MODEL_WORDS, choose_model, is_confirmed, source_key
from ui.obstacles import Obstacle, obstacle_of
from ui.opened_result import take_result
from ui.outputs import choose_output
from ui.session import Outcome, Session
from ui.subjects import Subject, demo_subject, digest, request_key, upload_subject

BACKENDS = {"auto": "Automatic", **FRAMEWORKS}
DATA_WORDS = (
    "CSV, TSV, Parquet, NPY, NPZ or JSON. A table has a row for each timestep and a column for each feature; a column "
    "`sequence` or `id` tells several sequences apart. For a model of words also plain text, with its vocabulary"
)


@dataclass(frozen=True)
class Choice:
    """What stands in the sidebar.

    ``kept`` is a run that was explained before, whose model is not here. ``opening`` is the job that opens ``model``,
    ``waiting`` one that must end before anything is explained. ``lacking`` are names of inputs that are still to be
    given, ``obstacle`` why the model cannot be explained. ``request`` is None until all is there; ``asked`` says
    whether it is to be run. ``look`` is where pages ask which part of the result to look at: it stays where it is while
    what stands below it comes and goes, so that a click meets what it is meant for.
    """

    demo: Demo | None = None
    model: ModelSource | None = None
    opening: Outcome | None = None
    subject: Subject | None = None
    baseline: Baseline | None = None
    request: Request | None = None
    asked: bool = False
    waiting: Outcome | None = None
    error: Exception | None = None
    data: Data | None = None
    lacking: tuple[str, ...] = ()
    obstacle: Obstacle | None = None
    kept: Shown | None = None
    nothing_kept: bool = False
    look: DeltaGenerator | None = field(default=None, compare=False)

    @cached_property
    def key(self) -> str:
        """What the result of the request is known by; digesting its arrays takes a while, and is done once."""
        return "" if self.request is None else request_key(self.request)

    @property
    def missing(self) -> str:
        """What is yet to be given where one half is there, in a sentence; else empty."""
        if self.nothing_kept:
            return NOTHING
        if self.request is not None or self.waiting is not None or self.error is not None:
            return ""
        if self.obstacle is not None and self.obstacle.is_certain:
            return ""
        if self.lacking:
            names = " and ".join(f"**{plain(name)}**" for name in self.lacking)
            them = "it" if len(self.lacking) == 1 else "them"
            return f"The sequence is read. The model also takes {names}: give {them} in the sidebar."
        if self.opening is not None and self.data is None:
            return "The model is open. Now give a **sequence** in the sidebar."
        if self.opening is None and self.data is not None:
            return "The sequence is read. Now give the **model** in the sidebar."
        return ""


@st.cache_resource(max_entries=16, show_spinner=False)
def _demo(slug: str) -> Demo:
    return load_demo(slug)


def draw(session: Session) -> Choice:
    """Draw the sidebar and return what is chosen."""
    demos = {demo.slug: demo.title.partition(":")[0] for demo in list_demos() if is_installed(demo.framework)}
    source = st.segmented_control(
        "Explain",
        ["demo", "files", "kept"],
        format_func={"demo": "Demo", "files": "My files", "kept": "Kept runs"}.get,
        default="demo",
        required=True,
        key="source",
        width="stretch",
    )
    if source == "demo":
        return _draw_demo(session, demos)
    if source == "kept":
        return _draw_kept(session)
    return _draw_files(session)


def _draw_demo(session: Session, demos: dict[str, str]) -> Choice:
    demo = _demo(st.selectbox("Demo", list(demos), format_func=demos.get, key="demo"))
    names = list(demo.names)
    name = st.selectbox("Sequence", names, index=names.index(demo.default_sequence), key=f"sequence {demo.slug}")
    subject = demo_subject(demo, demo.index(name))
    if subject.note:
        st.caption(subject.note[0].upper() + subject.note[1:])
    material = demo_material(demo, subject.series, demo.index(name))
    baseline = choose_baseline(session, _upload, material, demo.slug)
    opening = session.outcome(("open", subject.model.path, ()), subject.model, open_model, subject.model)
    if isinstance(baseline, Outcome):
        return Choice(demo, subject.model, opening, subject, waiting=baseline)
    look = st.container()
    backend, device = _settings(opening.value)
    request = subject.request(baseline, None, backend, device)
    return Choice(demo, subject.model, opening, subject, baseline, request, asked=True, look=look)


def _draw_kept(session: Session) -> Choice:
    chosen = st.container()
    opened = take_result(session, _upload)
    if isinstance(opened, Outcome):
        return Choice(waiting=opened)
    with chosen:
        kept = opened or choose_run(session)
    return (
        Choice(nothing_kept=True)
        if kept is None
        else Choice(None, kept.subject.model, None, kept.subject, kept.baseline, kept=kept)
    )


def _draw_files(session: Session) -> Choice:
    model = _upload(session, "Model", "model", MODEL_WORDS)
    completing = st.container()
    path = _upload(session, "Sequence", "data", DATA_WORDS)
    opening = source = trying = None
    if model is not None:
        with completing:
            opening, source = choose_model(session, _upload, model)
        if opening.value is None:
            return Choice(model=source, opening=opening, waiting=opening)
        trying = try_layout(session, source)
    data = None
    if path is not None:
        turned = bool(trying is not None and trying.value and trying.value.time_first)
        in_time = trying is None or not trying.value or trying.value.tells_time or not trying.value.tried
        summary = opening.value.summary if opening else None
        data = draw_data(session, _upload, path, summary, time_first=turned, in_time=in_time)
        if isinstance(data, Outcome):
            return Choice(model=source, opening=opening, waiting=data)
    if opening is None or (data is not None and data.sequences is None):
        return Choice(model=source, opening=opening, data=data, error=data.error if data is not None else None)
    if trying.running:
        return Choice(model=source, opening=opening, waiting=trying, data=data)
    choices().faulty = None
    obstacle = obstacle_of(trying.value or Trial(), opening.value.summary, source)
    if obstacle is not None and (data is None or obstacle.is_certain):
        return Choice(model=source, opening=opening, data=data, obstacle=obstacle)
    try:
        with completing:
            inputs = take_inputs(trying.value or Trial(), opening.value.summary, source)
        beside = draw_beside(session, _upload, inputs.specs, inputs.main, data)
        if beside.waiting is not None:
            return Choice(model=source, opening=opening, waiting=beside.waiting, data=data)
        if data is None or beside.missing:
            lacking = () if data is None else beside.missing
            return Choice(model=source, opening=opening, data=data, lacking=lacking)
        return _ask(session, opening, source, beside.without_columns(data), inputs.time_first, beside)
    except ExplainError as error:  # what is wrong stands beside what was read
        return Choice(model=source, opening=opening, data=data, error=error)


def _ask(
    session: Session,
    opening: Outcome,
    source: ModelSource,
    data: Data,
    time_first: frozenset[str],
    beside: Beside,
) -> Choice:
    """What is to be explained of an opened model and the files that were read."""
    subject, trying = _prepare(session, source, opening.value, data, time_first, beside)
    if trying.value is None:
        return Choice(model=source, opening=opening, waiting=trying, data=data)
    wanted = choose_output(trying.value, source.path.parent.name)
    subject = replace(subject, output_names=wanted.names, output_labels=wanted.labels, output_steps=wanted.steps)
    names = [str(name) for name in data.sequences["sample"].values]
    materials = {
        subject.main: upload_material(opening.value, data, subject),
        **beside.materials(subject.sequence, names, subject.beside),
    }
    chosen = choose_each(session, _upload, materials, data.words)
    if isinstance(chosen, Outcome):
        return Choice(model=source, opening=opening, waiting=chosen, data=data)
    baseline = together(chosen, {name: each.fitted for name, each in materials.items()})
    look, button = st.container(), st.container()
    backend, device = _settings(opening.value)
    asked = is_confirmed(source) or not opening.value.summary.options or ("explained", source.path) in session.asked
    if not asked:
        asked = button.button("Explain", key="explain", type="primary", icon=":material/play_arrow:", width="stretch")
    if asked:  # what is chosen from now on is explained by itself
        session.asked.add(("explained", source.path))
    request = subject.request(baseline, wanted.target, backend, device)
    choice = Choice(None, source, opening, subject, baseline, request, asked, data=data, look=look)
    if not session.knows(choice.key):  # the page draws it afterwards
        with button:
            for name, each in chosen.items():
                draw_preview(materials[name], each, name if len(chosen) > 1 else "")
    return choice


def _upload(session: Session, label: str, key: str, words: str) -> Path | None:
    """A file uploader that remembers its file while the sidebar shows something else.

    What became of a file is told from what the widget holds, and not by a callback: while another upload comes in,
    Streamlit may end a callback for good where it touches the session's state.
    """
    widget, taken = f"upload {key}", f"taken {key}"
    if widget not in st.session_state:  # not shown in the run before, and so without the file it had
        st.session_state[taken] = None
    file = st.file_uploader(label, key=widget, help=words)
    found = None if file is None else file.file_id
    if found != st.session_state[taken]:
        session.free_slot(key)
        if file is not None:
            session.keep_upload(file.name, file.getvalue(), key)  # again in every run, where it is refused
        st.session_state[taken] = found
        st.rerun()  # what was drawn above may hang on it
    path = session.held(key)
    if path is not None and file is None:
        st.caption(f":material/attach_file: {plain(path.name)}")
    return path


def _prepare(
    session: Session, source: ModelSource, opened: OpenedModel, data: Data, time_first: frozenset[str], beside: Beside
) -> tuple[Subject, Outcome]:
    """Choose a sequence and try the model on it."""
    sequences = data.sequences
    names = [str(name) for name in sequences["sample"].values]
    index = 0
    if len(names) > 1:
        is_cut = choices().of(data.path).window is not None
        latest = len(names) - 1 if is_cut else 0  # of windows, people ask for the last
        index = names.index(st.selectbox("Sequence to explain", names, latest, key="sequence files"))
    others = beside.of(names[index], names)
    subject = upload_subject(
        source,
        opened.summary,
        sequences,
        index,
        data.scaling,
        data.pad_tokens,
        where=data.path.name,
        time_first=time_first,
        beside=others,
    )
    subject = replace(subject, baselines_beside=beside.unchanged(others))
    inputs = subject.as_taken
    key = ("try", *source_key(source), digest(inputs), tuple(sorted(time_first)))
    return subject, session.outcome(key, source, try_out, source, inputs)


def _settings(opened: OpenedModel | None) -> tuple[str, str]:
    devices = {"auto": "Automatic", **dict(opened.devices if opened else ())}
    with st.expander("Settings", icon=":material/tune:"):
        backend = st.selectbox(
            "Engine",
            list(BACKENDS),
            format_func=BACKENDS.get,
            key="backend",
            help="Each engine explains the models of its own framework; Automatic goes by the model.",
        )
        device = st.selectbox("Runs on", list(devices), format_func=devices.get, key="device")
    return backend, device
