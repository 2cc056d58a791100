"""`explain`: from a model and its inputs to an `Explanation`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from explain_core.backends.protocol import Divisor, PairAttribution
from explain_core.checks import degenerate
from explain_core.checks.as_passed import require_same_as_passed
from explain_core.checks.completeness import require_completeness
from explain_core.errors import CompletenessError, ExplainError, InputError, NonFiniteError
from explain_core.explanation import Explanation
from explain_core.preparation import Prepared, prepare, refuse_missing
from explain_core.preparation.axes import Axis

Progress = Callable[[float, str], None]


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
    sample_axis: Axis | Mapping[str, Axis] = 0,
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
            takes nested ones, or a dict by parameter name. Names of axes and labels stay; see `axes` and `meaning` in
            `explain_core.preparation` for what is made of arrays and frames without them. Missing values (NaN) are
            explained where the model itself replaces them: what is shared out is the step from missing to the
            baseline's number.
        baselines: "zeros", "mean", "median", "padded-mean", "first", or a number; an array with 1 sample or as many as
            the input, matched by name where it has names; one number for each feature; a function of the input; for
            several inputs a tuple or dict of these. See `explain_core.preparation.baselines.resolve_baselines`.
        target: None for every output; a unit; (time, unit) for sequence outputs; a label; `contrast` of two; an array
            with one for each sample; a list of these. See `explain_core.preparation.targets.select_targets`.
        backend: "auto", "torch" or "tensorflow".
        device: "auto" (a GPU when there is one), "cpu", "cuda", "cuda:1".
        background: average over the baselines instead of pairing them with the samples.
        precision: "float64" to verify; None for the model's own.
        sample_axis: 1 for time-first models, None for a model that takes one sequence without a sample axis; or its
            name. An axis called "sample" or "batch" is found without it. Of several inputs a dict by name, with
            None for one that all samples share, such as positions.
        output_names: labels of the model's outputs, such as class names.
        keep_embeddings: also the attributions before they are summed over the embedding axis.
        keep_gates: also what each gate of each recurrent layer contributed.
        progress: called with the fraction done and what is being done.

    Raises:
        ExplainError: see `explain_core.errors`; says what is wrong, where, and what to do next.
    """
    started = time.perf_counter()
    if progress is not None and not callable(progress):
        raise InputError(
            f"progress is {progress!r}, and it is a function",
            hint="It is called with the fraction done and with what is being done: lambda fraction, message: ...",
        )
    say = progress or _silent
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
        missing=True,
    )

    divisors: list[Divisor] = []

    def in_other_digits(ready: Prepared) -> PairAttribution | None:
        try:
            other = ready.again("float32" if ready.runner.dtype == "float64" else "float64")
            return other.attributed(False, False, _silent)[1]
        except ExplainError:
            return None

    def run(ready: Prepared, say: Progress) -> Explanation:
        ready, result = ready.attributed(keep_gates, keep_embeddings, say)
        require_same_as_passed(ready.runner, ready.plan, ready.targets, result, lambda: in_other_digits(ready))
        divisors[:] = divisors or result.divisors
        return ready.label(result, {"method": "DeepSHAP" if background else "DeepLIFT"}, started)

    def again(precision: str, sample: int | None) -> Explanation:
        say(0.9, f"Checking in {precision}")
        return run(ready.again(precision, sample), _silent)

    try:
        explanation = require_completeness(run(ready, lambda f, m: say(0.1 + 0.8 * f, m)), again)
    except (CompletenessError, NonFiniteError):
        refuse_missing(model, inputs)  # the cause, where the model does more with a missing value than to replace it
        raise
    explanation.notes.extend(degenerate.notes(explanation, divisors))
    say(1.0, "Done")
    return explanation


def _silent(fraction: float, message: str) -> None:
    """Progress that nobody asked for."""
