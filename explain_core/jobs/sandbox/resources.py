"""How much of the machine a worker may use, as far as the kernel can bound it, and that it ends with the app."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

_PARENT_DEATH_SIGNAL = 1  # of prctl
_SPARE = 2 * 10**9
_ADMINISTRATION = 0x20080522  # the version of the capabilities' structure
# Of root's powers those that let it read and write files of other owners stay: Landlock says which files.
_FILES_OF_OTHERS = 1 << 1 | 1 << 2


def limit(memory: int, file_bytes: int) -> None:
    """Lower priority, and limits that the kernel keeps. Windows has none of them; the watch from outside works there.

    Args:
        memory: bytes that the process may hold.
        file_bytes: the largest file that it may write.
    """
    # The default action of SIGTERM ends a process also while it is deep in native code; nothing needs saving.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "win32":
        return
    import resource

    os.nice(5)  # the app's own process answers first
    _lower(resource.RLIMIT_CORE, 0)  # a crash would write all its memory to the disk
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    if sys.platform == "linux":
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")  # before the app, if it comes to that
        if not Path("/proc/driver/nvidia").exists():  # what drivers map for a card would count as data
            # Ends one giant allocation where it is asked for. The margin is for memory that is asked for and never
            # touched, stacks of threads above all; what is touched is watched from outside, at the limit itself.
            _lower(resource.RLIMIT_DATA, memory + memory // 4 + _SPARE)


def end_with(parent: int) -> None:
    """End this process when its parent ends, so that none is left over; at once on Linux, also in native code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before that was said
            os._exit(1)


def look_after(parent: int) -> None:
    """The same where the kernel does not see to it: a thread looks every two seconds."""
    if sys.platform != "linux":
        threading.Thread(target=_leave_without, args=(parent,), daemon=True).start()


def drop_powers() -> None:
    """Give up what root may do beyond its own files. Linux only; nothing happens for other users."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("process", ctypes.c_int))

    header, found = Header(_ADMINISTRATION, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(ctypes.byref(header), found):
        raise OSError(ctypes.get_errno(), "capget")
    kept = [found[i] & (_FILES_OF_OTHERS if i < 2 else 0) for i in range(6)]  # effective, permitted, inherited; twice
    if libc.capset(ctypes.byref(header), (ctypes.c_uint32 * 6)(*kept)):
        raise OSError(ctypes.get_errno(), "capset")


def _lower(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _leave_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)
