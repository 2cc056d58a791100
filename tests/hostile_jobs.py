"""Jobs that do to a worker process what files and frameworks might, in a module that itself imports no framework."""

import ctypes
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from explain_core.errors import CaptureError
from explain_core.jobs.tasks import opening

BLOCK = 64 * 2**20  # bytes
_opened: list[Path] = []
_left: list[threading.Event] = []


def pid(report):
    return os.getpid()


def hoard(report):
    """Take memory block by block until somebody stops it."""
    kept = []
    while True:
        kept.append(np.ones(BLOCK, np.uint8))
        report(0.5, f"{len(kept)}")


def one_giant_array(report):
    return float(np.ones(2**44).sum())


def one_giant_tensor(report):
    import torch

    return float(torch.ones(2**44).sum())


def allocation_error_in_other_words(report):
    try:
        np.ones(2**44)
    except MemoryError as error:
        raise CaptureError("The model could not be run.") from error


def sleep_in_native_code(report):
    """Like a library that hangs: no signal handler of Python's runs, and no other Python thread either."""
    report(0.5, "Asleep")
    ctypes.PyDLL(None).sleep(600)


def refuse_to_end(report):
    """Hang with the polite signal ignored."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report(0.5, "Deaf")
    while True:
        time.sleep(1)


def end_quietly(report):
    os._exit(0)


def ask_to_end(report):
    sys.exit(0)


def read_address_zero(report):
    ctypes.string_at(0)


def fill_the_disk(report):
    with tempfile.TemporaryFile() as file:
        while True:
            file.write(bytes(BLOCK))


def leave_a_file_and_crash(report):
    Path(tempfile.mkstemp(prefix="left")[1]).write_text("over")
    os.abort()


def sleep(report, seconds):
    report(0.5, "Asleep")
    time.sleep(seconds)
    return os.getpid()


def count_openings(report):
    """From now on remember which model files this process opens."""
    opener = opening.load_model

    def load_model(path, **options):
        _opened.append(path)
        return opener(path, **options)

    opening.load_model = load_model


def openings(report):
    return [path.name for path in _opened]


def spin_until(report, file):
    """Be busy until there is such a file, in a folder that the worker can read."""
    report(0.5, "Spinning")
    while not file.exists():
        pass
    return os.getpid()


def models_here(report):
    """How many models this process holds."""
    return len(opening._models)


def end_by_an_unnamed_signal(report):
    os.kill(os.getpid(), 37)


def report_late(report):
    """Go on reporting from a thread when the job has ended."""
    go = threading.Event()

    def later():
        go.wait()
        for _ in range(100):
            report(0.5, "late")

    threading.Thread(target=later).start()
    _left.append(go)
    return os.getpid()


def let_late_reports_go(report):
    for go in _left:
        go.set()
    return os.getpid()


class Unreadable:
    """An argument that a worker cannot read."""

    def __reduce__(self):
        return int, ("no number",)


class Unsendable:
    """An argument that cannot be pickled, in a way of its own."""

    def __reduce__(self):
        raise RecursionError("too deep")
