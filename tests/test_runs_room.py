"""How much is kept: within a visitor's share, and never at the cost of what another visitor keeps."""

import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest
from test_runs import about, files, store

from explain_core.errors import RunError
from explain_core.jobs.limits import GB, Limits
from explain_core.runs import is_nameless, nameless

CONTENT = np.zeros(1000)


@pytest.fixture
def one(tmp_path):
    """The bytes of one result."""
    (tmp_path / "one").mkdir()
    return store(tmp_path / "one").add("me", about("size"), CONTENT).size


def keys(kept, owner):
    return sorted(run.about.key for run in kept.runs_of(owner))


def test_the_oldest_of_ones_own_make_room_and_pinned_ones_stay(tmp_path):
    kept = store(tmp_path, most_of_owner=3)
    first, second = (kept.add("me", about(key), key) for key in "ab")
    kept.pin("me", first.id, True)
    for key in "cd":
        kept.add("me", about(key), key)
    assert keys(kept, "me") == ["a", "c", "d"]
    assert len(files(tmp_path)) == 3
    with pytest.raises(RunError):
        kept.run(second.id)


def test_bytes_of_a_visitor_are_bounded_too(tmp_path, one):
    kept = store(tmp_path, most_bytes_of_owner=2 * one + 10)
    for key in "abc":
        kept.add("me", about(key), CONTENT)
    assert keys(kept, "me") == ["b", "c"]
    with pytest.raises(RunError, match=r"The result has .* kept runs may have") as refused:
        kept.add("me", about("huge"), np.zeros(10**4))
    assert "PAIRLIFT_RUNS_OF_VISITOR_GB" in refused.value.hint
    assert keys(kept, "me") == ["b", "c"]
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("bound", ["runs", "bytes"])
def test_nobody_makes_room_at_the_cost_of_what_another_keeps(tmp_path, one, bound):
    kept = store(tmp_path, most_runs=4 if bound == "runs" else 100, most_bytes=4 * one + 10 if bound == "bytes" else GB)
    for key in "ab":
        kept.add("you", about(key), CONTENT)
    for i in range(20):
        kept.add("me", about(str(i)), CONTENT)
        if not i:
            kept.add(nameless(), about("guest"), CONTENT)
    assert keys(kept, "you") == ["a", "b"]
    assert keys(kept, "me") == ["18", "19"]  # the oldest of one's own make room for the newest
    for _ in range(20):
        with pytest.raises(RunError, match="no room for more"):
            kept.add(nameless(), about("x"), CONTENT)
    with pytest.raises(RunError, match="no room for more"):
        kept.add("them", about("x"), CONTENT)
    assert (keys(kept, "you"), keys(kept, "me")) == (["a", "b"], ["18", "19"])
    assert len(files(tmp_path)) == 4
    assert kept.usage() == (4, 4 * one)


def test_all_who_are_nameless_have_one_share_and_their_pins_count_not(tmp_path, one):
    kept = store(tmp_path, most_of_owner=3, most_bytes_of_owner=3 * one + 10)
    mine = kept.add("me", about("mine"), CONTENT)
    owners = [nameless() for _ in range(10)]
    for owner in owners:
        run = kept.add(owner, about("its"), CONTENT)
        kept.pin(owner, run.id, True)
    assert [len(kept.runs_of(owner)) for owner in owners] == [0] * 7 + [1] * 3
    assert kept.run(mine.id).id == mine.id
    assert all(map(is_nameless, owners))
    assert not is_nameless("x" * 43)  # as a cookie has it


def test_nameless_runs_and_then_demos_without_a_pin_make_room_for_who_has_a_name(tmp_path, one):
    kept = store(tmp_path, most_bytes=3 * one + 10)
    kept.share("a demo of nobody", CONTENT)
    yours = kept.add("you", about("demo"), CONTENT, shared=True)
    guest = nameless()
    kept.add(guest, about("guest"), CONTENT)
    kept.add("me", about("1"), CONTENT)
    assert kept.found("x", "a demo of nobody") is None
    assert len(kept.runs_of(guest)) == 1
    kept.add("me", about("2"), CONTENT)
    assert kept.runs_of(guest) == []
    assert kept.run(yours.id).id == yours.id
    kept.add("me", about("3"), CONTENT)
    assert kept.runs_of("you") == []
    assert keys(kept, "me") == ["1", "2", "3"]
    with pytest.raises(RunError, match="no room for more"):
        kept.share("demo", CONTENT)
    kept.pin("me", kept.runs_of("me")[-1].id, True)
    kept.add("me", about("4"), CONTENT)
    assert keys(kept, "me") == ["1", "3", "4"]


def test_what_nobody_has_opened_for_longer_than_a_cookie_lasts_goes_at_the_start(tmp_path):
    kept = store(tmp_path)
    for key in "ab":
        kept.add("me", about(key), key)
    kept.add("me", about("demo"), 1, shared=True)
    with closing(sqlite3.connect(tmp_path / "runs.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET created = ?", (time.time() - 401 * 86400,))
        connection.execute("UPDATE results SET used = ?", (time.time() - 401 * 86400,))
    kept.found("me", "b")
    kept = store(tmp_path)
    assert keys(kept, "me") == ["b"]
    assert kept.found("you", "demo") == 1
    assert len(files(tmp_path)) == 2


def test_bounds_of_a_visitor_are_set_by_the_environment():
    assert Limits.of_this_machine({"PAIRLIFT_RUNS_OF_VISITOR_GB": "0.5"}).runs_bytes_of_visitor == GB // 2
