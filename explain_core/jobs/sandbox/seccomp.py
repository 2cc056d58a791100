"""Seccomp: which system calls a process and its threads may make, as a filter that the kernel runs before each.

Landlock bounds what has a path. This bounds the rest: other processes, sockets of every kind, programs, and calls that
only administrators need. Where an argument decides, it is looked at: a process may end itself, and no other. A call
that is denied fails with EPERM, so that libraries which merely try go on without. A few of the calls also close what
Landlock left open before its third version (`truncate`).

Linux, Documentation/userspace-api/seccomp_filter.rst; numbers from the kernel's tables (arch/x86/entry/syscalls/
syscall_64.tbl and scripts/syscall.tbl).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from functools import cache


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)  # when it is first needed: Windows has none to be had so


# (x86_64, aarch64) by name; None where a machine has no such call. From 424 on the numbers are the same everywhere.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # other programs and processes
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    "setpgid": (109, 154), "setsid": (112, 157), "unshare": (272, 97), "setns": (308, 268),
    # sockets and what processes share by number
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242), "bind": (49, 200),
    "listen": (50, 201), "socketpair": (53, 199), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "recvfrom": (45, 207), "recvmsg": (47, 212), "recvmmsg": (299, 243),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # memory that belongs to no process, and so is not counted as this one's
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # files past their path, and rights, owners and times of files anywhere, which Landlock does not know
    "truncate": (76, 45), "openat2": (437, 437), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "mknod": (133, None), "mknodat": (259, 33),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466),
    "file_setattr": (469, 469), "fanotify_init": (300, 262), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "inotify_add_watch": (254, 27), "flock": (73, 32),
    # what only administrators do, and parts of the kernel that have no use here
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_tree_attr": (467, 467), "swapon": (167, 224), "swapoff": (168, 225),
    "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "syslog": (103, 116), "vhangup": (153, 58),
    "personality": (135, 92), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "lookup_dcookie": (212, 18),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setgroups": (116, 159), "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151),
    "setfsgid": (123, 152),
}  # fmt: skip
# Calls of which an argument decides.
_CLONE, _CLONE3, _KILL, _TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
_PRLIMIT, _PRCTL, _OPEN, _OPENAT = (302, 261), (157, 167), (2, None), (257, 56)
_FCNTL, _IOCTL = (72, 25), (16, 29)
_AFFINITY = (203, 122)  # sched_setaffinity: libraries ask by it how many processors there are, and take one if denied
# Of fcntl: who gets the signals of a file, and leases and watches, which hold up whoever else opens it.
_SIGNALS_AND_LEASES = (8, 10, 15, 1024, 1026)  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
# Of ioctl: the same, typing into terminals, and what files are marked with.
_MARKS = (0x8901, 0x8902, 0x5412, 0x541C, 0x40086602, 0x40046602, 0x40087602, 0x40047602, 0x401C5820)

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, and what the kernel calls it
_OTHER_ABI = 0x40000000  # x86_64 has a second set of numbers, above this

_NEW_THREAD = 0x00010000  # of clone: in the same process
_PARENT_DEATH_SIGNAL, _SET_SECCOMP, _FILTER_MODE = 1, 22, 2  # of prctl

# Instructions of the filter: (code, jump if true, jump if false, value). Jumps count instructions to leave out.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # where the kernel puts what it asks about
_ALLOW, _END_PROCESS, _DENY, _NOT_THERE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

_Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def is_known_machine() -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return platform.machine() in _MACHINES


def is_there() -> bool:
    """Whether the kernel takes filters."""
    get_action_available = 2
    number = {"x86_64": 317, "aarch64": 277}[platform.machine()]
    action = ctypes.c_uint32(_END_PROCESS)
    return _libc().syscall(number, ctypes.c_uint32(get_action_available), ctypes.c_uint32(0), ctypes.byref(action)) == 0


def restrict() -> None:
    """Deny this thread, and those that it starts, what is listed above; there is no way back.

    Raises:
        OSError: the kernel refuses.
    """
    column, machine = _MACHINES[platform.machine()]
    instructions = list(_filter(column, machine, os.getpid()))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    kept = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(instructions), ctypes.cast(kept, ctypes.c_void_p))
    if _libc().prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")


def _filter(column: int, machine: int, own: int) -> Iterator[_Instruction]:
    """The filter for one machine; ``own`` is the number of this process."""
    yield (_LOAD, 0, 0, _MACHINE)
    yield (_EQUAL, 1, 0, machine)
    yield (_RETURN, 0, 0, _END_PROCESS)
    yield (_LOAD, 0, 0, _NUMBER)
    yield from ((_AT_LEAST, 0, 1, _OTHER_ABI), (_RETURN, 0, 0, _DENY))
    for numbers in _DENIED.values():
        if (number := numbers[column]) is not None:
            yield from ((_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DENY))
    # The C library asks for a process or thread by clone3 first, whose flags a filter cannot see, and then by clone.
    yield from ((_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _NOT_THERE))
    yield from _where(_CLONE[column], [_argument(0), (_ANY_BIT, 1, 0, _NEW_THREAD)])
    yield from _where(_KILL[column], [_argument(0), (_EQUAL, 1, 0, own)])
    yield from _where(_TGKILL[column], [_argument(0), (_EQUAL, 1, 0, own)])
    for numbers in (_PRLIMIT, _AFFINITY):
        yield from _where(numbers[column], [_argument(0), (_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, own)])
    yield from _where(_PRCTL[column], _unless_one_of(0, (_PARENT_DEATH_SIGNAL,)))
    yield from _where(_FCNTL[column], _unless_one_of(1, _SIGNALS_AND_LEASES))
    yield from _where(_IOCTL[column], _unless_one_of(1, _MARKS))
    truncating = os.O_TRUNC | os.O_WRONLY | os.O_RDWR  # "for reading only, and cut off": it is cut off all the same
    for numbers, place in ((_OPEN, 1), (_OPENAT, 2)):
        if (number := numbers[column]) is not None:
            test = [_argument(place), (_AND, 0, 0, truncating), (_EQUAL, 0, 1, os.O_TRUNC)]
            yield from _where(number, test)
    yield (_RETURN, 0, 0, _ALLOW)


def _where(number: int, test: list[_Instruction]) -> Iterator[_Instruction]:
    """Decide on one call: the test ends at the next instruction to deny it, and one later to allow it."""
    yield (_EQUAL, 0, len(test) + 2, number)
    yield from test
    yield from ((_RETURN, 0, 0, _DENY), (_RETURN, 0, 0, _ALLOW))


def _unless_one_of(place: int, denied: tuple[int, ...]) -> list[_Instruction]:
    """The test that allows a call unless an argument is one of these."""
    last = len(denied) - 1
    return [_argument(place), *((_EQUAL, last - i, int(i == last), value) for i, value in enumerate(denied))]


def _argument(place: int) -> _Instruction:
    """Load an argument's lower half; both machines have it first."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * place)
