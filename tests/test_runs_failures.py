"""Kept runs when something fails: the visitor reads the cause without the server's path, the log has it, and no file
and row are left without each other, whoever else uses the folder and whenever a process is killed."""

import logging
import multiprocessing
import os
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from test_runs import about, files, store

from explain_core.errors import RunError
from explain_core.runs import database


def said(call, *args):
    with pytest.raises(RunError) as raised:
        call(*args)
    return str(raised.value)


def test_a_damaged_database_is_put_aside_and_a_new_one_begins(tmp_path, caplog):
    store(tmp_path).add("me", about("old"), 1)
    path = tmp_path / "runs.sqlite"
    junk = b"not a database" * 100
    path.write_bytes(junk)
    kept = store(tmp_path)
    kept.add("me", about("new"), 2)
    (aside,) = tmp_path.glob("damaged-*")
    assert (aside / "runs.sqlite").read_bytes() == junk
    assert len([*(aside / "results").iterdir()]) == 1
    assert [run.about.key for run in kept.runs_of("me")] == ["new"]
    assert str(aside) in caplog.text

    path.write_bytes(junk)  # while the server runs
    words = said(kept.runs_of, "me")
    assert "was damaged. It has been put aside, and a new one has begun" in words
    assert str(tmp_path) not in words
    assert kept.runs_of("me") == []
    assert kept.content(kept.add("me", about("newer"), 3)) == 3
    assert len([*tmp_path.glob("damaged-*")]) == 2

    path.write_bytes(b"")
    assert "cannot be read or written" in said(kept.runs_of, "me")
    assert kept.runs_of("me") == []
    path.unlink()
    assert kept.runs_of("me") == []


