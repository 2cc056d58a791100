"""How much is kept, and what makes room. Nobody's runs make room for another visitor's, but for what is nobody's.

A visitor has a share, and what is over it goes, the oldest first. All who are nameless have one share together. When
the whole is full, this goes, in this order: results of demos that are in no list; runs of nameless visitors; runs of
demos that nobody has pinned, which are there again at a click; the oldest of whoever adds. If that is not enough, what
is new is not kept.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from explain_core.errors import RunError
from explain_core.jobs.limits import in_gb
from explain_core.runs.owners import NAMELESS, is_nameless

_DOWNLOAD = "Download the result to keep it."


@dataclass(frozen=True)
class Bounds:
    """What runs may take.

    Attributes:
        bytes, runs: of all visitors together.
        bytes_of_owner, runs_of_owner: of one visitor, and of all nameless ones together.
    """

    bytes: int
    runs: int
    bytes_of_owner: int
    runs_of_owner: int

    def check(self, size: int, of_all: bool) -> None:
        """Refuse what has no room by itself.

        Raises:
            RunError: it is larger than a share, or than the whole where it is for all.
        """
        most = self.bytes if of_all else min(self.bytes, self.bytes_of_owner)
        if size > most:
            name = "PAIRLIFT_RUNS_GB" if most == self.bytes else "PAIRLIFT_RUNS_OF_VISITOR_GB"
            raise RunError(
                f"The result has {in_gb(size)}; kept runs may have {in_gb(most)} together.",
                hint=f"{_DOWNLOAD} Whoever runs this server can allow more with {name}.",
            )


def make_room(connection: sqlite3.Connection, bounds: Bounds, owner: str, run_id: str, result: str) -> list[str]:
    """Bring the table within bounds again after something has come.

    Args:
        connection: writes; what it has done is undone where this raises.
        bounds: what there may be.
        owner: whose the new run is, as in the table; "" where only a result came that is for all.
        run_id: the new run, which stays; or "".
        result: the new result, which stays.

    Returns:
        the results that are in the table no more.

    Raises:
        RunError: what others keep leaves no room.
    """
    gone: list[str] = []
    if owner:
        gone += _cut_share(connection, bounds, NAMELESS if is_nameless(owner) else owner, run_id)
    gone += _drop_demos(connection, bounds, result)
    for condition, value in _others(owner):
        oldest = f"SELECT id FROM runs WHERE {condition} AND id != ? ORDER BY created"
        for (run,) in connection.execute(oldest, (*value, run_id)).fetchall():
            if _fits(connection, bounds):
                return gone
            connection.execute("DELETE FROM runs WHERE id = ?", (run,))
            gone += without_runs(connection) + _drop_demos(connection, bounds, result)
    if not _fits(connection, bounds):
        raise RunError(
            "The run could not be kept: this server has no room for more.",
            hint=f"{_DOWNLOAD} What others keep is not removed for it. "
            "Whoever runs this server can allow more with PAIRLIFT_RUNS and PAIRLIFT_RUNS_GB.",
        )
    return gone


def without_runs(connection: sqlite3.Connection) -> list[str]:
    """Drop results that no run has and that are not for everybody; returns them."""
    unused = "shared = 0 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.result = results.id)"
    gone = [result for (result,) in connection.execute(f"SELECT id FROM results WHERE {unused}")]
    connection.execute(f"DELETE FROM results WHERE {unused}")
    return gone


def _cut_share(connection: sqlite3.Connection, bounds: Bounds, owner: str, run_id: str) -> list[str]:
    """Drop the oldest of one share that is too large. A pin of a nameless visitor would be for ever, and counts not."""
    pinned = "" if owner == NAMELESS else "runs.pinned DESC, "
    order = f"ORDER BY runs.id = ? DESC, {pinned}runs.created DESC"
    joined = "SELECT runs.id, results.bytes FROM runs JOIN results ON results.id = runs.result"
    rows = connection.execute(f"{joined} WHERE runs.owner GLOB ? {order}", (owner, run_id)).fetchall()
    size = sum(its for _, its in rows)
    while len(rows) > 1 and (len(rows) > bounds.runs_of_owner or size > bounds.bytes_of_owner):
        run, its = rows.pop()
        size -= its
        connection.execute("DELETE FROM runs WHERE id = ?", (run,))
    return without_runs(connection)


def _drop_demos(connection: sqlite3.Connection, bounds: Bounds, result: str) -> list[str]:
    """Drop results of demos that no run has while there are too many bytes, those first that were not asked for."""
    gone = []
    size = _size(connection)
    unused = "id != ? AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.result = results.id)"
    for other, its in connection.execute(f"SELECT id, bytes FROM results WHERE {unused} ORDER BY used", (result,)):
        if size <= bounds.bytes:
            break
        gone.append(other)
        size -= its
    connection.executemany("DELETE FROM results WHERE id = ?", [(other,) for other in gone])
    return gone


def _others(owner: str) -> list[tuple[str, tuple[str, ...]]]:
    """Which runs go when the whole is full, as conditions with their values."""
    if not owner:
        return []
    found: list[tuple[str, tuple[str, ...]]] = [("owner GLOB ?", (NAMELESS,))]
    if not is_nameless(owner):
        of_demo = "EXISTS (SELECT 1 FROM results WHERE results.id = runs.result AND results.shared)"
        found += [(f"NOT pinned AND {of_demo}", ()), ("NOT pinned AND owner = ?", (owner,))]
    return found


def _fits(connection: sqlite3.Connection, bounds: Bounds) -> bool:
    (runs,) = connection.execute("SELECT count(*) FROM runs").fetchone()
    return runs <= bounds.runs and _size(connection) <= bounds.bytes


def _size(connection: sqlite3.Connection) -> int:
    (size,) = connection.execute("SELECT coalesce(sum(bytes), 0) FROM results").fetchone()
    return size
