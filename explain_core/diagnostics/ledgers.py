"""The error ledger: where in a model a method's attributions lose or gain what they miss of the prediction difference.

A method gives every value in the model a multiplier. For a node with one result and some inputs, its *defect* is

    d = m_out · Δout - Σ m_in · Δin

with Δ the difference between the run on the sample and the run on the baseline. Summed over the whole model, everything
but the two ends cancels: ``Σ d = (f(x) - f(b)) - Σ φ``. The error of a method is thus an exact sum over the
places where it was made. See docs/diagnostics.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from explain_core.backends.protocol import METHODS as LEDGER_METHODS
from explain_core.backends.protocol import LayerDefects, LedgerTrace
from explain_core.errors import InputError, MethodError
from explain_core.explanation import Explanation, by_name, own_steps
from explain_core.explanation.build import time_labels
from explain_core.preparation import Prepared, prepare
from explain_core.preparation.rows import attribute_rows

Progress = Callable[[float, str], None]

TITLES = {
    "paired": "PairLift",
    "gradient": "Gradient × difference",
    "shap": "shap DeepExplainer",
    "rescale-only": "Rescale rule without a product rule",
}
"""Names of the methods for people."""

MEANINGS = {
    "paired": "Difference quotients and midpoints over both runs: the rules of this program.",
    "gradient": "The derivative of the model at the sample, times the difference from the baseline.",
    "shap": "What shap's DeepExplainer does on PyTorch: the derivative at the baseline, times the difference; only "
    "inside activation modules such as nn.ReLU, the difference quotient.",
    "rescale-only": "The difference quotient for every activation, and for every product the derivative at the sample, "
    "as in a cell written out by hand with activation modules.",
}
"""What each method does, in one sentence."""


def ledger(
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = 0,
    method: str = "gradient",
    device: str = "auto",
    precision: str | None = None,
    *,
    background: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Where a method's attributions lose or gain what they miss of the prediction difference.

    Args:
        model, inputs, baselines, target, device, precision, background: as in `explain_core.explain`. Over a
            background of baselines every defect is the mean over them.
        method: "paired" (this program), "gradient" (derivatives at the sample), "shap" (what shap's DeepExplainer
            does on PyTorch: derivatives at the baseline) or "rescale-only" (no rule for products).
        progress: called with the fraction done and what is being done.
        options: ``sample_axis``, ``output_names`` and ``backend`` of `explain_core.explain`.

    Returns:
        A row for every sample, recurrent layer, timestep and part, and for every other operation. Timesteps of padding
        after a sample's end, where its length is known and no part has an entry, have no rows. Columns: sample,
        (output, with several,) layer, time, part, defect, the last in the unit of the output. Outside recurrent
        layers ``layer`` is a module path, ``part`` the operation, and ``time`` empty. The defects of a sample and
        output add up to ``error`` in ``attrs["totals"]``, a list of records like `totals`.

    Raises:
        MethodError: the method does not exist for this model; says why.
        ExplainError: as `explain_core.explain` raises.
    """
    shared: dict[str, Any] = {
        "device": device,
        "precision": precision,
        "background": background,
        "progress": progress,
        **options,
    }
    return audit(model, inputs, baselines, target, method, **shared).diagnostics["ledger"]


