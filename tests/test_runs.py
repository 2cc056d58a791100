"""Kept runs: what goes in comes out, for whom it should, within bounds, and damage is said in words."""

import json
import sqlite3
import stat
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from explain_core.errors import JobError, RunError
from explain_core.explanation import Explanation
from explain_core.jobs.limits import GB, Limits
from explain_core.runs import About, Bounds, RunStore, data_folder, is_run_id

ABOUT = About(
    key="a key",
    title="Engine",
    sequence="unit 7",
    model="engine.pt2",
    model_digest="0" * 64,
    data_digest="1" * 24,
    target="wear",
    outputs=("wear", "heat"),
    predictions=(1.5, 2.0),
    baseline_predictions=(0.5, 3.0),
    baseline="a sequence of zeros",
    residual="adds up exactly",
    seconds=0.25,
    versions={"PairLift": "1"},
    origin={},
)


def store(folder, most_bytes=GB, most_runs=100, most_of_owner=50, most_bytes_of_owner=GB):
    return RunStore(folder, Bounds(most_bytes, most_runs, most_bytes_of_owner, most_of_owner))


def about(key):
    return replace(ABOUT, key=key)


def files(folder):
    return sorted((folder / "results").iterdir())


def test_a_run_comes_back_as_it_was_also_after_a_restart(tmp_path):
    values = xr.DataArray(np.arange(6.0).reshape(1, 3, 2), dims=("sample", "time", "feature"))
    ends = xr.DataArray([[1.0]], {"sample": ["a"], "output": ["wear"]}, ("sample", "output"))
    explanation = Explanation(values, values + 1, values * 0, ends, ends * 0, notes=["said"])
    run = store(tmp_path).add("me", ABOUT, {"explanation": explanation, "units": {"speed": "m/s"}})
    assert is_run_id(run.id)

    again = store(tmp_path)
    found = again.run(run.id, "me")
    assert found == run
    assert found.about == ABOUT
    assert found.name == "unit 7, Engine"
    assert found.size == files(tmp_path)[0].stat().st_size
    content = again.content(found)
    xr.testing.assert_identical(content["explanation"].attributions, values)
    assert content["explanation"].notes == ["said"]
    assert content["units"] == {"speed": "m/s"}


def test_a_run_is_listed_for_its_owner_and_seen_by_whoever_has_the_link(tmp_path):
    kept = store(tmp_path)
    run = kept.add("me", ABOUT, 1)
    assert [each.id for each in kept.runs_of("me")] == [run.id]
    assert kept.runs_of("you") == []
    assert kept.run(run.id, "you").is_own is False
    assert kept.content(kept.run(run.id)) == 1
    for change in (
        lambda: kept.rename("you", run.id, "mine"),
        lambda: kept.delete("you", run.id),
        lambda: kept.pin("you", run.id, True),
    ):
        with pytest.raises(RunError, match="no run of yours"):
            change()
    assert kept.run(run.id, "me") == run
    assert b"me" not in (tmp_path / "runs.sqlite").read_bytes().split(b"\0")  # owners stand there as digests


def test_one_renames_and_deletes_ones_own(tmp_path):
    kept = store(tmp_path)
    run = kept.add("me", ABOUT, 1)
    kept.rename("me", run.id, "  The one\n for Monday " + "x" * 500)
    name = kept.run(run.id).name
    assert name.startswith("The one for Monday x")
    assert len(name) == 120
    kept.rename("me", run.id, "  ")
    assert kept.run(run.id).name == name
    kept.delete("me", run.id)
    assert kept.runs_of("me") == []
    assert files(tmp_path) == []
    with pytest.raises(RunError, match="There is no run at this address"):
        kept.run(run.id)


def test_the_same_result_is_one_run_and_a_shared_one_is_one_file(tmp_path):
    kept = store(tmp_path)
    assert kept.add("me", ABOUT, 1).id == kept.add("me", ABOUT, 1).id
    mine, yours = kept.add("me", about("demo"), 2, shared=True), kept.add("you", about("demo"), 2, shared=True)
    assert mine.id != yours.id
    assert len(files(tmp_path)) == 2
    kept.delete("me", mine.id)
    kept.delete("you", yours.id)
    assert kept.found("somebody", "demo") == 2  # of a demo, for the next visitor
    assert kept.found("me", "a key") == 1
    assert kept.found("you", "a key") is None  # what came of a file is its owner's


