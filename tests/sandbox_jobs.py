"""Jobs that try what a worker's sandbox denies, in a module that itself imports no framework."""

import ctypes
import errno
import fcntl
import mmap
import os
import pickle
import platform
import resource
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

from explain_core.jobs import wire

_libc = ctypes.CDLL(None, use_errno=True)
_X86 = platform.machine() == "x86_64"


def _call(number, *arguments):
    """A system call by its number, past everything that Python and the C library do around it."""
    result = _libc.syscall(ctypes.c_long(number), *[ctypes.c_long(each) for each in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _leave_a_child():
    if os.fork() == 0:
        os.setsid()
        signal.pause()


def _spawn_by_clone():
    if _call(56 if _X86 else 220, signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


def _run_from_memory():
    program = os.memfd_create("program")
    os.write(program, Path("/usr/bin/true").read_bytes())
    os.execve(program, ["true"], {})


def _signal_through_a_descriptor(app):
    _call(424, _call(434, app, 0), 0, 0, 0)


def _trace(app):
    attach = 16
    if _libc.ptrace(attach, app, None, None):
        raise OSError(ctypes.get_errno(), "ptrace")


def _read_memory(app):
    place = ctypes.create_string_buffer(8)
    vector = struct.pack("PN", ctypes.addressof(place), 8)
    one = ctypes.create_string_buffer(vector, len(vector))
    _call(310 if _X86 else 270, app, ctypes.addressof(one), 1, ctypes.addressof(one), 1, 0)


def _own_by(app):
    reading, _ = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, app)


def _lease(upload):
    with upload.open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)


def _lock(upload):
    with upload.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _mark(upload):
    set_flags = 0x40086602
    with upload.open("rb") as file:
        fcntl.ioctl(file, set_flags, struct.pack("l", 0))


def _watch(folder):
    _call(
        254 if _X86 else 27,
        _call(294 if _X86 else 26, 0),
        ctypes.addressof(ctypes.create_string_buffer(bytes(folder))),
        2,
    )


def _outlive_the_app():
    if _libc.prctl(1, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _through_a_link(target):
    link = Path("link")
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    return link.read_bytes()


def _attempts(app, outside, secret, upload):
    """What to try, by name."""
    inside = Path("inside")
    return {
        "write a file outside": lambda: (outside / "new").write_text("x"),
        "make a folder outside": lambda: (outside / "folder").mkdir(),
        "overwrite a file outside": lambda: secret.write_text("x"),
        "cut a file outside off": lambda: os.truncate(secret, 0),
        "cut a file off as it is opened for reading": lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC),
        "remove a file outside": lambda: secret.unlink(),
        "rename a file outside": lambda: secret.rename(secret.with_name("renamed")),
        "move a file out": lambda: (inside.write_text("x"), inside.rename(outside / "moved")),
        "link a file into the own folder": lambda: os.link(secret, "linked"),
        "change the rights of a file outside": lambda: secret.chmod(0o777),
        "change the times of a file outside": lambda: os.utime(secret, (0, 0)),
        "change the owner of a file outside": lambda: os.chown(secret, 1, 1),
        "write to the upload": lambda: upload.write_text("x"),
        "link the upload to where it could be written": lambda: os.link(upload, "linked"),
        "read a file outside": lambda: secret.read_bytes(),
        "read a file outside through a link": lambda: _through_a_link(secret),
        "read a file outside through /proc/self/root": lambda: Path(f"/proc/self/root{secret}").read_bytes(),
        "list the folder of a session": lambda: os.listdir(outside),
        "list the home folder": lambda: os.listdir(Path("/root") if os.getuid() == 0 else Path("/home")),
        "read the users of the machine": lambda: Path("/etc/passwd").read_text(),
        "read the app's environment": lambda: Path(f"/proc/{app}/environ").read_bytes(),
        "read the app's open files": lambda: os.listdir(f"/proc/{app}/fd"),
        "read the app's memory through a file": lambda: Path(f"/proc/{app}/mem").read_bytes(),
        "read the app's memory": lambda: _read_memory(app),
        "share memory by name": lambda: Path("/dev/shm/pairlift-test").write_text("x"),
        "open a TCP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "open a UDP socket": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        "open a Unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "open a socket by its number": lambda: _call(41 if _X86 else 198, 2, 1, 0),
        "open a socket by the other numbers of x86": lambda: _call(0x40000000 + 41 if _X86 else 198, 2, 1, 0),
        "make a pair of sockets": lambda: socket.socketpair(),
        "lock the upload": lambda: _lock(upload),
        "mark the upload": lambda: _mark(upload),
        "hold memory that is nobody's": lambda: os.memfd_create("memory"),
        "look a name up": lambda: socket.getaddrinfo("localhost.invalid", 80),
        "make an io_uring": lambda: _call(425, 1, 0),
        "run a program": lambda: subprocess.run(["/usr/bin/true"], check=True),
        "run a program by posix_spawn": lambda: os.posix_spawn("/usr/bin/true", ["true"], {}),
        "become a program": lambda: os.execv("/usr/bin/true", ["true"]),
        "become a program in memory": _run_from_memory,
        "leave a child behind": _leave_a_child,
        "make a process by clone": _spawn_by_clone,
        "signal the app": lambda: os.kill(app, signal.SIGUSR1),
        "look whether the app is there": lambda: os.kill(app, 0),
        "signal the app's group": lambda: os.killpg(os.getpgid(app), signal.SIGUSR1),
        "signal everything": lambda: os.kill(-1, 0),
        "signal a thread of the app": lambda: _call(234 if _X86 else 131, app, app, 0),
        "signal the app through a descriptor": lambda: _signal_through_a_descriptor(app),
        "trace the app": lambda: _trace(app),
        "signal the app by a file": lambda: _own_by(app),
        "hold up whoever opens a file": lambda: _lease(upload),
        "watch a folder": lambda: _watch(outside),
        "limit the app": lambda: resource.prlimit(app, resource.RLIMIT_NOFILE, (8, 8)),
        "move the app to one processor": lambda: os.sched_setaffinity(app, {0}),
        "slow the app down": lambda: os.setpriority(os.PRIO_PROCESS, app, 19),
        "outlive the app": _outlive_the_app,
        "mount something": lambda: _call(165 if _X86 else 40, 0, 0, 0, 0, 0),
        "get a namespace of its own": lambda: _call(272 if _X86 else 97, 0x10000000),
        "load a program into the kernel": lambda: _call(321 if _X86 else 280, 0, 0, 0),
        "read the keys of the kernel": lambda: _call(250 if _X86 else 219, 0, 0, 0),
        "count events of the processor": lambda: _call(298 if _X86 else 241, 0, 0, -1, -1, 0),
    }


ALLOWED = {
    "write in the own folder": lambda: Path("own").write_text("x"),
    "make a folder in it": lambda: Path("folder").mkdir(exist_ok=True),
    "read the interpreter's library": lambda: Path(os.__file__).read_bytes(),
    "start a thread": lambda: threading.Thread(target=int).start(),
    "end itself": lambda: os.kill(os.getpid(), 0),
    "map memory that runs": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
    "look at its own limits": lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
}


def try_each(report, app, outside, secret, upload):
    """Try all that is denied: "denied", or what became of it instead, by name; and so for what is allowed.

    ``outside`` and ``secret`` are texts, since files among the arguments are put where the worker can read them.
    """
    attempts = _attempts(app, Path(outside), Path(secret), upload)
    assert upload.read_text() == "the upload"
    return [{name: _try(attempt) for name, attempt in each.items()} for each in (attempts, ALLOWED)]


def try_in_a_thread(report, app, outside, secret, upload):
    """The same in another thread."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(try_each(report, app, outside, secret, upload)))
    thread.start()
    thread.join()
    return found


def _try(attempt):
    try:
        attempt()
    except OSError as error:
        denied = (errno.EPERM, errno.EACCES, errno.EXDEV)
        unreachable = isinstance(error, socket.gaierror)
        return "denied" if error.errno in denied or unreachable else f"{type(error).__name__}: {error}"
    except subprocess.CalledProcessError as error:
        return str(error)
    return "done"


def processors(report):
    """How many threads PyTorch computes with, and how many processors this process may use."""
    import torch

    return torch.get_num_threads(), len(os.sched_getaffinity(0))


def environment(report):
    return dict(os.environ)


def capabilities(report):
    """What this process may do as root does, as a number; and whether it can gain more."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["CapEff"], 16), lines["NoNewPrivs"].strip()


# What a worker that is not one's own any more may answer.


class Evil:
    """What is code as a pickle."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return eval, (f"open({self.canary!r}, 'w').write('ran')",)


def return_code(report, canary):
    return Evil(canary)


def answer(report, pieces):
    """Write bytes to the app in place of an answer, then wait."""
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if int(descriptor) > 2 and os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:"):
                with open(int(descriptor), "wb", closefd=False) as pipe:
                    pipe.write(pieces)
        except OSError:  # the folder that was just listed, or a pipe that is for reading
            continue
    signal.pause()


def close_the_pipe(report):
    """End the talk with the app, and go on."""
    os.closerange(3, 100)
    signal.pause()


def say_without_end(report):
    while True:
        report(0.5, "still")


def answers_that_are_none(canary):
    """By name: bytes that a worker might write, and that the app must not act on."""
    code = pickle.dumps(Evil(canary))
    head = wire.dump([0.5, "x"])
    size, text = next(head), next(head)

    def with_head(node, sizes=()):
        encoded = node if isinstance(node, bytes) else repr(node).replace("'", '"').encode()
        body = b'{"sizes": %s, "value": %s}' % (repr(list(sizes)).encode(), encoded)
        return b"d" + len(body).to_bytes(8, "little") + body

    return {
        "noise": bytes(range(256)) * 64,
        "a pickle": b"d" + code,
        "a pickle with a length": b"d" + len(code).to_bytes(8, "little") + code,
        "a head without end": b"d" + (2**62).to_bytes(8, "little"),
        "a head larger than heads are": b"d" + (2**31).to_bytes(8, "little") + b"[" * 1000,
        "no JSON": b"d" + (3).to_bytes(8, "little") + b"{]x",
        "another letter": b"z" + size + text,
        "an array larger than all": with_head({"k": "array", "dtype": "<f4", "shape": [1], "at": 0}, [2**60]),
        "an array of a negative size": with_head(1, [-5]),
        "an array of objects": with_head({"k": "array", "dtype": "|O8", "shape": [1], "at": 0}, [8]) + bytes(8),
        "an array of another shape": with_head({"k": "array", "dtype": "<f4", "shape": [9], "at": 0}, [8]) + bytes(8),
        "another class": with_head({"k": "object", "class": "Popen", "fields": {"args": "true"}}),
        "a class by its module": with_head({"k": "object", "class": "subprocess.Popen", "fields": {}}),
        "other fields": with_head({"k": "object", "class": "Fix", "fields": {"__class__": 1}}),
        "an error that is none": with_head({"k": "error", "class": "SystemExit", "what": "", "where": "", "hint": ""}),
        "a deep list": with_head(b"[" * 100_000 + b"]" * 100_000),
        "a text that is none": with_head(b'"\\ud800"'),
        "an unknown kind": with_head({"k": "code"}),
        "more values than heads have": with_head(b"[" + b"[]," * 1_500_000 + b"1]"),
        "a table of rows without columns": with_head({"k": "table", "columns": [], "index": 10**15, "attrs": {}}),
        "an axis without end": with_head({"k": "array", "dtype": "<f4", "shape": [0, 10**15], "at": 0}, [0]),
        "progress that is none": b"s" + (25).to_bytes(8, "little") + b'{"sizes":[],"value":"ab"}',
        "progress with a text for a number": b"s" + (31).to_bytes(8, "little") + b'{"sizes":[],"value":["1", "x"]}',
        "an error larger than errors are": b"f" + (2**22).to_bytes(8, "little") + b" " * 2**22,
    }
