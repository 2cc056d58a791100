"""The job that opens spoiled files in a worker process, and notices whatever they should not have been able to do."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from explain_core.errors import ExplainError
from explain_core.jobs.worker_child import resource_error

_FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect",
              "socket.bind", "urllib.Request", "webbrowser.open", "ctypes.dlopen")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
_DANGEROUS = {"os", "posix", "nt", "subprocess", "sys", "shutil", "socket", "runpy", "importlib", "webbrowser", "pty"}


class Watch:
    """An audit hook that records what opening a file must never do. A hook cannot be taken out, only turned off."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._canary: str | None = None
        sys.addaudithook(self._look)

    def __call__(self, canary: Path | None) -> None:
        """Watch from now on; None is not to watch."""
        self._canary = None if canary is None else str(canary)

    def _look(self, event: str, arguments: tuple) -> None:
        if self._canary is None:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if self._canary in str(path) or (writes and not isinstance(path, int) and not self._is_ours(path)):
                self.seen.append(f"open {path!r} {mode}")
        elif event in _CHANGES and arguments[-1:] in ((-1,), (None,)) and not self._is_ours(arguments[0]):
            self.seen.append(f"{event} {arguments!r}")
        elif event.startswith(_FORBIDDEN) and not (event == "ctypes.dlopen" and self._canary not in str(arguments)):
            self.seen.append(f"{event} {arguments!r}"[:300])
        elif event == "pickle.find_class":
            module, name = (str(argument) for argument in arguments[-2:])
            if module.partition(".")[0] in _DANGEROUS or (module == "builtins" and name in ("eval", "exec", "open")):
                self.seen.append(f"pickle {module}.{name}")

    @staticmethod
    def _is_ours(path: Any) -> bool:
        return str(os.path.abspath(os.fsdecode(path))).startswith((tempfile.gettempdir(), os.devnull))


_watch: Watch | None = None


def open_all(
    report: Callable, files: list[Path], canary: Path, opener: Callable[[Path], Any], examples: list[Path]
) -> dict[str, str]:
    """Open every file, after the examples: what is imported for those does things that are not looked for here.

    Returns by file name: "opened", "refused: ..." for a typed error, and "FAILED ..." for what must not be: any other
    exception, or a trace of something that ran.
    """
    global _watch
    if _watch is None:
        sys.dont_write_bytecode = True
        for example in examples:
            opener(example)
        _watch = Watch()
    results = {}
    for i, file in enumerate(files):
        report(i / len(files), file.name)
        _watch.seen.clear()
        _watch(canary)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                opener(file)
            said = "opened"
        except ExplainError as error:
            said = f"refused: {error}"
        except Exception as error:  # what is looked for
            resource = resource_error(error, 0)
            said = f"refused: {resource}" if resource else f"FAILED with {type(error).__name__}: {error}"
            if resource is None:
                said += _where(error)
        finally:
            _watch(None)
        if _watch.seen:
            said = f"FAILED to keep still: {_watch.seen[:3]}"
        results[file.name] = said[:600]
    return results


def _where(error: BaseException) -> str:
    trace, found = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "explain_core" in file:
            found = f" [{Path(file).name}:{trace.tb_lineno}]"
        trace = trace.tb_next
    return found


def open_as_model(path: Path) -> Any:
    from explain_core.models import load_model

    return load_model(path)


def open_as_sequences(path: Path) -> Any:
    """By the word in its name: a vocabulary, a file of texts or a scaling; else sequences."""
    from explain_core.sequences import Options, Scaling, Vocabulary, read_file
    from explain_core.sequences.loading import read_words

    if "vocabulary" in path.name:
        return Vocabulary.load(path)
    if "texts" in path.name:
        return read_words(path, Vocabulary({"the": 1, "cat": 2, "sat": 3}, unknown=0))
    if "scaling" in path.name:
        return Scaling.load(path)
    return read_file(path, Options())
