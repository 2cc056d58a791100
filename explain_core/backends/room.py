"""What a framework says when a batch does not fit into memory, as one error that smaller batches answer."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from explain_core.errors import NoRoomError


@contextmanager
def in_room(rows: int, is_no_room: Callable[[BaseException], bool]) -> Generator[None]:
    """Turn errors of full memory into a `NoRoomError`.

    Args:
        rows: how many are explained at once.
        is_no_room: whether memory is what an error of the framework is about.
    """
    try:
        yield
    except Exception as error:
        if not is_no_room(error):
            raise
        at_once = "one row" if rows == 1 else f"{rows} rows at once"
        raise NoRoomError(
            f"out of memory with {at_once}: {str(error).strip().partition(chr(10))[0]}",
            hint="Explain fewer timesteps or outputs at once, or use a device with more memory.",
        ) from None
