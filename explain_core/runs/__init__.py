"""Results that are kept on disk: what they say of themselves, where they lie, and the store that has them."""

from explain_core.runs.owners import is_nameless, nameless
from explain_core.runs.place import data_folder
from explain_core.runs.record import MOST_NAME, About, Run, is_run_id
from explain_core.runs.room import Bounds
from explain_core.runs.store import RunStore

__all__ = [
    "MOST_NAME",
    "About",
    "Bounds",
    "Run",
    "RunStore",
    "data_folder",
    "is_nameless",
    "is_run_id",
    "nameless",
]