def test_a_locked_a_full_and_a_read_only_database_are_said_without_the_path(tmp_path, caplog, monkeypatch):
    kept = store(tmp_path)
    run = kept.add("me", about("a"), 1)
    monkeypatch.setattr(database, "_WAIT_SECONDS", 0.05)
    with closing(sqlite3.connect(tmp_path / "runs.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        locked = said(kept.add, "me", about("b"), 2)
        assert kept.content(run) == 1  # reading goes on
    before = files(tmp_path)
    real = sqlite3.connect

    def small(name, **more):
        connection = real(name, **more)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(database.sqlite3, "connect", small)
    full = said(lambda: [kept.add("me", about(f"{key} {'x' * 5000}"), 2) for key in range(5)])
    monkeypatch.setattr(database.sqlite3, "connect", lambda name, **more: real(name.replace("=rw", "=ro"), **more))
    read_only = said(kept.add, "me", about("b"), 2)
    for words, reason in ((locked, "another program is using it"), (full, "the disk is full"), (read_only, "written")):
        assert reason in words
        assert str(tmp_path) not in words
    assert caplog.text.count(str(tmp_path)) >= 3
    assert files(tmp_path) == before  # nothing half-kept


def test_a_full_disk_is_said_and_leaves_no_part(tmp_path, caplog):
    kept = store(tmp_path)

    def write(*args):
        raise OSError(28, "No space left on device", str(tmp_path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("explain_core.runs.files.os.open", write)
        words = said(kept.add, "me", about("a"), 1)
    assert "could not be kept: no space left on device" in words
    assert str(tmp_path) not in words
    assert str(tmp_path) in caplog.text
    assert files(tmp_path) == []
    (tmp_path / "results").rmdir()  # somebody tidied up
    assert kept.content(kept.add("me", about("a"), 1)) == 1


@pytest.mark.parametrize("at", ["before the row", "before the end"])
def test_a_process_that_ends_between_file_and_row_leaves_nothing_for_the_next_start(tmp_path, monkeypatch, at, caplog):
    kept = store(tmp_path)
    good = kept.add("me", about("good"), 1)

    class Killed(BaseException):
        pass

    def killed(*args):
        raise Killed

    name = "make_room" if at == "before the row" else "_run"
    monkeypatch.setattr(f"explain_core.runs.store.{name}", killed)
    with pytest.raises(Killed):
        kept.add("me", about("bad"), 2)
    monkeypatch.undo()
    if at == "before the row":
        (tmp_path / "results" / ("0" * 64)).write_bytes(b"named, but its row was never written")
        (tmp_path / "results" / ".part").write_bytes(b"1")
        (tmp_path / "results" / ".old").write_bytes(b"1")
        os.utime(tmp_path / "results" / ".old", (0, 0))
    again = store(tmp_path)
    there = {path.name for path in files(tmp_path)}
    assert there == {run.result for run in again.runs_of("me")} | ({".part"} if at == "before the row" else set())
    assert again.content(good) == 1
    assert at != "before the row" or "1 files without a result" in caplog.text


def test_a_row_without_a_file_is_removed_at_the_start_and_said(tmp_path, caplog):
    kept = store(tmp_path)
    bad, good = kept.add("me", about("bad"), 1), kept.add("me", about("good"), 2)
    (tmp_path / "results" / bad.result).unlink()
    assert [run.id for run in store(tmp_path).runs_of("me")] == [good.id]
    assert "1 results without a file" in caplog.text


def test_a_result_that_comes_back_while_it_is_deleted_keeps_its_file(tmp_path, monkeypatch):
    kept, other = store(tmp_path), store(tmp_path)
    run = kept.add("me", about("a"), 1)
    tidy = kept._tidy

    def slow(results):
        other.add("me", about("a"), 1)  # another tab, after the row went and before the file does
        tidy(results)

    monkeypatch.setattr(kept, "_tidy", slow)
    kept.delete("me", run.id)
    (again,) = other.runs_of("me")
    assert other.content(again) == 1


def _work(folder, name, turns, failed):
    """Keep, read, delete: one's own, and a result that all share."""
    logging.disable()
    chance = random.Random(name)
    try:
        kept = store(Path(folder), most_runs=10_000, most_of_owner=10_000)
        for i in range(turns):
            run = kept.add(name, about(f"{i}"), np.full(2000, i))
            assert kept.content(run)[0] == i
            shared = kept.add(name, about("demo"), np.full(20_000, 7), shared=True)
            assert kept.content(kept.run(shared.id))[-1] == 7
            found = kept.found(name, "demo")
            assert found is None or found[0] == 7
            twice = kept.add("two tabs", about(f"{i % 3}"), np.full(2000, i % 3))
            if chance.random() < 0.5:
                kept.delete(name, shared.id)
            if i % 3:
                kept.delete(name, run.id)
            try:
                assert kept.content(twice)[0] == i % 3
                kept.delete("two tabs", twice.id)
            except RunError as error:  # the other tab was first
                if "deleted" not in error.what and "no run of yours" not in error.what:
                    raise
    except BaseException as error:
        failed.put(f"{name}: {error!r}")
        raise


def test_processes_and_threads_keep_read_and_delete_in_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    failed, turns = context.Queue(), 24
    processes = [context.Process(target=_work, args=(str(tmp_path), name, turns, failed)) for name in "ab"]
    threads = [threading.Thread(target=_work, args=(str(tmp_path), name, turns, failed)) for name in "cd"]
    for each in [*processes, *threads]:
        each.start()
    for each in [*processes, *threads]:
        each.join()
    logging.disable(logging.NOTSET)
    assert [process.exitcode for process in processes] == [0, 0], failed.get()
    assert failed.empty(), failed.get()
    kept = store(tmp_path)
    for name in "abcd":
        own = [run for run in kept.runs_of(name) if run.about.key != "demo"]
        assert sorted(int(run.about.key) for run in own) == [*range(0, turns, 3)]  # none is lost
        assert all(kept.content(run)[0] == int(run.about.key) for run in own)
    with kept._database.reading() as connection:
        rows = {result for (result,) in connection.execute("SELECT id FROM results")}
    assert rows == {path.name for path in files(tmp_path)}
