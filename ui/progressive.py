"""Several methods one after the other, each a job of its own, so that a page shows what is there already."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import streamlit as st

from ui import frame
from ui.session import Outcome


def gather(
    kind: str, key: Hashable, methods: Sequence[str], outcome_of: Callable[[str], Outcome]
) -> tuple[dict[str, Outcome], Outcome | None]:
    """What is there of each method, and what is waited for. The next one starts when the one before has ended, so that
    whoever goes to another page or sequence leaves one job behind at most.

    Args:
        kind: of the jobs; one that still runs for another key is stopped.
        key: what the methods are run on.
        outcome_of: starts the job of a method, or says how it is.
    """
    _stop_other(kind, key)
    stop = kind in _stopped()
    _stopped().discard(kind)
    found = {}
    for method in methods:
        outcome = outcome_of(method)
        if stop and outcome.running:
            outcome.job.cancel()
            outcome.settle()
        if outcome.running or outcome.was_cancelled:
            st.session_state[f"{kind} running"] = (key, outcome)
            return found, outcome
        found[method] = outcome
    return found, None


def _stop_other(kind: str, key: Hashable) -> None:
    """Stop a job that still runs for another sequence or output."""
    before, outcome = st.session_state.get(f"{kind} running", (key, None))
    if before != key and outcome is not None:
        outcome.settle()
        if outcome.running:
            outcome.job.cancel()


def wait_for(kind: str, outcome: Outcome | None, done: int, count: int) -> None:
    """Say how many of the methods are done, and show the job that runs. To cancel it is to stop them all."""
    if outcome is None:
        return
    if outcome.running:
        st.caption(f"{done} of {count} methods are done.")
    frame.wait_or_say(outcome, on_cancel=partial(_stop, kind, outcome, _stopped()))


def _stopped() -> set[str]:
    """The kinds of jobs that somebody has just pressed cancel for."""
    return st.session_state.setdefault("stopped", set())


def _stop(kind: str, outcome: Outcome, stopped: set[str]) -> None:
    """Stop the job that is shown, or the next one where that has ended since it was drawn."""
    outcome.job.cancel()
    stopped.add(kind)


def words_of(outcome: Outcome) -> str:
    """What a job that gave no result died of."""
    return getattr(outcome.error, "what", "") or "It failed in a way that nobody expected."
