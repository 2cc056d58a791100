"""The jobs of the page "Where the error is made", for a worker process."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from explain_core.diagnostics.agreement import shap_agreement
from explain_core.diagnostics.cuts import conservation
from explain_core.diagnostics.ledgers import LEDGER_METHODS, audit_prepared
from explain_core.errors import ExplainError
from explain_core.explanation import Explanation
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import open_kept
from explain_core.preparation import prepare


@dataclass(frozen=True)
class Audit:
    """What came of one method.

    Attributes:
        explanation: of `audit`, with the table "conservation" in place of its gates; None where the method failed.
        message: what happened then, in words.
    """

    method: str
    explanation: Explanation | None = None
    message: str = ""


def audit_all(report: Report, request: Request) -> list[Audit]:
    """The ledger of every method; one that fails says why."""
    model = open_kept(report, request.model)
    report(0.05, "Reading the model")
    ready = prepare(
        model,
        request.inputs,
        request.baselines,
        request.target,
        **request.options,
        sample_by_sample=True,
    )
    found = []
    for i, method in enumerate(LEDGER_METHODS):
        start, size = 0.1 + 0.9 * i / len(LEDGER_METHODS), 0.9 / len(LEDGER_METHODS)
        report(start, f"Keeping the ledger of method {i + 1} of {len(LEDGER_METHODS)}")
        try:
            explanation = audit_prepared(
                ready, method, lambda f, m, start=start, size=size: report(start + size * f, m)
            )
        except ExplainError as error:
            found.append(Audit(method, message=str(error)))
            continue
        explanation.diagnostics["conservation"] = conservation(explanation)
        found.append(Audit(method, replace(explanation, gates={})))
    return found


def compare_with_shap(report: Report, request: Request, emulated: Explanation) -> dict:
    """Run the installed shap on the model, and compare: see `shap_agreement`; "message" where it fails."""
    report(0.1, "Running the installed shap on the same model")
    try:
        return shap_agreement(
            emulated,
            open_kept(report, request.model),
            request.inputs,
            request.baselines,
            request.target,
            **request.options,
        )
    except ExplainError as error:
        return {"message": str(error)}


def together(audits: list[Audit]) -> dict[str, pd.DataFrame]:
    """The tables of all methods with a column that says whose, as they are saved with an explanation."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for audit in audits:
        for name, table in (audit.explanation.diagnostics if audit.explanation else {}).items():
            parts.setdefault(name, []).append(table.assign(method=audit.method))
    names = {"ledger": "ledger", "totals": "ledger totals", "steps": "ledger steps", "conservation": "conservation"}
    return {names[name]: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
