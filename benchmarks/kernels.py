"""What the compiled recurrences cost, in units of the model's own forward and backward pass on the doubled batch.

Timed is all that an explanation of one layer needs: both members' product of inputs and weights, the kernels forward
and backward, and the product with the weights on the way to the inputs. Model and kernels take turns on one thread, a
figure is the median of the ratios of processor time, which other work on the machine disturbs little.

    python -m benchmarks.kernels [--rounds N] [--cells lstm gru rnn] [--products]

``--products`` compares the two kinds of matrix product instead, from which `products.library_is_faster` has its limit.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.report import table
from benchmarks.shapes import SHAPES
from explain_core.kernels import driving, gru, lstm, rnn

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
KERNELS = {
    "lstm": (lstm.lstm_forward, lstm.lstm_back),
    "gru": (gru.gru_forward, gru.gru_back),
    "rnn": (rnn.rnn_forward, rnn.rnn_back),
}


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))


class Model(nn.Module):
    """(sample, time, feature) to (sample, 1)."""

    def __init__(self, cell: str, features: int, hidden: int) -> None:
        super().__init__()
        self.rnn = LAYERS[cell](features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def explain(cell: str, model: Model, x: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Attributions of samples (N, T, I) with as many baselines, or one for all."""
    forward, back = KERNELS[cell]
    samples, steps, features = x.shape
    layer = {name: weight.numpy() for name, weight in model.rnn.named_parameters()}
    w_x, w_h = layer["weight_ih_l0"], layer["weight_hh_l0"].T
    units = len(w_h)
    rows = np.concatenate([x, b]).transpose(1, 0, 2).reshape(-1, features)
    bias, options = layer["bias_ih_l0"] + layer["bias_hh_l0"], {}
    if cell == "gru":
        options["bias"] = layer["bias_hh_l0"][2 * units :]
        bias[2 * units :] -= options["bias"]
    from_x = torch.addmm(*map(torch.from_numpy, (bias, rows, w_x.T))).view(steps, -1, len(bias)).numpy()
    states = [np.zeros((len(from_x[0]), units), np.float32)] * (1 + (cell == "lstm"))
    test = np.arange(samples)
    base = test + samples if len(b) == samples else np.full(samples, samples)
    factors = forward(from_x, w_h, *states, test, base, product=product, **options).factors
    m_h = np.zeros((steps, samples, units), np.float32)
    m_h[-1] = model.head.weight.numpy()
    m_pre = back(factors, w_h, m_h, product=product).pre
    m_x = torch.from_numpy(m_pre).flatten(0, 1) @ torch.from_numpy(w_x)
    return m_x.view(steps, samples, features).transpose(0, 1).numpy() * (x - b)


def clock(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def ratios(cell: str, shape: tuple[int, ...], rounds: int) -> tuple[float, float, float]:
    """Seconds of the unit, and the ratios with a baseline for each sample and with one for all."""
    samples, steps, features, hidden = shape
    torch.manual_seed(0)
    model = Model(cell, features, hidden).requires_grad_(False)
    x, b = torch.randn(2, samples, steps, features)
    both = torch.cat([x, b]).requires_grad_()
    model.train()
    unit = lambda: torch.autograd.grad(model(both).sum(), both)  # noqa: E731
    runs = [lambda b=b: explain(cell, model, x.numpy(), b.numpy()) for b in (b, b[:1])]
    change = (model(x) - model(b))[:, 0].numpy()
    found = runs[0]()
    assert (abs(found.sum((1, 2)) - change) <= 1e-5 * abs(found).sum((1, 2))).all()
    times = [[clock(unit), *map(clock, runs)] for _ in range(rounds + 1)][1:]
    return statistics.median(t[0] for t in times), *(statistics.median(t[k] / t[0] for t in times) for k in (1, 2))


def products(rounds: int) -> list[list[str]]:
    """Microseconds of one timestep's product, compiled and by PyTorch with what a call from Python costs."""
    found = []
    for hidden in (16, 32, 64, 128, 256, 512):
        for rows in (1, 2, 8, 32, 128, 512):
            kinds = [_product_time(rows, hidden, large, rounds) for large in (False, True)]
            found.append([str(rows), str(hidden), *(f"{value:.1f}" for value in kinds)])
    return found


def _product_time(rows: int, hidden: int, large: bool, rounds: int) -> float:
    steps = max(1, min(200, 2**27 // (rows * hidden * 4 * hidden)))
    draw = np.random.default_rng(0)
    x = draw.normal(size=(steps, rows, 4 * hidden)).astype(np.float32)
    w = draw.normal(size=(hidden, 4 * hidden)).astype(np.float32) / hidden
    h, pair = np.zeros((rows, hidden), np.float32), np.zeros(1, int)
    driving.library_is_faster = lambda *_: large
    run = lambda: lstm.lstm_forward(x, w, h, h, pair, pair, product=product)  # noqa: E731
    return min(clock(run) for _ in range(rounds)) / steps * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cells", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--products", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.products:
        print(table(["rows", "hidden", "compiled", "by PyTorch"], products(options.rounds), False))
        return
    for cell in options.cells:
        found = [ratios(cell, shape, options.rounds) for shape in SHAPES]
        rows = [
            [str(shape), f"{1e3 * unit:.1f}", *(f"{ratio:.2f}" for ratio in rest)]
            for shape, (unit, *rest) in zip(SHAPES, found, strict=True)
        ]
        means = [math.exp(statistics.mean(math.log(one[k]) for one in found)) for k in (1, 2)]
        rows.append(["geometric mean", "", *(f"{mean:.2f}" for mean in means)])
        print(f"\n{cell}\n")
        print(
            table(["(sample, time, input, hidden)", "unit, ms", "own baselines", "one baseline"], rows, False),
            flush=True,
        )


if __name__ == "__main__":
    main()
