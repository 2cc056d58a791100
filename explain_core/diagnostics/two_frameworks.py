"""`parity`: the same weights in PyTorch and in TensorFlow, and how far apart the two engines' results are.

The frameworks never share a process. The model's own process explains it and writes a `Blueprint`; a second process
builds that in the other framework, explains it there, and writes what it found. Where the model is one recurrent layer
and what follows, shap's TensorFlow explainer on that layer written out by hand is a referee of both.

    python -m explain_core.diagnostics.two_frameworks blueprint.npz answers.npz tensorflow
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from explain_core.backends import is_installed
from explain_core.diagnostics.blueprint import Blueprint
from explain_core.errors import BackendError, ExplainError, InputError, JobError
from explain_core.explaining import explain
from explain_core.explanation import Explanation
from explain_core.explanation.arrays import by_name
from explain_core.methods import explain_with
from explain_core.preparation import framework_model, open_on
from explain_core.preparation.inputs import read_arguments
from explain_core.preparation.targets import select_targets

OTHER = {"torch": "tensorflow", "tensorflow": "torch"}
TITLES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
GATE_PARTS = ("state", "cell", "activation", "contribution", "carry", "mass")
TIME_LIMIT = 300  # seconds for the other framework
REFEREE_STEPS = 32  # shap walks the operations of the written-out layer one by one
REFEREE = "shap on the layer written out"

Answers = dict[str, np.ndarray]
COLUMNS = ("quantity", "layer", "part", "step", "difference", "largest", "compared_with")


def parity(
    model: Any,
    inputs: Any,
    baselines: Any = "zeros",
    target: Any = None,
    *,
    progress: Callable[[float, str], None] | None = None,
) -> pd.DataFrame:
    """How far the engine of the other framework is from this model's own, with the same weights.

    Args:
        model, inputs, baselines, target: as in `explain_core.explain`; one target, or None for all.
        progress: called with the fraction done and what is being done.

    Returns:
        A row for each quantity, layer, part (a gate, where there are several) and step; ``step`` is -1 for what has
        no time axis. ``difference`` is the largest difference there over ``largest``, the largest size of the
        quantity anywhere. ``compared_with`` is the other framework, or shap as the referee of this model's own
        attributions. ``attrs["notes"]`` are sentences that hold for the whole table.

    Raises:
        InputError: the model has no counterpart in the other framework; says what is in the way.
        BackendError: the other framework is not installed.
    """
    say = progress or (lambda fraction, message: None)
    with tempfile.TemporaryDirectory(prefix="pairlift-") as folder:
        blueprint_file, answers_file = Path(folder, "blueprint.npz"), Path(folder, "answers.npz")
        say(0.05, "Explaining the model in its own framework")
        own, framework = write_blueprint(model, inputs, baselines, target, blueprint_file)
        say(0.4, f"The same weights in {TITLES[OTHER[framework]]}")
        _in_own_process(OTHER[framework], blueprint_file, answers_file)
        return compare(own, answers_file, framework)


def write_blueprint(model: Any, inputs: Any, baselines: Any, target: Any, path: Path) -> tuple[Answers, str]:
    """The model's own answers and its framework; the blueprint, with what is to be explained, goes to the file.

    Raises:
        InputError, BackendError: see `parity`.
    """
    explanation = explain(model, inputs, baselines, target)
    framework = explanation.attrs["framework"]
    if not is_installed(OTHER[framework]):
        raise BackendError(
            f"{TITLES[OTHER[framework]]} is not installed, so there is nothing to compare with.",
            hint=f"Install the requirements of PairLift's {TITLES[OTHER[framework]]} engine.",
        )
    if isinstance(explanation.attributions, dict):
        raise InputError("The model has several explained inputs; parity needs one.")
    if explanation.attrs.get("baseline_count", 1) > 1:
        raise InputError("Gates averaged over baselines are no run of the layer.", hint="Explain with one baseline.")
    module = framework_model(model)
    describing = importlib.import_module(f"explain_core.diagnostics.blueprint_{framework}")
    blueprint = describing.describe(module, read_arguments(module, inputs))
    if not isinstance(target, int | None):
        (chosen, *more), _ = select_targets(target, open_on(model, inputs, device="cpu")[2].outputs)
        if more or chosen.against or chosen.output:
            raise InputError("Parity is of one output of the first tensor.", hint="Choose a unit, or None for all.")
        target = chosen.index
    (test,), (base,) = (by_name(each).values() for each in (explanation.inputs, explanation.baselines))
    beside = {
        "test": test.values,
        "base": np.broadcast_to(base.values, test.shape),
        "target": np.array([] if target is None else np.ravel(target), int),
    }
    blueprint.save(path, **beside)
    own = answers_of(explanation)
    if framework == "tensorflow":
        own |= referee_of(blueprint, beside["test"], beside["base"], target)
    return own, framework


def answer(framework: str, blueprint_file: Path, answers_file: Path) -> None:
    """Build the blueprint in a framework, in this process, and write what its engine says to the file."""
    blueprint, beside = Blueprint.load(blueprint_file)
    building = importlib.import_module(f"explain_core.diagnostics.blueprint_{framework}")
    target = tuple(int(i) for i in beside["target"]) or None
    found = answers_of(explain(building.build(blueprint), beside["test"], beside["base"], target, device="cpu"))
    if framework == "tensorflow":
        found |= referee_of(blueprint, beside["test"], beside["base"], target)
    np.savez(answers_file, allow_pickle=False, **found)


def referee_of(blueprint: Blueprint, test: np.ndarray, base: np.ndarray, target: Any) -> Answers:
    """What shap says about the blueprint with its recurrent layer written out, in TensorFlow; or why it does not."""
    building = importlib.import_module("explain_core.diagnostics.blueprint_tensorflow")
    why = building.no_referee(blueprint)
    if not why and blueprint.steps > REFEREE_STEPS:
        why = f"shap's explainer walks through every timestep of it, so it gets at most {REFEREE_STEPS}."
    if why:
        return {"referee says": np.array(why)}
    try:
        found = explain_with("deep_explainer", building.referee(blueprint), test, base, target, device="cpu")
    except ExplainError as error:
        return {"referee says": np.array(error.what)}
    return {"referee": _by_output(found)}


def answers_of(explanation: Explanation) -> Answers:
    """Predictions (N, K), attributions (K, N, T, F), and the gates' arrays by ``layer number/part``."""
    found = {
        "prediction": explanation.prediction.values,
        "baseline prediction": explanation.baseline_prediction.values,
        "attribution": _by_output(explanation),
        "layers": np.array(list(explanation.gates), dtype=np.str_),
    }
    for place, gates in enumerate(explanation.gates.values()):
        for part in GATE_PARTS:
            if part in gates:
                order = [
                    dim for dim in ("output", "member", "sample", "time", "gate", "unit") if dim in gates[part].dims
                ]
                found[f"{place}/{part}"] = gates[part].transpose(*order).values
        found[f"{place}/gates"] = gates["gate"].values.astype(np.str_)
    return found


