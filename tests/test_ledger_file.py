"""Tables of diagnostics travel with the explanation: saved, loaded, and selected with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from torch import nn

import explain_core as xc
from explain_core.errors import ExplanationFileError
from explain_core.explanation.table_file import from_table
from explain_core.jobs.tasks.methods import add_tables, of_output


@pytest.fixture(scope="module")
def explanation() -> xc.Explanation:
    return xc.explain(nn.Linear(3, 2), np.ones((3, 3), np.float32))


def table() -> pd.DataFrame:
    made = pd.DataFrame(
        {
            "sample": [0, 1, 2, 2],
            "time": ["2020-01", 3, None, None],
            "layer": ["a/b", "c", "é", "c"],
            "exact": [True, False, True, False],
            "defect": [1.5, np.nan, np.inf, -0.0],
            "when": pd.to_datetime(["2020-01-01", None, "2020-01-02", "2020-01-03"]),
        }
    )
    made.attrs = {"total": 0.1, "methods": ["shap"]}
    return made


def test_tables_come_back_as_they_were(explanation, tmp_path):
    explanation.diagnostics = {"ledger": table(), "nothing/yet": table()[:0], "none": pd.DataFrame()}
    explanation.save(tmp_path / "run.nc")
    found = xc.Explanation.load(tmp_path / "run.nc").diagnostics
    assert list(found) == ["ledger", "nothing/yet", "none"]
    pd.testing.assert_frame_equal(found["ledger"], table())
    assert found["ledger"].attrs == table().attrs
    assert list(found["nothing/yet"].columns) == list(table().columns)
    assert len(found["none"]) == 0


def test_a_selection_keeps_the_rows_of_its_samples(explanation):
    explanation.diagnostics = {"ledger": table()}
    assert explanation.sel(sample=2).diagnostics["ledger"]["layer"].tolist() == ["é", "c"]
    assert len(explanation.sel(output=0).diagnostics["ledger"]) == 4


def test_a_file_with_a_row_that_points_nowhere_is_refused(explanation, tmp_path, monkeypatch):
    def damaged(given):
        made = from_table(given)
        return made.assign(column_2=made["column_2"] + 9)

    explanation.diagnostics = {"ledger": table()}
    monkeypatch.setattr("explain_core.explanation.file.from_table", damaged)
    explanation.save(tmp_path / "run.nc")
    with pytest.raises(ExplanationFileError, match="damaged"):
        xc.Explanation.load(tmp_path / "run.nc")


def test_tables_of_another_output_or_layer_stand_beside_those_before(explanation):
    def ledger(defects: list[float]) -> dict[str, pd.DataFrame]:
        return {"ledger": pd.DataFrame({"layer": ["a", "b"], "defect": defects})}

    explanation.diagnostics = {}
    for output, defects in (("0", [1.0, 2.0]), ("1", [3.0, 4.0]), ("0", [5.0, 6.0])):
        add_tables(explanation, of_output(ledger(defects), output))
    found = explanation.diagnostics["ledger"]
    assert list(found.columns) == ["output", "layer", "defect"]
    assert found["output"].tolist() == ["1", "1", "0", "0"]
    assert found["defect"].tolist() == [3.0, 4.0, 5.0, 6.0]
    assert explanation.sel(output="1").diagnostics["ledger"]["defect"].tolist() == [3.0, 4.0]
    add_tables(explanation, {"ledger": table()})  # of another form altogether
    pd.testing.assert_frame_equal(explanation.diagnostics["ledger"], table())
