"""Landlock: which files a process and its threads may touch, and no TCP, signals or abstract sockets beyond itself.

Linux, Documentation/userspace-api/landlock.rst. Rules can only be added to, never taken back, also by root.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import cache

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every machine
_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38  # of prctl

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_SYMLINK, _REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 12, 1 << 13, 1 << 14, 1 << 15
_KNOWN_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # rights by first version
_TCP = (4, 1 << 0 | 1 << 1)  # first version, and binding and connecting
_SCOPES = (6, 1 << 0 | 1 << 1)  # abstract Unix sockets and signals

_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _MAKE_SYMLINK | _REFER
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE  # the rights that a file can have by itself


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)  # when it is first needed: Windows has none to be had so


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """The version of Landlock that the kernel has; 0 where it has none or it is turned off."""
    return max(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)), 0)


def restrict(*, read: Iterable[str], write: Iterable[str], devices: Iterable[str], version: int | None = None) -> None:
    """Hold this thread, and those that it starts, to these places; there is no way back.

    Args:
        read: files and folders, with all that is in them, that may be read.
        write: folders in which files may be read, written, made and removed.
        devices: device files that may be read, written and told things (ioctl).
        version: as if the kernel had an older version of Landlock, for tests.

    Places that are not there are left out.

    Raises:
        OSError: the kernel refuses.
    """
    version = min(version or 99, abi())
    known = _KNOWN_FILES[max(first for first in _KNOWN_FILES if first <= version)]
    network, scopes = (rights if version >= first else 0 for first, rights in (_TCP, _SCOPES))
    wanted = _Ruleset(known, network, scopes)
    ruleset = _checked(
        _libc().syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.sizeof(wanted), ctypes.c_uint32(0))
    )
    try:
        for places, rights in ((read, _READ), (write, _READ | _WRITE), (devices, _READ | _WRITE_FILE | _IOCTL_DEVICE)):
            for place in places:
                _allow(ruleset, place, rights & known)
        _checked(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(_libc().syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, place: str, rights: int) -> None:
    with _opened(place) as descriptor:
        if descriptor is None:
            return
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(rights, descriptor)
        _checked(_libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0)))


@contextmanager
def _opened(place: str) -> Generator[int | None]:
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine, or not for this user
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
