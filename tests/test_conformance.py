"""What captum, shap and tangermeme publish of DeepLIFT: rows that agree, and those that do not for a known reason."""

from __future__ import annotations

import pytest

from benchmarks.conformance.published import captum_part_rows, captum_rows, judge, shap_rows, tangermeme_rows

ROWS = [row for module in (captum_rows, captum_part_rows, shap_rows, tangermeme_rows) for row in module.ROWS]


@pytest.mark.parametrize("row", [row for row in ROWS if not row.reason], ids=lambda row: f"{row.source}-{row.test}")
def test_it_agrees(row):
    verdict = judge(row)
    assert verdict.word == "agrees", verdict


# One row for each reason.
EXPLAINED = {row.reason: row for row in ROWS if row.reason and row.run}


@pytest.mark.parametrize("row", EXPLAINED.values(), ids=lambda row: f"{row.source}-{row.test}")
def test_a_reason_is_given_only_where_it_does_not_agree(row):
    assert judge(row).word != "agrees"
