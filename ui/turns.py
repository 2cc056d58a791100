"""Runs of the script take turns.

Python runs one thread at a time, so that many runs at once are not faster, and keep the server's own thread from
answering anybody. The first run of a tab waits for other first runs: those who are there already do not wait for a
crowd that comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import BoundedSemaphore

import streamlit as st

from ui import getting_ready

_PLACES = 4
_RUNS = BoundedSemaphore(_PLACES)
_FIRST_RUNS = BoundedSemaphore(1)
_LOOK_SECONDS = 1.0


@contextmanager
def turn() -> Iterator[None]:
    """Wait until a run may go on; others wait until it has ended."""
    getting_ready.wait()
    with ExitStack() as held:
        for places in (_RUNS,) if "session" in st.session_state else (_FIRST_RUNS, _RUNS):
            _take(places)
            held.callback(places.release)
        yield
    getting_ready.say_that_a_page_is_drawn()


def _take(places: BoundedSemaphore) -> None:
    while not places.acquire(timeout=_LOOK_SECONDS):
        _ = "session" in st.session_state  # where Streamlit ends a run that nobody waits for any more
