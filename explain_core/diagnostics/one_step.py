"""`steps`: every step of a recurrent layer by itself, beside the whole sequence up to it.

A method can be right on a single cell and wrong on the sequence, where each step's defect goes on through the states
to all later ones. Here each step is a little model of its own, whose inputs are what the layer was given and the
states before it, in the sequence and in the baseline; all steps are the rows of one batch. Beside it stands the same
layer over the sequence up to that step. What is explained is the new state, which is where both end.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from explain_core.diagnostics.layer_run import LayerRun, layer_run
from explain_core.diagnostics.measured import STEP_METHODS, Measured, measure
from explain_core.errors import InputError
from explain_core.explaining import explain
from explain_core.explanation import Explanation
from explain_core.methods import METHODS
from explain_core.preparation import framework_model

ONE_STEP, SEQUENCE = "one step", "whole sequence"
STATES = ("hidden", "cell")
WRITTEN_OUT_UP_TO = 40  # timesteps: each is some twenty operations of a graph, which shap walks one by one
WRITTEN_OUT_AT = 4  # lengths
ONE_BY_ONE = 24  # steps by themselves, where a method takes one after the other
REPEATED = 1e-4  # how far a state may be from what the cell makes of the states before, over the largest

COLUMNS = (
    *("sample", "layer", "kind", "state", "unit", "step", "time", "scope", "model", "method"),
    *("attributed", "expected", "error", "relative_error", "seconds", "says"),
)


class LoneLayer(Protocol):
    """A recurrent layer taken out of its model, in one framework.

    ``place`` is 0 for the hidden state and 1 for the cell state. ``variants`` are the ways it is there: as the
    framework's own layer, and in TensorFlow also written out by hand.
    """

    framework: str
    variants: tuple[str, ...]

    def states(self, rows: np.ndarray) -> np.ndarray:
        """(N, I + states·H) to the states after one step, (N, states·H)."""

    def one_step(self, variant: str, place: int) -> Any:
        """A model of (N, I + states·H + H), the last a direction, to (N, 1)."""

    def sequence(self, variant: str, place: int, direction: np.ndarray, initial: list[np.ndarray], steps: int) -> Any:
        """A model of (N, steps, I) to (N, 1): the state after the last step along the direction."""


_LONE_LAYERS = {
    "torch": ("explain_core.diagnostics.lone_layer_torch", "TorchLoneLayer"),
    "tensorflow": ("explain_core.diagnostics.lone_layer_tensorflow", "TensorFlowLoneLayer"),
}


def steps(
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = None,
    *,
    layer: str | None = None,
    state: str | None = None,
    unit: int | None = None,
    sample: Any = None,
    methods: Sequence[str] = STEP_METHODS,
    most_steps: int = 500,
    most_sequences: int = 10,
    progress: Callable[[float, str], None] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """The error of every method on each step by itself, and on the sequence up to it.

    Args:
        model, inputs, baselines, target: as in `explain_core.explain`; with one baseline for each sample. The target
            only decides which explanation the states are taken from, and they are the same for all.
        layer: a recurrent layer by its name in ``Explanation.gates``, such as "lstm" or "lstm.l0_reverse"; None for
            the first.
        state: "hidden" or "cell"; None for the cell state of an LSTM, as in the experiments that were published.
        unit: explain one unit of the state; None for how far the whole state is from the baseline's,
            ``Σ sign(Δs)·Δs``, in which units cannot make up for one another.
        sample: label, or position where labels are text; None for the first.
        methods: ids of `explain_core.methods.METHODS`.
        most_steps, most_sequences: longer sequences are taken at so many of their steps. Other methods than this
            program take the steps one after the other, so they get at most `ONE_BY_ONE` of them by themselves.
        progress: called with the fraction done and what is being done.
        options: other arguments of `explain_core.explain`.

    Returns:
        A row for each step, scope ("one step" or "whole sequence"), model and method. ``step`` counts from 0 in the
        order in which the layer reads; ``unit`` is "all" or its number. ``error`` is the size of attributed minus
        expected, ``relative_error`` that over the size of what is expected. A method that failed has nan and says
        why. ``attrs["notes"]`` are sentences that hold for the whole table.

    Raises:
        ExplainError: the model cannot be explained, or has no such layer.
    """
    _check(methods)
    if progress:
        progress(0.0, "Running the model on the sequence and its baseline")
    explanation = explain(model, inputs, baselines, target, **options)
    return steps_of(
        explanation,
        model,
        layer=layer,
        state=state,
        unit=unit,
        sample=sample,
        methods=methods,
        most_steps=most_steps,
        most_sequences=most_sequences,
        progress=progress,
    )


def steps_of(
    explanation: Explanation,
    model: Any,
    *,
    layer: str | None = None,
    state: str | None = None,
    unit: int | None = None,
    sample: Any = None,
    methods: Sequence[str] = STEP_METHODS,
    most_steps: int = 500,
    most_sequences: int = 10,
    progress: Callable[[float, str], None] | None = None,
) -> pd.DataFrame:
    """`steps` of a model that has been explained, with one baseline for each sample and its gates kept."""
    _check(methods)
    say = progress or (lambda fraction, message: None)
    run = layer_run(explanation, layer, sample)
    module, name = _LONE_LAYERS[explanation.attrs["framework"]]
    module = getattr(importlib.import_module(module), name)
    cell: LoneLayer = module(framework_model(model), run)
    run, notes = _repeated(run, cell)
    place = _place(run, state)
    direction = _direction(run, place, unit)
    rows: list[dict[str, Any]] = []
    shared = {
        "sample": explanation.samples[explanation.sample_position(sample)],
        "layer": run.name,
        "kind": run.kind,
        "state": STATES[place],
        "unit": "all" if unit is None else str(unit),
    }

    def add(scope: str, variant: str, method: str, at: np.ndarray, found: Measured) -> None:
        for row, step in enumerate(at):
            one = (found.attributed[row], found.expected[row], found.error[row])
            with np.errstate(divide="ignore", invalid="ignore"):
                relative = one[2] / abs(one[1]) if one[2] else 0.0 * one[2]
            values = [step, run.times[step], scope, variant, METHODS[method].name, *one, relative]
            shares = [found.seconds / len(at), found.says]
            rows.append(shared | dict(zip(COLUMNS[5:], [*values, *shares], strict=True)))

    chosen = _chosen(len(run.times), most_sequences)
    single = np.union1d(_spread(len(run.times), most_steps), chosen)
    some = _spread(len(run.times), min(most_steps, ONE_BY_ONE))
    plan = [(variant, method) for variant in cell.variants for method in methods if _is_tried(cell, variant, method)]
    for number, (variant, method) in enumerate(plan):
        words = f"{METHODS[method].name}" + ("" if variant == "built-in" else f", cell {variant}")
        say(0.1 + 0.9 * number / len(plan), f"{words}: each step by itself")
        at = single if method == "pairlift" else some if _is_quick(cell, method) else chosen
        at = at if variant == "built-in" else _fewer(chosen)
        add(ONE_STEP, variant, method, at, _one_step(cell, variant, method, run, place, direction, at))
        at = chosen if variant == "built-in" else _fewer(chosen[chosen < WRITTEN_OUT_UP_TO])
        whole = _sequences(cell, variant, method, run, place, direction, at)
        for count, (step, found) in enumerate(whole):
            share = (number + 0.5 + 0.5 * count / len(at)) / len(plan)
            say(0.1 + 0.9 * share, f"{words}: the first {step + 1} steps" if step else f"{words}: the first step")
            add(SEQUENCE, variant, method, np.array([step]), found)
    if len(some) < len(run.times) and set(methods) - {"pairlift"}:
        notes.append(f"Methods other than PairLift are run on some of the {len(run.times)} single steps only.")
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.attrs["notes"] = notes
    return table


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each model and method of what `steps` gave.

    Returns:
        Columns: method, model; one_step and whole_sequence, the largest relative error of each; at_the_end, that of
        the sequence up to its last step; seconds; and says.
    """
    rows = []
    for (method, model), found in table.groupby(["method", "model"], sort=False):
        alone, whole = (found[found["scope"] == scope] for scope in (ONE_STEP, SEQUENCE))
        says = dict.fromkeys(text for text in found["says"] if text)
        rows.append(
            {
                "method": method,
                "model": model,
                "one_step": alone["relative_error"].max(),
                "whole_sequence": whole["relative_error"].max(),
                "at_the_end": whole["relative_error"].iloc[-1],
                "seconds": found["seconds"].sum(),
                "says": " ".join(says),
            }
        )
    return pd.DataFrame(rows)


