"""Methods side by side on the same sequence: what each says, whether it adds up, and whether the model agrees."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from explain_core.diagnostics.faithfulness import areas, curves_of
from explain_core.errors import ExplainError
from explain_core.explanation import Explanation, by_name
from explain_core.explanation.tables import whole_table
from explain_core.methods.registry import method_of
from explain_core.methods.relevance import TABLE as ABSORBED
from explain_core.methods.run import explain_with
from explain_core.preparation import prepare

Progress = Callable[[float, str], None]

DEFAULT = ("pairlift", "deep_explainer", "deep_lift", "gradient_difference", "integrated_gradients", "gradient_shap")
"""Methods that run the model at most a few hundred times."""


@dataclass
class MethodResult:
    """What one method did: its explanation and the curves that go with it, or in ``message`` why there is none."""

    method: str
    explanation: Explanation | None = None
    curves: pd.DataFrame | None = None
    seconds: float = 0.0
    message: str = ""

    @property
    def name(self) -> str:
        return method_of(self.method).name

    def row(self) -> dict[str, Any]:
        """A row of `Comparison.table`, without the agreement; of several samples and outputs the worst."""
        row: dict[str, Any] = {
            "method": self.method,
            "name": self.name,
            "adds_up": None,
            "error": np.nan,
            "relative_error": np.nan,
            "deletion": np.nan,
            "insertion": np.nan,
            "seconds": self.seconds,
            "library": "",
            "message": self.message,
        }
        found = self.explanation
        if found is None:
            return row
        residual = found.residual.values
        worst = np.unravel_index(np.abs(residual).argmax(), residual.shape)
        moved = found.prediction.values - found.baseline_prediction.values
        area = areas(self.curves).mean() if self.curves is not None else {}
        all_samples, all_outputs = range(residual.shape[0]), range(residual.shape[1])
        return row | {
            "adds_up": all(found.adds_up(found.samples[n], found.outputs[k]) for n in all_samples for k in all_outputs),
            "error": float(residual[worst]),
            "relative_error": float(np.abs(residual).max() / np.abs(moved).max()) if moved.any() else np.nan,
            "deletion": float(area.get("deletion", np.nan)),
            "insertion": float(area.get("insertion", np.nan)),
            "library": found.attrs["library"],
        }


@dataclass
class Comparison:
    """Results of several methods on the same model, inputs and baselines."""

    results: list[MethodResult] = field(default_factory=list)

    @property
    def explanations(self) -> dict[str, Explanation]:
        """By method, of those that gave one."""
        return {result.method: result.explanation for result in self.results if result.explanation is not None}

    @property
    def table(self) -> pd.DataFrame:
        """One row a method, also where it failed.

        Columns: method, name, adds_up (whether rounding explains what is missing), error (what the attributions have
        too much, at worst), relative_error (its size over the difference of the predictions), agreement (Spearman's
        rank correlation with the first method), deletion and insertion (areas, see `faithfulness.areas`), seconds,
        library, message (what happened, where there is no result).
        """
        table = pd.DataFrame([result.row() for result in self.results])
        ranks = self.agreement()
        first = ranks.columns[0] if len(ranks) else None
        agreement = [ranks[first].get(result.method, np.nan) if first else np.nan for result in self.results]
        table.insert(table.columns.get_loc("relative_error") + 1, "agreement", agreement)
        return table

    def agreement(self, kind: str = "spearman") -> pd.DataFrame:
        """Rank correlation of the attributions of every two methods, (method, method); ``kind`` may be "kendall".

        Both go by the signed values. A method whose attributions are all the same has NaN.
        """
        flat = {
            method: np.concatenate([part.values.ravel() for part in by_name(explanation.attributions).values()])
            for method, explanation in self.explanations.items()
        }
        return pd.DataFrame(flat).corr(method=kind)

    @property
    def curves(self) -> pd.DataFrame:
        """Deletion and insertion curves of all methods, with a column ``method``; see `faithfulness_curves`."""
        found = [result.curves.assign(method=result.method) for result in self.results if result.curves is not None]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    @property
    def attributions(self) -> pd.DataFrame:
        """Attributions side by side: a row for each value, as `Explanation.to_dataframe` has it, a column a method."""
        found = {method: whole_table(explanation) for method, explanation in self.explanations.items()}
        if not found:
            return pd.DataFrame()
        whole = next(iter(found.values()))[0].drop(columns=["attribution", "share"])
        whole = whole.assign(**{method: table["attribution"].to_numpy() for method, (table, _) in found.items()})
        return whole[np.any([shown for _, shown in found.values()], axis=0)].reset_index(drop=True)

    @property
    def absorbed(self) -> pd.DataFrame:
        """What relevance propagation lost to biases and ε, see `methods.relevance.booked`; empty without it."""
        found = self.explanations.get("lrp")
        return pd.DataFrame() if found is None else found.diagnostics[ABSORBED]

    def tables(self) -> dict[str, pd.DataFrame]:
        """All of it, as `Explanation.diagnostics` takes it."""
        found = {
            "methods": self.table,
            "methods_agreement": self.agreement().rename_axis("method").reset_index(),
            "methods_curves": self.curves,
            "methods_attributions": self.attributions,
            "methods_absorbed": self.absorbed,
        }
        return {name: table for name, table in found.items() if len(table)}


def compare(
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = None,
    methods: Sequence[str] = DEFAULT,
    *,
    faithful: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Comparison:
    """Explain by several methods.

    Args:
        model, inputs, baselines, target, options: as in `explain_core.explain`.
        methods: ids of `explain_core.methods.METHODS`; the first is what the others are compared with.
        faithful: also the deletion and insertion curves.
        progress: called with the fraction done and what is being done.

    Returns:
        A method that fails has a row that says of what.

    Raises:
        InputError: there is no such method.
    """
    for method in methods:
        method_of(method)
    say = progress or (lambda fraction, message: None)
    results = []
    for number, method in enumerate(methods):
        say(number / len(methods), method_of(method).name)
        results.append(run_method(method, model, inputs, baselines, target, faithful=faithful, **options))
    say(1.0, "Done")
    return Comparison(results)


def run_method(
    method: str,
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = None,
    *,
    faithful: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> MethodResult:
    """One method of `compare`."""
    started = time.perf_counter()
    try:
        found = explain_with(method, model, inputs, baselines, target, progress=progress, **options)
    except ExplainError as error:
        return MethodResult(method, seconds=time.perf_counter() - started, message=in_one_line(error))
    seconds = time.perf_counter() - started
    curves = curves_of(prepare(model, inputs, baselines, target, **options), found) if faithful else None
    return MethodResult(method, found, curves, seconds)


def in_one_line(error: ExplainError) -> str:
    """What an error says, without the hint."""
    where = f" ({error.where})" if error.where else ""
    return f"{error.what.rstrip('.')}{where}."
