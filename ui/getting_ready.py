"""What a server does while it answers already: importing what draws, and having the first demo's result and a process.

A browser takes most of a second to load the app's page, before there is a run of the script; so does importing what the
run needs. Both are done at once.
"""

from __future__ import annotations

import gc
import sys
import threading
from importlib import import_module

from explain_core.errors import JobError
from explain_core.jobs.limits import Limits

_SWITCH_SECONDS = (
    0.0005  # until a thread that draws a page lets the others on, the one that answers everybody above all
)

_imported: threading.Event | None = None  # None where the script runs without our server, as in tests
_drawn = threading.Event()


def begin() -> None:
    """Begin, in a thread of its own."""
    global _imported
    _imported = threading.Event()
    threading.Thread(target=_get_ready, args=(_imported,), name="getting ready", daemon=True).start()


def wait() -> None:
    """Wait until all is imported that draws, if that is under way: two threads that import the same may meet halves."""
    if _imported is not None:
        _imported.wait()


def say_that_a_page_is_drawn() -> None:
    """From now on processes may take the processors, for what people do next."""
    _drawn.set()


def _get_ready(imported: threading.Event) -> None:
    try:
        _import_what_draws()
    finally:
        imported.set()
    try:
        if not Limits.of_this_machine().spares:
            return
    except JobError:  # a limit that is no number, which the page says
        return
    first_demo = import_module("ui.first_demo")
    first_demo.explain_first_demo()
    _drawn.wait()
    first_demo.prepare_first_demo()


def _import_what_draws() -> None:
    """Import it, and make runs of the script cheap, which is what others wait for.

    Streamlit collects garbage at the end of each run, while no other thread goes on: what is imported by now is left
    out of that, which takes a tenth of a second otherwise.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    for name in ("ui.frame", "ui.parts", "ui.first_demo"):
        import_module(name)
    gc.collect()
    gc.freeze()
