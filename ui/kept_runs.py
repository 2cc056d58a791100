"""The part of the sidebar that shows kept runs: choosing one, its name, its link, and its end."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import streamlit as st

from explain_core.errors import RunError
from explain_core.runs import MOST_NAME, Run
from explain_core.words import number
from ui.errors import plain
from ui.in_words import Shown
from ui.own_runs import GONE, shared_store
from ui.session import Session

NOTHING = "Nothing is kept yet. Each result is kept by itself, so that you find it here again."
NAMELESS = (
    "Your browser keeps no cookies for this page, so this list ends with this visit. A link works longer, but makes "
    "room for other visits like this one."
)


def choose_run(session: Session) -> Shown | None:
    """Ask for a kept run; one that somebody else has sent the link of is among them while it is shown.

    Raises:
        RunError: the run cannot be read.
    """
    session.runs.gone = ""
    runs = {run.id: run for run in session.runs.all()}
    linked = st.session_state.get("kept run")
    if linked and linked not in runs:
        try:
            runs = {linked: session.runs.run(linked), **runs}
        except RunError:
            if runs:  # a browser keeps what its menu shows until it is told another value
                st.session_state["kept run"] = next(iter(runs))
            else:
                del st.session_state["kept run"]
            if linked not in session.runs.deleted:
                session.notices.append(GONE)
                session.runs.deleted.add(linked)  # said once: the choice comes back with every run of the script
            session.runs.ids = {key: run_id for key, run_id in session.runs.ids.items() if run_id != linked}
    if not runs:
        st.caption(NOTHING)
        _say_how_long(session)
        return None
    run = runs[
        st.selectbox(
            "Kept run",
            list(runs),
            format_func=lambda run_id: _told_apart(runs[run_id]),
            key="kept run",
            help="Only you see this list. Whoever has the link of a run sees that run.",
        )
    ]
    about = run.about
    said = f"{about.outputs[0]}: {number(about.predictions[0])}" if about.outputs else ""
    st.caption(plain(f"{said}, compared with {about.baseline}. Explained {_when(run)} from {about.model}."))
    if run.is_own:
        _draw_own(session, run)
    else:
        st.caption(":material/link: Somebody shared this run with you. It is theirs to rename or delete.")
    with st.popover("Link to this run", icon=":material/link:", width="stretch"):
        st.caption("Whoever has this link and reaches this server sees the run, and nothing else of yours.")
        st.code(_link(run.id), language=None, wrap_lines=True)
    _say_how_long(session)
    session.runs.ids[about.key] = run.id
    return session.kept(run)


def _draw_own(session: Session, run: Run) -> None:
    store, owner = shared_store()[0], session.runs.owner
    name = st.text_input("Name", run.name, MOST_NAME, key=f"name of run {run.id}")
    if name.strip() and name.strip() != run.name:
        store.rename(owner, run.id, name)
        st.rerun()
    with st.container(horizontal=True):
        if session.runs.lasts:
            _draw_pin(session, run)
        with st.popover("Delete", icon=":material/delete:", key=f"delete {run.id}"):  # closes as its run goes
            st.caption("The run goes, and its link leads nowhere then.")
            st.button("Delete this run", key="delete run", type="primary", on_click=session.forget_run, args=(run,))


def _draw_pin(session: Session, run: Run) -> None:
    word, icon = ("Unpin", ":material/keep_off:") if run.is_pinned else ("Pin", ":material/keep:")
    st.button(
        word,
        key="pin run",
        icon=icon,
        help="When room is made for newer runs, pinned ones stay.",
        on_click=session.pin_run,
        args=(run, not run.is_pinned),
    )


def _say_how_long(session: Session) -> None:
    if note := shared_store()[1]:
        st.caption(f":material/info: {plain(note)}")
    if not session.runs.lasts:
        st.caption(f":material/info: {NAMELESS}")


def _told_apart(run: Run) -> str:
    """A run in the menu, which cuts what is long: what differs between runs of one sequence comes first."""
    return f"{_when(run)} · {run.about.baseline} · {run.name}"


def _when(run: Run) -> str:
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except (ValueError, KeyError, OSError):  # what a browser says
        zone = ZoneInfo("UTC")
    return f"{datetime.fromtimestamp(run.created, zone):%-d %b %Y, %H:%M}"


def _link(run_id: str) -> str:
    place = urlsplit(st.context.url or "")
    return f"{place.scheme}://{place.netloc}{place.path or '/'}?run={run_id}" if place.netloc else f"?run={run_id}"
