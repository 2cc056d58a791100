"""Files as instruments, spreadsheets and libraries write them: read as a person would, and what was done is said."""

import json

import numpy as np
import pandas as pd
import pytest

import explain_core as xc
from explain_core.errors import SequenceFileError
from explain_core.sequences import Options, read_file


@pytest.fixture
def write(tmp_path):
    def write(content, name="file.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def table(**columns):
    return pd.DataFrame(columns)


DAYS = pd.date_range("2024-01-01", periods=2)
A = table(time=[1, 2], a=[1.5, 2.5])


@pytest.mark.parametrize(
    ("content", "values", "note"),
    [
        # Ends of lines, and what stands around the table.
        (b"time,a\r\n1,1.5\n2,2.5\r3,3\r\n", [1.5, 2.5, 3], ""),
        (b"a\r1\r2\r", [1, 2], ""),
        ("My run\n\ntime,a\n1,1.5\n2,2.5\n", [1.5, 2.5], "Left out above the names of the columns: 'My run'"),
        ("Station: X,,\nNr 1,,\ntime,a,\n1,1.5,\n2,2,\n", [1.5, 2], "'Station: X', 'Nr 1'"),
        ("x\n1,1.5\n2,2.5\n", [1.5, 2.5], ""),  # R's names of rows, and no title
        ("time,a\ns,m/s\n1,1.5\n2,2.5\n", [1.5, 2.5], "Row 2 is left out: 's', 'm/s' are units"),
        ("a,b\n1,1\n2,2\nSource: a station\n", [[1, 1], [2, 2]], "Left out below the table: 'Source: a station'"),
        ("No,a\n1,5\n2,6\n", [5, 6], "The column of row numbers is left out"),
        ("time,a\n1,1\n2,2\n3,\n".replace("3,\n", '3,"2\n"'), [1, 2, 2], ""),
        # Numbers as typesetters write them, and answers.
        ("a\n\N{MINUS SIGN}5\n3\n", [-5, 3], ""),
        ("a;b\n1 234,5;1\n12 345,5;1\n", [[1234.5, 1], [12345.5, 1]], "comma for decimals"),
        ("a;b\n1\N{NARROW NO-BREAK SPACE}234,5;1\n2;1\n", [[1234.5, 1], [2, 1]], "comma for decimals"),
        ("a,b\n1'234.5,1\n2'345'678,1\n", [[1234.5, 1], [2345678, 1]], ""),
        ("a,b\n1,yes\n2,No\n", [[1, 1], [2, 0]], "In 'b', yes is 1 and no is 0."),
        # JSON of pandas in every orientation.
        (A.to_json(orient="columns"), [1.5, 2.5], ""),
        (A.to_json(orient="index"), [1.5, 2.5], ""),
        (A.to_json(orient="split"), [1.5, 2.5], ""),
        (A.to_json(orient="table"), [1.5, 2.5], ""),
        ('{"a": {"x": 1, "y": 2}, "b": {"y": 4, "x": 3}}', [[1, 3], [2, 4]], ""),
    ],
)
def test_values(write, content, values, note):
    found = xc.load_sequences(write(content))
    np.testing.assert_array_equal(found.values[0].squeeze(-1) if np.ndim(values) == 1 else found.values[0], values)
    assert note in " ".join(found.attrs.get("notes", []))


@pytest.mark.parametrize(
    ("content", "times", "note"),
    [
        ("time,a\n2024-01-01T00:30+01:00,1\n2024-01-01T02:00+02:00,2\n", ["2023-12-31T23:30", "2024-01-01"], "in UTC"),
        ("time,a\n2024-01-01T00:00Z,1\n2024-01-01T01:00Z,2\n", ["2024-01-01T00:00", "2024-01-01T01:00"], ""),
        ("time,a\n2024-01-01 00:00:00.000000001,1\n2024-01-01 00:00:00.000000002,2\n",
         ["2024-01-01T00:00:00.000000001", "2024-01-01T00:00:00.000000002"], ""),
        ("timestamp,a\n1700000000000000000,1\n1700000001000000000,2\n",
         ["2023-11-14T22:13:20", "2023-11-14T22:13:21"], "nanoseconds since 1970"),
        ("time,a\n01/13/2024 9:05:00 AM,1\n01/13/2024 12:30 PM,2\n01/14/2024 12:30:00 a.m.,2\n",
         ["2024-01-13T09:05", "2024-01-13T12:30", "2024-01-14T00:30"], ""),
        ("Date;Time;a\n16/12/2006;17:24:00;1\n16/12/2006;17:25:00;2\n",
         ["2006-12-16T17:24", "2006-12-16T17:25"], "The columns 'Date' and 'Time' together are the time."),
        ('{"a": {"1704067200000": 1, "1704153600000": 2}}', DAYS.values, "milliseconds since 1970"),
        ("Date;Time;a\n10/03/2004;18.00.00;1\n10/03/2004;19.00.00;2\n",
         ["2004-03-10T18:00", "2004-03-10T19:00"], "read day first"),
        ("year,month,day,hour,a\n2010,1,1,23,5\n2010,1,2,0,6\n",
         ["2010-01-01T23:00", "2010-01-02T00:00"], "'year', 'month', 'day' and 'hour' together are the time"),
        ("Year,Month,Day,a\n2010,1,1,5\n2010,1,2,6\n", ["2010-01-01", "2010-01-02"], "together are the time"),
        ("ts,a\n1594512094.5,5\n1594512095.5,6\n",
         ["2020-07-12T00:01:34.500", "2020-07-12T00:01:35.500"], "seconds since 1970"),
        (table(a=[1, 2]).set_index(DAYS).to_json(orient="split", date_format="iso"), DAYS.values, ""),
        (table(a=[1, 2]).set_index(DAYS).to_json(orient="index", date_format="iso"), DAYS.values, ""),
    ],
)  # fmt: skip
def test_times(write, content, times, note):
    found = xc.load_sequences(write(content))
    np.testing.assert_array_equal(found["time"].values, np.array(times, found["time"].dtype))
    assert found["time"].dtype.kind == "M"
    assert list(found["feature"].values) == ["a"]
    notes = " ".join(found.attrs.get("notes", []))
    assert note in notes if note else "UTC" not in notes


@pytest.mark.parametrize(
    ("content", "what", "where"),
    [
        ("time,a\n1,1\n2,2\nTotal,3\n", "'Total' is no time: the row seems to sum up others", "row 4, column 'time'"),
        ("date,a\n2024-01-01,1\n2024-01-02,2\n,3\n", "The time is missing", "row 4, column 'date'"),
        ('time,a\n1,"1\n2,2\n3,3\n', "A quotation mark is never closed, so that 2 rows", "row 2"),
        ("id,time,a\nA,1,1\n,2,2\n", "does not say which sequence it belongs to", "row 3, column 'id'"),
        ("<?xml version='1.0'?>\n<a/>", "a text with marks", "file"),
        ("% made by hand\n@RELATION x\n@data\n1,2\n", "an ARFF or .ts file", "file"),
        ("Title\n1,1.5,2\n2,2.5,3\n", "The row has 3 cells where the header has 1", "row 2"),
        ("time,a\ns,NA\n1,1.5\n2,2\n", "'s' is no|not a finite number", "row 2"),
        ('[{"a": 1, "a": 2}]', "The name 'a' stands twice in one object", "file"),
        ('{"a": {"0": 1, "1": 2}, "b": {"0": 1, "2": 2}}', "'a' and 'b' have different parts", "file"),
        (json.dumps({"columns": ["a", "a"], "data": [[1, 2]]}), "Two columns are called 'a'", "file"),
    ],
)
def test_errors(write, content, what, where):
    with pytest.raises(SequenceFileError, match=what) as caught:
        xc.load_sequences(write(content))
    assert where in caught.value.where


def test_numbers_that_stand_for_missing_values_are_named_and_taken_so_when_asked(write):
    path = write("time,a,b\n1,-999,2\n2,3,4\n3,-999,6\n")
    reading = read_file(path)
    assert reading.notes == ("-999 is there 2 times, in 'a'; it is read as that number.",)
    with pytest.raises(SequenceFileError, match="'-999' stands for that, and 1 more cell") as caught:
        read_file(path, Options().changed(reading.fixes[0].changes))
    changes = {**reading.fixes[0].changes, **caught.value.fixes[0].changes}
    np.testing.assert_array_equal(read_file(path, Options(**changes)).sequences[0, :, 0], [3, 3, 3])
    assert not read_file(write("a\n-999\n-1000\n-998\n")).notes
    path = write(b"", "file.npy")
    np.save(path, [[-999.0], [1.0]])
    np.testing.assert_array_equal(xc.load_sequences(path, missing=-999, fill="zero").values[0, :, 0], [0, 1])


def test_columns_of_a_calendar_stay_features_when_asked_for(write):
    path = write("year,month,day,a\n2010,1,1,5\n2010,1,2,6\n")
    assert xc.load_sequences(path, time_column="")["feature"].size == 4
    assert list(xc.load_sequences(path, columns=["a", "month"], time_column="day")["feature"].values) == ["a", "month"]


def test_rows_with_a_name_each_can_be_one_sequence(write):
    reading = read_file(path := write("id,a\n1,5\n2,6\n3,7\n"))
    assert reading.sequences.sizes == {"sample": 3, "time": 1, "feature": 1}
    assert "Each row has its own 'id'" in reading.notes[0]
    fixed = read_file(path, Options(**reading.fixes[0].changes)).sequences
    np.testing.assert_array_equal(fixed[0, :, 0], [5, 6, 7])
    assert list(fixed["time"].values) == [1, 2, 3]
    assert list(fixed["feature"].values) == ["a"]


def test_records_of_numpy_keep_the_names_of_their_fields(write):
    path = write(b"", "file.npy")
    fields = [("time", "M8[s]"), ("id", "S1"), ("a", ">f4"), ("b", "i8")]
    np.save(path, np.array([("2024-01-01", b"x", 1.5, 2), ("2024-01-02", b"x", 2.5, 3)], fields))
    found = xc.load_sequences(path)
    np.testing.assert_array_equal(found.values[0], [[1.5, 2], [2.5, 3]])
    assert (list(found["feature"].values), list(found["sample"].values)) == (["a", "b"], ["x"])
    np.testing.assert_array_equal(found["time"].values, DAYS.values)
    np.save(path, np.zeros(2, [("a", "f4", (2,))]))
    with pytest.raises(SequenceFileError, match="must be single numbers"):
        xc.load_sequences(path)
