"""How the time of an explanation grows with the sequence: ten times the timesteps, in one run.

The model is a recurrent layer of 64 units on 9 features and a Linear layer on its last step; what is timed is as in
`benchmarks.overheads`, once with 1,000 and once with 10,000 timesteps in each round. A figure is the median over rounds
of the processor's time, on one thread, and the growth that of the ratios.

    python -m benchmarks.long_sequences [--cell LSTM|GRU|RNN] [--samples N] [--rounds N] [--markdown] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.overheads import measure
from benchmarks.report import installed_in_words, table, write_json

STEPS = (1_000, 10_000)
FEATURES, HIDDEN = 9, 64


def times(cell: str, samples: int, rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of each kind of run, (rounds, 2), with few timesteps and with many."""
    found: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        few, many = (measure("torch", cell, False, (samples, steps, FEATURES, HIDDEN), 1, False) for steps in STEPS)
        for name in few:
            found.setdefault(name, []).append([few[name].item(), many[name].item()])
    return {name: np.array(values) for name, values in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_sequences", description=__doc__)
    parser.add_argument("--cell", choices=["LSTM", "GRU", "RNN"], default="LSTM")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    parser.add_argument("--markdown", action="store_true", help="the table as in the documentation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = times(options.cell, options.samples, options.rounds)
    middle = lambda values: statistics.median(values.tolist())  # noqa: E731
    rows = [
        [name, *(f"{middle(of):.1f}" for of in values.T), f"{middle(values[:, 1] / values[:, 0]):.1f}"]
        for name, values in found.items()
    ]
    print(table(["", *(f"{steps:,} timesteps, ms" for steps in STEPS), "growth"], rows, options.markdown))
    shape = f"(sample, input, hidden) = {(options.samples, FEATURES, HIDDEN)}"
    print(f"\ntorch {options.cell}, {shape}, {options.rounds} rounds; {installed_in_words()}.")
    write_json(options.json, {name: values.tolist() for name, values in found.items()})


if __name__ == "__main__":
    main()
