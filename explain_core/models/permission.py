"""Whether a person's own Python code may be run to open a model."""

from __future__ import annotations

import sys

FLAG = "--trust-code"
_only_data = False


def code_is_trusted() -> bool:
    """Whether this process, or the server whose worker it is, was started with ``--trust-code``.

    Worker processes get the server's command line, and no request can change it.
    """
    return FLAG in sys.argv[1:]


def open_only_data() -> None:
    """From now on this process opens no format that has a program in it: nothing would hold such a program back."""
    global _only_data
    _only_data = True


def may_open_programs() -> bool:
    """Whether TorchScript and SavedModels may be opened in this process."""
    return not _only_data or code_is_trusted()
