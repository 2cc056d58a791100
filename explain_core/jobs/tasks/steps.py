"""What worker processes do for the pages on single steps and on both frameworks, which are imported inside."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from explain_core.diagnostics.one_step import steps_of
from explain_core.diagnostics.published import half
from explain_core.diagnostics.two_frameworks import Answers, answer, compare, write_blueprint
from explain_core.explanation import Explanation
from explain_core.jobs.frameworks import FRAMEWORKS
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.explaining import Request
from explain_core.jobs.tasks.opening import open_kept


@dataclass(frozen=True)
class Process:
    """Says where a job runs that needs no model, as a `ModelSource` does for one that has one."""

    framework: str


def step_errors(
    report: Report, request: Request, explanation: Explanation, layer: str, state: str, method: str
) -> pd.DataFrame:
    """The table of `steps` for one method, on the states in ``explanation``, which is of the request against one
    baseline (`against_mean`)."""
    return steps_of(
        explanation,
        open_kept(report, request.model),
        layer=layer,
        state=state,
        methods=(method,),
        progress=lambda fraction, message: report(0.05 + 0.9 * fraction, message),
    )


def published_half(report: Report, framework: str) -> dict[str, Any]:
    """One half of the published experiments; see `explain_core.diagnostics.published`."""
    report(0.1, f"Running the experiments on {FRAMEWORKS[framework]}")
    return half(framework)


def parity_own(report: Report, request: Request) -> tuple[Answers, str, bytes]:
    """The first half of `parity`, in the process of the model's framework: see `two_frameworks.write_blueprint`. The
    blueprint is returned as well, for the other half."""
    model = open_kept(report, request.model)
    report(0.3, f"Explaining in {FRAMEWORKS[model.framework]}")
    with tempfile.TemporaryDirectory() as folder:
        blueprint_file = Path(folder) / "blueprint.npz"
        own, framework = write_blueprint(model, request.inputs, mean_baseline(request), request.target, blueprint_file)
        return own, framework, blueprint_file.read_bytes()


def parity_other(report: Report, own: Answers, framework: str, other: str, blueprint: bytes) -> pd.DataFrame:
    """The second half, in the process of the other framework: the table."""
    report(0.2, f"The same weights in {FRAMEWORKS[other]}")
    with tempfile.TemporaryDirectory() as folder:
        blueprint_file, answers_file = Path(folder) / "blueprint.npz", Path(folder) / "answers.npz"
        blueprint_file.write_bytes(blueprint)
        answer(other, blueprint_file, answers_file)
        return compare(own, answers_file, framework)


def against_mean(request: Request) -> Request:
    """The request with one baseline in place of a background: states have to be those of one run."""
    return replace(request, baselines=mean_baseline(request), background=False, output_names=None)


def mean_baseline(request: Request) -> Any:
    """The request's baseline; the mean of a background, since states have to be those of one run."""
    if not request.background:
        return request.baselines
    if isinstance(request.baselines, dict):
        return {name: _mean(values) for name, values in request.baselines.items()}
    return _mean(request.baselines)


def _mean(values: Any) -> Any:
    return values if isinstance(values, str) else np.asarray(values).mean(0, keepdims=True, dtype=np.float64)
