"""Models of public packages, one row each: `make conformance`, in a virtual environment of its own.

    python -m benchmarks.conformance.packages [PART OF A NAME ...]

Every package runs in a process of its own. A model works when it is explained in both precisions and the attributions
add up to rounding; what is refused is printed with its whole message.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np

import explain_core as xc
from benchmarks.conformance.zoo import PACKAGES, Case

ROUNDING = {"float32": 1e-5, "float64": 1e-12}
"""The bound on ``relative_residual`` that every supported model keeps."""
IDS = ("_ids", "_cat")
"""How names of arrays of ids end."""
ULPS = 4
"""What two predictions and their difference are rounded by, where the difference is small beside them."""
PATIENCE = 1200
"""Seconds for the models of one package."""


@dataclass
class Answer:
    """What became of one model: verdict, what was said, and the relative residual by precision."""

    name: str
    verdict: str  # "works", "refused", "wrong", "crashed" (an error that is none of ours) or "not built"
    message: str = ""
    float64: float | None = None
    float32: float | None = None

    def __str__(self) -> str:
        residuals = [f"{r:.0e}" for r in (self.float64, self.float32) if r is not None]
        return "  ".join([f"{self.verdict:9}", self.name, *residuals, self.message.replace("\n", " ")]).rstrip()


def seed() -> None:
    np.random.seed(0)  # noqa: NPY002 - packages draw their weights from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


def last_number(model: Any, inputs: Any) -> tuple[int, ...]:
    """The place of the last number of the model's first output, without the sample axis."""
    if "torch" not in sys.modules:
        first = model(inputs)
        first = first[0] if isinstance(first, (list, tuple)) else first
        return (-1,) * (len(first.shape) - 1)
    import torch
    from torch.utils import _pytree as pytree

    model.eval()
    with torch.no_grad():
        if isinstance(inputs, dict):
            answer = model(**inputs)
        else:
            answer = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    first = next(leaf for leaf in pytree.tree_leaves(answer) if torch.is_tensor(leaf))
    return (-1,) * (first.ndim - 1)


def drawn(inputs: Any) -> Any:
    """Baselines for the inputs: other random numbers and ids, at which normalisations have a variance.

    Of a dict, lengths and masks get none: they are the same in both.
    """
    if isinstance(inputs, dict):
        of_values = {path: np.asarray(value) for path, value in paths(inputs)}
        return {
            path: drawn(value) for path, value in of_values.items() if value.dtype.kind == "f" or path.endswith(IDS)
        }
    if isinstance(inputs, tuple):
        return tuple(drawn(value) for value in inputs)
    array, rng = np.asarray(inputs), np.random.default_rng(1)
    if array.dtype.kind != "f":
        return rng.integers(array.min(), array.max() + 1, array.shape)
    return rng.normal(size=array.shape).astype(array.dtype)


def paths(inputs: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The names that `explain` gives to what is in a dict of dicts."""
    for name, value in inputs.items():
        if isinstance(value, dict):
            yield from paths(value, f"{before}{name}.")
        else:
            yield before + name, value


def explained(case: Case, precision: str, target: Any) -> tuple[float, bool]:
    """The largest relative residual of a model made anew, and whether it is rounding."""
    seed()
    model, inputs = case.make()
    options = {"device": "cpu", "precision": precision, "keep_gates": False}
    found = xc.explain(model, inputs, baselines=drawn(inputs), target=target, **options)
    prediction = np.maximum(abs(found.prediction.values), abs(found.baseline_prediction.values))
    allowed = ROUNDING[precision] * found.attribution_size.values + ULPS * np.finfo(precision).eps * prediction
    return float(found.relative_residual.max()), bool((abs(found.residual.values) <= allowed).all())


def answer(case: Case) -> Answer:
    seed()
    try:
        target = last_number(*case.make()) if case.target is None else case.target
    except Exception as error:
        return Answer(case.name, "not built", said(error))
    residuals, rounding = {}, []
    try:
        for precision in ROUNDING:
            residuals[precision], is_rounding = explained(case, precision, target)
            rounding.append(is_rounding)
    except xc.errors.ExplainError as error:
        return Answer(case.name, "refused", said(error), **residuals)
    except Exception as error:
        return Answer(case.name, "crashed", said(error) + " at " + traceback.format_exc().splitlines()[-3].strip())
    return Answer(case.name, "works" if all(rounding) else "wrong", **residuals)


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def cases(module: str, parts: Sequence[str]) -> list[Case]:
    found = import_module(f"benchmarks.conformance.zoo.{module}").CASES
    return [case for case in found if not parts or any(part.lower() in case.name.lower() for part in parts)]


def in_own_process(module: str, parts: Sequence[str]) -> list[Answer]:
    """The answers of one package; those that a dead process did not give are crashes."""
    command = [sys.executable, "-m", "benchmarks.conformance.packages", "--only", module, *parts]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    lines = [line.removeprefix("ANSWER ") for line in process.stdout.splitlines() if line.startswith("ANSWER ")]
    answers = [Answer(**json.loads(line)) for line in lines]
    given = {found.name for found in answers}
    last = (process.stderr.strip().splitlines() or ["no message"])[-1]
    return answers + [
        Answer(case.name, "crashed", f"the process ended with {process.returncode}: {last}")
        for case in cases(module, parts)
        if case.name not in given
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance.packages", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="only models with this in their name")
    parser.add_argument("--only", choices=PACKAGES, help="run this package in this process, a JSON line a model")
    options = parser.parse_args(arguments)
    if options.only:
        for case in cases(options.only, options.parts):
            print("ANSWER " + json.dumps(asdict(answer(case))), flush=True)
        return
    answers = []
    for module in PACKAGES:
        for found in in_own_process(module, options.parts):
            print(found, flush=True)
            answers.append(found)
    worked = sum(found.verdict == "works" for found in answers)
    print(f"\n{worked} of {len(answers)} models work.")


if __name__ == "__main__":
    main()