def _by_output(explanation: Explanation) -> np.ndarray:
    (attributions,) = by_name(explanation.attributions).values()
    return (attributions if "output" in attributions.dims else attributions.expand_dims("output")).values


def compare(own: Answers, answers_file: Path, framework: str) -> pd.DataFrame:
    """The table of `parity` from the answers of both."""
    with np.load(answers_file, allow_pickle=False) as file:
        other = {name: file[name] for name in file.files}
    rows: list[dict[str, Any]] = []
    title, notes = TITLES[OTHER[framework]], []

    def add(quantity: str, layer: str, part: str, a: np.ndarray, b: np.ndarray, time: int | None, by: str) -> None:
        largest = float(np.abs(a).max(initial=0.0))
        apart = np.abs(a.astype(np.float64) - b)
        by_step = apart.reshape(1, -1) if time is None else np.moveaxis(apart, time, 0).reshape(a.shape[time], -1)
        for step, value in enumerate(by_step.max(1)):
            values = (quantity, layer, part, -1 if time is None else step, value / (largest or 1.0), largest, by)
            rows.append(dict(zip(COLUMNS, values, strict=True)))

    for quantity in ("prediction", "baseline prediction"):
        add(quantity, "", "", own[quantity], other[quantity], None, title)
    add("attribution", "", "", own["attribution"], other["attribution"], 2, title)
    in_tensorflow = own if framework == "tensorflow" else other
    if "referee" in in_tensorflow:
        add("attribution", "", "", own["attribution"], in_tensorflow["referee"], 2, REFEREE)
    else:
        notes.append(f"No referee: {in_tensorflow['referee says']}")
    for place, layer in enumerate(own["layers"].tolist()):
        for part in GATE_PARTS:
            if f"{place}/{part}" not in own:
                continue
            a, b = own[f"{place}/{part}"], other[f"{place}/{part}"]
            time = {"carry": -2, "mass": -1, "state": -2, "cell": -2}.get(part, -3) % a.ndim
            if part in ("activation", "contribution"):
                for i, gate in enumerate(own[f"{place}/gates"].tolist()):
                    add(part, layer, gate, a[..., i, :], b[..., i, :], time, title)
            else:
                add(part, layer, "", a, b, time, title)
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.attrs["notes"] = notes
    return table


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The largest difference of each quantity: columns quantity, layer, compared_with, difference, largest."""
    by = ["quantity", "layer", "compared_with"]
    return table.groupby(by, sort=False, as_index=False).agg(
        difference=("difference", "max"), largest=("largest", "max")
    )


def _in_own_process(framework: str, blueprint_file: Path, answers_file: Path) -> None:
    command = [sys.executable, "-m", "explain_core.diagnostics.two_frameworks", str(blueprint_file), str(answers_file)]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [*command, framework], env=environment, capture_output=True, text=True, timeout=TIME_LIMIT
        )
    except subprocess.TimeoutExpired:
        raise JobError(f"{TITLES[framework]} took longer than {TIME_LIMIT} seconds.") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise JobError(
            f"The process of {TITLES[framework]} ended with exit code {done.returncode}.",
            hint=f"Its last words: {said[-1] if said else 'none'}",
        )


if __name__ == "__main__":
    answer(sys.argv[3], Path(sys.argv[1]), Path(sys.argv[2]))