@pytest.mark.parametrize("address", ["", "x", "x" * 22, "' OR 1=1 --", "x" * 10**6, "../../etc/passwd", "é" * 22])
def test_an_address_that_nobody_gave_out_leads_nowhere(tmp_path, address):
    with pytest.raises(RunError, match="There is no run at this address"):
        store(tmp_path).run(address)


def test_a_damaged_or_lost_file_is_said_and_computed_again(tmp_path):
    kept = store(tmp_path)
    run = kept.add("me", ABOUT, np.arange(100))
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    for damage in (whole[:-1], b"", b"\xff" * 100, whole[:8] + b"[" * (len(whole) - 8)):
        path.write_bytes(damage)
        with pytest.raises(RunError, match="damaged"):
            kept.content(run)
    path.unlink()
    with pytest.raises(RunError, match="gone"):
        kept.content(run)
    assert kept.runs_of("me") == []
    with pytest.raises(RunError, match="It was deleted"):
        kept.content(run)
    assert kept.found("me", "a key") is None
    again = kept.add("me", ABOUT, 2)
    assert kept.content(again) == 2


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{}", "[" * 10**5, json.dumps({"key": 1}), ABOUT.to_json().replace("0.25", '"x"')],
)
def test_a_damaged_row_is_left_out_of_the_list(tmp_path, damage):
    kept = store(tmp_path)
    bad, good = kept.add("me", about("bad"), 1), kept.add("me", about("good"), 1)
    with sqlite3.connect(tmp_path / "runs.sqlite") as connection:
        connection.execute("UPDATE runs SET about = ? WHERE id = ?", (damage, bad.id))
    connection.close()
    assert [run.id for run in kept.runs_of("me")] == [good.id]
    with pytest.raises(RunError, match="damaged"):
        kept.run(bad.id)
    kept.delete("me", bad.id)


def test_a_foreign_and_a_newer_database_are_refused_in_words_and_left_alone(tmp_path):
    path = tmp_path / "runs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (id)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(RunError, match="another program"):
        store(tmp_path)
    assert path.read_bytes() == before
    path.unlink()
    store(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(RunError, match=r"form 7.* reads form 1"):
        store(tmp_path)


def test_the_folder_is_the_users_own_or_goes_with_the_server(tmp_path):
    folder, note = data_folder(tmp_path, {"PAIRLIFT_DATA": str(tmp_path / "x" / "y")})
    assert (folder, note) == (tmp_path / "x" / "y", "")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder, note = data_folder(tmp_path, {"XDG_DATA_HOME": str(tmp_path / "z")})
    assert (folder, note) == (tmp_path / "z" / "pairlift", "")
    (tmp_path / "file").write_text("")
    folder, note = data_folder(tmp_path, {"PAIRLIFT_DATA": str(tmp_path / "file")})
    assert folder.parent == tmp_path
    assert "their folder cannot be used: file exists" in note
    assert str(tmp_path) not in note  # visitors read it
    store(tmp_path / "z" / "pairlift").add("me", ABOUT, 1)
    for path in [tmp_path / "z" / "pairlift" / "runs.sqlite", *files(tmp_path / "z" / "pairlift")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_bounds_are_set_by_the_environment():
    limits = Limits.of_this_machine({"PAIRLIFT_RUNS": "7", "PAIRLIFT_RUNS_GB": "0.5", "PAIRLIFT_RUNS_OF_VISITOR": "3"})
    assert (limits.runs, limits.runs_of_visitor, limits.runs_bytes) == (7, 3, GB // 2)
    with pytest.raises(JobError, match="PAIRLIFT_RUNS_GB must be a positive number"):
        Limits.of_this_machine({"PAIRLIFT_RUNS_GB": "much"})


def test_results_of_another_engine_answer_for_nothing(tmp_path, monkeypatch):
    from explain_core.runs import engine

    code = tmp_path / "rules" / "lstm.py"
    code.parent.mkdir()
    code.write_text("forget = 1\n")
    monkeypatch.setattr(engine, "_PACKAGE", tmp_path)
    before = engine.engine_digest.__wrapped__()
    assert engine.engine_digest.__wrapped__() == before
    code.write_text("forget = 2\n")
    changed = engine.engine_digest.__wrapped__()
    monkeypatch.setattr(engine, "versions_of", lambda names: dict.fromkeys(names, "0"))
    assert len({before, changed, engine.engine_digest.__wrapped__()}) == 3
