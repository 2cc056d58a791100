"""The table of kept runs: SQLite, one file, opened for each piece of work, so that threads and processes share it."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from explain_core.errors import RunError
from explain_core.runs.files import cause

_log = logging.getLogger("pairlift.runs")
_APPLICATION = 0x504C_5255  # in the file's head, so that another program's database is not taken for one of these
_SCHEMA = 1
_WAIT_SECONDS = 10.0  # for another process that writes
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CAUSES = {
    sqlite3.SQLITE_BUSY: "another program is using it",
    sqlite3.SQLITE_LOCKED: "another program is using it",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_PERM: "this server may not",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
}

_TABLES = f"""
CREATE TABLE results (id TEXT PRIMARY KEY, bytes INTEGER NOT NULL, shared INTEGER NOT NULL, used REAL NOT NULL);
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    result TEXT NOT NULL REFERENCES results (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    about TEXT NOT NULL,
    created REAL NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0,
    UNIQUE (owner, result)
);
CREATE INDEX runs_of_result ON runs (result);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_SCHEMA};
"""


class DamagedError(RunError):
    """The database was damaged and has been put aside; a new one has begun."""


class Database:
    """The database in a file. One that is damaged is put aside with all that it knows of, and a new one begins.

    Whoever visits sees no path; the log has it.

    Args:
        path: its file.
        beside: what is of no use without it, and is put aside together with it.

    Raises:
        RunError: it cannot be used, is of a newer PairLift, or another program's.
    """

    def __init__(self, path: Path, beside: Path) -> None:
        self.path, self._beside = path, beside
        with suppress(DamagedError):
            self._begin()

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A connection that looks things up."""
        with self._open() as connection:
            yield connection

    @contextmanager
    def writing(self, wait: float | None = None) -> Generator[sqlite3.Connection]:
        """A connection that nobody else writes beside; all of it happens, or nothing.

        Args:
            wait: seconds for whoever writes just now, where it may as well not happen.
        """
        with self._open() as connection:
            if wait is not None:
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * wait)}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def _begin(self) -> None:
        """Make the tables where there are none."""
        with self._errors_in_words():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
            with self._connected() as connection:
                if self._is_ready(connection):
                    return
                connection.execute("BEGIN IMMEDIATE")
                if not self._is_ready(connection):  # now that no other process can make them at the same time
                    for statement in _TABLES.split(";"):
                        connection.execute(statement)
                connection.execute("COMMIT")
                with suppress(sqlite3.OperationalError):  # another process that starts does the same just now
                    connection.execute("PRAGMA journal_mode = WAL")

    def _is_ready(self, connection: sqlite3.Connection) -> bool:
        """Whether there are tables, which are this program's."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != _APPLICATION:
            raise self._refused("This is a database of another program.")
        if tables and schema != _SCHEMA:
            raise self._refused(
                f"The kept runs are in form {schema}, and this version of PairLift reads form {_SCHEMA}."
            )
        return bool(tables)

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        if not self.path.exists():  # somebody has removed it while the server ran
            self._begin()
        with self._errors_in_words(), self._connected() as connection:
            yield connection

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection]:
        name = f"{self.path.absolute().as_uri()}?mode=rw"  # a file that is not there is not made by the way
        with closing(sqlite3.connect(name, uri=True, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection

    @contextmanager
    def _errors_in_words(self) -> Generator[None]:
        seen = -1
        with suppress(OSError):
            seen = self.path.stat().st_ino
        try:
            yield
        except OSError as error:
            _log.error("%s: %s", self.path, error)
            raise _cannot(cause(error)) from None
        except sqlite3.Error as error:
            _log.error("%s: %s", self.path, error)
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _DAMAGED:
                self._put_aside(seen)
                raise DamagedError(
                    "The list of kept runs was damaged. It has been put aside, and a new one has begun.",
                    hint="Explain again. Whoever runs this server finds in its log where the old one is.",
                ) from None
            if "no such table" in str(error):  # it was emptied
                self._begin()
            raise _cannot(_CAUSES.get(code, "something went wrong that should not have")) from None

    def _put_aside(self, seen: int) -> None:
        """Rename a damaged database with its files, unless another process has just done so, and begin a new one."""
        aside = self.path.parent / f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}"
        try:
            if self.path.stat().st_ino == seen:
                aside.mkdir(mode=0o700)
                ends = ("", "-wal", "-shm", "-journal")
                for file in [*(self.path.with_name(self.path.name + end) for end in ends), self._beside]:
                    if file.exists():
                        file.rename(aside / file.name)
                _log.error("%s was damaged, and is in %s now with its results. A new one begins.", self.path, aside)
        except OSError as error:
            _log.error("%s: %s", self.path, error)
            raise _cannot("its file is damaged") from None
        self._begin()

    def _refused(self, what: str) -> RunError:
        _log.error("%s: %s", self.path, what)
        return RunError(
            what, hint="Whoever runs this server can move the file away, or name another folder with PAIRLIFT_DATA."
        )


def _cannot(reason: str) -> RunError:
    return RunError(
        f"The list of kept runs cannot be read or written: {reason}.",
        hint="Results can be looked at and downloaded all the same. Whoever runs this server finds more in its log.",
    )