def _check(methods: Sequence[str]) -> None:
    for method in methods:
        if method not in METHODS:
            raise InputError(f"There is no method {method!r}.", hint=f"Choose one of {', '.join(METHODS)}.")


def _is_tried(cell: LoneLayer, variant: str, method: str) -> bool:
    """The cell written out is there for shap, which is exact on it, and to check this engine."""
    there = cell.framework in METHODS[method].frameworks
    return there and (variant == "built-in" or method in ("pairlift", "deep_explainer"))


def _repeated(run: LayerRun, cell: LoneLayer) -> tuple[LayerRun, list[str]]:
    """The steps that the cell alone repeats: all but those that a mask left out.

    Raises:
        InputError: the cell makes something else of a step than the model did.
    """
    width, notes = run.rows.shape[-1], []
    again = cell.states(run.rows.reshape(-1, width)).reshape(2, len(run.times), -1)
    after, before = np.concatenate(run.after, -1), np.concatenate(run.before, -1)
    off = np.abs(again - after).max(axis=(0, 2)) > REPEATED * max(1.0, np.abs(after).max())
    masked = off & (after == before).all(axis=(0, 2))
    if (off & ~masked).any():
        step = int(np.flatnonzero(off & ~masked)[0])
        raise InputError(
            f"Step {step + 1} of {run.name!r} is not what its cell makes of the states before it, so it cannot be "
            "looked at by itself.",
            where=run.name,
            hint="The model may change the states between the steps, or mask some of them for one member only.",
        )
    if masked.any():
        notes.append(f"Masked timesteps, at which the state stays as it is, left out: {int(masked.sum()):,}.")
        run = run.only(np.flatnonzero(~masked))
    if any((state[0, 0] != state[1, 0]).any() for state in run.before):
        notes.append(
            "The layer starts from other states than in the baseline; the whole sequence is explained from the "
            "sequence's own, each step by itself from both."
        )
    return run, notes