def audit(
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = 0,
    method: str = "gradient",
    *,
    backend: str = "auto",
    device: str = "auto",
    background: bool = False,
    precision: str | None = None,
    sample_axis: Any = 0,
    output_names: list[str] | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """A method's attributions, with its ledger.

    The arguments are those of `ledger`.

    Returns:
        The attributions and gates as that method has them, nothing scaled or refused, and as ``diagnostics``

        - "ledger": see `ledger`;
        - "steps": sample, (output,) layer, time, multiplier (the norm of the states' multipliers after each step),
          change (that of the states' difference) and backwards (whether the layer reads time backwards);
        - "totals": sample, output, prediction, baseline_prediction, difference, attributed, error, booked (the sum of
          the ledger).
    """
    started = time.perf_counter()
    say = progress or (lambda fraction, message: None)
    if method not in LEDGER_METHODS:
        raise InputError(f"There is no ledger of {method!r}.", hint=f"Choose one of {', '.join(LEDGER_METHODS)}.")
    say(0.0, "Reading the model")
    ready = prepare(
        model,
        inputs,
        baselines,
        target,
        backend=backend,
        device=device,
        background=background,
        precision=precision,
        sample_axis=sample_axis,
        output_names=output_names,
        sample_by_sample=True,
    )
    found = audit_prepared(ready, method, lambda fraction, message: say(0.1 + 0.9 * fraction, message))
    found.attrs["seconds"] = time.perf_counter() - started
    return found


def audit_prepared(ready: Prepared, method: str, say: Progress) -> Explanation:
    """`audit` on a model that was prepared ``sample_by_sample``; further methods then need not prepare it again."""
    started = time.perf_counter()
    _require_method(ready, method)
    result = attribute_rows(
        ready.runner, ready.plan, ready.targets, True, False, lambda f, m: say(0.9 * f, m), ledger=method
    )
    ledger = result.ledger
    assert ledger is not None  # it was asked for
    say(0.9, "Writing the ledger")
    found = ready.label(result, {"method": TITLES[method], "ledger_method": method}, started)
    labels = _Labels(found, ready.keep_output)
    times = {name: _times(layer, found.gates.get(name), found) for name, layer in ledger.layers.items()}
    defects = labels.table(_defects(ledger, times), ["layer", "time", "part", "defect"])
    sums = _totals(found, ledger)
    defects.attrs = {"method": method, "dtype": ready.runner.dtype, "totals": sums.to_dict("records")}
    steps = labels.table(_steps(ledger, times), ["layer", "time", "multiplier", "change", "backwards"])
    steps.attrs = {"method": method}
    found.diagnostics = {"ledger": defects, "steps": steps, "totals": sums}
    say(1.0, "Done")
    return found


def _require_method(ready: Prepared, method: str) -> None:
    if method != "shap":
        return
    if ready.framework != "torch":
        raise MethodError(
            "shap's gradient fallback is that of its explainer for PyTorch; for TensorFlow shap has another, which "
            "stops at recurrent layers instead.",
            hint="The other methods have ledgers for this model.",
        )
    leaves = zip(ready.arguments.names, ready.arguments.leaves, ready.runner.explained, strict=True)
    for name, leaf, explained in leaves:
        if explained and leaf.dtype.kind != "f":
            raise MethodError(
                "shap's explainer for PyTorch takes floats only, and here token ids are explained.",
                where=name,
                hint="The other methods have ledgers for this model.",
            )


class _Labels:
    """Long tables from arrays (K, N, ...), labelled as the explanation is."""

    def __init__(self, explanation: Explanation, keep_output: bool) -> None:
        self._samples = explanation.samples
        self._outputs = explanation.outputs
        self._keep_output = keep_output

    def table(self, blocks: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
        """Long form.

        Blocks have lists of one length, and arrays (K, N, length) for what differs by output and sample; "own" (N,)
        is how many of them each sample has.
        """
        parts = []
        for k, output in enumerate(self._outputs):
            for n, sample in enumerate(self._samples):
                for block in blocks:
                    own = slice(0, None if block["own"] is None else block["own"][n])
                    chosen = {
                        key: v[k, n, own] if isinstance(v, np.ndarray) else v[own] if isinstance(v, list) else v
                        for key, v in block.items()
                        if key != "own"
                    }
                    head = {"sample": sample, **({"output": output} if self._keep_output else {})}
                    parts.append(pd.DataFrame({**head, **chosen}))
        names = ["sample", *(["output"] if self._keep_output else []), *columns]
        if not parts:
            return pd.DataFrame(columns=names)
        return pd.concat(parts, ignore_index=True)[names]


@dataclass(frozen=True)
class _Times:
    """Labels of a layer's timesteps, and how many of them are each sample's own."""

    labels: list[Any]
    own: list[int]


def _times(layer: LayerDefects, gates: xr.Dataset | None, explanation: Explanation) -> _Times:
    """A timestep is a sample's own if it is no padding after its end, or if a part has an entry there all the same."""
    samples, steps = layer.defect.shape[1:3]
    booked = (layer.defect != 0).any((0, 3))  # (N, T)
    last = np.where(booked.any(1), steps - booked[:, ::-1].argmax(1), 0).astype(int)
    if gates is not None:
        own = [own_steps(gates.isel(sample=n)) for n in range(samples)]
        return _Times(list(gates["time"].values), np.maximum(own, last).tolist())
    known = time_labels(by_name(explanation.attributions), steps)
    own = known["length"].values if "length" in known else np.full(samples, steps)
    return _Times(list(np.asarray(known["time"])), np.maximum(np.maximum(own, last), 1).tolist())


def _defects(ledger: LedgerTrace, times: dict[str, _Times]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    kinds = {np.asarray(found.labels).dtype.kind for found in times.values()}
    no_time = np.datetime64("NaT") if kinds == {"M"} else None if "U" in kinds or "M" in kinds else np.nan
    for name, layer in ledger.layers.items():
        whose = {"layer": name, "time": times[name].labels, "own": times[name].own}
        for p, part in enumerate(layer.parts):
            blocks.append({**whose, "part": part, "defect": layer.defect[..., p]})
    for (where, operation), defect in ledger.nodes.items():
        node = {"layer": where, "time": [no_time], "part": operation, "defect": defect[..., None]}
        blocks.append({**node, "own": None})
    return blocks


def _steps(ledger: LedgerTrace, times: dict[str, _Times]) -> list[dict[str, Any]]:
    return [
        {
            "layer": name,
            "time": times[name].labels,
            "multiplier": layer.multiplier,
            "change": layer.change,
            "backwards": layer.backwards,
            "own": times[name].own,
        }
        for name, layer in ledger.layers.items()
    ]


def _totals(explanation: Explanation, ledger: LedgerTrace) -> pd.DataFrame:
    booked = sum(ledger.nodes.values()) + sum(layer.defect.sum((2, 3)) for layer in ledger.layers.values())
    booked = np.broadcast_to(booked, (len(explanation.outputs), len(explanation.samples)))
    prediction, baseline = (
        v.values.astype(np.float64) for v in (explanation.prediction, explanation.baseline_prediction)
    )
    error = -explanation.residual.values
    rows = []
    for n, sample in enumerate(explanation.samples):
        for k, output in enumerate(explanation.outputs):
            difference = prediction[n, k] - baseline[n, k]
            rows.append(
                {
                    "sample": sample.item() if isinstance(sample, np.generic) else sample,
                    "output": output,
                    "prediction": prediction[n, k],
                    "baseline_prediction": baseline[n, k],
                    "difference": difference,
                    "attributed": difference - error[n, k],
                    "error": error[n, k],
                    "booked": booked[k, n],
                }
            )
    return pd.DataFrame(rows)
