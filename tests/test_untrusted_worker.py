"""The same files as in test_untrusted_torch, through a worker: with the checks, and with none but the sandbox."""

import re
import warnings
import zipfile

import pytest
import torch
from hostile_jobs import pid
from test_untrusted_torch import CLASS, DEFAULT, IN_CLASSES, NO_DEFAULTS
from torch import nn
from untrusted_files import Model, in_code, script
from untrusted_jobs import open_each, run_unchecked

from explain_core.errors import JobError
from explain_core.jobs import sandbox
from explain_core.jobs.limits import GB, Limits
from explain_core.jobs.scheduler import Scheduler
from explain_core.jobs.worker import Worker

SOON = 300  # seconds in which a job of these tests surely ends
LIMITS = Limits(memory=4 * GB, reserve=0, processes=2, jobs=2, seconds=SOON, spares=False)

in_a_sandbox = pytest.mark.skipif(not sandbox.status().active, reason="this kernel has no Landlock or no seccomp")


@pytest.fixture(scope="module")
def worker():
    scheduler = Scheduler(LIMITS)
    yield Worker(scheduler=scheduler)
    scheduler.stop()


def helper(x: torch.Tensor):
    return x * 2.5


class Forked(nn.Module):
    def forward(self, x: torch.Tensor):
        return torch.jit.wait(torch.jit.fork(helper, x.sum([1, 2])))


class Behind:
    def __init__(self):
        self.k = 1

    def go(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2.5


class Go:
    def go(self, x: torch.Tensor) -> torch.Tensor:
        pass


with warnings.catch_warnings():  # the format stays, whatever becomes of the functions that write it
    warnings.simplefilter("ignore", DeprecationWarning)
    Go = torch.jit.interface(Go)


class ThroughInterface(nn.Module):
    i: Go

    def __init__(self):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.i = torch.jit.script(Behind)()

    def forward(self, x: torch.Tensor):
        return self.i.go(x.sum([1, 2]))


@pytest.fixture
def files(tmp_path):
    """Archives that write a canary when PyTorch opens or runs them, and a file that one of them writes over."""
    folder, canary = tmp_path / "files", tmp_path / "canary"
    folder.mkdir()
    (tmp_path / "target.py").write_text("x = 1  # a file of the app's user\n" * 4)
    good = script(Model(), tmp_path / "good.pt")
    written = []
    for number, text in enumerate(NO_DEFAULTS.values()):
        written.append(in_code(good, folder / f"default {number}.pt", DEFAULT, text.format(canary, canary)))
    for number, text in enumerate(IN_CLASSES.values()):
        written.append(in_code(good, folder / f"class {number}.pt", CLASS, CLASS + text.format(canary)))
    bytes_of = list(b"print('CANARY')#")
    over = (
        f"y: Tensor=torch.copy_(torch.from_file('{tmp_path}/target.py', True, 16, dtype=0), torch.tensor({bytes_of})))"
    )
    written.append(in_code(good, folder / "over.pt", DEFAULT, over))
    call = f"getattr(torch, 'sa\\\\166e')([1, 2], '{canary}')"
    for name, model in (("fork", Forked()), ("interface", ThroughInterface())):
        source = script(model, tmp_path / f"{name}.pt")
        written.append(in_code(source, folder / f"{name}.pt", *_with_a_call(source, call)))
    return written


def _with_a_call(source, call):
    """The piece of code that multiplies, without and with a call before it."""
    with zipfile.ZipFile(source) as archive:
        code = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".py"))
    old = re.search(r"\n\s+(?:return|\w+ =) torch\.mul\(\w+, 2\.5\)", code)[0]
    indent = re.match(r"\n\s+", old)[0]
    return old, f"{indent}_q = {call.replace(chr(92) * 2, chr(92))}{old}"


def test_the_checks_hold_in_a_worker(worker, files, tmp_path):
    said = worker.run(open_each, files).result(SOON)
    assert set(said.values()) == {"ModelFileError"}
    assert not (tmp_path / "canary").exists()
    assert (tmp_path / "target.py").read_text().startswith("x = 1")


@in_a_sandbox
def test_without_the_checks_the_sandbox_holds(worker, files, tmp_path):
    for path in files:
        run_alone(worker, path)
    assert not (tmp_path / "canary").exists()
    assert (tmp_path / "target.py").read_text().startswith("x = 1")


@pytest.mark.parametrize("name", ["default 0.pt", "fork.pt", "interface.pt"])
def test_without_either_the_canary_is_real(monkeypatch, files, tmp_path, name):
    monkeypatch.setenv(sandbox.OFF, "off")
    scheduler = Scheduler(LIMITS)
    assert run_alone(Worker(scheduler=scheduler), next(path for path in files if path.name == name)) == "ran"
    assert (tmp_path / "canary").exists()
    scheduler.stop()


def run_alone(worker, path):
    """What PyTorch says; some of these files crash it, which takes the process only."""
    try:
        return worker.run(run_unchecked, [path]).result(SOON)[path.name]
    except JobError as error:
        return error.what


class OutOfBounds(nn.Module):
    """Writes terabytes behind a tensor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("i", torch.tensor([[1 << 40]]))
        self.register_buffer("v", torch.ones(1))

    def forward(self, x: torch.Tensor):
        far = torch.ops.aten._sparse_coo_tensor_unsafe(self.i, self.v, [4], is_coalesced=True)
        return x.sum() + torch.zeros(4).add(far)[0]


def test_memory_that_is_corrupted_is_an_error_and_the_next_job_works(worker, tmp_path):
    path = script(OutOfBounds(), tmp_path / "m.pt")
    assert worker.run(open_each, [path]).result(SOON) == {"m.pt": "ModelFileError"}
    before = worker.run(pid).result(SOON)
    with pytest.raises(JobError, match="SIGSEGV"):
        worker.run(run_unchecked, [path]).result(SOON)
    assert worker.run(pid).result(SOON) != before
