"""The table of kept runs: SQLite, one file, opened for each piece of work, so that threads and processes share it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from explain_core.errors import RunError

_APPLICATION = 0x504C_5255  # in the file's head, so that another program's database is not taken for one of these
_SCHEMA = 1
_WAIT_SECONDS = 10.0  # for another process that writes

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


class Database:
    """The database in a file.

    Raises:
        RunError: it is damaged, of a newer PairLift, or another program's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch(mode=0o600)
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (schema,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
            elif application != _APPLICATION:
                raise RunError("This is a database of another program.", where=str(path), hint=_ANOTHER)
            elif schema != _SCHEMA:
                raise RunError(
                    f"The kept runs are in form {schema}, and this version of PairLift reads form {_SCHEMA}.",
                    where=str(path),
                    hint=_ANOTHER,
                )
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A connection that looks things up."""
        with self._open() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """A connection that nobody else writes beside; all of it happens, or nothing."""
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except sqlite3.Error as error:
            raise RunError(
                f"The list of kept runs cannot be read or written: {error}.", where=str(self.path), hint=_ANOTHER
            ) from None


_ANOTHER = "Whoever runs this server can move the file away, or name another folder with PAIRLIFT_DATA."
