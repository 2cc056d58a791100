"""What stands around every page: the session, the sidebar, and the job that the page waits for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException
from streamlit.navigation.page import StreamlitPage

from explain_core.errors import RunError
from explain_core.jobs.tasks.explaining import Request
from ui import address, uploads
from ui.address import Asked
from ui.errors import boundary, plain, show
from ui.in_words import Shown
from ui.lifetime import close_with_browser, left_by, this_tab
from ui.obstacles import draw_obstacle
from ui.outputs import choose_shown, choose_shown_input, remember
from ui.session import Outcome, Session
from ui.sidebar import Choice, draw
from ui.subjects import asked_of
from ui.visitor import owner

# Seconds that a page waits before it says that something is under way: an open model answers sooner, and what would be
# drawn until then, and the run of the script after it, take longer than that.
_AT_ONCE = 0.4
_inside = ContextVar("inside", default=False)  # whether a page is being drawn beside the sidebar


def session() -> Session:
    """This person's session, made at the first run."""
    state = st.session_state
    if "session" in state and (state["session"].closed or state["session"].tab != this_tab()):
        state.clear()  # what it refers to is gone, or goes on in another tab
    if "session" not in state:
        visitor = owner()
        one = left_by(visitor)
        if one is None:
            one = Session()
            one.runs.owner = visitor or one.runs.owner
        address.put(one.choices)
        state["session"] = one
        close_with_browser(one)
    return st.session_state["session"]


def run(page: StreamlitPage) -> None:
    """Draw the sidebar, and the page beside it."""
    _prepare()
    token = _inside.set(True)
    try:
        with boundary():
            page.run()
        _say_notices()
        run_drawn = st.session_state.pop("run drawn", "")
        if "session" in st.session_state:
            address.leave(session(), run_drawn)
            if run_drawn:
                address.write()
            elif _shows_nothing(choice()):
                address.forget()
    finally:
        _inside.reset(token)


def _shows_nothing(choice: Choice) -> bool:
    """Whether no result can come of what is chosen: nothing is given yet, or left, something lacks or does not fit."""
    nothing_given = st.session_state.get("source") == "files" and choice == Choice()
    failed = choice.error or any(job and job.error for job in (choice.opening, choice.waiting))
    return nothing_given or choice.nothing_kept or bool(failed or choice.missing or choice.obstacle)


def page(draw: Callable[[], None]) -> None:
    """Draw a page. Every file in pages/ ends with this.

    Until a server has met `st.navigation` for the first time, Streamlit takes each of these files for an app of its own
    and runs it by itself; then the whole app is drawn with the page in it.
    """
    if _inside.get():
        draw()
    else:
        from app import main

        main()


def _prepare() -> None:
    """Draw the sidebar and leave the choice for the page."""
    remember()
    problem = None
    try:
        address.follow(session())
    except Exception as error:  # as below
        problem = error
    chosen = {key: value for key, value in st.session_state.items() if str(key).startswith(address.CHOICES)}
    uploads.let_go({value for key, value in st.session_state.items() if str(key).startswith("taken ") and value})
    with st.sidebar:
        if refused := uploads.refusal():
            st.error(f"**The file was not taken.** {plain(refused)}", icon=":material/upload_file:")
        try:
            st.session_state["choice"] = draw(session()) if problem is None else Choice(error=problem)
        except Exception as error:  # part of the app's boundary: the sidebar is too narrow to show it there
            st.session_state["choice"] = Choice(error=error)
    for key, value in chosen.items():  # widgets forget while the sidebar shows something else
        with suppress(StreamlitAPIException):  # this one is there, and may not be set
            st.session_state[key] = value
    _say_notices()


def _say_notices() -> None:
    for notice in take_notices():
        st.toast(plain(notice), icon=":material/info:", duration="long")


def take_notices() -> list[str]:
    """What the session has to tell the person, once."""
    if "session" not in st.session_state:  # it could not be made, and the page says why
        return []
    notices = [*session().notices]
    session().notices.clear()
    return notices


def choice() -> Choice:
    """What stands in the sidebar."""
    return st.session_state.get("choice", Choice())


def place_to_look() -> DeltaGenerator:
    """Where in the sidebar a page asks which part of the result to look at."""
    return choice().look or st.sidebar


def theme() -> str:
    """The theme that figures are drawn for: "light" or "dark"."""
    return st.context.theme.type or "light"


def explanation() -> Shown | None:
    """The explanation that was asked for; None, with words on the page, while there is none."""
    asked = choice()
    if (problem := address.problem()) is not None:
        show(problem)
    if asked.error is not None:
        show(asked.error)
        return None
    if asked.waiting is not None:
        wait_or_say(asked.waiting)
        return None
    if asked.kept is not None:
        return _draws(asked.kept)
    if asked.request is None:
        if asked.obstacle is not None:
            draw_obstacle(asked.obstacle)
        if asked.missing:
            st.info(asked.missing, icon=":material/upload_file:")
        return None
    outcome = result_of(asked)
    if outcome is None:
        words = "Look under **Model** whether what its file does not say is true. Then press **Explain**."
        st.info(words, icon=":material/play_arrow:")
        return None
    if outcome.running or outcome.error:
        wait_or_say(outcome)
        return None
    explanation = session().load(asked.key)
    shown = Shown(asked.subject, asked.baseline, explanation, asked.key, asked=asked_of(asked.request))
    return _draws(replace(shown, run=_keep(shown, outcome)))


