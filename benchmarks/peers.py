"""Do attributions of recurrent PyTorch models add up? PairLift beside shap and captum.

For each model the worst `|Σφ - (f(x) - f(b))|` over a few random samples, divided by the largest `|f(x) - f(b)|`
among them. Weights are untrained, seeds fixed, the baseline is zeros, everything in float32 on the CPU.

    python -m benchmarks.peers [--markdown] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

import explain_core as xc
from benchmarks.report import installed_in_words, table, write_json

SAMPLES, FEATURES, HIDDEN = 4, 8, 16
SEED = 0
REFUSED = "its own check says that the sum is wrong"


class OneStep(nn.Module):
    """`nn.LSTMCell` for one step: (sample, feature) to (sample, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(FEATURES, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0])


class Looped(OneStep):
    """The same cell in a Python loop: (sample, time, feature) to (sample, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0])


class Layer(nn.Module):
    """A recurrent layer and a head on its last step: (sample, time, feature) to (sample, 1)."""

    def __init__(self, kind: type[nn.RNNBase], layers: int = 1, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = kind(FEATURES, HIDDEN, layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(HIDDEN * (2 if bidirectional else 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@dataclass(frozen=True)
class Case:
    """A model and its number of timesteps, None for a single step."""

    name: str
    make: Callable[[], nn.Module]
    steps: int | None


CASES = (
    Case("nn.LSTMCell, one step", OneStep, None),
    *(Case(f"nn.LSTMCell in a loop, T = {steps}", Looped, steps) for steps in (3, 50, 200)),
    *(Case(f"nn.LSTM, T = {steps}", lambda: Layer(nn.LSTM), steps) for steps in (3, 50, 200)),
    Case("nn.GRU, T = 50", lambda: Layer(nn.GRU), 50),
    Case("nn.LSTM, 2 layers, bidirectional, T = 50", lambda: Layer(nn.LSTM, 2, True), 50),
)


def by_shap(model: nn.Module, x: Tensor, baseline: Tensor) -> Tensor:
    """`shap.DeepExplainer`; where its own check of the sum refuses the result, the result all the same."""
    import shap

    explainer = shap.DeepExplainer(model, baseline)
    try:
        values = explainer.shap_values(x)
    except AssertionError:
        warnings.warn(REFUSED, stacklevel=1)
        values = explainer.shap_values(x, check_additivity=False)
    return torch.as_tensor(values).reshape(x.shape)


def by_captum(model: nn.Module, x: Tensor, baseline: Tensor) -> Tensor:
    """`captum.attr.DeepLift`."""
    from captum.attr import DeepLift

    return DeepLift(model).attribute(x, baselines=baseline, target=0).detach()


def by_pairlift(model: nn.Module, x: Tensor, baseline: Tensor) -> Tensor:
    """`explain_core.explain`."""
    explained = xc.explain(model, x, baselines=baseline, target=0, device="cpu", keep_gates=False)
    return torch.from_numpy(explained.attributions.values)


METHODS = {"shap DeepExplainer": by_shap, "captum DeepLift": by_captum, "PairLift": by_pairlift}


@dataclass
class Answer:
    """What one method did on one model: its relative error, or what stopped it, and what it warned of."""

    error: float | None = None
    crash: str = ""
    warned: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.error is None:
            return f"stops: {self.crash}"
        return f"{self.error:.0e}".replace("e-0", "e-") if self.error < 1e-3 else f"{100 * self.error:.0f} %"


def measure(case: Case, method: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Answer:
    """Run one method on one model, made anew so that nothing that another left on it matters."""
    torch.manual_seed(SEED)
    model = case.make().eval()
    axes = (FEATURES,) if case.steps is None else (case.steps, FEATURES)
    x, baseline = torch.randn(SAMPLES, *axes), torch.zeros(1, *axes)
    with torch.no_grad():
        moved = (model(x) - model(baseline)).squeeze(1).double()
    answer = Answer()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        for kind in (DeprecationWarning, PendingDeprecationWarning):
            warnings.filterwarnings("ignore", category=kind)
        try:
            attributed = method(model, x, baseline).double().flatten(1).sum(1)
            answer.error = float((attributed - moved).abs().max() / moved.abs().max())
        except Exception as error:
            answer.crash = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    answer.warned = sorted({str(warning.message).strip() for warning in caught})
    return answer


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="the table as in the README")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures and warnings there")
    options = parser.parse_args(arguments)
    answers = {case.name: {name: measure(case, method) for name, method in METHODS.items()} for case in CASES}
    rows = [[name, *(str(answer) for answer in found.values())] for name, found in answers.items()]
    print(table(["model", *METHODS], rows, options.markdown))
    print(f"\nWorst of {SAMPLES} random samples; hidden size {HIDDEN}; {installed_in_words()}.")
    for method in METHODS:
        said = Counter(text for found in answers.values() for text in found[method].warned)
        for text, times in sorted(said.items()):
            print(f"{method} warned on {times} of {len(CASES)} models: {text.splitlines()[0]}")
    write_json(
        options.json,
        {case: {method: asdict(answer) for method, answer in found.items()} for case, found in answers.items()},
    )


if __name__ == "__main__":
    main()
