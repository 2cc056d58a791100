"""A process that puts tables into a saved explanation, in a module that itself imports no framework."""

from multiprocessing.synchronize import Barrier
from pathlib import Path

import pandas as pd

from explain_core.methods.jobs import keep_tables

TABLES = 4  # by each process


def write_at_once(together: Barrier, result: Path, name: str) -> None:
    """Write the tables one after the other, once all processes are ready."""
    together.wait()
    for i in range(TABLES):
        keep_tables(lambda fraction, message: None, {f"{name} {i}": pd.DataFrame({"written": [i]})}, result)
