"""The address holds the view: which run is shown, of which output and input, and which timesteps.

    ?run=<id>&output=<name>&input=<name>&from=<first step>&to=<last step>

Steps are counted from 1. Whatever stands in an address may have been made up by anybody: what is no view is ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import streamlit as st

from explain_core.demos import list_demos, load_demo
from explain_core.errors import ExplainError, RunError
from explain_core.runs import Run, is_run_id
from ui.baselines import demo_material
from ui.baselines_given import usual
from ui.own_runs import View
from ui.session import Session
from ui.subjects import demo_subject, request_key

_MOST_NAME = 300  # characters of an output's or input's name
_MOST_RUN = 30  # characters of what is no run's id
_NAMES = ("output", "input")  # what a view chooses by name
_OF_RUN = (*_NAMES, "from", "to")  # what an address may say besides the run, of its view
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_WRITTEN = "address written"  # in the session's state: the view that this app put into the address
_OLD = "address old"  # the view that was in the address when something else was chosen
_LEFT = "choices left"  # what the sidebar held when the run before ended
_PROBLEM = "address problem"
_SAID = "address said"  # the address of which was said what is ignored
CHOICES = (  # how the keys of widgets begin whose choices lead to a view
    "source",
    "demo",
    "sequence",
    "baseline",
    "output",
    "option ",
    "layout ",
    "confirmed ",
    "words ",
    "backend",
    "device",
    "kept run",
    "scaling",
)
_OBJECTS = ("data options", "options of", "outputs chosen")  # what else was chosen, and is no widget's


@dataclass(frozen=True)
class Asked:
    """What an address asks for; None where it says nothing. Steps are counted from 0, the last one included."""

    run: str | None = None
    output: str | None = None
    input: str | None = None
    first: int | None = None
    last: int | None = None

    @property
    def query(self) -> dict[str, str]:
        """As it stands in an address."""
        found = {"run": self.run, "output": self.output, "input": self.input}
        if self.first is not None and self.last is not None:
            found |= {"from": str(self.first + 1), "to": str(self.last + 1)}
        return {name: value for name, value in found.items() if value is not None}


def asked() -> Asked:
    """What stands in the address."""
    query = st.query_params
    run = query.get("run", "")
    output, input = (name if 0 < len(name := query.get(which, "")) <= _MOST_NAME else None for which in _NAMES)
    first, last = (_step(query.get(name, "")) for name in ("from", "to"))
    if first is None or last is None or first > last:
        first = last = None
    if not is_run_id(run):  # what is no id leads to no run, and a link that was cut on its way says so
        return Asked(run[:_MOST_RUN] or None)
    return Asked(run, output, input, first, last)


def view() -> Asked:
    """What is shown, which stands in the address or will at the end of this run of the script."""
    return st.session_state.get(_WRITTEN) or asked()


def remember(now: Asked) -> None:
    """Have what is shown in the address."""
    st.session_state[_WRITTEN] = now
    st.session_state.pop(_OLD, None)


def write() -> None:
    """Put what is shown into the address, all of it at once: each time is a step on the browser's way back."""
    now = view()
    if now.run is not None and asked() != now:
        st.query_params.from_dict(now.query)


def forget() -> None:
    """Take out what the page does not show any more: it would mislead whoever reloads or gets the link."""
    if (before := asked()).run is not None:
        st.session_state[_WRITTEN], st.session_state[_OLD] = Asked(), before
        st.query_params.clear()


def steps_in_view(run: str, steps: int) -> tuple[int, int] | None:
    """The first and the last timestep that the address asks for of a run, counted from 0; None for all of them."""
    now = view()
    if not run or now.run != run or now.first is None or now.last is None or now.first >= steps:
        return None
    return now.first, min(now.last, steps - 1)


def say_what_is_ignored(run: str, names: dict[str, list[str]], steps: int) -> None:
    """Say it once of an address, where a run is about to be drawn."""
    query = {name: st.query_params.get_all(name) for name in st.query_params}
    if query != st.session_state.get(_SAID):
        st.session_state[_SAID] = query
        if words := ignored(query, run, names, steps):
            st.toast(words, icon=":material/link_off:", duration="long")


