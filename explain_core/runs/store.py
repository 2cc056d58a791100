"""Kept runs: a table of them, and a file of each result.

Nothing here is a pickle: the table is SQLite, and results are in the format of `jobs.wire`, of which a closed list of
types can come back. A result that several visitors may have, such as a demo's, is one file.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import sqlite3
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from explain_core.errors import RunError
from explain_core.runs.database import Database
from explain_core.runs.files import ResultFiles
from explain_core.runs.owners import hidden
from explain_core.runs.record import MOST_NAME, About, Run, is_run_id
from explain_core.runs.room import Bounds, make_room, without_runs

_log = logging.getLogger("pairlift.runs")
_UNSEEN_SECONDS = 400 * 24 * 3600.0  # longer than a visitor's cookie: who could list it has forgotten who they are
_COLUMNS = "runs.id, runs.name, runs.about, runs.created, results.bytes, runs.owner, runs.pinned, runs.result"
_JOINED = f"SELECT {_COLUMNS} FROM runs JOIN results ON results.id = runs.result"
_NO_RUN = "There is no run at this address. It was deleted, had to make room, or the link is not whole."


class RunStore:
    """The kept runs of a server, within bounds that `room` explains.

    Threads and processes may use one folder at once.

    Args:
        folder: where they lie; exists.
        bounds: of all visitors, and of one.

    Raises:
        RunError: there is a database that cannot be used, or the folder cannot be written.
    """

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        self.folder, self._bounds = folder, bounds
        results = folder / "results"
        self._database = Database(folder / "runs.sqlite", results)
        self._files = ResultFiles(results)
        try:
            self._sweep()
        except (RunError, OSError) as error:  # the next start tries again
            _log.warning("%s", error)

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
        result, of = _result_id(owner, about.key, shared), hidden(owner)
        name = f"{about.sequence}, {about.title}"[:MOST_NAME]
        query = f"{_JOINED} WHERE runs.owner = ? AND runs.result = ?"
        with self._putting(result, content, shared, of_all=False) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO runs (id, owner, result, name, about, created) VALUES (?, ?, ?, ?, ?, ?)",
                (secrets.token_urlsafe(16), of, result, name, about.to_json(), time.time()),
            )
            row = connection.execute(query, (of, result)).fetchone()
            gone = make_room(connection, self._bounds, of, row[0], result)
        self._tidy(gone)
        return _run(row, owner)

    def share(self, key: str, content: Any) -> None:
        """Keep a result for whoever asks the same, without a run of anybody.

        Raises:
            RunError: there is no room for it.
        """
        result = _result_id("", key, True)
        with self._putting(result, content, shared=True, of_all=True) as connection:
            gone = make_room(connection, self._bounds, "", "", result)
        self._tidy(gone)

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
            raise RunError(_NO_RUN, hint="Ask whoever sent the link for another one.")
        return _run(row, owner)

    def has(self, run_id: str) -> bool:
        """Whether there is a run with this id, whoever's it is.

        Raises:
            RunError: nobody can tell.
        """
        with self._database.reading() as connection:
            return connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None

    def runs_of(self, owner: str) -> list[Run]:
        """One's own runs, the newest first; those that are damaged are left out."""
        with self._database.reading() as connection:
            rows = connection.execute(f"{_JOINED} WHERE runs.owner = ? ORDER BY runs.created DESC", (hidden(owner),))
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
            RunError: it was deleted, or its file is damaged, or gone, which takes it off the list.
        """
        before = self._files.stamp(run.result)
        try:
            return self._read(run.result)
        except RunError:
            self.run(run.id)  # which says so where it was deleted, also a moment ago
            if before is None:
                self._forget(run.result, before)
            raise

    def found(self, owner: str, key: str) -> Any:
        """What was kept for a key, shared or the owner's own; None where nothing was, or it cannot be read."""
        for result in (_result_id(owner, key, True), _result_id(owner, key, False)):
            with self._database.reading() as connection:
                if connection.execute("SELECT 1 FROM results WHERE id = ?", (result,)).fetchone() is None:
                    continue
            before = self._files.stamp(result)
            try:
                return self._read(result)
            except RunError as error:
                _log.warning("%s", error)
                self._forget(result, before)  # it is computed again
        return None

    def usage(self) -> tuple[int, int]:
        """How many runs there are of everybody, and bytes of results."""
        with self._database.reading() as connection:
            (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
            (size,) = connection.execute("SELECT coalesce(sum(bytes), 0) FROM results").fetchone()
        return runs, size

    # Files.

    @contextmanager
    def _putting(self, result: str, content: Any, shared: bool, of_all: bool) -> Generator[sqlite3.Connection]:
        """A connection in which a result has its row; its file gets its name when all else is done."""
        check = partial(self._bounds.check, of_all=of_all)
        with ExitStack() as stack:
            part = None if self._files.stamp(result) else stack.enter_context(self._files.part(content, check))
            connection = stack.enter_context(self._database.writing())
            known = connection.execute("UPDATE results SET used = ? WHERE id = ?", (time.time(), result)).rowcount
            if part is None and not (known and self._files.stamp(result)):  # removed meanwhile, or nobody's
                part = stack.enter_context(self._files.part(content, check))
            if part is not None:
                connection.execute(
                    "INSERT INTO results (id, bytes, shared, used) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes",
                    (result, part[1], int(shared), time.time()),
                )
            yield connection
            if part is not None:
                self._files.place(part[0], result)

    def _read(self, result: str) -> Any:
        content = self._files.read(result)
        try:
            with self._database.writing(wait=0.1) as connection:
                connection.execute("UPDATE results SET used = ? WHERE id = ?", (time.time(), result))
        except RunError as error:  # reading is not to fail of it
            _log.warning("%s", error)
        return content

    def _forget(self, result: str, seen: tuple[int, int] | None) -> None:
        """Take a result off the table whose file cannot be read, unless another has taken its place meanwhile."""
        with self._database.writing() as connection:
            if self._files.stamp(result) == seen:
                connection.execute("DELETE FROM results WHERE id = ?", (result,))
        self._tidy([result])

    def _tidy(self, results: Iterable[str]) -> None:
        """Remove the files of results that are in no table, while nobody can put one there."""
        results = [*results]
        if not results:
            return
        try:
            with self._database.writing() as connection:
                for result in results:
                    if connection.execute("SELECT 1 FROM results WHERE id = ?", (result,)).fetchone() is None:
                        self._files.remove(result)
        except RunError as error:  # the next start of a server tries again
            _log.warning("%s", error)

    def _sweep(self) -> None:
        """Have files and table agree after whatever killed a server, and drop what nobody has seen for very long."""
        unseen = time.time() - _UNSEEN_SECONDS
        with self._database.writing() as connection:
            there = self._files.names()
            known = {result for (result,) in connection.execute("SELECT id FROM results")}
            lost = [(result,) for result in known - there]
            connection.executemany("DELETE FROM results WHERE id = ?", lost)
            used = "SELECT 1 FROM results WHERE results.id = runs.result AND used >= ? AND NOT shared"
            old = f"DELETE FROM runs WHERE created < ? AND NOT EXISTS ({used})"
            forgotten = connection.execute(old, (unseen, unseen)).rowcount
            gone = without_runs(connection)
        orphans = there - known
        self._tidy([*gone, *orphans])
        if lost or forgotten or orphans:
            words = "%d results without a file, %d files without a result, and %d runs that nobody had opened"
            _log.warning(words + " for 400 days were removed.", len(lost), len(orphans), forgotten)

    # The table.

    def _change(self, owner: str, run_id: str, statement: str, *values: Any) -> None:
        with self._database.writing() as connection:
            done = connection.execute(f"{statement} WHERE id = ? AND owner = ?", (*values, run_id, hidden(owner)))
            if not done.rowcount:
                raise RunError(
                    "There is no run of yours with this id; it may have been deleted in another tab.",
                    hint="Somebody else's can only be looked at.",
                )
            gone = without_runs(connection)
        self._tidy(gone)


def _run(row: tuple, owner: str) -> Run:
    run_id, name, about, created, size, of, pinned, result = row
    is_own = bool(owner) and secrets.compare_digest(of, hidden(owner))
    return Run(run_id, name, About.of_json(about), created, size, is_own, bool(pinned), result)


def _result_id(owner: str, key: str, shared: bool) -> str:
    """The name of a result's file: nobody else's request leads to it, unless it is shared."""
    return hashlib.sha256(f"{'shared' if shared else hidden(owner)} {key}".encode()).hexdigest()
