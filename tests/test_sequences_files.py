"""Every form of file reads to the same numbers; what is wrong with one is named by its place, with what would help."""

import io
import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
from corpus.sequence_files import DATES, NAMES, VALUES, valid_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import explain_core as xc
from explain_core.errors import ExplainError, SequenceFileError
from explain_core.sequences import Options, options, read_file

ONE = [
    *("csv", "tsv", "semicolons", "decimal comma", "bars", "spaces", "headerless", "comments", "savetxt", "crlf"),
    *("utf-8 with mark", "utf-16", "pandas index", "blank columns and rows", "dates", "quoted", "parquet"),
    *("parquet dates", "npy", "npy float32", "npy big-endian", "npy by column", "npz", "npz stored", "json rows"),
    *("json records", "json lines", "json columns", "json pandas", "json split", "json sequences"),
]
UNNAMED = ("spaces", "headerless", "npy", "npy float32", "npy big-endian", "npy by column", "npz", "json rows")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return valid_files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def write(tmp_path):
    def write(content, name="walk.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("form", ONE)
def test_every_form_of_one_sequence_reads_to_the_same_numbers(files, form):
    found = xc.load_sequences(files[form])
    np.testing.assert_array_equal(found.values[0], VALUES.astype(found.dtype))
    assert found.dtype == (np.float32 if form == "npy float32" else np.float64)
    if form not in UNNAMED:
        assert list(found["feature"].values) == NAMES
    if "dates" in form:
        np.testing.assert_array_equal(found["time"].values, np.array(DATES, "datetime64[us]"))


@pytest.mark.parametrize("form", ["long form", "parquet long", "npy samples"])
def test_every_form_of_two_sequences(files, form):
    np.testing.assert_array_equal(xc.load_sequences(files[form]).values, VALUES.reshape(2, 2, 2))


@pytest.mark.parametrize(("form", "lengths"), [("npz mask", [2, 1]), ("json ragged", [4, 2])])
def test_lengths_that_differ(files, form, lengths):
    found = xc.load_sequences(files[form])
    assert list(found["length"].values) == lengths
    assert (found.values[1, lengths[1] :] == 0).all()


def test_the_corpus_is_covered(files):
    assert {*ONE, "long form", "parquet long", "npy samples", "npz mask", "json ragged"} == set(files)


number = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 4))


@given(
    values=st.lists(st.tuples(number, number, number), min_size=2, max_size=8),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    comma=st.booleans(),
    mark=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoted=st.booleans(),
    names=st.lists(st.text("abcéß _-", min_size=1, max_size=6).map(str.strip), min_size=3, max_size=3, unique=True),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_dialect_gives_back_the_numbers(tmp_path, values, separator, comma, mark, newline, quoted, names):
    names = [f"n{i}{name}" for i, name in enumerate(names)]
    decimal = "," if comma and (separator != "," or quoted) else "."
    # 1,234 alone can be read in two ways, which is an error of its own; a whole file of such cells is not made here.
    values = [(0.5, *values[0][1:]), *values[1:]]

    def cell(value):
        text = repr(float(value)).replace(".", decimal)
        return f'"{text}"' if quoted else text

    lines = [separator.join(names), *(separator.join(map(cell, row)) for row in values)]
    path = tmp_path / "any.csv"
    path.write_bytes(newline.join(lines).encode(mark))
    found = xc.load_sequences(path)
    np.testing.assert_array_equal(found.values[0], np.array(values, dtype=float))
    assert list(found["feature"].values) == names


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('a,b\n"1,234.5",2\n"12,345.0",4\n', [[1234.5, 2], [12345, 4]]),
        ("a;b\n1.234,5;2\n3,5;4\n", [[1234.5, 2], [3.5, 4]]),
        ("a,b\nTrue,1\nfalse,2\n", [[1, 1], [0, 2]]),
        ("sep=;\na;b\n1;2\n", [[1, 2]]),
        ("a,b\n5,1\n5,2\n5,3\n", [[5, 1], [5, 2], [5, 3]]),
        ('"a","b"\n"1",1,2\n"2",3,4\n', [[1, 2], [3, 4]]),
        ("0,1\n1.5,2.5\n", [[1.5, 2.5]]),
        (",0,1\n0,1.5,2.5\n1,3.5,4.5\n", [[1.5, 2.5], [3.5, 4.5]]),
        ("  1.5e-001 -2.0e+000\n  3.0e+000  4.0e+000\n", [[0.15, -2], [3, 4]]),
    ],
)
def test_notations(write, text, values):
    np.testing.assert_array_equal(xc.load_sequences(write(text)).values[0], values)