def ignored(query: dict[str, list[str]], run: str, names: dict[str, list[str]], steps: int) -> str:
    """A sentence on what of an address leads nowhere, in words of our own; "" where all of it does.

    Args:
        query: the values in the address by name.
        run: the one that is shown.
        names: of its outputs, and of its inputs.
        steps: how many it has.
    """
    found = []
    first, last = (_step(query.get(name, [""])[-1]) for name in ("from", "to"))
    if query.keys() - {"run", *_OF_RUN}:
        found.append(f"what is not run, {', '.join(_OF_RUN[:-1])} or {_OF_RUN[-1]}")
    if any(len(values) > 1 for values in query.values()):
        found.append("what is there more than once, but for the last")
    if "run" not in query and query.keys() & {*_OF_RUN}:
        found.append("a view without a run")
    if run and query.get("run", [""])[-1] == run:
        for which in _NAMES:
            if which in query and query[which][-1] not in names[which]:
                found.append(f"an {which} that the run does not have")
        if query.keys() & {"from", "to"} and (first is None or last is None or not first <= last or first >= steps):
            found.append("timesteps that there cannot be")
        elif last is not None and last >= steps:
            found.append("timesteps after the last one")
    return f"Ignored in the address: {'; '.join(found)}." if found else ""


def _step(text: str) -> int | None:
    return int(text) - 1 if _NUMBER.fullmatch(text) else None


def choice_asked(which: str, run: str, names: list[str]) -> str | None:
    """The "output" or "input" that the address asks for, the first time that a run is drawn for it."""
    waiting = st.session_state.get(f"{which} asked")
    if waiting is None or waiting[0] != run:
        return None
    del st.session_state[f"{which} asked"]
    return waiting[1] if waiting[1] in names else None


def problem() -> ExplainError | None:
    """Why what the address asks for is not shown."""
    return st.session_state.get(_PROBLEM)


def follow(session: Session) -> None:
    """Choose in the sidebar what a new address asks for. Comes before the sidebar is drawn.

    An address is new if this app has not written it. A message of a browser may have been on its way while the address
    was written: it has the old one, and a change in the sidebar, which counts.
    """
    state, now = st.session_state, asked()
    left = state.get(_LEFT, {})
    changed = any(left.get(key, value) != value for key, value in choices().items())
    if changed:
        state[_OLD] = now
        state.pop(_PROBLEM, None)
    if now.run is None or now in (state.get(_WRITTEN), state.get(_OLD)):
        return
    state[_WRITTEN] = now
    state.pop(_PROBLEM, None)
    try:
        run = session.runs.run(now.run)
    except RunError as error:
        state[_PROBLEM] = error
        return
    for which in _NAMES:
        if (name := getattr(now, which)) is not None:
            state[f"{which} asked"] = (run.id, name)
    session.runs.ids[run.about.key] = run.id
    view = session.runs.views.get(run.id)
    if view is not None and session.put_back(view.slots):
        put(view.choices)
    else:
        put(_of_demo(run) or {"source": "kept", "kept run": run.id})


def leave(session: Session, run: str) -> None:
    """Note what the sidebar holds, for the way back and for a tab that goes on. Comes after the page is drawn."""
    state = st.session_state
    state[_LEFT] = chosen = choices()
    session.choices = chosen | {name: state[name] for name in _OBJECTS if name in state}
    if run:
        session.runs.remember(run, View(chosen, session.slots))


def choices() -> dict[str, Any]:
    """What the widgets of the sidebar and of the pages' choices hold."""
    plain = str | int | float | bool | list | tuple | None
    return {
        str(key): value
        for key, value in st.session_state.items()
        if str(key).startswith(CHOICES) and isinstance(value, plain)
    }


def put(choices: dict[str, Any]) -> None:
    """Have widgets that are drawn later hold these."""
    for key, value in choices.items():
        st.session_state[key] = value


def _of_demo(run: Run) -> dict[str, Any] | None:
    """The choices that led to a demo's run, where the demo is still the same."""
    origin = run.about.origin
    if origin.get("demo") not in {demo.slug for demo in list_demos()}:
        return None
    demo = load_demo(origin["demo"])
    if origin.get("sequence") not in demo.names:
        return None
    subject = demo_subject(demo, demo.index(origin["sequence"]))
    make = usual(demo_material(demo, subject.series, demo.index(origin["sequence"]))).get(origin.get("baseline"))
    if make is None:
        return None
    baseline = make()
    request = subject.request(baseline, None, "auto", "auto")
    if request_key(request) != run.about.key:
        return None
    slug = demo.slug
    chosen = {
        "source": "demo",
        "demo": slug,
        f"sequence {slug}": origin["sequence"],
        f"baseline {slug}": baseline.label,
    }
    return chosen | {"backend": "auto", "device": "auto"}
