"""What worker processes do for the pages on single steps and on both frameworks, which are imported inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from explain_core.diagnostics.one_step import steps_of
from explain_core.diagnostics.published import half
from explain_core.diagnostics.two_frameworks import Answers, answer, compare, write_plan
from explain_core.explain import explain
from explain_core.explanation import Explanation
from explain_core.jobs import FRAMEWORKS, Request, open_kept
from explain_core.methods.jobs import keep_tables
from explain_core.worker import Report


@dataclass(frozen=True)
class Process:
    """Says where a job runs that needs no model, as a `ModelSource` does for one that has one."""

    framework: str


def step_errors(report: Report, request: Request, layer: str, state: str, method: str, result: Path) -> pd.DataFrame:
    """The table of `steps` for one method, on the states in the explanation of the request in the file ``result``."""
    model = open_kept(report, request.model)
    return steps_of(
        _with_states(report, model, request, result),
        model,
        layer=layer,
        state=state,
        methods=(method,),
        progress=lambda fraction, message: report(0.05 + 0.9 * fraction, message),
    )


def _with_states(report: Report, model: Any, request: Request, result: Path) -> Explanation:
    """The saved explanation; over a background one against the mean of it, which is kept beside."""
    if not request.background:
        return Explanation.load(result)
    file = result.with_suffix(".mean")
    if not file.exists():
        report(0.05, "Running the model on the average of the baselines")
        explain(model, request.inputs, mean_baseline(request), request.target).save(file)
    return Explanation.load(file)


def published_half(report: Report, framework: str) -> dict[str, Any]:
    """One half of the published experiments; see `explain_core.diagnostics.published`."""
    report(0.1, f"Running the experiments on {FRAMEWORKS[framework]}")
    return half(framework)


def parity_own(report: Report, request: Request, plan_file: Path) -> tuple[Answers, str]:
    """The first half of `parity`, in the process of the model's framework; see `two_frameworks.write_plan`."""
    model = open_kept(report, request.model)
    report(0.3, f"Explaining in {FRAMEWORKS[model.framework]}")
    return write_plan(model, request.inputs, mean_baseline(request), request.target, plan_file)


def parity_other(
    report: Report, own: Answers, framework: str, other: str, plan_file: Path, result: Path
) -> pd.DataFrame:
    """The second half, in the process of the other framework: the table, which also goes into the explanation."""
    report(0.2, f"The same weights in {FRAMEWORKS[other]}")
    answers_file = plan_file.with_suffix(".answers.npz")
    answer(other, plan_file, answers_file)
    table = compare(own, answers_file, framework)
    keep_tables(report, {"parity": table}, result)
    return table


def mean_baseline(request: Request) -> Any:
    """The request's baseline; the mean of a background, since states have to be those of one run."""
    if not request.background:
        return request.baselines
    if isinstance(request.baselines, dict):
        return {name: _mean(values) for name, values in request.baselines.items()}
    return _mean(request.baselines)


def _mean(values: Any) -> Any:
    return values if isinstance(values, str) else np.asarray(values).mean(0, keepdims=True, dtype=np.float64)
