"""The published experiments that started this project, with today's packages and this engine beside them.

    python -m explain_core.diagnostics.published [--json]

One step of an LSTM cell explained to its cell state; three steps of a cell; and the cell written out by hand in
TensorFlow against PyTorch's built-in one with the same weights. `published_cell` has the set-ups and the printed
figures. The frameworks never share a process: `half` measures one, `assemble` makes the table of both.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from explain_core.backends import is_installed
from explain_core.diagnostics import published_cell as given
from explain_core.errors import ExplainError, InputError, JobError
from explain_core.methods import METHODS

FRAMEWORKS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
TIME_LIMIT = 300  # seconds for one half; it takes about ten
STATES = "Cell states of both, after one step"

NOTES = (
    f"{given.ONE_STEP}: 3 inputs and 2 units, weights and inputs as published. Sums over 7 attributions and 2 outputs.",
    f"{given.KNOWN_THREE}: the same cell, the same input at every step, from zeros; nothing was published of it.",
    f"{given.THREE_STEPS}: 2 inputs and 2 units, all values 0.5 against 0, as published. The weights were drawn "
    f"without a seed, so the printed figures cannot be had again; here they are drawn with seed {given.SEED}. "
    "The published 0.00 % of one step is that of a prototype with a rule for the cell, not of the package.",
)
"""What the table's reader should know, one sentence or two for each experiment."""


def published() -> pd.DataFrame:
    """Both halves, each in a process of its own, as one table; see `assemble`."""
    return assemble({framework: _in_own_process(framework) for framework in FRAMEWORKS})


def half(framework: str) -> dict[str, Any]:
    """All measurements on one framework, in this process, as plain values.

    Raises:
        InputError: there is no such framework.
    """
    if framework not in FRAMEWORKS:
        raise InputError(f"There is no half for {framework!r}.", hint=f"Choose one of {', '.join(FRAMEWORKS)}.")
    if not is_installed(framework):
        return {"rows": [], "says": f"{FRAMEWORKS[framework]} is not installed."}
    module = importlib.import_module(f"explain_core.diagnostics.published_{framework}")
    return module.half()


def assemble(halves: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each experiment, model and method, the published figures beside today's.

    Args:
        halves: by framework what `half` returned.

    Returns:
        Columns: experiment, framework, model, method; published_attributed, published_expected, published_error and
        published_relative, nan where nothing was published; attributed, expected, error (its size), relative_error
        (over the size of what is expected), attributions and outputs (how many), and says (what stopped the method,
        or what it warned of).
    """
    rows = [_beside(row) for framework in FRAMEWORKS for row in halves[framework]["rows"]]
    rows += [
        {"framework": FRAMEWORKS[framework], "says": found["says"]}
        for framework, found in halves.items()
        if "says" in found
    ]
    rows += _of_seeds(halves["torch"].get("over_seeds", []))
    if all("states" in halves[framework] for framework in FRAMEWORKS):
        states = [np.asarray(halves[framework]["states"]) for framework in FRAMEWORKS]
        rows.append(
            {
                "experiment": STATES,
                "framework": "both",
                "model": "largest difference",
                "published_error": given.PUBLISHED_STATES,
                "error": float(np.abs(states[0] - states[1]).max()),
                "outputs": states[0].size,
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = {name: place for place, name in enumerate(EXPERIMENTS)}
    table = table.sort_values("experiment", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    text = ["experiment", "framework", "model", "method", "says"]
    return table.fillna(dict.fromkeys(text, "")).astype({"attributions": "Int64", "outputs": "Int64"})


EXPERIMENTS = (given.ONE_STEP, STATES, given.THREE_STEPS, given.ONE_OF_THREE, given.KNOWN_THREE)
COLUMNS = (
    *("experiment", "framework", "model", "method"),
    *("published_attributed", "published_expected", "published_error", "published_relative"),
    *("attributed", "expected", "error", "relative_error", "attributions", "outputs", "says"),
)


def _beside(row: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement with what was published of the same."""
    found = dict(row)
    printed = given.PUBLISHED.get(tuple(row[name] for name in ("experiment", "framework", "model", "method")))
    if printed is not None:
        found |= {
            "published_attributed": printed.attributed,
            "published_expected": printed.expected,
            "published_error": printed.error,
            "published_relative": printed.error / abs(printed.expected),
        }
    found["relative_error"] = row["error"] / abs(row["expected"])
    found["framework"] = FRAMEWORKS[row["framework"]]
    found["method"] = METHODS[row["method"]].name
    return found


def _of_seeds(relative: Sequence[float]) -> list[dict[str, Any]]:
    if not relative:
        return []
    low, middle, high = np.quantile(relative, [0, 0.5, 1])
    return [
        {
            "experiment": given.THREE_STEPS,
            "framework": FRAMEWORKS["torch"],
            "model": "nn.LSTMCell in a loop",
            "method": f"{METHODS['deep_explainer'].name}, seeds 0 to {len(relative) - 1}",
            "relative_error": float(middle),
            "says": f"The median; from {low:.1%} to {high:.1%}.",
        }
    ]


def _in_own_process(framework: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="pairlift-") as folder:
        answer = Path(folder, "half.json")
        command = [sys.executable, "-m", __spec__.name, "--half", framework, "--to", str(answer)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        root = str(Path(__file__).parents[2])  # so that the same package is found from any folder
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            raise JobError(f"The half on {FRAMEWORKS[framework]} took longer than {TIME_LIMIT} seconds.") from None
        if done.returncode:
            raise JobError(
                f"The half on {FRAMEWORKS[framework]} ended with exit code {done.returncode}.",
                hint=f"Its last words: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'none'}",
            )
        return json.loads(answer.read_text(encoding="utf-8"))


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The figures as text for people: theirs first, then today's."""

    def column(name: str, form: str) -> pd.Series:
        return table[name].map(lambda value: "" if pd.isna(value) else format(value, form))

    return pd.DataFrame(
        {
            "Experiment": table["experiment"],
            "Framework": table["framework"],
            "Model": table["model"],
            "Method": table["method"],
            "Their sum": column("published_attributed", ".7f"),
            "Their error": column("published_error", ".3g"),
            "Their %": column("published_relative", ".2%"),
            "Sum today": column("attributed", ".7f"),
            "To explain": column("expected", ".7f"),
            "Error today": column("error", ".3g"),
            "% today": column("relative_error", ".2%"),
            "What it says": table["says"],
        }
    )


def _as_text(table: pd.DataFrame) -> str:
    """The table an experiment at a time, for a terminal."""
    lines = []
    for experiment, rows in in_words(table).groupby("Experiment", sort=False):
        lines += [f"\n{experiment}", "-" * len(experiment)]
        lines.append(rows.drop(columns=["Experiment", "What it says"]).to_string(index=False))
        said = rows[rows["What it says"] != ""]
        lines += [
            f"  {row['Framework']}, {row['Model']}, {row['Method']}: {row['What it says']}"
            for _, row in said.iterrows()
        ]
    return "\n".join([*lines, "", *NOTES])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m explain_core.diagnostics.published", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument("--half", choices=FRAMEWORKS, help="measure one framework only, in this process")
    parser.add_argument("--to", type=Path, metavar="FILE", help="with --half: where its JSON goes")
    options = parser.parse_args(arguments)
    if options.half:
        text = json.dumps(half(options.half))
        if options.to:
            options.to.write_text(text, encoding="utf-8")
        else:
            print(text)
        return 0
    try:
        table = published()
    except ExplainError as error:
        print(error, file=sys.stderr)
        return 1
    print(table.to_json(orient="records", indent=2) if options.json else _as_text(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