@pytest.mark.parametrize(
    ("cells", "expected", "note"),
    [
        (["13/01/2024", "14/01/2024"], ["2024-01-13", "2024-01-14"], ""),
        (["01/13/2024", "01/14/2024"], ["2024-01-13", "2024-01-14"], ""),
        (["31.01.2024", "01.02.2024"], ["2024-01-31", "2024-02-01"], ""),
        (["01/02/2024", "02/02/2024"], ["2024-02-01", "2024-02-02"], "two ways; they are read day first"),
        (["01/12/2024", "02/01/2024"], ["2024-01-12", "2024-02-01"], "two ways; they are read month first"),
        (["2024/01/05 10:00", "2024/01/05 11:00"], ["2024-01-05T10:00", "2024-01-05T11:00"], ""),
        (["5 Jan 2024", "6 Jan 2024"], ["2024-01-05", "2024-01-06"], ""),
        (["20240105", "20240106"], ["2024-01-05", "2024-01-06"], ""),
        (["1700000000", "1700000060"], ["2023-11-14T22:13:20", "2023-11-14T22:14:20"], "seconds since 1970"),
        (["1700000000000", "1700000060000"], ["2023-11-14T22:13:20", "2023-11-14T22:14:20"], "milliseconds"),
    ],
)
def test_dates(write, cells, expected, note):
    reading = read_file(write(f"date,v\n{cells[0]},1\n{cells[1]},2\n"))
    np.testing.assert_array_equal(reading.sequences["time"].values, np.array(expected, "datetime64[us]"))
    assert note in " ".join(reading.notes)


def test_a_date_column_of_any_name_labels_the_time_axis_and_numbers_never_do(write):
    reading = read_file(write("Datum;Wert\n31.01.2024;1,5\n01.02.2024;2,5\n"))
    assert reading.time_column == "Datum"
    assert list(reading.sequences["feature"].values) == ["Wert"]
    assert read_file(write("a,b\n2024.01,1\n2024.02,2\n")).time_column is None


def test_the_fix_of_ambiguous_dates_reads_them_the_other_way(write):
    path = write("date,v\n01/02/2024,1\n02/02/2024,2\n")
    (fix,) = read_file(path).fixes
    found = read_file(path, Options().changed(fix.changes)).sequences
    np.testing.assert_array_equal(found["time"].values, np.array(["2024-01-02", "2024-02-02"], "datetime64[us]"))


def test_columns_and_order(write):
    path = write("a,b,c\n1,2,3\n4,5,6\n")
    found = xc.load_sequences(path, columns=["c", "a"])
    assert list(found["feature"].values) == ["c", "a"]
    np.testing.assert_array_equal(found.values[0], [[3, 1], [6, 4]])
    with pytest.raises(SequenceFileError, match="no column 'd'"):
        xc.load_sequences(path, columns=["d"])


def test_rows_out_of_order_stay_until_somebody_asks(write):
    path = write("time,v\n3,1\n2,2\n1,3\n")
    reading = read_file(path)
    assert list(reading.sequences.values.ravel()) == [1, 2, 3]
    assert "go back" in reading.notes[0]
    assert reading.fixes[0].changes == {"sort": True}
    assert list(xc.load_sequences(path, sort=True).values.ravel()) == [3, 2, 1]


@pytest.mark.parametrize(("fill", "expected"), [("previous", [1, 1, 4]), ("linear", [1, 2.5, 4]), ("zero", [1, 0, 4])])
def test_gaps_are_filled_as_asked(write, fill, expected):
    assert list(xc.load_sequences(write("a,b\n1,1\n,1\n4,1\n"), fill=fill).values[0, :, 0]) == expected


def fixes_of(path, **asked):
    with pytest.raises(SequenceFileError) as caught:
        read_file(path, Options(**asked))
    return caught.value


