"""The last boundary of what opens files: damage that nobody foresaw ends in the file's error, and not in the app.

Each reader names what is wrong where it is seen. What it did not foresee is still a fault of the file in nearly every
case, so people are told that, with the reader and the original error; for developers that one is chained.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from explain_core.errors import ExplainError

#: Faults of the machine and not of the file: no room, no permission, too many open files, a broken disk, no file.
_OF_MACHINE = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT, errno.EISDIR),
    )
)


@contextmanager
def ending_typed(kind: type[ExplainError], form: str, where: str) -> Generator[None]:
    """Turn what is raised inside, and was not raised on purpose, into the error of the file.

    Errors of the machine (memory, disk, permissions) and of the installation (a package that is missing) stay.

    Args:
        kind: the error that the reader promises.
        form: what the file was read as, with its article: "a Keras model".
        where: the file's name.

    Raises:
        ExplainError: of ``kind``, from the original.
    """
    try:
        yield
    except (ExplainError, ImportError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_MACHINE:
            raise
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise kind(
            f"The file could not be read as {form}: {type(error).__name__}{f': {said}' if said else ''}.",
            where=where,
            hint="The file is probably damaged; copy it again. If other programs open it, please report this message.",
        ) from error
