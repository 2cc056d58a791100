"""What the process that opens other people's files may do: the kernel holds it to that, whatever runs in it.

A worker enters its sandbox before it reads anything that a person gave (`boot`). From then on, on Linux, it reads the
interpreter, the installed packages, the system's libraries and the files of its job, writes its own folder, and reaches
no other file, network, program or process. `landlock` bounds what has a path, `seccomp` what has none, `places` says
which paths, and `resources` how much of the machine.

Only the standard library is imported here, and no thread is started: Landlock binds the thread that asks for it and
those that it starts, so a worker loads this package alone, before all else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from . import landlock, seccomp

__all__ = ["DENIED", "OFF", "Status", "status"]

#: Setting this variable to "off" runs workers without a sandbox, which then open formats that are data only.
OFF = "PAIRLIFT_SANDBOX"

#: What a job in a sandbox is denied, in words.
DENIED = (
    "reading files other than the program's own, the system's libraries and the files of the job",
    "writing anywhere but its own folder, which goes when the process ends",
    "opening sockets of any kind, and so reaching any network or service",
    "starting programs or other processes",
    "signalling, tracing or changing other processes, the app's among them",
    "mounting, changing owners and rights of files, and whatever else only administrators do",
    "the app's environment variables, but for those that set up number crunching",
)


@dataclass(frozen=True)
class Status:
    """Whether workers here run in a sandbox.

    Attributes:
        active: whether they do.
        words: how, or why not, in one or two sentences.
        denied: what a job is denied, in words; empty without a sandbox.
    """

    active: bool
    words: str
    denied: tuple[str, ...] = ()


def status(environment: Mapping[str, str] = os.environ) -> Status:
    """Whether workers that this process starts run in a sandbox; asks the kernel, and changes nothing."""
    if environment.get(OFF, "").lower() in ("off", "0", "no", "false"):
        return Status(False, f"It was turned off by {OFF}.")
    return _of_this_kernel()


@cache
def _of_this_kernel() -> Status:
    if sys.platform != "linux":
        return Status(False, f"There is one for Linux only; this is {sys.platform}.")
    kernel = os.uname().release
    if not seccomp.is_known_machine():
        return Status(False, f"There is none for processors of the kind {os.uname().machine} yet.")
    abi = landlock.abi()
    if not abi:
        return Status(False, f"Linux {kernel} has no Landlock here; it came with Linux 5.13 and can be turned off.")
    if not seccomp.is_there():
        return Status(False, f"Linux {kernel} takes no seccomp filters here.")
    return Status(True, f"Landlock (version {abi}) and seccomp of Linux {kernel} hold every worker to it.", DENIED)
