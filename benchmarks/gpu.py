"""What the PyTorch engine does on a GPU: whether it is exact there, and what it costs. `benchmarks/gpu.sh` runs it.

One prepared run for a machine that has PyTorch, Triton and NumPy, and maybe nothing else. Each part is by itself: what
stops one is written down, and the others go on. Figures are written after every part.

    python -m benchmarks.gpu [--device cpu] [--quick] [--seconds 300] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.report import table
from explain_core.backends.protocol import Target
from explain_core.backends.torch import cuda, open_runner
from explain_core.backends.torch.precision import Settings, full_precision

HERE = Path(__file__).resolve().parent
FEATURES = 32


@dataclass(frozen=True)
class Sizes:
    """How large the parts are."""

    steps: int
    batches: tuple[int, ...]
    units: tuple[int, ...]
    rounds: int
    kernels: tuple[tuple[int, int, int, int], ...]  # timesteps, rows, pairs, units


FULL = Sizes(
    200, (1, 16, 64, 256, 1024, 4096), (64, 128, 256, 512, 1024), 5, ((20, 5, 7, 100), (3, 1, 1, 1), (50, 9, 8, 256))
)
QUICK = Sizes(6, (1, 3), (8,), 1, ((3, 3, 2, 7),))


class Model(nn.Module):
    """(sample, time, feature) to (sample, 1)."""

    def __init__(self, cell: str, units: int, layers: int = 1, both_ways: bool = False, convolution: bool = False):
        super().__init__()
        self.before = nn.Conv1d(FEATURES, FEATURES, 3, padding=1) if convolution else None
        self.rnn = getattr(nn, cell)(FEATURES, units, layers, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(units * (2 if both_ways else 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.before is not None:
            x = torch.relu(self.before(x.mT)).mT
        return self.head(self.rnn(x)[0][:, -1])


class Arguments:
    """One array, in the form that the engine takes arguments in; the usual one needs pandas and xarray."""

    def __init__(self, array: np.ndarray) -> None:
        self.names, self.leaves = ["x"], [array]

    def rebuild(self, leaves: Sequence[Any]) -> tuple[tuple, dict]:
        return tuple(leaves), {}


def engine(model: nn.Module, x: np.ndarray, base: np.ndarray, device: str) -> Callable[[], Any]:
    """What explains one output of a model; the first call records it."""
    runner = open_runner(model, Arguments(x), sample_axes=(0,), device=device)
    return lambda: runner.attribute([x], [base], [Target(0, (0,), "0")], gates=False, embeddings=False)


def inputs(batch: int, steps: int, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(batch, steps, FEATURES)).astype(dtype), np.zeros((batch, steps, FEATURES), dtype)


def residual(found: Any) -> float:
    """The largest residual over all attribution of its sample."""
    change = found.prediction[0].astype(float) - found.baseline_prediction[0]
    parts = found.attributions[0][0].astype(float)
    return float(np.max(np.abs(parts.sum((1, 2)) - change) / np.abs(parts).sum((1, 2))))


class Run:
    """The parts, their time, and what was found.

    Attributes:
        found: what is written as JSON.
    """

    def __init__(self, device: str, sizes: Sizes, seconds: float, out: Path) -> None:
        self.device, self.sizes, self.out = torch.device(device), sizes, out
        self._end = time.monotonic() + seconds
        self.found: dict[str, Any] = {"about": about(self.device), "stopped": {}}

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def part(self, name: str, what: Callable[[Run], Any]) -> None:
        """Do one part, and write down what it found or what stopped it."""
        started = time.monotonic()
        print(f"\n--- {name}", flush=True)
        if self.is_over:
            self.found["stopped"][name] = "no time was left"
            print("no time was left")
            return
        try:
            self.found[name] = what(self)
        except Exception as error:  # the other parts are to be had all the same
            self.found["stopped"][name] = "".join(traceback.format_exception(error))
            traceback.print_exc(file=sys.stdout)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
        self.write()

    def write(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        card = re.sub(r"\W+", "-", self.found["about"]["card"]).strip("-").lower()
        path = self.out / f"gpu-{card}.json"
        path.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")

    def milliseconds(self, run: Callable[[], Any]) -> float:
        """The median over the rounds, the device's work included, after two runs that are not counted."""
        times = []
        for _ in range(self.sizes.rounds + 2):
            self.wait()
            started = time.perf_counter()
            run()
            self.wait()
            times.append(1000 * (time.perf_counter() - started))
        return statistics.median(times[2:])

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self, run: Callable[[], Any]) -> float | None:
        """The most memory of the card that a run takes, in MiB."""
        if self.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        return torch.cuda.max_memory_allocated(self.device) / 2**20