def _place(run: LayerRun, state: str | None) -> int:
    state = ("cell" if run.kind == "LSTM" else "hidden") if state is None else state
    if state not in STATES[: len(run.after)]:
        raise InputError(
            f"{run.kind} has no {state} state.", hint=f"Choose one of {', '.join(STATES[: len(run.after)])}."
        )
    return STATES.index(state)


def _direction(run: LayerRun, place: int, unit: int | None) -> np.ndarray:
    """Along what the state after each step is explained, (T, H)."""
    after = run.after[place]
    if unit is None:
        return np.sign(after[0] - after[1]).astype(after.dtype)
    if not 0 <= unit < run.units:
        raise InputError(f"There is no unit {unit}.", hint=f"{run.name!r} has units 0 to {run.units - 1}.")
    return np.broadcast_to(np.eye(run.units, dtype=after.dtype)[unit], after.shape[1:])


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many steps, evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def _chosen(count: int, most: int) -> np.ndarray:
    """Steps at which the sequence is cut: closer at the beginning, where errors start."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.geomspace(1, count, most).round().astype(int)) - 1


def _fewer(steps: np.ndarray) -> np.ndarray:
    """At most `WRITTEN_OUT_AT` of them, the first and the last included."""
    return steps[np.unique(np.linspace(0, len(steps) - 1, min(WRITTEN_OUT_AT, len(steps))).round().astype(int))]


def _is_quick(cell: LoneLayer, method: str) -> bool:
    """Whether a step by itself takes little; shap traces a TensorFlow model for each of them."""
    return cell.framework == "torch" or method == "gradient_difference"


def _one_step(
    cell: LoneLayer, variant: str, method: str, run: LayerRun, place: int, direction: np.ndarray, at: np.ndarray
) -> Measured:
    test, base = (np.concatenate([rows[at], direction[at]], -1) for rows in run.rows)
    return measure(method, cell.one_step(variant, place), test, base)


def _sequences(
    cell: LoneLayer, variant: str, method: str, run: LayerRun, place: int, direction: np.ndarray, at: np.ndarray
) -> Iterator[tuple[int, Measured]]:
    initial = [state[0, 0] for state in run.before]
    failed: Measured | None = None
    for step in at:
        found = failed
        if found is None:
            model = cell.sequence(variant, place, direction[step], initial, step + 1)
            found = measure(method, model, run.x[:1, : step + 1], run.x[1:, : step + 1])
            failed = None if found.size else found  # what stops a method stops it at every length
        yield int(step), found
