"""What a worker process does for the page that compares methods. Frameworks are imported inside, with the model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from filelock import FileLock

from explain_core.diagnostics.comparison import MethodResult, run_method
from explain_core.diagnostics.horizons import cut_sequence, horizon_of
from explain_core.explanation import Explanation
from explain_core.jobs import Request, open_kept
from explain_core.worker import Report


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


def keep_tables(report: Report, tables: dict[str, pd.DataFrame], result: Path) -> None:
    """Put tables into the saved explanation, if there is one, so that they go with it.

    The processes of two frameworks may do so at the same moment. The second waits until the first has written, since
    it would put back the file without the first one's table otherwise.
    """
    report(0.9, "Writing the tables into the result")
    with FileLock(result.with_suffix(".lock")):
        if result.exists():
            explanation = Explanation.load(result)
            explanation.diagnostics |= tables
            explanation.save(result)
