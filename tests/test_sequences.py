"""Reading sequences: what comes out is labelled, and what is wrong is named by row and column."""

import numpy as np
import pytest

from explain_core.demos import list_demos, load_demo
from explain_core.errors import SequenceFileError
from explain_core.sequences import load_sequences, single


@pytest.fixture
def write(tmp_path):
    def write(text, name="walk.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


class TestCsv:
    def test_one_sequence(self, write):
        found = load_sequences(write("speed,slope\n1,0.5\n2,-1e-3\n\n3,0\n"))
        assert found.dims == ("sample", "time", "feature")
        assert list(found["sample"].values) == ["walk"]
        assert list(found["feature"].values) == ["speed", "slope"]
        assert list(found["time"].values) == [1, 2, 3]
        np.testing.assert_array_equal(found.values, [[[1, 0.5], [2, -1e-3], [3, 0]]])

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_separators_quotes_spaces_and_a_byte_order_mark(self, write, separator):
        lines = ['"a, b"', "c"], [" 1 ", '"2"']
        found = load_sequences(write("\n".join(separator.join(row) for row in lines), encoding="utf-8-sig"))
        assert list(found["feature"].values) == ["a, b", "c"]
        np.testing.assert_array_equal(found.values, [[[1, 2]]])

    @pytest.mark.parametrize(
        ("cells", "labels"),
        [
            (["10", "20"], np.array([10, 20])),
            (["0.5", "1.5"], np.array([0.5, 1.5])),
            (["2024-02-28", "2024-02-29"], np.array(["2024-02-28", "2024-02-29"], "datetime64[us]")),
            (
                ["2024-01-01T10:00:00+02:00", "2024-01-01T11:00:00+02:00"],
                np.array(["2024-01-01T08:00", "2024-01-01T09:00"], "datetime64[us]"),
            ),
            (["Mon", "Tue"], np.array(["Mon", "Tue"])),
        ],
    )
    def test_time_labels(self, write, cells, labels):
        found = load_sequences(write(f"v,Date\n1,{cells[0]}\n2,{cells[1]}\n"))
        assert list(found["feature"].values) == ["v"]
        np.testing.assert_array_equal(found["time"].values, labels)
        assert found["time"].dtype.kind == labels.dtype.kind

    def test_long_form_of_unequal_lengths_and_mixed_rows(self, write):
        found = load_sequences(write("id,time,v\nb,1,1\na,1,5\nb,2,2\na,2,6\nb,3,3\n"))
        assert list(found["sample"].values) == ["b", "a"]
        assert list(found["length"].values) == [3, 2]
        np.testing.assert_array_equal(found.values[:, :, 0], [[1, 2, 3], [5, 6, 0]])
        assert "times" not in found.coords
        assert single(found, 1).shape == (1, 2, 1)
        assert list(single(found, 1)["time"].values) == [1, 2]

    def test_each_sequence_may_have_times_of_its_own(self, write):
        found = load_sequences(write("id,date,v\na,2024-01-01,1\na,2024-01-02,2\nb,2024-03-01,3\n"))
        assert list(found["time"].values) == [1, 2]
        assert single(found, 0)["time"].values[1] == np.datetime64("2024-01-02")
        assert list(single(found, 1)["time"].values) == [np.datetime64("2024-03-01")]

    def test_columns_can_be_named(self, write):
        path = write("who,when,v\na,1,1\na,2,2\nb,1,3\n")
        found = load_sequences(path, id_column="who", time_column="when")
        assert list(found["sample"].values) == ["a", "b"]
        with pytest.raises(SequenceFileError, match=r"no column 'whom'.*\n.*who, when, v"):
            load_sequences(path, id_column="whom")

    @pytest.mark.parametrize(
        ("text", "what", "where"),
        [
            ("a,b\n1,2\n1,x\n", "'x' is not a finite number", "row 3, column 'b'"),
            ("a,b\n1,2\n\n\n,3\n", "The cell is empty", "row 5, column 'a'"),
            ("a,b\n1,nan\n", "'nan' is not a finite number", "row 2, column 'b'"),
            ("a,b\n1,1e999\n", "'1e999' is not a finite number", "row 2, column 'b'"),
            ('a,b\n1.5,"1,5"\n', "'1.5' is not a finite number", "row 2, column 'a'"),
            ("a,b\n1,2\n1,2,3\n", "3 cells where the header has 2", "row 3"),
            ("a,b\n1,2\n1\n", "1 cells where the header has 2", "row 3"),
            ("a,a\n1,2\n", "Two columns are called 'a'", "row 1"),
            ("a,\n1,2\n", "no name", "row 1, column 2"),
            ("a,b\n", "no row of values", ""),
            ("time\n1\n", "no column of values", ""),
            ("", "empty", ""),
            ("\n \n", "empty", ""),
            ("time,v\n1,2\n1,3\n", "The time '1' is there twice", "row 3, column 'time'"),
            ("id,time,v\na,1,1\nb,1,1\nb,1,1\n", "The time '1' is there twice", "row 4, column 'time'"),
            (b"a,b\n1,\xff\n", "'ÿ' is not a finite number", "row 2, column 'b'"),
            (b"PK\x03\x04\x00\x00", "a ZIP archive", "walk.csv"),
            ('a,b\n"1,2\n', "1 cells where the header has 2", "row 2"),
        ],
    )
    def test_errors_name_the_place(self, write, text, what, where):
        with pytest.raises(SequenceFileError) as caught:
            load_sequences(write(text))
        assert what in caught.value.what
        assert caught.value.where.endswith(where)
        assert caught.value.where.startswith("walk.csv")


class TestNpy:
    @pytest.fixture
    def saved(self, tmp_path):
        def save(array, **options):
            np.save(tmp_path / "walks.npy", array, **options)
            return tmp_path / "walks.npy"

        return save

    @pytest.mark.parametrize(("shape", "expected"), [((5,), (1, 5, 1)), ((5, 2), (1, 5, 2)), ((3, 5, 2), (3, 5, 2))])
    def test_shapes(self, saved, shape, expected):
        array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        found = load_sequences(saved(array))
        assert found.shape == expected
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found.values.ravel(), array.ravel())

    def test_names(self, saved):
        found = load_sequences(saved(np.zeros((2, 1, 2))))
        assert list(found["sample"].values) == ["walks 1", "walks 2"]
        assert list(found["feature"].values) == ["feature 1", "feature 2"]

    @pytest.mark.parametrize(
        ("array", "what"),
        [
            (np.zeros((2, 2, 2, 2)), "shape (2, 2, 2, 2)"),
            (np.zeros((0, 3)), "shape (0, 3)"),
            (np.float64(3), "shape ()"),
            (np.array([[1, np.nan]]), "nan at index (0, 1)"),
            (np.array(["a"]), "<U1, not numbers"),
            (np.array([1j]), "complex128, not numbers"),
            (np.array([{"a": 1}], dtype=object), "Python objects"),
        ],
    )
    def test_errors(self, saved, array, what):
        with pytest.raises(SequenceFileError) as caught:
            load_sequences(saved(array, allow_pickle=True))
        assert what in caught.value.what

    def test_cut_off(self, saved):
        path = saved(np.zeros((20, 3)))
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(SequenceFileError, match="damaged or cut off"):
            load_sequences(path)


@pytest.mark.parametrize("slug", [demo.slug for demo in list_demos()])
def test_the_demos_files_read_the_same_as_the_demos(slug):
    demo = load_demo(slug)
    found = load_sequences(demo.sequences_path)
    assert list(found["sample"].values) == list(demo.names)
    np.testing.assert_array_equal(found.values.astype(np.float32), demo.x)
    if demo.lengths is not None:
        np.testing.assert_array_equal(found["length"].values, demo.lengths)
