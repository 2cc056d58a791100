"""What an explanation costs, in units of the model's own forward and backward pass.

The unit is `nn.LSTM` and a Linear layer on its last step, forward and backward, on the doubled batch (a pair has two
members). Its backward goes to the input and not to the weights, as an explanation needs no more; a row of its own says
what the gradients of the weights would add. Contenders take turns, and a figure is the median over the rounds of the
time divided by that of the unit run just before, which is what other work on the machine disturbs least.

    python -m benchmarks.speed [--device cuda] [--threads N] [--rounds N] [--markdown] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import explain_core as xc
from benchmarks.report import installed_in_words, table, write_json
from explain_core.backends.protocol import Target
from explain_core.backends.torch import open_runner
from explain_core.preparation.inputs import read_arguments

SAMPLES, STEPS, FEATURES, HIDDEN = 64, 100, 32, 128
GRADIENT_STEPS = 50
UNIT = "nn.LSTM forward + backward, doubled batch"
SLOW, SLOW_EVERY = f"captum IntegratedGradients, {GRADIENT_STEPS} steps", 4

Contender = Callable[[], Any]


class Model(nn.Module):
    """(sample, time, feature) to (sample, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def contenders(device: str) -> dict[str, Contender]:
    """Everything that is timed, the unit first. Each gets its own model, as some leave hooks on it."""
    from captum.attr import DeepLift, IntegratedGradients
    from shap import DeepExplainer

    torch.manual_seed(0)
    x, baseline = torch.randn(SAMPLES, STEPS, FEATURES), torch.zeros(1, STEPS, FEATURES)
    on_device, baseline_on_device = x.to(device), baseline.to(device)
    array, baseline_array = x.numpy(), baseline.expand(x.shape).numpy()
    weights = Model().state_dict()

    def model(train: bool = False) -> nn.Module:
        own = Model()
        own.load_state_dict(weights)
        return own.to(device).train(train)

    def pass_through(own: nn.Module) -> Contender:
        both = torch.cat([on_device, baseline_on_device.expand(x.shape)]).requires_grad_()
        wanted = [both, *(w for w in own.parameters() if w.requires_grad)]
        return lambda: torch.autograd.grad(own(both).sum(), wanted)

    # cuDNN has a backward pass in training mode only; without dropout the modes are the same otherwise.
    frozen, trained, plain = model(train=True).requires_grad_(False), model(train=True), model()
    runner = open_runner(plain, read_arguments(plain, array), sample_axes=(0,), device=device)
    arguments = [array], [baseline_array], [Target(0, (0,), "0")]
    shap_model, lift_model, path_model = model(), DeepLift(model()), IntegratedGradients(model())

    def pairlift(keep_gates: bool) -> Contender:
        return lambda: xc.explain(plain, array, baselines=baseline_array, device=device, keep_gates=keep_gates)

    return {
        UNIT: pass_through(frozen),
        "the same, with the gradients of the weights": pass_through(trained),
        "PairLift, the engine alone": lambda: runner.attribute(*arguments, gates=False, embeddings=False),
        "PairLift, explain(), keep_gates=False": pairlift(False),
        "PairLift, explain(), gates kept": pairlift(True),
        "shap DeepExplainer": lambda: DeepExplainer(shap_model, baseline_on_device).shap_values(
            on_device, check_additivity=False
        ),
        "captum DeepLift": lambda: lift_model.attribute(on_device, baselines=baseline_on_device, target=0),
        SLOW: lambda: path_model.attribute(
            on_device, baselines=baseline_on_device, target=0, n_steps=GRADIENT_STEPS, internal_batch_size=2 * SAMPLES
        ),
    }


def measure(
    runs: dict[str, Contender], rounds: int, device: str
) -> tuple[dict[str, np.ndarray], dict[str, str], float]:
    """The time of each contender in units, in each round; what stopped those that cannot run; and the
    median seconds of the unit.
    """
    stopped = {}
    for name, run in runs.items():
        try:
            run()
        except Exception as error:
            stopped[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    ratios: dict[str, list[float]] = {name: [] for name in runs if name not in stopped}
    units = []
    for number in range(rounds):
        for name, found in ratios.items():
            if name == SLOW and number % SLOW_EVERY:
                continue
            units.append(seconds(runs[UNIT], device))
            found.append(seconds(runs[name], device) / units[-1])
    return {name: np.array(found) for name, found in ratios.items()}, stopped, statistics.median(units)


def seconds(run: Contender, device: str) -> float:
    """Wall-clock seconds of one run, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="CPU threads; PyTorch's own choice when left out")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is timed")
    parser.add_argument("--markdown", action="store_true", help="the table as in the README")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratios, stopped, unit = measure(contenders(options.device), options.rounds, options.device)
    rows = [
        [name, f"{np.median(r):.2f}", "{:.2f} to {:.2f}".format(*np.quantile(r, [0.25, 0.75]))]
        for name, r in ratios.items()
    ]
    rows += [[name, "stops", reason] for name, reason in stopped.items()]
    print(table(["", "times the unit", "middle half of the rounds"], rows, options.markdown))
    print(
        f"\n(sample, time, input, hidden) = {(SAMPLES, STEPS, FEATURES, HIDDEN)}, float32 on {options.device}; "
        f"{options.rounds} rounds, of which a unit took {1000 * unit:.0f} ms; {installed_in_words()}."
    )
    figures = {name: {"ratio": float(np.median(r)), "rounds": r.tolist()} for name, r in ratios.items()}
    write_json(options.json, {"device": options.device, "ratios": figures, "stopped": stopped})


if __name__ == "__main__":
    main()
