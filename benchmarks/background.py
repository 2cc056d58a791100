"""An explanation against a background of many baselines, beside shap's DeepExplainer on the same.

Both take turns in one process on one thread, and a figure is the ratio of the processor's time within a round.

    python -m benchmarks.background [--rounds N] [--markdown]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

import explain_core as xc
from benchmarks.report import installed_in_words, table

SAMPLES, BASELINES, STEPS, FEATURES, HIDDEN = 100, 100, 100, 8, 64


class Model(nn.Module):
    """(sample, time, feature) to (sample, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def measure(rounds: int) -> list[tuple[float, float]]:
    """Seconds of PairLift and of shap, by round."""
    from shap import DeepExplainer

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Model().eval()
    x, background = torch.randn(SAMPLES, STEPS, FEATURES), torch.randn(BASELINES, STEPS, FEATURES)

    def ours() -> Any:
        return xc.explain(model, x.numpy(), background.numpy(), background=True, device="cpu", keep_gates=False)

    def theirs() -> Any:
        return DeepExplainer(model, background).shap_values(x, check_additivity=False)

    ours()
    return [(_seconds(ours), _seconds(theirs)) for _ in range(rounds)]


def _seconds(run: Callable[[], Any]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.background", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    parser.add_argument("--markdown", action="store_true", help="the table as in the documentation")
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure(options.rounds)
    own, other = (statistics.median(times) for times in zip(*found, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in found)
    row = [f"{own:.2f}", f"{other:.2f}", f"{ratio:.1f}"]
    print(table(["PairLift, s", "shap DeepExplainer, s", "times faster"], [row], options.markdown))
    print(
        f"\n{SAMPLES} samples against {BASELINES} baselines, (time, input, hidden) = {(STEPS, FEATURES, HIDDEN)}, "
        f"float32, {options.rounds} rounds; {installed_in_words()}."
    )


if __name__ == "__main__":
    main()