def result_of(asked: Choice) -> Outcome | None:
    """The explanation of a request, which starts where it is to be run; None where it is not."""
    if asked.request is None or not (asked.asked or session().knows(asked.key)):
        return None
    outcome = session().explanation(asked.key, asked.request)
    outcome.settle(within=_AT_ONCE - outcome.job.seconds)
    return outcome


def _draws(shown: Shown) -> Shown:
    """What a page is about to show, which the address says then."""
    st.session_state["run drawn"] = shown.run
    names = {"output": shown.explanation.outputs, "input": shown.explanation.input_names}
    key, axis_before = st.session_state.get("axis shown", ("", None))
    axis = axis_before if key == shown.key else shown.axis()
    address.say_what_is_ignored(shown.run, names, axis[0])
    before = address.view()
    if shown.run and before.run != shown.run:
        goes_on = axis == axis_before  # and so does the zoom
        first, last = (before.first, before.last) if goes_on else (None, None)
        address.remember(Asked(shown.run, first=first, last=last))
    if not shown.run:
        address.forget()
    st.session_state["axis shown"] = shown.key, axis
    return shown


def _keep(shown: Shown, outcome: Outcome) -> str:
    asked = choice()
    origin = {}
    if asked.demo is not None:
        origin = {"demo": asked.demo.slug, "sequence": asked.subject.sequence, "baseline": asked.baseline.label}
    try:
        return session().runs.keep(shown, asked.request, outcome.job.seconds, origin)
    except RunError as error:
        session().notices.append(f"{error.what} {error.hint}")
        return ""


def request() -> Request | None:
    """What was asked of a model; None, with words on the page, where a kept run is shown and its model is not here."""
    asked = choice()
    if asked.request is None and asked.kept is not None:
        model = plain(asked.kept.subject.model.path.name)
        st.info(
            f"This page runs the model again, and of a kept run only the result is here. Give {model} and the sequence "
            "under **My files**, or choose the demo that it came from, to go on.",
            icon=":material/upload_file:",
        )
    return asked.request


def choose_output(shown: Shown) -> str:
    """Ask which of several outputs to look at; one output needs no question."""
    wanted = address.choice_asked("output", shown.run, shown.explanation.outputs)
    output = choose_shown(shown, wanted)
    if shown.run and shown.has_several:
        address.remember(replace(address.view(), output=output))
    return output


def choose_input(shown: Shown) -> str:
    """Ask which of several inputs to look at; one input needs no question."""
    names = shown.explanation.input_names
    input = choose_shown_input(shown, address.choice_asked("input", shown.run, names))
    if shown.run and len(names) > 1:
        before = address.view()
        is_news = before.input in names and before.input != input
        goes_on = not is_news or shown.axis(before.input) == shown.axis(input)  # and so does the zoom
        first, last = (before.first, before.last) if goes_on else (None, None)
        address.remember(replace(before, input=input, first=first, last=last))
    return input


def keep_view(shown: Shown, steps: tuple[int, int] | None) -> None:
    """Put what a person has zoomed to into the address. What the stage said of the run before is no news."""
    before = st.session_state.get("view seen", (shown.run, None))
    st.session_state["view seen"] = now = shown.run, steps
    if shown.run == address.view().run == before[0] and now != before:
        first, last = steps or (None, None)
        address.remember(replace(address.view(), first=first, last=last))
        address.write()  # since only the stage may be run


def draw_residual(shown: Shown, output: str) -> None:
    """Whether the shares add up, in words; stands beside every attribution."""
    words = shown.explanation.residual_in_words(0, output)
    fine = shown.explanation.adds_up(0, output)
    icon, colour = (":material/check_circle:", "green") if fine else (":material/error:", "red")
    st.badge(words[0].upper() + words[1:], icon=icon, color=colour)


def wait_or_say(outcome: Outcome, on_cancel: Callable[[], None] | None = None, beside: str = "") -> None:
    """Show a job's progress while it runs, and what it failed of. The button to cancel it stops the job alone, or does
    ``on_cancel``. What may stand ``beside`` another on one page has a name."""
    if outcome.running:
        _watch(outcome, on_cancel or outcome.job.cancel, f"cancel {beside}".strip())
    elif outcome.was_cancelled:
        words = "Cancelled. **Try again** starts it anew; to explain something else, choose it in the sidebar."
        st.info(words, icon=":material/cancel:")
    elif outcome.error:
        show(outcome.error)
    if outcome.may_go_better:
        st.button("Try again", key=f"again {beside}".strip(), icon=":material/refresh:", on_click=outcome.restart)


@st.fragment(run_every=0.3)
def _watch(outcome: Outcome, on_cancel: Callable[[], None], key: str) -> None:
    """Show progress until the job ends, then draw the whole page anew."""
    outcome.settle()
    if not outcome.running:
        st.rerun()
    progress = outcome.job.progress
    with st.container(border=True):
        st.progress(min(progress.fraction, 1.0), f"{plain(progress.message)} · {outcome.job.seconds:.0f} s")
        st.button("Cancel", key=key, icon=":material/close:", on_click=on_cancel)
