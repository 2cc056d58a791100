"""`explain`: from a model and its inputs to an `Explanation`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from explain_core.backends import get_backend
from explain_core.backends.protocol import Runner, Target
from explain_core.baselines import resolve_baselines
from explain_core.errors import CaptureError, CompletenessError, InputError
from explain_core.explanation import Explanation
from explain_core.explanation_build import LabelledInput, build_explanation
from explain_core.inputs import Arguments, check_finite, read_arguments, sample_axes
from explain_core.rows import Plan, attribute_rows
from explain_core.targets import select_targets

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
        baselines: "zeros"; "mean" (each feature's, over samples and timesteps); an array with 1 sample or as many as
            the input; for several inputs a tuple or dict of these.
        target: None for every output; a unit; (time, unit) for sequence outputs; a label; a list of these.
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
    if precision not in (None, "float32", "float64"):
        raise InputError(f"precision is {precision!r}", hint='Use None, "float32" or "float64".')
    model = getattr(model, "module", model) if hasattr(model, "framework") else model
    package = get_backend(backend, model)
    arguments = read_arguments(model, inputs)
    for name, leaf in zip(arguments.names, arguments.leaves, strict=True):
        check_finite(leaf, name, "input")
    axes = sample_axes(arguments, sample_axis)

    say(0.0, "Reading the model")

    def open_for(leaves: list[np.ndarray]) -> Runner:
        return package.open_runner(
            model, arguments.with_leaves(leaves), sample_axes=axes, device=device, precision=precision
        )

    plan = Plan(arguments.leaves, axes)
    runner = _open(open_for, plan)
    base = resolve_baselines(baselines, arguments, axes, runner.explained, background)
    targets, keep_output = select_targets(target, runner.outputs, output_names)
    plan.set_baselines(base, runner.explained, background)
    result = attribute_rows(runner, plan, targets, keep_gates, keep_embeddings, lambda f, m: say(0.1 + 0.85 * f, m))
    say(0.95, "Labelling the result")
    labelled = [
        _label(arguments, axes, runner, i, plan, values)
        for i, values in enumerate(result.attributions)
        if values is not None
    ]
    explanation = build_explanation(
        labelled,
        result.prediction.T,
        result.baseline_prediction.T,
        output_labels=_unique([t.label for t in targets]),
        keep_output=keep_output,
        sample_labels=_sample_labels(arguments, axes),
        gates=result.gates,
        embedding_attributions={arguments.names[i]: values for i, values in result.embeddings.items()},
        notes=[*runner.notes, *plan.notes],
        attrs={
            "method": "DeepSHAP" if background else "DeepLIFT",
            "framework": package.__name__.rpartition(".")[2],
            "device": runner.device,
            "dtype": runner.dtype,
            "baselines": baselines if isinstance(baselines, str) else "given",
            "baseline_count": plan.baseline_count,
            "seconds": time.perf_counter() - started,
        },
    )
    _require_completeness(explanation, targets, runner.dtype)
    say(1.0, "Done")
    return explanation


def _open(open_for: Callable[[list[np.ndarray]], Runner], plan: Plan) -> Runner:
    """Open the model for as many rows at once as it takes: many, or one where it was made for one."""
    try:
        return open_for(plan.first_rows())
    except CaptureError:
        if plan.rows_at_once == 1:
            raise
        plan.one_by_one()
        try:
            return open_for(plan.first_rows())
        except CaptureError:
            plan.all_at_once()
    return open_for(plan.first_rows())


def _label(
    arguments: Arguments,
    axes: tuple[int | None, ...],
    runner: Runner,
    i: int,
    plan: Plan,
    attributions: np.ndarray,
) -> LabelledInput:
    """Names and labels for the axes of one explained input."""
    axis = axes[i]
    values, baseline = plan.samples(i), plan.mean_baseline(i)
    dims = _dims(values, is_state=axis == 1 and axes[0] != 1)
    kept = [a for a in range(arguments.leaves[i].ndim) if a != axis]
    labels = arguments.labels[i] if arguments.labels else {}
    coords = {dim: labels[a] for dim, a in zip(dims, kept, strict=True) if a in labels}
    if "times" in labels and "time" in dims:
        coords["time"] = labels["times"]
    return LabelledInput(arguments.names[i], values, baseline, attributions, dims, coords, lengths=labels.get("length"))


def _dims(values: np.ndarray, is_state: bool) -> tuple[str, ...]:
    """Names for the axes after the sample axis."""
    rank = values.ndim - 1
    if values.dtype.kind in "iub":
        known: tuple[str, ...] = ("time",)
    elif is_state:
        known = ("layer", "unit")
    else:
        known = ("feature",) if rank == 1 else ("time", "feature")
    return (*known[:rank], *(f"axis_{a}" for a in range(len(known), rank)))


def _sample_labels(arguments: Arguments, axes: tuple[int | None, ...]) -> np.ndarray | None:
    labels = arguments.labels[0] if arguments.labels else {}
    return labels.get(axes[0]) if axes[0] is not None else None


def _unique(labels: list[str]) -> list[str]:
    """The same output chosen twice is told apart by a number."""
    seen: dict[str, int] = {}
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
    counts: dict[str, int] = {}
    unique = []
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
        unique.append(label if seen[label] == 1 else f"{label} ({counts[label]})")
    return unique


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
