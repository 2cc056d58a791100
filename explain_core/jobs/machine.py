"""How much memory there is: the machine's, or the container's where that is less."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
# Version 2 of control groups and version 1: the folder of the memory controller and the names of its files.
_VERSIONS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def total_memory() -> int:
    """Bytes that all processes here may use together."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _container_limits())])


def available_memory() -> int:
    """Bytes that can still be used without swapping, and without the kernel ending a process."""
    return min([psutil.virtual_memory().available, *(limit - used for limit, used in _container_limits())])


def _container_limits() -> Iterator[tuple[int, int]]:
    """(limit, use) in bytes of every control group around this process that has a limit. None outside Linux.

    The file cache that the kernel can drop is not counted as used.
    """
    for controller, maximum, current, droppable in _VERSIONS:
        root = _CGROUPS / controller
        for folder in _folders_around(root, controller):
            limit, used = _read_number(folder / maximum), _read_number(folder / current)
            if limit is not None and used is not None:
                yield limit, used - _read_statistic(folder / "memory.stat", droppable)


def _folders_around(root: Path, controller: str) -> list[Path]:
    """The folders of this process's group and of the groups that it is in, up to the outermost that can be seen."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controller in controllers.split(","):
            folder = root / own.lstrip("/")
            return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]
    return []


def _read_number(file: Path) -> int | None:
    """The number in a file; None for "max", which is none, and where there is no such file."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _read_statistic(file: Path, name: str) -> int:
    try:
        for line in file.read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0
