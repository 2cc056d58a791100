"""What shap publishes of DeepLIFT on TensorFlow."""

from __future__ import annotations

import pytest

from benchmarks.conformance.published import judge, shap_tensorflow_rows


@pytest.mark.parametrize("row", shap_tensorflow_rows.ROWS, ids=lambda row: row.test)
def test_it_agrees(row):
    verdict = judge(row)
    assert verdict.word == "agrees", verdict
