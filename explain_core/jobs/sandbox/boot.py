"""The first lines that a worker process runs: into the sandbox, and only then to the jobs.

Run by its path, with one line of JSON on standard input (see `worker_process`). This package is loaded by itself, since
importing `explain_core` starts threads, which Landlock would not bind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

CANNOT = 77  # the exit code of a worker that could not enter its sandbox, and so has run nothing


def main() -> None:
    """Do as the orders say, then take jobs until there are no more."""
    sandbox = _load_alone("pairlift_sandbox", Path(__file__).parent)
    parts = (importlib.import_module(f"{sandbox}.{name}") for name in ("resources", "landlock", "seccomp"))
    resources, landlock, seccomp = parts
    orders = json.loads(sys.stdin.buffer.readline())
    resources.end_with(orders["parent"])
    resources.limit(orders["memory"], orders["file_bytes"])
    os.chdir(orders["write"])
    tempfile.tempdir = orders["write"]
    if orders["sandboxed"]:
        try:
            if (threads := len(os.listdir("/proc/self/task"))) != 1:
                raise OSError(f"there are {threads} threads already, of which only one would be bound")
            resources.drop_powers()
            landlock.restrict(read=orders["read"], write=[orders["write"]], devices=orders["devices"])
            seccomp.restrict()
        except OSError as error:
            print(f"The worker cannot enter its sandbox: {error}.", file=sys.stderr)
            sys.exit(CANNOT)
    resources.look_after(orders["parent"])
    sys.argv[1:] = orders["arguments"]
    # Not found by its name: the folder that it is in may be a person's, and is not to be read.
    package = _load_alone("explain_core", Path(__file__).parents[2])
    child = importlib.import_module(f"{package}.jobs.worker_child")
    child.serve(orders["memory"], orders["answer_bytes"], sandboxed=orders["sandboxed"])


def _load_alone(name: str, folder: Path) -> str:
    """Import the package in a folder by this name, without looking at what is around it."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None  # the place names a file of code
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return name


if __name__ == "__main__":
    main()
