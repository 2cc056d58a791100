"""What a file carries of an explanation whatever it is called, and paths and values that it cannot have."""

import warnings

import numpy as np
import pandas as pd
import pytest
from test_explanation import small

from explain_core.errors import ExplanationFileError
from explain_core.explanation import Explanation
from explain_core.explanation.build import LabelledInput, build_explanation

ODD = ["km/h", "", "a\0b", "a b", ".", " ", "name_0", "line\n", "\ud800", "/"]
"""Names and labels that HDF5, NetCDF or xarray change, refuse or read as something else."""


def named(axis, feature="a", extra="more"):
    values = np.arange(12.0).reshape(2, 3, 2)
    more = {extra: (("sample",), np.array([1, 2]))}
    item = LabelledInput(
        "x\0", values, 0 * values, values[None], (axis, "feature"), {"feature": [feature, "z"]}, along=more
    )
    return build_explanation(
        [item], values.sum((1, 2))[:, None], np.zeros((2, 1)), output_labels=["y"], keep_output=False
    )


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("place", ["axis", "feature", "extra"])
def test_names_that_netcdf_does_not_carry_come_back(tmp_path, name, place):
    ex = named(**{"axis": "step", place: name})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ex.save(tmp_path / "a.nc")
    back = Explanation.load(tmp_path / "a.nc")
    for one, other in ((ex.attributions, back.attributions), (ex.inputs, back.inputs)):
        assert one.identical(other)
    assert back.input_names == ["x\0"]


def test_several_odd_names_in_one_file_stay_apart(tmp_path):
    ex = named("km/h", "\0", "name_0")
    ex.save(tmp_path / "a.nc")
    assert Explanation.load(tmp_path / "a.nc").attributions.identical(ex.attributions)


@pytest.mark.parametrize("path", [None, 3, "", "folder", "no/a.nc", "x" * 300])
def test_paths_that_are_none_of_a_file_are_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExplanationFileError) as error:
        small().save(path)
    assert error.value.hint
    with pytest.raises(ExplanationFileError):
        Explanation.load(path)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_name_as_long_as_the_file_system_takes_is_one(tmp_path):
    small().save(tmp_path / f"{'x' * 252}.nc")
    Explanation.load(tmp_path / f"{'x' * 252}.nc")


def test_what_a_file_cannot_keep_is_named(tmp_path):
    ex = small()
    ex.attrs["mine"] = object()
    with pytest.raises(ExplanationFileError, match="cannot keep attrs"):
        ex.save(tmp_path / "a.nc")
    ex = small()
    ex.diagnostics["own"] = pd.DataFrame({"what": [object()]})
    with pytest.raises(ExplanationFileError, match="cannot keep the table 'own'"):
        ex.save(tmp_path / "a.nc")


def test_tables_about_dates_come_back(tmp_path):
    ex, day = small(), pd.Timestamp("2024-01-01")
    ex.diagnostics["ledger"] = table = pd.DataFrame({"sample": [day], "mixed": pd.Series([day], dtype=object)})
    table.attrs = {"totals": [{"sample": day, "count": np.int64(3), "took": pd.Timedelta(1, "h")}]}
    ex.save(tmp_path / "a.nc")
    back = Explanation.load(tmp_path / "a.nc").diagnostics["ledger"]
    assert back.attrs == table.attrs
    assert back["mixed"].tolist() == [day]
