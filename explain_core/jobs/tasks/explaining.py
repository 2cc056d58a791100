"""Explaining in a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from explain_core.explaining import explain as run
from explain_core.explanation import Explanation
from explain_core.explanation.joining import folded, joined, with_input_first, with_outputs
from explain_core.jobs.job import Report
from explain_core.jobs.tasks.opening import ModelSource, open_kept

_AT_ONCE = 16  # outputs that are explained together; progress is said after each block, and memory stays bounded
_MOST_WITH_GATES = 48  # outputs whose gates are kept: they take as much for each output as all else together


@dataclass(frozen=True)
class Request:
    """One explanation, as asked for on the page. See `explain_core.explain` for the meaning of each.

    Attributes:
        labels: names of the outputs that a list of targets chooses, one for each; None for the engine's own.
        main: of several inputs, the one that is to come first.
        fold: whether inputs with more axes than time and feature come back as sums over the others.
    """

    model: ModelSource
    inputs: xr.DataArray | np.ndarray | tuple[Any, ...] | dict[str, Any]
    baselines: Any
    target: Any
    background: bool = False
    backend: str = "auto"
    device: str = "auto"
    output_names: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    main: str = ""
    fold: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `explain_core.explain`, and of what is called like it, after the target."""
        return {
            "backend": self.backend,
            "device": self.device,
            "background": self.background,
            "output_names": None if self.output_names is None else list(self.output_names),
        }

    def of_output(self, position: int) -> Request:
        """The same for one of its outputs, for what takes one at a time."""
        if self.target is None:
            return replace(self, target=position)
        if isinstance(self.target, list):
            return replace(self, target=self.target[position], labels=None)
        return self


def explain(report: Report, request: Request) -> Explanation:
    """Explain, as `explain_core.explain` does; many outputs block after block."""
    model = open_kept(report, request.model)
    blocks = list(_blocks(request.target))
    gates = sum(len(block) if isinstance(block, list) else 1 for block in blocks) <= _MOST_WITH_GATES
    parts = []
    for i, block in enumerate(blocks):

        def say(fraction: float, message: str, i: int = i) -> None:
            of = f" (block {i + 1} of {len(blocks)} of the outputs)" if len(blocks) > 1 else ""
            report(0.05 + 0.9 * (i + fraction) / len(blocks), message + of)

        part = run(
            model,
            request.inputs,
            request.baselines,
            target=block,
            **request.options,
            keep_gates=gates,
            progress=say,
        )
        parts.append(folded(part) if request.fold else part)
    explanation = joined(parts)
    if request.labels is not None:
        explanation = with_outputs(explanation, request.labels)
    if not gates:
        explanation.notes.append(f"What the gates did is kept for up to {_MOST_WITH_GATES} outputs at a time.")
    explanation.notes.extend(model.notes)
    return with_input_first(explanation, request.main)


def _blocks(target: Any) -> Iterator[Any]:
    if not isinstance(target, list):
        yield target
        return
    for start in range(0, len(target), _AT_ONCE):
        yield target[start : start + _AT_ONCE]
