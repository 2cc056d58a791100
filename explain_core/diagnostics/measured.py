"""One method on one little model: what its attributions sum to, and what they should."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from explain_core.errors import ExplainError
from explain_core.explanation import Explanation
from explain_core.methods import explain_with

#: The methods that are compared where one step is set beside the sequence: ids of `explain_core.methods.METHODS`.
STEP_METHODS = ("pairlift", "gradient_difference", "deep_explainer", "deep_lift")


@dataclass(frozen=True)
class Measured:
    """Sums over every value and output for each row (N,), or, with nan, why there are none."""

    attributed: np.ndarray
    expected: np.ndarray
    size: int  # attributions for each row and output
    outputs: int
    seconds: float
    says: str = ""  # what stopped it, or what it warned of
    explanation: Explanation | None = None

    @property
    def error(self) -> np.ndarray:
        """Its size, for each row (N,)."""
        return np.abs(self.attributed - self.expected)


def measure(method: str, model: Any, inputs: np.ndarray, baselines: np.ndarray, **options: Any) -> Measured:
    """Run one method; a method that fails is a result that says why.

    Args:
        inputs, baselines: (N, ...), each input with its own baseline.
        options: of `explain_core.methods.explain_with`.
    """
    started = time.perf_counter()
    try:
        found = explain_with(method, model, inputs, baselines, device="cpu", **options)
    except ExplainError as error:
        nothing = np.full(len(inputs), np.nan)
        return Measured(nothing, nothing, 0, 0, time.perf_counter() - started, _in_one_line(error))
    difference = (found.prediction.astype(np.float64) - found.baseline_prediction).sum("output").values
    attributed = difference + found.residual.sum("output").values
    says = "; ".join(found.notes)
    size = int(np.prod(inputs.shape[1:]))
    return Measured(attributed, difference, size, len(found.outputs), time.perf_counter() - started, says, found)


def _in_one_line(error: ExplainError) -> str:
    where = f" ({error.where})" if error.where else ""
    return f"{error.what.rstrip('.')}{where}."