@pytest.mark.parametrize(
    ("text", "what", "where", "fixes"),
    [
        ("a,b\n1,2\nx,3\n4,5\ny,6\n", "'x' is not a finite number, and 1 more cell", "row 3, column 'a'", []),
        ("a,b\n1,2\n,3\n4,NA\n", "The cell is empty, and 1 more cell", "row 3, column 'a'", ["fill"] * 3),
        ("a,b\n1,2\ninf,3\n", "'inf' is not a finite number", "row 3, column 'a'", []),
        ("city,v\nA,1\nA,2\nB,3\nB,4\n", "the column is text", "row 2, column 'city'", ["id_column", "columns"]),
        ("who,v\nA,1\nB,2\n", "the column is text", "row 2, column 'who'", ["time_column", "columns"]),
        ('a,b\n"1,234",2\n', "can be read as 1234 or as 1.234", "row 2, column 'a'", ["decimal", "decimal"]),
        ("engine,time,v\n1,1,5\n1,2,5\n2,1,5\n2,2,5\n", "'1' is there twice", "row 4", ["id_column", "time_column"]),
        ("a,b,\n1,2,3\n", "A column has no name", "row 1, column 3", ["columns"]),
        ("a,,\n1,2,3\n", "Two columns have no name", "row 1, column 3", []),
    ],
)
def test_errors_say_where_and_offer_what_would_help(write, text, what, where, fixes):
    error = fixes_of(write(text))
    assert what in error.what
    assert where in error.where
    assert [next(iter(fix.changes)) for fix in error.fixes] == fixes
    for fix in error.fixes:  # each one helps
        read_file(write(text), Options().changed(fix.changes))


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_header(text):
    body = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def parquet(frame):
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def zipped(name, content, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


class Canary:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (pickle.dumps(Canary()), "a pickle, which can run code"),
        (npz(x=np.array([Canary()], dtype=object)), "Python objects"),
        (zipped("../x.npy", b"\x93NUMPY"), "no such entry"),
        (zipped("/etc/x.npy", b"\x93NUMPY"), "no such entry"),
        (zipped("x.npy", b"\0" * (options.MAX_BYTES + 1), compression=zipfile.ZIP_DEFLATED), "unpacks to"),
        (npz(x=np.ones((2, 3, 2)))[:-30], "damaged or cut off"),
        (npz(train=np.ones((2, 3, 2)), test=np.ones((2, 3, 2))), "several arrays"),
        (npz(x=np.ones((1, 3, 2)), mask=np.array([[0, 1, 1]])), "padding before real timesteps"),
        (npz(x=np.ones((1, 3, 2)), lengths=np.array([9])), "A length is 9"),
        (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 999999999), }"), "the limit is"),
        (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000, 100), }"), "cut off"),
        (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 100), }"), "which no array has"),
        (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "Python objects"),
        (npy_header("__import__('os').abort()"), "damaged or cut off"),
        (parquet(pd.DataFrame({"v": [[1.0, 2], [3.0]]})), "list<element: double>"),
        (parquet(pd.DataFrame({"v": [{"a": 1.0}]})), "struct"),
        (parquet(pd.DataFrame({"v": [1.0, 2.0]}))[:-20], "damaged or cut off"),
        (b"PAR1PAR1", "damaged or cut off"),
        (b"[" * 100_000, "nested too deep"),
        (b"[[[[1]]]]", "nested 4 deep"),
        (b'[1, 2, "x"]', "'x' is not a number"),
        (b"[null, 1]", "holds nan at index (0,)"),
        (b"[1, NaN, Infinity]", "holds nan at index (1,), and 1 more"),
        (b'{"a": [1, 2', "damaged or cut off"),
        (b'{"a": [1, 2], "b": [1]}', "differ in length"),
        (b"[]", "The list is empty"),
        (b"{}", "no list of values"),
        (b'{"a": {"b": [1]}}', "holds a list"),
        (b"\x1f\x8b\x08\0", "a gzip archive"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"<!DOCTYPE html><p>not found", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer"),
        (zipped("xl/workbook.xml", b"") + b"[Content_Types].xml", "an Excel workbook"),
        (zipped("m/data.pkl", b""), "a model or a pickle"),
        (b"\0\1\2\3" * 20, "not text"),
        (b'a,b\n"' + b"x" * 200_000, "not CSV"),
    ],
    ids=lambda value: value[:28] if isinstance(value, str) else "",
)
def test_hostile_and_mistaken_files(write, content, what):
    error = fixes_of(write(content, "walk.bin"))
    assert what in error.what
    assert "walk.bin" in error.where


def test_the_declared_size_of_a_table_is_checked_before_it_is_read(write, monkeypatch):
    monkeypatch.setattr("explain_core.sequences.text.MAX_TEXT_CELLS", 10)
    assert "more than 10 cells" in fixes_of(write("a,b\n" + "1,2\n" * 9)).what
    monkeypatch.setattr("explain_core.sequences.parquet.MAX_CELLS", 10)
    assert "the limit is 10 cells" in fixes_of(write(parquet(pd.DataFrame({"v": np.ones(11)})))).what
    monkeypatch.setattr("explain_core.sequences.contents.MAX_BYTES", 3)
    assert "the limit is 3" in fixes_of(write("a,b\n1,2\n")).what


def test_a_wrong_extension_does_not_matter(write):
    assert read_file(write(npz(x=VALUES), "table.csv")).format == "NumPy arrays (NPZ)"
    assert read_file(write("a,b\n1,2\n", "array.npy")).format == "CSV"


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused_in_words(files, tmp_path, data):
    form = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[form].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        found = xc.load_sequences(path)
    except ExplainError as caught:
        said = caught.what, caught.where
    else:
        said = "read", str(np.isfinite(found.values).all())
    assert all(said)
    assert said != ("read", "False")


def test_json_by_name(write):
    both = json.dumps({"train": [[1, 2]], "test": [[3, 4]]})
    error = fixes_of(write(both))
    assert [fix.changes for fix in error.fixes] == [{"array": "train"}, {"array": "test"}]
    np.testing.assert_array_equal(xc.load_sequences(write(both), array="test").values[0], [[3, 4]])
