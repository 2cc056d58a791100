"""Inputs beside the sequence: their roles, whose samples belong together, and how they are fitted."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from explain_core.errors import InputError, SequenceFileError
from explain_core.jobs.tasks.opening import ModelSource
from explain_core.models.loaded import ExpectedInput
from explain_core.sequences.fitting import fit, fit_beside
from explain_core.sequences.grids import grid_dims, read_grid
from explain_core.sequences.labelled import label, time_first_turned
from explain_core.sequences.matching import belonging, how_matched, in_their_order, rows_as_samples
from explain_core.sequences.roles import Role, main_input, roles_of, samples_first
from ui.subjects import upload_subject


def spec(name, *shape, dtype="float32"):
    return ExpectedInput(name, shape, dtype)


def sequences(names, steps=3, features=("p", "q")):
    values = np.arange(len(names) * steps * len(features), dtype=float).reshape(len(names), steps, -1)
    return label(values, names, np.arange(1, steps + 1), features)


@pytest.mark.parametrize(
    ("inputs", "roles", "main"),
    [
        ([spec("x", None, None, 3)], [Role.SEQUENCE], 0),
        ([spec("x", None, 12)], [Role.STATIC], 0),
        ([spec("static", None, 4), spec("x", None, 9, 3)], [Role.STATIC, Role.SEQUENCE], 1),
        (
            [spec("ids", None, None, dtype="int64"), spec("mask", None, None, dtype="int64")],
            [Role.TOKENS, Role.MASK],
            0,
        ),
        ([spec("x", None, 5, 3), spec("n", None, dtype="int32")], [Role.SEQUENCE, Role.LENGTH], 0),
        ([spec("x", None, 5, 3), spec("h0", 2, None, 8), spec("c_0", None, 8)], [Role.SEQUENCE] + 2 * [Role.STATE], 0),
        ([spec("x", None, 5, 3, 8, 8), spec("z", None, 2, dtype="complex64")], [Role.GRID, Role.NOTHING], 0),
    ],
)
def test_what_inputs_are_for(inputs, roles, main):
    assert list(roles_of(inputs)) == roles
    assert main_input(inputs) == main


def test_time_first_inputs_are_turned_for_the_app_and_arrays_of_their_data_too():
    turned = samples_first([spec("x", 12, None, 3), spec("person", None, 2)], {"x"})
    assert [each.shape for each in turned] == [(None, 12, 3), (None, 2)]
    read = sequences(["data 1", "data 2", "data 3"], steps=5)
    found = time_first_turned(read)
    np.testing.assert_array_equal(found.values, read.values.swapaxes(0, 1))
    assert found["sample"].values.tolist() == [f"data {i + 1}" for i in range(5)]


def test_samples_go_by_name_then_alone_then_by_order():
    names = ["a", "b"]
    by_name = sequences(["b", "a"])
    assert belonging(by_name, "b", names, "f").values.tolist() == by_name.values[:1].tolist()
    assert how_matched(by_name, names) == ""
    alone = sequences(["typed"])
    assert belonging(alone, "b", names, "f")["sample"].values.tolist() == ["b"]
    assert "every sequence" in how_matched(alone, names)
    ordered = sequences(["file 1", "file 2"])
    assert belonging(ordered, "b", names, "f").values.tolist() == ordered.values[1:].tolist()
    assert "order" in how_matched(ordered, names)
    with pytest.raises(InputError, match="There is no sequence 'b' in it"):
        belonging(sequences(["a", "c"]), "b", names, "f")
    with pytest.raises(InputError, match="3 sequences"):
        belonging(sequences(["1", "2", "3"]), "b", names, "f")
    assert in_their_order(sequences(["c", "b", "a"]), names)["sample"].values.tolist() == ["a", "b", "c"]
    assert in_their_order(ordered, names)["sample"].values.tolist() == names
    table = sequences(["table"], steps=2)
    assert rows_as_samples(table, 2).values.tolist() == [[[0, 1]], [[2, 3]]]
    assert rows_as_samples(table, 3) is table


def test_numbers_without_time_must_not_change_and_a_missing_input_is_named():
    person = spec("person", None, 2)
    held = sequences(["a"], steps=1)
    assert fit_beside(held, person, Role.STATIC, "f").values.tolist() == [[0, 1]]
    with pytest.raises(InputError, match="has no timesteps, and 'p' changes"):
        fit_beside(sequences(["a"]), person, Role.STATIC, "f")
    with pytest.raises(InputError, match="takes 2 features; the sequence has 3"):
        fit_beside(sequences(["a"], 1, ("p", "q", "r")), person, Role.STATIC, "f")
    inputs = [spec("x", None, None, 2), person, spec("h0", 1, None, 4)]
    with pytest.raises(InputError, match="takes 3 inputs; still to be given: 'person'"):
        fit(sequences(["a"]), inputs, "f")
    found = fit(sequences(["a"]), inputs, "f", beside={"person": np.zeros((1, 2), "float32")})
    assert list(found) == ["x", "person", "h0"]
    assert found["h0"].dims == ("layer", "sample", "unit")
    assert found["h0"].shape == (1, 1, 4)
    with pytest.raises(InputError, match="does not tell its size"):
        fit(sequences(["a"]), [inputs[0], spec("h0", 1, None, None)], "f")


def test_what_does_not_fit_is_said_of_the_sequences_file():
    summary = SimpleNamespace(inputs=[spec("x", None, None, 3)])
    with pytest.raises(InputError) as refused:
        upload_subject(ModelSource(Path("whole.pt2")), summary, sequences(["a"]), 0, where="short.csv")
    assert refused.value.where == "short.csv"


def test_arrays_of_more_axes(tmp_path):
    assert grid_dims(5, in_time=True, channels_last=False) == ("sample", "time", "channel", "height", "width")
    assert grid_dims(5, in_time=True, channels_last=True) == ("sample", "time", "height", "width", "channel")
    assert grid_dims(4, in_time=True, channels_last=False) == ("sample", "time", "height", "width")
    assert grid_dims(4, in_time=False, channels_last=False) == ("sample", "channel", "height", "width")
    dims = grid_dims(5, in_time=True, channels_last=False)
    film = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)
    np.save(tmp_path / "film.npy", film)  # one sample
    np.testing.assert_array_equal(read_grid(tmp_path / "film.npy", dims).sequences.values[0], film)
    np.savez(tmp_path / "two.npz", a=film[None], b=film[None], c=np.zeros(3))
    with pytest.raises(SequenceFileError, match="several arrays") as caught:
        read_grid(tmp_path / "two.npz", dims)
    assert [fix.changes for fix in caught.value.fixes] == [{"array": "a"}, {"array": "b"}]
    assert read_grid(tmp_path / "two.npz", dims, "b").choices == ("a", "b")
    np.save(tmp_path / "flat.npy", np.zeros((4, 3)))
    with pytest.raises(SequenceFileError, match=r"arrays of 5 axes, and the file has \(4, 3\)"):
        read_grid(tmp_path / "flat.npy", dims)
    np.save(tmp_path / "gap.npy", np.full((1, 3, 2, 2, 2), np.nan))
    with pytest.raises(SequenceFileError, match=r"holds nan at index \(0, 0, 0, 0, 0\)"):
        read_grid(tmp_path / "gap.npy", dims)
