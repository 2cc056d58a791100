"""Kept runs: a table of them, and a file of each result.

Nothing here is a pickle: the table is SQLite, and results are in the format of `jobs.wire`, of which a closed list of
types can come back. A result that several visitors may have, such as a demo's, is one file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from explain_core.errors import RunError
from explain_core.jobs import wire
from explain_core.jobs.limits import in_gb
from explain_core.runs.database import Database
from explain_core.runs.record import MOST_NAME, About, Run, is_run_id

_log = logging.getLogger("pairlift.runs")
_FORGOTTEN_SECONDS = 3600.0  # after which a file that is in no table is nobody's that is being written
_COLUMNS = "runs.id, runs.name, runs.about, runs.created, results.bytes, runs.owner, runs.pinned, runs.result"
_JOINED = f"SELECT {_COLUMNS} FROM runs JOIN results ON results.id = runs.result"


class RunStore:
    """The kept runs of a server, within bounds: the oldest go first, but for those that are pinned.

    Threads and processes may use one folder at once.

    Args:
        folder: where they lie; exists.
        most_bytes: of all results together.
        most_runs: of all visitors together.
        most_of_owner: of one visitor.

    Raises:
        RunError: there is a database that cannot be used.
    """

    def __init__(self, folder: Path, most_bytes: int, most_runs: int, most_of_owner: int) -> None:
        self.folder = folder
        self._bounds = most_bytes, most_runs, most_of_owner
        self._results = folder / "results"
        try:
            self._results.mkdir(mode=0o700, exist_ok=True)
            self._database = Database(folder / "runs.sqlite")
            self._sweep()
        except OSError as error:
            raise _not_kept(error) from None

    # Keeping.

    def add(self, owner: str, about: About, content: Any, *, shared: bool = False) -> Run:
        """Keep a result; the same one of the same owner is the run that is there.

        Args:
            owner: the visitor's secret.
            about: what it is of.
            content: what `content` gives back; of types that `jobs.wire` has.
            shared: whether whoever asks the same gets it too, which only a result may be that no visitor could forge.

        Raises:
            RunError: there is no room for it.
        """
        result = _result_id(owner, about.key, shared)
        size = self._write(result, content)
        name = f"{about.sequence}, {about.title}"[:MOST_NAME]
        with self._database.writing() as connection:
            self._count(connection, result, size, shared)
            connection.execute(
                "INSERT OR IGNORE INTO runs (id, owner, result, name, about, created) VALUES (?, ?, ?, ?, ?, ?)",
                (secrets.token_urlsafe(16), _hidden(owner), result, name, about.to_json(), time.time()),
            )
            query = f"{_JOINED} WHERE runs.owner = ? AND runs.result = ?"
            row = connection.execute(query, (_hidden(owner), result)).fetchone()
            gone = self._make_room(connection, row[0], result)
        self._remove(gone)
        return _run(row, owner)

    def share(self, key: str, content: Any) -> None:
        """Keep a result for whoever asks the same, without a run of anybody.

        Raises:
            RunError: there is no room for it.
        """
        result = _result_id("", key, True)
        size = self._write(result, content)
        with self._database.writing() as connection:
            self._count(connection, result, size, True)
            gone = self._make_room(connection, "", result)
        self._remove(gone)

    def rename(self, owner: str, run_id: str, name: str) -> None:
        """Call one's own run something else."""
        name = " ".join(name.split())[:MOST_NAME]
        if name:
            self._change(owner, run_id, "UPDATE runs SET name = ?", name)

    def pin(self, owner: str, run_id: str, pinned: bool) -> None:
        """Have one's own run stay when room is made, or not."""
        self._change(owner, run_id, "UPDATE runs SET pinned = ?", int(pinned))

    def delete(self, owner: str, run_id: str) -> None:
        """Remove one's own run, and its file where nobody else has it."""
        self._change(owner, run_id, "DELETE FROM runs")

    # Looking up.

    def run(self, run_id: str, owner: str = "") -> Run:
        """The run with this id, whoever's it is.

        Raises:
            RunError: there is none, or what is kept about it is damaged.
        """
        row = None
        if is_run_id(run_id):
            with self._database.reading() as connection:
                row = connection.execute(f"{_JOINED} WHERE runs.id = ?", (run_id,)).fetchone()
        if row is None:
            raise RunError(
                "There is no run at this address. It was deleted, had to make room, or the link is not whole.",
                hint="Ask whoever sent the link for another one.",
            )
        return _run(row, owner)

    def runs_of(self, owner: str) -> list[Run]:
        """One's own runs, the newest first; those that are damaged are left out."""
        with self._database.reading() as connection:
            rows = connection.execute(f"{_JOINED} WHERE runs.owner = ? ORDER BY runs.created DESC", (_hidden(owner),))
            found = []
            for row in rows:
                try:
                    found.append(_run(row, owner))
                except RunError:
                    _log.warning("What is kept about the run %.30s is damaged.", row[0])
            return found

    def content(self, run: Run) -> Any:
        """What was kept.

        Raises:
            RunError: its file is gone or damaged.
        """
        return self._read(run.result)

    def found(self, owner: str, key: str) -> Any:
        """What was kept for a key, shared or the owner's own; None where nothing was, or it cannot be read."""
        for result in (_result_id(owner, key, True), _result_id(owner, key, False)):
            with self._database.reading() as connection:
                if connection.execute("SELECT 1 FROM results WHERE id = ?", (result,)).fetchone() is None:
                    continue
            try:
                return self._read(result)
            except RunError as error:
                _log.warning("%s", error)
                with self._database.writing() as connection:  # it is computed again
                    connection.execute("DELETE FROM results WHERE id = ?", (result,))
                self._remove([result])
        return None

    def usage(self) -> tuple[int, int]:
        """How many runs there are of everybody, and bytes of results."""
        with self._database.reading() as connection:
            (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
            (size,) = connection.execute("SELECT coalesce(sum(bytes), 0) FROM results").fetchone()
        return runs, size

    # Files.

    def _write(self, result: str, content: Any) -> int:
        """Write a result where there is none yet; returns its bytes."""
        path = self._results / result
        try:
            if path.exists():
                return path.stat().st_size
            pieces = [*wire.dump(content)]
            size = sum(map(len, pieces))
            if size > self._bounds[0]:
                raise RunError(
                    f"The result has {in_gb(size)}; kept runs may have {in_gb(self._bounds[0])} together.",
                    hint="Download it to keep it. Whoever runs this server can allow more with PAIRLIFT_RUNS_GB.",
                )
            part = path.with_name(f".{secrets.token_hex(8)}")
            try:
                with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                    file.writelines(pieces)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise _not_kept(error) from None
        except wire.WireError as error:
            raise RunError(f"The result could not be kept: {error}.") from None
        return size

    def _read(self, result: str) -> Any:
        path = self._results / result
        try:
            with path.open("rb") as file:
                content, _ = wire.load(file, path.stat().st_size)
        except OSError:
            raise RunError("The file of this run is gone.", hint="Explain again.") from None
        except (wire.WireError, EOFError):
            raise RunError("The file of this run is damaged.", hint="Delete the run and explain again.") from None
        try:
            with self._database.writing() as connection:
                connection.execute("UPDATE results SET used = ? WHERE id = ?", (time.time(), result))
        except RunError as error:  # reading is not to fail of it
            _log.warning("%s", error)
        return content

    def _remove(self, results: Iterable[str]) -> None:
        for result in results:
            try:
                (self._results / result).unlink(missing_ok=True)
            except OSError as error:  # the next start of a server tries again
                _log.warning("A result could not be removed: %s", error)

    def _sweep(self) -> None:
        """Remove files that are in no table: of a process that was killed while it wrote."""
        with self._database.reading() as connection:
            known = {result for (result,) in connection.execute("SELECT id FROM results")}
        with os.scandir(self._results) as files:
            old = time.time() - _FORGOTTEN_SECONDS
            self._remove(file.name for file in files if file.name not in known and file.stat().st_mtime < old)

    # The table.

    def _change(self, owner: str, run_id: str, statement: str, *values: Any) -> None:
        with self._database.writing() as connection:
            done = connection.execute(f"{statement} WHERE id = ? AND owner = ?", (*values, run_id, _hidden(owner)))
            if not done.rowcount:
                raise RunError("There is no run of yours with this id.", hint="Somebody else's can only be looked at.")
            gone = _without_runs(connection)
        self._remove(gone)

    @staticmethod
    def _count(connection: sqlite3.Connection, result: str, size: int, shared: bool) -> None:
        connection.execute(
            "INSERT INTO results (id, bytes, shared, used) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET used = excluded.used",
            (result, size, int(shared), time.time()),
        )

    def _make_room(self, connection: sqlite3.Connection, run_id: str, result: str) -> list[str]:
        """Drop what is over the bounds, but not what has just come; returns the results whose files are to go."""
        most_bytes, most_runs, most_of_owner = self._bounds
        order = "ORDER BY id = ? DESC, pinned DESC, created DESC LIMIT -1 OFFSET ?"
        same = "owner = (SELECT owner FROM runs WHERE id = ?)"
        drop = "DELETE FROM runs WHERE id IN (SELECT id FROM runs {} {})"
        connection.execute(drop.format(f"WHERE {same}", order), (run_id, run_id, most_of_owner))
        connection.execute(drop.format("", order), (run_id, most_runs))
        gone = _without_runs(connection)
        (size,) = connection.execute("SELECT coalesce(sum(bytes), 0) FROM results").fetchone()
        pinned = "EXISTS (SELECT 1 FROM runs WHERE runs.result = results.id AND runs.pinned)"
        oldest = f"SELECT id, bytes FROM results WHERE id != ? ORDER BY {pinned}, used"
        for other, its in connection.execute(oldest, (result,)).fetchall():
            if size <= most_bytes:
                break
            connection.execute("DELETE FROM results WHERE id = ?", (other,))
            gone.append(other)
            size -= its
        return gone


def _without_runs(connection: sqlite3.Connection) -> list[str]:
    """Drop results that no run has and that are not for everybody; returns them."""
    unused = "shared = 0 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.result = results.id)"
    gone = [result for (result,) in connection.execute(f"SELECT id FROM results WHERE {unused}")]
    connection.execute(f"DELETE FROM results WHERE {unused}")
    return gone


def _run(row: tuple, owner: str) -> Run:
    run_id, name, about, created, size, of, pinned, result = row
    is_own = bool(owner) and secrets.compare_digest(of, _hidden(owner))
    return Run(run_id, name, About.of_json(about), created, size, is_own, bool(pinned), result)


def _hidden(owner: str) -> str:
    """An owner's secret as it stands in the table, from which nobody learns it."""
    return hashlib.sha256(owner.encode()).hexdigest()


def _result_id(owner: str, key: str, shared: bool) -> str:
    """The name of a result's file: nobody else's request leads to it, unless it is shared."""
    return hashlib.sha256(f"{'shared' if shared else _hidden(owner)} {key}".encode()).hexdigest()


def _not_kept(error: OSError) -> RunError:
    return RunError(
        f"The run could not be kept: {error.strerror or error}.",
        hint="Download the result to keep it. Whoever runs this server can make room in its folder (PAIRLIFT_DATA).",
    )
