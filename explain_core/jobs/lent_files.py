"""A job as a pickle, with the files among its arguments put where its worker can read them."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path, PurePath
from secrets import token_hex
from types import FunctionType
from typing import Any

from explain_core.jobs.sandbox import places


class LentFiles:
    """The files that a job may read, in a folder that the worker can read and not write: those that it was given."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._places: dict[Path, Path] = {}  # where a file was put, by where it is

    def pack(self, job: tuple) -> memoryview:
        """The job as a pickle in which every file is where the worker can read it; files of earlier jobs go.

        Raises:
            OSError: a file could not be put there.
        """
        buffer = io.BytesIO()
        packer = _Packer(buffer, self._lend)
        packer.dump(job)
        for path in self._places.keys() - packer.paths:
            place = self._places.pop(path)
            shutil.rmtree(place.parent, ignore_errors=True)
        return buffer.getbuffer()

    def _lend(self, path: Path) -> Path:
        if path not in self._places:
            folder = self._folder / token_hex(8)
            folder.mkdir()
            _put(path, folder / path.name)
            self._places[path] = folder / path.name
        return self._places[path]


class _Packer(pickle.Pickler):
    """Pickles a job, with other paths for the files in it."""

    def __init__(self, file: io.BytesIO, lend: Callable[[Path], Path]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.paths: set[Path] = set()
        self._lend = lend

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType) and value.__module__ == "__main__" and (name := _name_of_main()):
            return _named, (name, value.__qualname__)
        if not isinstance(value, PurePath):
            return NotImplemented
        path = Path(value).absolute()
        if path.exists() and not any(path.is_relative_to(place) for place in _readable()):
            self.paths.add(path)
            path = self._lend(path)
        return Path, (str(path),)


def running_script() -> list[str]:
    """The script that this process runs, if it does: jobs may stand in it."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    return [os.path.abspath(path)] if main.__spec__ is None and path is not None else []


def _name_of_main() -> str | None:
    """The name under which a worker can import what this process runs; None where it has none."""
    if script := running_script():
        return Path(script[0]).stem
    spec = sys.modules["__main__"].__spec__
    return None if spec is None else spec.name


def _named(module: str, name: str) -> Any:
    """The function with a name in a module, for the worker."""
    return attrgetter(name)(import_module(module))


@cache
def _readable() -> tuple[str, ...]:
    """What workers can read where it is, such as the demos."""
    return tuple(places.to_read())


def _put(source: Path, target: Path) -> None:
    """Have a file, or a folder with what is in it, at a second place: by a link where the disk is the same."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_put_file)
    else:
        _put_file(source, target)


def _put_file(source: str | Path, target: str | Path) -> None:
    source = Path(source).resolve()
    try:
        os.link(source, target)
    except OSError:  # another disk, or another owner
        shutil.copyfile(source, target)