def about(device: torch.device) -> dict[str, Any]:
    """The card and the versions; nothing that names a machine."""
    is_card = device.type == "cuda"
    return {
        "card": torch.cuda.get_device_name(device) if is_card else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if is_card else None,
        "triton": importlib.util.find_spec("triton") is not None and __import__("triton").__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


# --- exactness -------------------------------------------------------------------------------------------------------


def kernels(run: Run) -> dict[str, float]:
    """The largest distance of each kernel's results from a loop in double precision, in roundings of the largest."""
    if not cuda.usable(run.device):
        print("no kernels here: they need a GPU and Triton")
        return {}
    sys.path.append(str(HERE.parent / "tests"))
    import triton_kernels as tests

    worst: dict[str, float] = {}
    with full_precision():
        for kind in tests.KINDS:
            for dtype in (torch.float32, torch.float64):
                for sizes in run.sizes.kernels:
                    for known in (False, True, False, True, False, True):  # the third time from a CUDA graph
                        for name, apart in tests.measure(kind, sizes, dtype, known, run.device).items():
                            key = f"{kind} {str(dtype).removeprefix('torch.')} {name}"
                            worst[key] = max(worst.get(key, 0.0), apart)
    print(table(["kernel, result", "roundings"], [[k, f"{v:.1f}"] for k, v in worst.items()], False))
    return worst


def residuals(run: Run) -> dict[str, Any]:
    """Whether it adds up, says the same twice, and gives nothing to a sample that is its baseline."""
    found, units = {}, min(64, max(run.sizes.units))
    kinds: dict[str, tuple] = {
        "LSTM": ("LSTM",),
        "GRU": ("GRU",),
        "RNN": ("RNN",),
        "LSTM, 2 layers both ways": ("LSTM", 2, True),
        "convolution, GRU": ("GRU", 1, False, True),
    }
    for dtype in (np.float32, np.float64):
        for name, (cell, *more) in kinds.items():
            torch.manual_seed(0)
            model = Model(cell, units, *more).to(getattr(torch, np.dtype(dtype).name)).eval()
            x, base = inputs(3, run.sizes.steps, dtype)
            x[2] = base[2]
            explain = engine(model, x, base, str(run.device))
            one, two = explain(), explain()
            here = two.attributions[0]
            there = engine(model, x, base, "cpu")().attributions[0]
            one_of = type(one)(one.prediction[:, :2], one.baseline_prediction[:, :2], [one.attributions[0][:, :2]])
            found[f"{name}, {np.dtype(dtype).name}"] = {
                "residual": residual(one_of),
                "from the CPU": float(np.abs(here - there).max() / np.abs(there).max()),
                "same twice": bool(np.array_equal(one.attributions[0], here)),
                "equal members give zero": not np.any(here[0, 2]),
            }
    rows = [
        [name, *(f"{v:.1e}" if isinstance(v, float) else str(v) for v in of.values())] for name, of in found.items()
    ]
    print(table(["model", *next(iter(found.values()))], rows, False))
    return found


def tf32(run: Run) -> dict[str, Any]:
    """What TF32 would do: to the model's own answer, and to the sum if the engine let it be."""
    model = Model("LSTM", max(run.sizes.units[:3])).eval()
    x, base = inputs(64, run.sizes.steps)
    own, here = model.to(run.device), torch.from_numpy(x).to(run.device)
    with torch.no_grad():
        as_set = own(here).double()
        with full_precision():
            exact = own(here).double()
        double = Model("LSTM", max(run.sizes.units[:3])).double().to(run.device)
        double.load_state_dict({name: weight.double() for name, weight in own.state_dict().items()})
        true = double(here.double())
    found = {
        "own answer as PyTorch comes, from float64": float((as_set - true).abs().max()),
        "own answer in full precision, from float64": float((exact - true).abs().max()),
        "residual": residual(engine(model, x, base, str(run.device))()),
    }
    make_exact, Settings.make_exact = Settings.make_exact, lambda self: None
    try:
        found["residual, if the engine left TF32 on"] = residual(engine(model, x, base, str(run.device))())
    except Exception as error:  # what it finds when it looks at its own sum
        found["residual, if the engine left TF32 on"] = f"{type(error).__name__}: {error}"
    finally:
        Settings.make_exact = make_exact
    for name, value in found.items():
        print(f"{name}: {value if isinstance(value, str) else format(value, '.2e')}")
    return found


# --- cost ------------------------------------------------------------------------------------------------------------


def speed(run: Run) -> list[dict[str, Any]]:
    """The engine beside cuDNN's forward and backward pass on the doubled batch, and the kernels by themselves."""
    found, header = [], None
    for cell in ("LSTM", "GRU"):
        for units in run.sizes.units:
            model = Model(cell, units).eval().to(run.device)
            for batch in run.sizes.batches:
                if run.is_over:
                    print("no time was left for the rest")
                    return found
                row = {"cell": cell, "units": units, "batch": batch} | of_size(run, model, cell, units, batch)
                found.append(row)
                run.found["speed"] = found
                run.write()
                if header is None:
                    header = list(row)
                    print(" ".join(f"{name:>15}" for name in header))
                values = (row.get(name, "") for name in header)
                shown = (f"{value:.2f}" if isinstance(value, float) else str(value)[:40] for value in values)
                print(" ".join(f"{value:>15}" for value in shown), flush=True)
    return found


def of_size(run: Run, model: nn.Module, cell: str, units: int, batch: int) -> dict[str, Any]:
    """Milliseconds and MiB for one size; a size that does not fit says so."""
    x, base = inputs(batch, run.sizes.steps)
    both = torch.from_numpy(np.concatenate([x, base])).to(run.device).requires_grad_()
    trained = Model(cell, units).to(run.device).requires_grad_(False)  # cuDNN's way back is for training mode only
    found: dict[str, Any] = {}
    parts = {
        "cuDNN, TF32": lambda: torch.autograd.grad(trained(both).sum(), both),
        "cuDNN": lambda: torch.autograd.grad(trained(both).sum(), both),
        "engine": engine(model, x, base, str(run.device)),
    }
    if cuda.usable(run.device):
        parts |= by_kernel(run, cell, units, batch)
    for name, part in parts.items():
        try:
            with nullcontext() if name == "cuDNN, TF32" else full_precision():
                found[name] = run.milliseconds(part)
                if name == "engine":
                    found["MiB"] = run.peak(part)
        except Exception as error:  # such as memory: the other contenders and sizes are to be had all the same
            found[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            if run.device.type == "cuda":
                torch.cuda.empty_cache()
    if all(isinstance(found[name], float) for name in ("engine", "cuDNN")):
        found["engine/cuDNN"] = found["engine"] / found["cuDNN"]
    return found


def by_kernel(run: Run, cell: str, units: int, batch: int) -> dict[str, Callable[[], Any]]:
    """The kernels' forward and backward, on pairs with one baseline for all."""
    gates = 4 if cell == "LSTM" else 3
    make = lambda *shape: torch.randn(*shape, device=run.device)  # noqa: E731
    try:
        x, w, h0 = make(run.sizes.steps, batch + 1, gates * units), make(units, gates * units), make(batch + 1, units)
        w /= units**0.5
        m_h = make(run.sizes.steps, batch, units)
        test = torch.arange(batch, device=run.device)
        base = torch.full_like(test, batch)
        if cell == "LSTM":
            forward = lambda: cuda.lstm_forward(x, w, h0, h0, test, base)  # noqa: E731
            factors = forward().factors
            back = lambda at_once: cuda.lstm_back(factors, w, m_h, at_once=at_once)  # noqa: E731
        else:
            forward = lambda: cuda.gru_forward(x, w, h0[0], h0, test, base)  # noqa: E731
            factors = forward().factors
            back = lambda at_once: cuda.gru_back(factors, w, m_h, at_once=at_once)  # noqa: E731
    except torch.OutOfMemoryError:
        return {}
    found = {"kernel forward": forward, "kernel back": lambda: back(False)}
    return found | ({"back at once": lambda: back(True)} if units <= cuda.MOST_UNITS_ON_CHIP else {})


def peers(run: Run) -> dict[str, Any]:
    """shap and captum on one size, where they are installed."""
    batch, units = min(64, max(run.sizes.batches)), min(128, max(run.sizes.units))
    x, base = inputs(batch, run.sizes.steps)
    there, from_there = (torch.from_numpy(array).to(run.device) for array in (x, base[:1]))
    found: dict[str, Any] = {"engine": run.milliseconds(engine(Model("LSTM", units).eval(), x, base, str(run.device)))}
    for name in ("shap", "captum"):
        if importlib.util.find_spec(name) is None:
            found[name] = "not installed"
            continue
        model = Model("LSTM", units).eval().to(run.device)
        with torch.backends.cudnn.flags(enabled=False):  # it has no way back in evaluation mode
            if name == "shap":
                from shap import DeepExplainer

                explainer = DeepExplainer(model, from_there)
                values = lambda: explainer.shap_values(there, check_additivity=False)  # noqa: B023, E731
            else:
                from captum.attr import DeepLift

                lift = DeepLift(model)
                values = lambda: lift.attribute(there, baselines=from_there, target=0)  # noqa: B023, E731
            found[name] = run.milliseconds(values)
    print(found)
    return found


PARTS = {"kernels": kernels, "residuals": residuals, "TF32": tf32, "peers": peers, "speed": speed}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--seconds", type=float, default=300, help="after which no part is begun")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or HERE / "results"))
    options = parser.parse_args(arguments)
    run = Run(options.device, QUICK if options.quick else FULL, options.seconds, options.out)
    print(run.found["about"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, part in PARTS.items():
            run.part(name, part)
    print(f"\n{len(run.found['stopped'])} of {len(PARTS)} parts stopped: {', '.join(run.found['stopped']) or 'none'}")
    return run.found


if __name__ == "__main__":
    sys.exit(bool(main()["stopped"]))
