"""Whether a person's own Python code may be run to open a model."""

from __future__ import annotations

import sys

FLAG = "--trust-code"


def code_is_trusted() -> bool:
    """Whether this process, or the server whose worker it is, was started with ``--trust-code``.

    Worker processes get the server's command line, and no request can change it.
    """
    return FLAG in sys.argv[1:]
