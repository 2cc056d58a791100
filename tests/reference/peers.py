"""The same weights and sequences given to shap on TensorFlow, the reference, and the engine."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reference import layers, paired

HIDDEN, FEATURES, SAMPLES = 5, 3, 3
PROBLEMS = ("LSTM-1", "LSTM-10", "LSTM-20", "GRU-1", "GRU-10", "GRU-20")  # kind and number of steps


@dataclass(frozen=True)
class Problem:
    kind: str
    steps: int
    weights: dict[str, np.ndarray]  # PyTorch's names, and the head's (1, H)
    test: np.ndarray  # (N, T, I)
    base: np.ndarray  # (1, T, I)


@functools.cache
def problem(name: str) -> Problem:
    kind, steps = name.split("-")
    rng = np.random.default_rng([ord(kind[0]), int(steps)])
    rows = HIDDEN * {"LSTM": 4, "GRU": 3}[kind]

    def draw(*shape):
        return rng.normal(scale=0.6, size=shape)

    weights = {
        "weight_ih_l0": draw(rows, FEATURES),
        "weight_hh_l0": draw(rows, HIDDEN),
        "bias_ih_l0": draw(rows),
        "bias_hh_l0": draw(rows),
        "head": draw(1, HIDDEN),
    }
    test = rng.normal(size=(SAMPLES, int(steps), FEATURES))
    base = rng.normal(size=(1, int(steps), FEATURES))
    return Problem(kind, int(steps), weights, test, base)


@functools.cache
def shap_answers() -> dict[str, np.ndarray]:
    """``NAME/attributions`` (N, T, I) and ``NAME/prediction`` (N,) for every problem, from one process."""
    given = {}
    for name in PROBLEMS:
        p = problem(name)
        given |= {f"{name}/{key}": array for key, array in p.weights.items()}
        given |= {f"{name}/test": p.test, f"{name}/base": p.base}
    script = Path(__file__).with_name("shap_tensorflow.py")
    with tempfile.TemporaryDirectory() as folder:
        problems, answers = Path(folder, "problems.npz"), Path(folder, "answers.npz")
        np.savez(problems, **given)
        done = subprocess.run(
            [sys.executable, str(script), str(problems), str(answers)],
            env={
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "",
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(f"shap on TensorFlow failed:\n{done.stderr[-3000:]}")
        return dict(np.load(answers))


def feed_forward(seed: int):
    """A net with a module for every activation, as captum needs, and its mirror: (4,) -> (1,)."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    functions = [
        (nn.Sigmoid(), paired.sigmoid),
        (nn.Tanh(), paired.tanh),
        (nn.ReLU(), paired.relu),
        (nn.ELU(), paired.elu),
        (nn.LeakyReLU(), paired.leaky_relu()),
        (nn.Softplus(), paired.softplus),
    ]
    linears = [nn.Linear(4 if not depth else 6, 6) for depth in range(len(functions))]
    modules = [module for pair in zip(linears, (f for f, _ in functions), strict=True) for module in pair]
    net = nn.Sequential(*modules, nn.Linear(6, 1)).double()

    def mirrored(x: paired.PairedArray) -> paired.PairedArray:
        weights = {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}
        x = x.reshape(1, -1)
        for depth, (_, function) in enumerate(functions):
            x = paired.elementwise(layers.linear(weights, x, f"{2 * depth}."), function)
        return layers.linear(weights, x, f"{2 * len(functions)}.")[0]

    return net, mirrored


def captum_answer(net, test: np.ndarray, base: np.ndarray) -> np.ndarray:
    """(N, ...) attributions of a net with one output, by captum's DeepLift."""
    import torch
    from captum.attr import DeepLift

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting forward, backward hooks")  # at every run
        found = DeepLift(net).attribute(torch.from_numpy(test).requires_grad_(), torch.from_numpy(base))
    return found.detach().numpy()
