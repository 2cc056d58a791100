"""Files made to cost or to break: bounded before they are read, and refused in the reader's own words.

The bounds are tested by what is read and allocated, not by seconds.
"""

import bz2
import errno
import gzip
import io
import json
import pickle
import pickletools
import random
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explain_core.errors import InputError, ModelFileError, SequenceFileError
from explain_core.models import framework_of, load_model, require_data_only
from explain_core.models.archive import pack, read_entries
from explain_core.sequences import Scaling, Vocabulary, read_file
from explain_core.sequences.loading import read_words
from explain_core.untrusted import json_reader, zip_reader
from explain_core.untrusted.last_boundary import ending_typed

MB = 2**20
WORDS = Vocabulary({"a": 1}, unknown=0)
READERS = {
    "sequences": read_file,
    "scaling": Scaling.load,
    "vocabulary": Vocabulary.load,
    "texts": lambda path: read_words(path, WORDS),
}


@pytest.fixture
def write(tmp_path):
    def written(content, name="upload.bin"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def refusal(path, reader=load_model, kind=ModelFileError):
    with pytest.raises(kind) as caught:
        reader(path)
    assert path.name in caught.value.where
    assert "could not be read as" not in caught.value.what  # the last boundary, and not the cause
    str(caught.value).encode()
    return caught.value.what


def peak_of(call):
    """Bytes that Python had at most, beyond those before."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Archives.


def directory(count, *, size=None, offset=None, table=None):
    """A zip64 archive whose table of contents says that it has ``count`` entries, all of one local header."""
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    one = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    table = one * count if table is None else table
    size, offset = len(table) if size is None else size, len(local) if offset is None else offset
    at = len(local) + len(table)
    return (
        local
        + table
        + b"PK\x06\x06"
        + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, offset)
        + b"PK\x06\x07"
        + struct.pack("<IQI", 0, at, 1)
        + b"PK\x05\x06"
        + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    )


class CountingFile(io.FileIO):
    count = 0

    def read(self, size=-1):
        data = super().read(size)
        CountingFile.count += len(data)
        return data


@pytest.fixture
def counted(monkeypatch):
    CountingFile.count = 0
    monkeypatch.setattr(zip_reader, "open", lambda path, mode: CountingFile(path), raising=False)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_, **__: pytest.fail("Python's zipfile was asked"))
    return CountingFile


def test_a_table_of_millions_of_entries_is_refused_by_its_record_alone(counted, tmp_path):
    count = 4_400_000
    path = tmp_path / "toc.zip"
    end = directory(count, size=47 * count, table=b"")[31:]
    with path.open("wb") as file:  # the table is a hole in the file; nobody is to look at it
        file.write(b"PK\x03\x04")
        file.seek(31 + 47 * count)
        file.write(end[: -(20 + 22)] + b"PK\x06\x07" + struct.pack("<IQI", 0, 31 + 47 * count, 1) + end[-22:])
    assert framework_of(path) == "torch"
    assert "lists 4,400,000 entries in 206,800,000 bytes" in refusal(path)
    assert 0 < counted.count < 300_000


@pytest.mark.parametrize("kind", [read_file, load_model])
def test_a_table_just_over_the_bound(kind, write, counted):
    path = write(directory(zip_reader.MAX_ENTRIES + 1) + b".npy")
    error = SequenceFileError if kind is read_file else ModelFileError
    assert "lists 20,001 entries" in refusal(path, kind, error)


def test_a_large_table_of_few_entries(write):
    assert "the limits are" in refusal(write(directory(3, table=b"\0" * (zip_reader.MAX_TABLE_BYTES + 1))))


def archive(*entries, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as writer:
        for name, data in entries:
            writer.writestr(name, data)
    return bytearray(buffer.getvalue())


def put(content, mark, place, form, number, which=0):
    """An archive with a field of one of its records changed."""
    at = -1
    for _ in range(which + 1):
        at = content.index(mark, at + 1)
    struct.pack_into(form, content, at + place, number)
    return bytes(content)


END, CENTRAL, LOCAL = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
TWO = (("m/data.pkl", b"x" * 50), ("m/data/0", b"y" * 50))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (put(archive(*TWO), END, 10, "<H", 1), "one part of several"),
        (put(bytearray(put(archive(*TWO), END, 10, "<H", 1)), END, 8, "<H", 1), "more than it counts"),
        (put(bytearray(put(archive(*TWO), END, 10, "<H", 3)), END, 8, "<H", 3), "cut off"),
        (put(archive(*TWO), END, 16, "<I", 7), "not where it should be"),
        (put(archive(*TWO), END, 12, "<I", 7), "not where it should be"),
        (put(archive(*TWO), CENTRAL, 42, "<I", 0, which=1), "overlaps what follows it"),
        (put(archive(*TWO), CENTRAL, 42, "<I", 3), "overlaps what follows it"),
        (put(archive(*TWO), CENTRAL, 24, "<I", 40), "two sizes"),
        (put(archive(*TWO), CENTRAL, 16, "<I", 40), "not what the table of contents says"),
        (put(archive(*TWO), CENTRAL, 8, "<H", 1), "locked by a password"),
        (put(archive(*TWO), CENTRAL, 10, "<H", 12), "compressed in an unusual way"),
        (put(archive(*TWO), CENTRAL, 20, "<I", 2**32 - 1), "does not say its size"),
        (put(archive(*TWO), LOCAL, 30, "<B", ord("z")), "not where the table of contents says"),
        (put(archive(*TWO), LOCAL, 28, "<H", 9999), "overlaps what follows it"),
        (put(archive(*TWO), CENTRAL, 46, "<B", 0), "no text"),
        (bytes(archive(("m/data.pkl", b"x"), ("m/" + "n" * 2000, b""))), "a name of 2,002 bytes"),
        (bytes(archive(("m/data.pkl", b"x"), ("M/DATA.PKL", b"y"))), "several entries of one name"),
        (bytes(archive(*TWO, method=zipfile.ZIP_BZIP2)), "compressed in an unusual way (method 12)"),
        (bytes(archive(*TWO, method=zipfile.ZIP_LZMA)), "compressed in an unusual way (method 14)"),
        (directory(1)[:-6] + struct.pack("<IH", 5, 0), "two tables of contents"),
        (directory(2), "overlaps what follows it"),
    ],
)
def test_archives_that_do_not_fit_together(content, said, write):
    assert said in refusal(write(content))


@pytest.mark.parametrize("size", [10, 49 * MB, 51 * MB])
def test_an_entry_that_lies_about_its_size_is_unpacked_no_further(size, write):
    content = archive(("m/data.pkl", b"\0" * 50 * MB), method=zipfile.ZIP_DEFLATED)
    path = write(put(content, CENTRAL, 24, "<I", size))
    peak = peak_of(lambda: refusal(path, read_entries))
    assert "does not unpack to the size that it declares" in refusal(path, read_entries)
    assert peak < size + 2 * MB + (50 * MB if size > MB else 0)  # zlib's own blocks are joined at the end


def test_what_it_declares_is_bounded_before_it_is_unpacked(write, monkeypatch):
    monkeypatch.setattr("explain_core.models.archive.MAX_UNPACKED_BYTES", 99)
    monkeypatch.setattr(zip_reader.ZipReader, "read", lambda *_: pytest.fail("it was read"))
    assert "unpacks to 100 bytes; the limit is 99" in refusal(write(bytes(archive(*TWO))), read_entries)


def test_a_new_archive_shares_the_memory_of_its_entries():
    entries = {name: random.Random(name).randbytes(8 * MB) for name in ("data/0", "data/1")} | {"none": b""}
    made = []
    assert peak_of(lambda: made.append(pack(entries))) < MB
    with zipfile.ZipFile(made[0]) as reader:
        assert {name: reader.read(f"model/{name}") for name in entries} == entries
    made[0].seek(-22, io.SEEK_END)
    assert made[0].read(4) == END
    made[0].seek(0)
    assert zipfile.is_zipfile(io.BytesIO(made[0].read()))


def test_ordinary_archives_of_many_entries_open(tmp_path, write):
    import torch

    layers = {f"layers.{i}.{name}": torch.zeros(2) for i in range(2500) for name in ("weight", "bias")}
    torch.save(layers, tmp_path / "many.pt")
    assert len(read_entries(tmp_path / "many.pt")) > 5000
    assert framework_of(tmp_path / "many.pt") == "torch"
    arrays = {f"part_{i}": np.ones(3) for i in range(900)} | {"x": np.ones((2, 5, 3))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "many.npz", **arrays)
        assert read_file(tmp_path / "many.npz").sequences.shape == (2, 5, 3)


def test_comments_and_text_after_an_archive_do_not_matter(write):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones((2, 5, 3)))
    with zipfile.ZipFile(buffer, "a") as writer:
        writer.comment = b"written by hand"
    assert read_file(write(buffer.getvalue())).sequences.shape == (2, 5, 3)


# What is told of other files.


@pytest.mark.parametrize("operations", [b"N0", b"X\x01\x00\x00\x00aX\x01\x00\x00\x00b\x93", b"]"])
def test_long_pickles_are_looked_at_no_further_than_their_beginning(operations, write, monkeypatch):
    looked, genops = [], pickletools.genops

    def counting(stream):
        for operation in genops(stream):
            looked.append(1)
            yield operation

    monkeypatch.setattr(pickletools, "genops", counting)
    path = write(b"\x80\x04" + operations * (8 * MB // len(operations)) + b".")
    assert framework_of(path) == "torch"
    assert 0 < len(looked) <= 2**17
    assert peak_of(lambda: framework_of(path)) < 4 * MB


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, zlib.compress], ids=["gzip", "bzip2", "zlib"])
def test_compressed_files_are_unpacked_no_further_than_their_beginning(compress, write):
    path = write(compress(pickle.dumps(np.float64(1)) + b"\0" * 64 * MB))
    assert "numpy" in refusal(path)
    assert peak_of(lambda: framework_of(path)) < 8 * MB


def test_a_pickle_still_says_what_it_is(write):
    assert "numpy arrays" in refusal(write(pickle.dumps(np.zeros(3 * MB))))


@pytest.mark.parametrize(
    "kind", ["torch.export", "torchscript", "state dict", "safetensors", "keras", "keras h5", "saved model"]
)
def test_only_formats_that_are_programs_need_trust(kind):
    if kind not in ("torchscript", "saved model"):
        require_data_only(kind, "model.bin")
        return
    with pytest.raises(ModelFileError, match="a program") as caught:
        require_data_only(kind, "model.bin")
    assert caught.value.where == "model.bin"
    assert "--trust-code" in caught.value.hint


def test_torchscript_can_be_refused_as_a_whole(write):
    path = write(bytes(archive(("m/code/__torch__.py", b""), ("m/constants.pkl", b""))))
    with pytest.raises(ModelFileError, match="a TorchScript model: a program"):
        load_model(path, data_only=True)


# JSON.

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"\\[]{},é', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('b"\\[,', max_size=3), inner, max_size=4),
)


def counts(tree):
    """Values and depth."""
    inner = list(tree.values()) if isinstance(tree, dict) else tree if isinstance(tree, list) else None
    if inner is None:
        return 1, 0
    found = [counts(item) for item in inner]
    return 1 + sum(values for values, _ in found), 1 + max((depth for _, depth in found), default=0)


@given(tree=TREES, ascii_only=st.booleans(), chunk=st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_json_is_measured_without_being_made(tree, ascii_only, chunk):
    text = json.dumps(tree, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "_CHUNK", chunk)
        values, depth = json_reader.measured(text.encode())
    most, deepest = counts(tree)
    assert depth == deepest
    assert most <= values <= 2 * most
    assert json_reader.read_json(text, most_values=10_000, deepest=100) == tree


def test_json_over_a_bound_is_not_parsed(monkeypatch):
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    for text, said in (("[" * 11 + "]" * 11, "nested too deep: 11 times"), ("[" + "0," * 99 + "0]", "has 101 values")):
        with pytest.raises(json_reader.JsonError, match=said):
            json_reader.read_json(text, most_values=100, deepest=10)


# The last boundary.


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), struct.error("x"), OverflowError(), OSError("cut")])
def test_what_nobody_foresaw_is_the_files_error_with_the_original_behind_it(error):
    with pytest.raises(ModelFileError) as caught, ending_typed(ModelFileError, "a model", "m.bin"):
        raise error
    assert f"could not be read as a model: {type(error).__name__}" in caught.value.what
    assert caught.value.__cause__ is error
    assert "report" in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [MemoryError(), ImportError("x"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), InputError("x")],
    ids=lambda error: type(error).__name__,
)
def test_faults_of_the_machine_and_errors_on_purpose_stay_as_they_are(error):
    with pytest.raises(type(error)) as caught, ending_typed(ModelFileError, "a model", "m.bin"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("reader", [load_model, *READERS.values()], ids=["model", *READERS])
def test_every_public_reader_has_the_boundary(reader, write, monkeypatch):
    def broken(*_, **__):
        raise KeyError("nobody foresaw this")

    for name in ("models.detect_format", "sequences.formats.read_bytes", "sequences.scaling.read_bytes"):
        monkeypatch.setattr(f"explain_core.{name}", broken)
    for name in ("vocabulary", "texts"):
        monkeypatch.setattr(f"explain_core.sequences.{name}.read_bytes", broken)
    path = write("a,b\n1,2\n")
    with pytest.raises((ModelFileError, SequenceFileError), match="nobody foresaw this") as caught:
        reader(path)
    assert path.name == caught.value.where
    assert framework_of(path) == "torch"


# Sequences and what is given beside them.


def npy(shape="(2, 3)", kind="'<f8'", order="False"):
    header = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 48


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def letters(code):
    """An array of text with this number in the place of a letter."""
    values = np.array(["ab", "cd"])
    return np.frombuffer(values.tobytes().replace(b"a\0\0\0", struct.pack("<I", code)), values.dtype)


def parquet(**columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


CUBE = np.ones((1, 3, 2))
DEEP = "[" * 3000
LONG = pa.DictionaryArray.from_arrays(np.zeros(2000, "i4"), ["x" * 1_000_000])  # a text that stands in every row


@pytest.mark.parametrize(
    ("reader", "content", "said"),
    [
        ("sequences", npy("(True, 2)"), "its shape is (True, 2), which no array has"),
        ("sequences", npy("(2, -3)"), "which no array has"),
        ("sequences", npy(f"({'1, ' * 33})"), "which no array has"),
        ("sequences", npy(f"({2**62}, 0)"), "the limit is"),
        ("sequences", npy(f"({10**30},)", "'|V0'"), "the limit is"),
        ("sequences", npy("()", "('<f8', (2,))"), "its type is"),
        ("sequences", npy("(2,)", "[('\\ud800', '<f8')]"), "damaged"),
        ("sequences", npz(x=CUBE, feature_names=letters(0xD800)), "letters that do not exist"),
        ("sequences", npz(x=CUBE, time=np.array([2**60, 1, 2], "M8[Y]")), "after the year"),
        (
            "sequences",
            np.zeros(3, [("time", "M8[Y]"), ("v", "f8")]).tobytes() and npy("(1,)", "[('t', '<M8')]"),
            "year",
        ),
        ("sequences", parquet(v=pa.array([b"\xff\xfe", b"a"])), "bytes that are no text"),
        ("sequences", parquet(v=pa.array([b"ab", b"cd"], pa.binary(2))), "The column is of fixed_size_binary[2]"),
        ("sequences", parquet(time=pa.array([2**62, 0], pa.timestamp("us")), v=[1.0, 2.0]), "after the year"),
        ("sequences", parquet(time=pa.array([2**31 - 1, 0], pa.date32()), v=[1.0, 2.0]), "after the year"),
        ("sequences", parquet(v=pa.array([10**70], pa.decimal256(76, 0)), w=[b"\xff"]), "bytes that are no text"),
        ("sequences", parquet(v=LONG, w=np.arange(2000.0)), "2,000,000,000 bytes of text"),
        ("sequences", parquet(v=LONG.cast(pa.dictionary(pa.int32(), pa.binary()))), "2,000,000,000 bytes of text"),
        ("sequences", '{"\\ud800": [1, 2]}', "half of a character"),
        ("sequences", '{"data": [[1], [2]], "features": ["\\udfff"]}', "half of a character"),
        ("sequences", "[" + "1" * 6000 + "]\n[1]", "holds inf"),
        ("sequences", DEEP, "nested too deep"),
        ("sequences", json.dumps([{f"c{i}": 1 for i in range(20_001)}]), "20,001 columns"),
        ("sequences", ",".join(f"c{i}" for i in range(20_001)) + "\n" + ",".join(["1"] * 20_001), "20,001 columns"),
        ("scaling", '{"mean": [1], "scale": ["\\ud800"]}', "half of a character"),
        ("scaling", '{"mean": {"a": 1}, "scale": {"b": [2]}}', "not finite"),
        ("scaling", f'{{"mean": {DEEP}', "nested too deep"),
        ("scaling", '{"mean": ' + "1" * 5000 + ', "scale": 1}', "not finite"),
        ("vocabulary", '{"\\ud800": 1, "b": 2}', "half of a character"),
        ("vocabulary", '{"²": "a", "2": "b"}', "The id of '²' is a"),
        ("vocabulary", '{"--1": "a", "2": "b"}', "The id of '--1' is a"),
        ("vocabulary", '{"a": ' + "9" * 5000 + "}", "The id of 'a' is inf"),
        ("vocabulary", json.dumps({"config": {"word_index": DEEP}}), "nested too deep"),
        ("vocabulary", json.dumps({"config": {"word_index": '{"a": 1'}}), "damaged or cut off"),
        ("vocabulary", '{"config": {"word_index": 7}}', "no word_index"),
        ("texts", '{"one": "\\ud800"}', "half of a character"),
        ("texts", parquet(text=pa.array([b"\xff"])), "bytes that are no text"),
    ],
    ids=str,
)
def test_odd_files_are_refused_by_their_cause(reader, content, said, write):
    assert said in refusal(write(content), READERS[reader], SequenceFileError)


def test_text_as_bytes_in_parquet_is_text(write):
    table = parquet(text=pa.array([b"a a", b"a b"]))
    assert read_words(write(table), WORDS).sequences.shape == (2, 2)
    ids = parquet(sequence=pa.array([b"one", b"two"]).dictionary_encode(), v=[1.0, 2.0])
    assert list(read_file(write(ids)).sequences["sample"].values) == ["one", "two"]


def test_texts_and_words_of_any_length_take_little_memory(write):
    path = write("a" * 3 * MB + "\n" + "a a a\n" * 1000)
    assert peak_of(lambda: read_words(path, WORDS)) < 32 * MB
    with pytest.raises(InputError, match="more than 5,000,000 words"):
        read_words(write("a " * 100_000 + "\n" + "a\n" * 100), WORDS)


def test_files_beside_the_sequences_have_smaller_bounds(tmp_path):
    for name, size, reader in (("scaling", 17, Scaling.load), ("vocabulary", 129, Vocabulary.load)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size * MB)  # a hole, of which nothing is read
        assert "the limit is" in refusal(tmp_path / name, reader, SequenceFileError)


def test_long_lists_of_words_and_blank_lines_are_read_once(write):
    """Each of these was looked through again for every line."""
    assert read_file(write("v\n" + "\n" * 300_000 + "1\n2\n")).sequences.shape == (1, 2, 1)
    assert "the column is text" in refusal(write("word\n" * 50_000), read_file, SequenceFileError)


def test_a_wide_table_is_read(write):
    names = [f"c{i}" for i in range(1000)]
    frame = pd.DataFrame(np.ones((2, len(names))), columns=names)
    assert read_file(write(frame.to_csv(index=False))).sequences.shape == (1, 2, 1000)
