"""Explaining in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from explain_core.backends.protocol import ModelOutput
from explain_core.explain import explain as run
from explain_core.explanation import Explanation
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.opening import ModelSource, open_kept
from explain_core.preparation import open_on


@dataclass(frozen=True)
class Request:
    """One explanation, as asked for on the page. See `explain_core.explain` for the meaning of each."""

    model: ModelSource
    inputs: xr.DataArray | np.ndarray | tuple[Any, ...] | dict[str, Any]
    baselines: Any
    target: Any
    background: bool = False
    backend: str = "auto"
    device: str = "auto"
    output_names: tuple[str, ...] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `explain_core.explain`, and of what is called like it, after the target."""
        return {
            "backend": self.backend,
            "device": self.device,
            "background": self.background,
            "output_names": None if self.output_names is None else list(self.output_names),
        }


def try_out(report: Report, source: ModelSource, inputs: Any) -> tuple[ModelOutput, ...]:
    """Run the model once and say what it returns, so that an output can be chosen before explaining."""
    model = open_kept(report, source)
    report(0.3, "Trying the model on the sequence")
    return open_on(model, inputs, device="cpu")[2].outputs


def explain(report: Report, request: Request) -> Explanation:
    """Explain, as `explain_core.explain` does."""
    model = open_kept(report, request.model)
    explanation = run(
        model,
        request.inputs,
        request.baselines,
        target=request.target,
        **request.options,
        progress=lambda fraction, message: report(0.05 + 0.9 * fraction, message),
    )
    explanation.notes.extend(model.notes)
    return explanation
