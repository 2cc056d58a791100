"""CSV files hold no formulas, and are otherwise the tables that they were made of."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ui.csv_file import as_text, csv_bytes

FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+9)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    "\u00a0=1+1",
    "\u3000=1+1",
    "\u200b=1+1",
    "\ufeff=1+1",
    "\x00=1+1",
    "＝1+1",
    "＋1+1",
    "－1+1",
    "＠SUM(1)",
    "﹦1+1",
    '=HYPERLINK("https://example.org?"&A1,"Click")',
    "- 1",
    "-",
]
PARTS = ["speed;=1+1", "speed,=1+1", "speed\t=1+1", "speed\n=1+1", "speed\r=1+1", "speed; @SUM(1)"]
HARMLESS = ["speed", "a = b", "x-y", "m@n", "1 + 1", "−0.5", "'=1", "", "a;b", "Größe"]
NUMBERS = ["-0.5", "+1", "-1e-7", "-.5", "1."]


def rows_of(data, separator=","):
    return list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=separator))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_a_formula_begins_with_an_apostrophe(text):
    names, cells = rows_of(csv_bytes(pd.DataFrame({text: [text], "other": [1.0]})))
    assert names[1] == "other"
    assert cells[1] == "1.0"
    for cell in (names[0], cells[0]):
        assert cell.startswith("'")
        assert cell.replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize("text", PARTS)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_cell_begins_a_formula_for_a_reader_of_other_separators(text, separator):
    data = csv_bytes(pd.DataFrame({"x": [1.5], text: [text]}))
    for row in rows_of(data, separator):
        for cell in row:
            assert not re.match(r"\s*[=+@-]", cell)


@pytest.mark.parametrize("text", [*HARMLESS, *NUMBERS])
def test_other_texts_stay_as_they_are(text):
    assert as_text(text) == text


def test_numbers_and_times_stay_numbers_and_times():
    table = pd.DataFrame(
        {
            "float": [-0.5, np.nan],
            "whole": [-3, 4],
            "mixed": [-0.5, "=1"],
            "flag": [True, False],
            "time": pd.to_datetime(["2024-01-01", "2024-01-02"]),
            "kind": pd.Categorical(["-a", "b"]),
        }
    )
    rows = rows_of(csv_bytes(table))
    assert rows[1] == ["-0.5", "-3", "-0.5", "True", "2024-01-01", "'-a"]
    assert rows[2] == ["", "4", "'=1", "False", "2024-01-02", "b"]


def test_the_table_itself_is_not_changed():
    table = pd.DataFrame({"=a": ["=1"]})
    csv_bytes(table)
    assert table.to_dict("list") == {"=a": ["=1"]}


def test_two_columns_of_one_name_and_texts_that_are_no_text():
    table = pd.DataFrame([["=1", "\ud800"]], columns=["x", "x"], dtype=object)
    assert rows_of(csv_bytes(table)) == [["x", "x"], ["'=1", "?"]]


def test_every_csv_file_of_the_app_is_made_in_one_place():
    root = Path(__file__).parents[1]
    found = [path for place in ("ui", "pages") for path in (root / place).glob("*.py") if "to_csv" in path.read_text()]
    assert [path.name for path in found] == ["csv_file.py"]
    assert "disableDataExport = true" in (root / ".streamlit" / "config.toml").read_text()
