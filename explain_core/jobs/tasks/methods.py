"""What a worker process does for the page that compares methods. Frameworks are imported inside, with the model."""

from __future__ import annotations

import pandas as pd

from explain_core.diagnostics.comparison import MethodResult, run_method
from explain_core.diagnostics.horizons import cut_sequence, horizon_of
from explain_core.explanation import Explanation
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import open_kept

_ABOUT = ("output", "layer", "state")
"""Columns that say what a row is about, of which a person may look at one after the other."""


def one_method(report: Report, request: Request, method: str) -> MethodResult:
    """One method on the request, which has one target; a method that fails is a result that says why."""
    model = open_kept(report, request.model)
    return run_method(
        method,
        model,
        request.inputs,
        request.baselines,
        request.target,
        progress=lambda fraction, message: report(0.05 + 0.9 * fraction, message),
        **request.options,
    )


def one_horizon(report: Report, request: Request, method: str) -> pd.DataFrame:
    """The horizon curve of one method."""
    model = open_kept(report, request.model)
    cut = cut_sequence(model, request.inputs, request.baselines, request.target, **request.options)
    return horizon_of(cut, method, lambda fraction, message: report(0.05 + 0.9 * fraction, message))


def add_tables(explanation: Explanation, tables: dict[str, pd.DataFrame]) -> None:
    """Put tables into an explanation, beside rows about other outputs, layers or states in tables of the same names."""
    for name, table in tables.items():
        before = explanation.diagnostics.get(name)
        about = [column for column in _ABOUT if column in table]
        if before is not None and about and about == [column for column in _ABOUT if column in before]:
            found = set(table[about].itertuples(index=False, name=None))
            others = before[[row not in found for row in before[about].itertuples(index=False, name=None)]]
            attrs, table = table.attrs, pd.concat([others, table], ignore_index=True)
            table.attrs = attrs
        explanation.diagnostics[name] = table


def of_output(tables: dict[str, pd.DataFrame], output: str) -> dict[str, pd.DataFrame]:
    """Tables that all say which output they are of, in the words of the explanation that they go into."""
    return {
        name: table.assign(output=output)[["output", *(column for column in table if column != "output")]]
        for name, table in tables.items()
    }
