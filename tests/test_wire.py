"""Values on their way from a worker to the app: they arrive as they were, and nothing else arrives."""

import io
import json
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from explain_core import errors
from explain_core.errors import ExplainError, Fix, InputError, SequenceFileError
from explain_core.explanation import Explanation
from explain_core.jobs import wire
from explain_core.models import ExpectedInput, LayerSummary, ModelSummary
from explain_core.preparation.axes import OtherNumberError
from explain_core.sequences import Options, Scaling, Vocabulary, read_file

MOST = 10**8
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # where others use the machine too

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def encoded(value):
    return b"".join(wire.dump(value))


def decoded(data, most=MOST):
    value, size = wire.load(io.BytesIO(data), most)
    assert size == len(data)
    return value


def there_and_back(value):
    return decoded(encoded(value))


def alike(a, b):
    """Equal, and of the same types throughout: 1 and True are not alike."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return alike(list(a.items()), list(b.items()))
    return a == b


@settings(**SLOW)
@given(values)
def test_plain_values_arrive_as_they_were(value):
    assert alike(there_and_back(value), value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=">f8").reshape(2, 3).T,
        np.array([True, False]),
        np.array(3, np.int8),
        np.zeros((0, 4), np.uint64),
        np.array(["a", "", "ünï"]),
        np.array(["", ""]),
        np.array([], "U5"),
        np.array(["2020-01-01", "NaT"], "datetime64[s]"),
        np.array([1, 2], "timedelta64[ns]"),
        np.array([[1, "a"], [None, 2.5]], object),
        np.array([np.nan, np.inf, -0.0], np.float16),
    ],
)
def test_arrays_arrive_as_they_were(array):
    found = there_and_back(array)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.flags.writeable


def test_a_numpy_number_stays_one():
    found = there_and_back({"value": np.float32(1.5)})["value"]
    assert found == np.float32(1.5)
    assert type(found) is np.float32


def test_labelled_arrays_arrive_with_their_labels():
    array = xr.DataArray(
        np.random.default_rng(0).normal(size=(2, 3)),
        dims=("sample", "time"),
        coords={"sample": ["a", "b"], "time": pd.date_range("2020", periods=3), "length": ("sample", [3, 2])},
        name="x",
        attrs={"unit": "°C", "padding": 0},
    )
    array["time"].attrs["format"] = "days"
    xr.testing.assert_identical(there_and_back(array), array)
    xr.testing.assert_identical(there_and_back(array.to_dataset()), array.to_dataset())


def test_tables_arrive_as_they_were():
    table = pd.DataFrame(
        {
            "number": [1.5, np.nan, -0.0],
            "mixed": pd.Series([1, True, "1"], dtype=object),
            "gaps": pd.Series(["a", None, np.nan], dtype=object),
            "text": pd.array(["x", None, "x"], dtype="str"),
            "when": pd.to_datetime(["2020-01-01", None, "2020-01-02"]),
            "yes": [True, False, True],
        }
    )
    table.attrs = {"notes": ["one"], "totals": [{"error": 0.5}]}
    found = there_and_back(table)
    pd.testing.assert_frame_equal(found, table)
    assert [type(value) for value in found["mixed"]] == [int, bool, str]
    assert found.attrs == table.attrs
    for odd in (table[:0], table.set_index("number"), pd.DataFrame(), pd.concat([table, table], axis=1)):
        pd.testing.assert_frame_equal(there_and_back(odd), odd)


def test_an_explanation_arrives_as_it_was():
    array = xr.DataArray(np.ones((1, 2, 3)), dims=("sample", "time", "feature"), coords={"sample": ["s"]})
    prediction = xr.DataArray([[1.0]], dims=("sample", "output"), coords={"sample": ["s"], "output": ["o"]})
    gates = {"lstm": xr.Dataset({"carry": (("sample", "time"), np.ones((1, 2)))}, attrs={"kind": "LSTM"})}
    explanation = Explanation(array, array, array, prediction, prediction, gates, notes=["n"], attrs={"seconds": 0.1})
    found = there_and_back(explanation)
    xr.testing.assert_identical(found.attributions, explanation.attributions)
    xr.testing.assert_identical(found.gates["lstm"], gates["lstm"])
    assert (found.notes, found.attrs) == (["n"], {"seconds": 0.1})


def test_what_jobs_return_arrives_as_it_was(tmp_path):
    layers = (LayerSummary("lstm", "LSTM", "2 inputs", 10, True),)
    summary = ModelSummary(
        "torch", "state dict", layers, (ExpectedInput("x", (None, 3), "float32"),), options={"a": ("b",)}
    )
    assert there_and_back(summary) == summary
    vocabulary = Vocabulary({"a": 1, "ü": 2}, unknown=0)
    assert there_and_back(vocabulary) == vocabulary
    scaling = there_and_back(Scaling(np.zeros(2), np.ones(2), ("a", "b")))
    assert scaling.features == ("a", "b")
    (tmp_path / "s.csv").write_text("time,a,b\n2020-01-01,1,2\n2020-01-02,3,\n")
    reading = read_file(tmp_path / "s.csv", Options(fill="zero"))
    found = there_and_back(reading)
    xr.testing.assert_identical(found.sequences, reading.sequences)
    assert (found.notes, found.fixes, found.columns) == (reading.notes, reading.fixes, reading.columns)


@pytest.mark.parametrize("kind", wire._ERRORS.values())
def test_every_error_arrives_as_it_was(kind):
    found = there_and_back(kind("what", where="where", hint="hint", fixes=(Fix("label", {"columns": ("a",)}),)))
    assert type(found) is kind
    assert (found.what, found.where, found.hint) == ("what", "where", "hint")
    assert found.fixes == (Fix("label", {"columns": ("a",)}),)


def test_errors_of_this_package_are_all_there():
    assert set(wire._ERRORS) == {
        k for k, v in vars(errors).items() if isinstance(v, type) and issubclass(v, ExplainError)
    }


def test_an_error_of_a_module_of_its_own_arrives_as_the_kind_that_everyone_knows():
    found = there_and_back(OtherNumberError("what", where="where", hint="hint"))
    assert type(found) is InputError
    assert (found.what, found.where, found.hint) == ("what", "where", "hint")


def test_a_text_that_is_none_arrives_as_one():
    assert there_and_back("a\udc80") == "a?"
    assert there_and_back(np.array(["a\udc80"])).tolist() == ["a?"]


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, np.array([1j]), [lambda: None], ValueError("x")],
)
def test_what_cannot_be_sent_is_named(value):
    with pytest.raises(TypeError, match="cannot be sent to the app"):
        encoded(value)


def test_a_value_larger_than_it_may_be_is_not_read():
    data = encoded(np.zeros(1000))
    assert decoded(data, most=8000).nbytes == 8000
    with pytest.raises(wire.WireError, match="arrays of 8,000 bytes"):
        decoded(data, most=7999)
    stream = io.BytesIO(encoded("x" * 1000))
    with pytest.raises(wire.WireError, match="head of"):
        wire.load(stream, most=100)
    assert stream.tell() == 8


def test_a_value_that_is_cut_off_is_an_end():
    data = encoded({"a": np.arange(10)})
    for length in range(len(data)):
        with pytest.raises(EOFError):
            decoded(data[:length])


@settings(max_examples=500, **SLOW)
@given(st.data())
def test_a_spoiled_value_is_a_value_or_an_error_of_this_format(data):
    table = pd.DataFrame({"a": ["x", None], "b": [1.5, 2.5]})
    array = xr.DataArray(np.arange(4.0).reshape(2, 2), dims=("a", "b"), coords={"a": ["u", "v"]})
    pieces = [
        bytes(piece) for piece in wire.dump({"t": table, "x": array, "s": (1, b"2"), "e": SequenceFileError("w")})
    ]
    head = json.loads(pieces[1])
    nodes = list(_nodes(head))
    holder, key = nodes[data.draw(st.integers(0, len(nodes) - 1))]
    odd = st.none() | st.integers() | st.text(max_size=5) | st.floats() | st.lists(st.integers(), max_size=3)
    holder[key] = data.draw(
        odd | st.sampled_from(["array", "object", "dataset", "|O8", "<U4", "V8", 2**70, -1, [[]], {}])
    )
    text = json.dumps(head).encode()
    with suppress(wire.WireError, EOFError):
        decoded(b"".join([len(text).to_bytes(8, "little"), text, *pieces[2:]]), most=10**6)


def _nodes(node):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield node, key
        yield from _nodes(inner)


def _table_of_one_label(label, rows):
    return pd.DataFrame({"a": pd.array([label] * rows, dtype="str")})


def test_a_small_answer_does_not_grow_in_the_app(monkeypatch):
    """One text in many rows, one array in many places, and numbers of one hash."""
    with pytest.raises(wire.WireError, match="tables of 200,000,000 characters"):
        encoded(_table_of_one_label("x" * 10**6, 200))
    monkeypatch.setattr(wire, "_MOST_TEXT", 10**9)
    data = encoded(_table_of_one_label("x" * 10**6, 200))
    monkeypatch.undo()
    with pytest.raises(wire.WireError, match="tables of 200,000,000 characters"):
        decoded(data)
    pieces = [bytes(piece) for piece in wire.dump([np.zeros(4), b"12345678"])]
    head = json.loads(pieces[1])
    head["value"][1]["at"] = 0
    text = json.dumps(head).encode()
    with pytest.raises(wire.WireError, match="KeyError"):
        decoded(b"".join([len(text).to_bytes(8, "little"), text, *pieces[2:]]))
    with pytest.raises(TypeError, match="key 5, which is no text"):
        encoded({5: 1})
    head = b'{"sizes":[],"value":{"k":"dict","items":[[5,1]]}}'
    with pytest.raises(wire.WireError, match="key 5"):
        decoded(len(head).to_bytes(8, "little") + head)
