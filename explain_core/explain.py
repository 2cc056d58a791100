"""`explain`: from a model and its inputs to an `Explanation`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from explain_core.backends.protocol import Target
from explain_core.errors import CompletenessError
from explain_core.explanation import Explanation
from explain_core.preparation import prepare
from explain_core.rows import attribute_rows

Progress = Callable[[float, str], None]

REFUSED_RESIDUAL = {"float32": 1e-3, "float64": 1e-9}
"""A relative residual above this is no rounding: the result is not returned."""


def explain(
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = None,
    backend: str = "auto",
    device: str = "auto",
    background: bool = False,
    precision: str | None = None,
    *,
    sample_axis: int | Mapping[str, int] | None = 0,
    output_names: list[str] | None = None,
    keep_embeddings: bool = False,
    keep_gates: bool = True,
    progress: Progress | None = None,
) -> Explanation:
    """How much each (timestep, feature) moved the output away from what the model gives for a baseline.

    DeepLIFT with the Rescale rule (Shrikumar et al. 2017) and two-player Shapley values for products; averaged over
    several baselines it is DeepSHAP (Lundberg & Lee 2017).

    Args:
        model: an ``nn.Module``, an exported program, a Keras model, or what `load_model` returned. Not changed.
        inputs: (sample, time, feature), or whatever the model takes: a tuple for several inputs, nested where the model
            takes nested ones, or a dict by parameter name.
        baselines: "zeros", "mean", "median", "padded-mean", "first", or a number; an array with 1 sample or as many as
            the input, matched by name where it has names; one number for each feature; a function of the input; for
            several inputs a tuple or dict of these. See `explain_core.baselines.resolve_baselines`.
        target: None for every output; a unit; (time, unit) for sequence outputs; a label; `contrast` of two; an array
            with one for each sample; a list of these. See `explain_core.targets.select_targets`.
        backend: "auto", "torch" or "tensorflow".
        device: "auto" (a GPU when there is one), "cpu", "cuda", "cuda:1".
        background: average over the baselines instead of pairing them with the samples.
        precision: "float64" to verify; None for the model's own.
        sample_axis: 1 for time-first models, None for a model that takes one sequence without a sample axis.
        output_names: labels of the model's outputs, such as class names.
        keep_embeddings: also the attributions before they are summed over the embedding axis.
        keep_gates: also what each gate of each recurrent layer contributed.
        progress: called with the fraction done and what is being done.

    Raises:
        ExplainError: see `explain_core.errors`; says what is wrong, where, and what to do next.
    """
    started = time.perf_counter()
    say = progress or (lambda fraction, message: None)
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
    )
    result = attribute_rows(
        ready.runner, ready.plan, ready.targets, keep_gates, keep_embeddings, lambda f, m: say(0.1 + 0.85 * f, m)
    )
    say(0.95, "Labelling the result")
    explanation = ready.label(result, {"method": "DeepSHAP" if background else "DeepLIFT"}, started)
    _require_completeness(explanation, ready.targets, ready.runner.dtype)
    say(1.0, "Done")
    return explanation


def _require_completeness(explanation: Explanation, targets: list[Target], dtype: str) -> None:
    """Refuse a result that does not add up; rounding of the predictions themselves is not held against it.

    Nor does a sum count that is right only beside huge contributions of both signs: then the residual is small
    against them, and still large against the difference that they are to explain.
    """
    relative = explanation.relative_residual.values
    residual = np.abs(explanation.residual.values)
    prediction, baseline = explanation.prediction.values, explanation.baseline_prediction.values
    rounding = np.finfo(dtype).eps * np.maximum(np.abs(prediction), np.abs(baseline))
    incomplete = (relative > REFUSED_RESIDUAL[dtype]) & (residual > 64 * rounding)
    drowned = (residual > 0.1 * np.abs(prediction - baseline)) & (residual > 1e4 * rounding)
    if (incomplete | drowned).any():
        n, k = (int(v) for v in np.argwhere(incomplete | drowned)[0])
        where = f"the attributions of sample {n}, output {targets[k].label!r}"
        if incomplete[n, k]:
            raise CompletenessError(
                f"{where} are off by {residual[n, k]:.2g}, which is {relative[n, k]:.2g} of their size, so they are "
                "not returned",
                hint="The model may mix samples of a batch: explain one sample at a time. If it does not, try "
                'precision="float64"; if that does not add up either, this is a bug worth reporting.',
            )
        raise CompletenessError(
            f"{where} cancel so far that rounding ({residual[n, k]:.2g}) drowns the difference they explain "
            f"({abs(prediction[n, k] - baseline[n, k]):.2g}), so they are not returned",
            hint='Use precision="float64".',
        )
