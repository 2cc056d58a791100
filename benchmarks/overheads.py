"""What the engine costs in the model's own two passes, and `explain` beside the engine: a second call on one model.

The unit is the model's forward and backward pass on the doubled batch, the engine is `Runner.attribute` on a runner
that is open, and `explain` is called on a model that it has explained before, whose own call on both members it
compares with. Figures are medians of the processor's time, on one thread.

    python -m benchmarks.overheads [--framework torch|tensorflow] [--cell LSTM|GRU] [--both-ways] [--rounds N]
        [--baselines zeros|own] [--markdown] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import explain_core as xc
from benchmarks.report import installed_in_words, table, write_json
from benchmarks.shapes import SHAPES
from explain_core.backends import get_backend
from explain_core.backends.protocol import Target
from explain_core.preparation.inputs import read_arguments

UNIT = "forward + backward"
ENGINE, PLAIN, GATES = "engine", "explain, no gates", "explain, gates"


def torch_model(cell: str, features: int, hidden: int, both_ways: bool) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """A recurrent layer and a Linear layer on its last step, and its two passes on an array."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = getattr(nn, cell)(features, hidden, batch_first=True, bidirectional=both_ways)
            self.head = nn.Linear(hidden * (1 + both_ways), 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(x)[0][:, -1])

    model = Model().eval().requires_grad_(False)
    trained = copy.deepcopy(model).train()  # in which PyTorch's kernels keep what their own way back needs

    def passes(array: np.ndarray) -> Any:
        x = torch.from_numpy(array).requires_grad_()
        return torch.autograd.grad(trained(x).sum(), x)

    return model, passes


def tensorflow_model(cell: str, features: int, hidden: int, both_ways: bool) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """The same in Keras; its two passes are compiled."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    layer = getattr(keras.layers, cell)(hidden)
    layer = keras.layers.Bidirectional(layer) if both_ways else layer
    model = keras.Sequential([keras.Input((None, features)), layer, keras.layers.Dense(1)])

    @tf.function
    def passes(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(model(x, training=False))
        return tape.gradient(y, x)

    return model, lambda array: passes(tf.constant(array)).numpy()


MODELS = {"torch": torch_model, "tensorflow": tensorflow_model}


def measure(
    framework: str, cell: str, both_ways: bool, shape: tuple[int, int, int, int], rounds: int, own: bool
) -> dict[str, np.ndarray]:
    """Milliseconds of the unit, the engine, and a second `explain` without gates and with them, by round.

    Args:
        both_ways: whether the layer reads the sequence from both ends.
        own: whether every sample has a baseline of its own, instead of zeros for all.
    """
    samples, steps, features, hidden = shape
    model, passes = MODELS[framework](cell, features, hidden, both_ways)
    x = np.random.default_rng(0).normal(size=(samples, steps, features)).astype(np.float32)
    base = np.roll(x, 1, 1) if own else np.zeros_like(x)
    doubled = np.concatenate([x, base])
    runner = get_backend(framework, model).open_runner(model, read_arguments(model, x), sample_axes=(0,), device="cpu")
    runs = {
        UNIT: lambda: passes(doubled),
        ENGINE: lambda: runner.attribute([x], [base], [Target(0, (0,), "0")], gates=False, embeddings=False),
        PLAIN: lambda: xc.explain(model, x, baselines=base, device="cpu", keep_gates=False),
        GATES: lambda: xc.explain(model, x, baselines=base, device="cpu"),
    }
    for run in runs.values():
        run()
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.process_time()
            run()
            found[name].append(1000 * (time.process_time() - started))
    return {name: np.array(times) for name, times in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overheads", description=__doc__)
    parser.add_argument("--framework", choices=[*MODELS], default="torch")
    parser.add_argument("--cell", default="LSTM", help="LSTM, GRU, RNN; Keras' SimpleRNN")
    parser.add_argument("--both-ways", action="store_true", help="a bidirectional layer")
    parser.add_argument("--baselines", choices=["zeros", "own"], default="zeros", help="one for all, or each its own")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is timed")
    parser.add_argument("--markdown", action="store_true", help="the table as in the documentation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = options.baselines == "own"
        chosen = options.framework, options.cell, options.both_ways
        found = {shape: measure(*chosen, shape, options.rounds, own) for shape in SHAPES}
    middle = lambda values: statistics.median(values.tolist())  # noqa: E731
    engine = [middle(times[ENGINE] / times[UNIT]) for times in found.values()]
    rows = [
        [
            str(shape),
            f"{middle(times[UNIT]):.1f}",
            f"{ratio:.2f}",
            f"{middle(times[PLAIN] - times[ENGINE]):.1f}",
            f"{middle(times[GATES] / times[PLAIN]):.2f}",
        ]
        for ratio, (shape, times) in zip(engine, found.items(), strict=True)
    ]
    mean = math.exp(statistics.fmean(map(math.log, engine)))
    rows.append(["geometric mean", "", f"{mean:.2f}", "", ""])
    columns = [
        "(sample, time, feature, hidden)",
        f"{UNIT}, ms",
        "engine, units",
        "explain - engine, ms",
        "gates / none",
    ]
    print(table(columns, rows, options.markdown))
    layer = f"bidirectional {options.cell}" if options.both_ways else options.cell
    setting = f"{options.framework} {layer}, baselines: {options.baselines}, {options.rounds} rounds"
    print(f"\n{setting}; {installed_in_words()}.")
    write_json(options.json, {str(shape): {n: t.tolist() for n, t in times.items()} for shape, times in found.items()})


if __name__ == "__main__":
    main()
