"""Spoiled files of every format: each opens or is refused in words, and none does anything else.

Files are opened in a worker process, so that a crash in native code is seen and counted. A few run always, 20,000 by
the marker ``fuzz``.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzzing.mutations import Mutator
from fuzzing.opening import open_all, open_as_model, open_as_sequences

from explain_core.errors import JobError
from explain_core.jobs.limits import GB, Limits
from explain_core.jobs.scheduler import Scheduler
from explain_core.jobs.worker import Worker

SECONDS = 600  # for one batch; a file that hangs is a failure
BATCH = 50
LIMITS = Limits(memory=4 * GB, reserve=0, processes=1, jobs=1, seconds=SECONDS, spares=False)


@pytest.fixture
def worker():  # a new one for each test, since no process is to hold both frameworks
    scheduler = Scheduler(LIMITS)
    yield Worker(scheduler=scheduler)
    scheduler.stop()


def torch_files(folder):
    from corpus.torch_files import valid_files

    with warnings.catch_warnings():  # PyTorch's own, on projections, while the originals are run
        warnings.simplefilter("ignore")
        return valid_files(folder)


def keras_files(folder):
    from corpus.keras_files import saved_model, valid_files

    return {**valid_files(folder), "saved model": saved_model(folder / "saved model.zip")}


def sequence_files(folder):
    from corpus.sequence_files import files_beside, valid_files

    return valid_files(folder) | files_beside(folder)


FORMATS = {
    "torch": (torch_files, open_as_model),
    "tensorflow": (keras_files, open_as_model),
    "sequences": (sequence_files, open_as_sequences),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_some_spoiled_files(worker, tmp_path, kind):
    check(worker, tmp_path, kind, count=36, seed="some")


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", FORMATS)
def test_many_spoiled_files(worker, tmp_path, kind, seed):
    check(worker, tmp_path, kind, count=667, seed=str(seed))


def check(worker: Worker, folder: Path, kind: str, *, count: int, seed: str) -> None:
    """Open the valid files, then ``count`` spoiled ones, and require that each ends as it should."""
    write, opener = FORMATS[kind]
    (folder / "valid").mkdir()
    valid = write(folder / "valid")
    canary = folder / "canary"
    examples = list(valid.values())
    assert set(open_in(worker, examples, canary, opener, examples).values()) == {"opened"}
    results = open_in(worker, spoil(valid, folder, canary, count, seed), canary, opener, examples)
    failures = {name: said for name, said in results.items() if said.startswith("FAILED")}
    assert not failures, "\n".join(f"{name}: {said}" for name, said in failures.items())
    assert not canary.exists()
    refused = sum(said.startswith("refused") for said in results.values())
    assert refused > count / 4  # or the mutations spoil nothing
    print(f"{kind}: {len(results)} files, {refused} refused")


def spoil(valid: dict[str, Path], folder: Path, canary: Path, count: int, seed: str) -> list[Path]:
    (folder / "spoiled").mkdir()
    mutator = Mutator(canary)
    files = []
    names = sorted(valid)
    for i in range(count):
        path = valid[names[i % len(names)]]
        content = mutator.mutate(path.read_bytes(), random.Random(f"{seed} {i} {path.name}"))
        files.append(folder / "spoiled" / f"{i:04}-{path.name}")
        files[-1].write_bytes(content)
    return files


def open_in(
    worker: Worker, files: list[Path], canary: Path, opener: Callable[[Path], Any], examples: list[Path]
) -> dict[str, str]:
    """Open the files in the worker; one that takes the process down is a failure, and the others go on."""
    results: dict[str, str] = {}
    while rest := [file for file in files if file.name not in results][:BATCH]:
        job = worker.run(open_all, rest, canary, opener, examples)
        try:
            results |= job.result(SECONDS + 60)
        except JobError as error:
            culprit = job.progress.message
            before = [file.name for file in rest].index(culprit)
            if before:  # their results went with the process
                results |= open_in(worker, rest[:before], canary, opener, examples)
            results[culprit] = f"FAILED, and took its process along: {error}"
    return results
