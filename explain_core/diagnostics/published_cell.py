"""The published experiments: their set-ups and the figures that were printed.

From the repository of the ``shap`` package: ``bugs/pytorch_impl/Nov2025/test_manual_vs_builtin_lstm.py`` has the
weights and inputs of the single step, ``debug_pytorch_sequence_error.py`` the set-up of the three steps, whose weights
were drawn without a seed; the figures stand in ``CROSS_FRAMEWORK_LSTM_RESULTS.md`` and
``PYTORCH_SEQUENCE_LIMITATION.md`` beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from explain_core.diagnostics.measured import Measured

INPUTS, UNITS, STEPS = 3, 2, 3

#: The cell of the single step, one array (units, inputs) per gate in PyTorch's order: input, forget, candidate, output.
#: The output gate does not reach the cell state that is explained. It was drawn after ``torch.manual_seed(42)``, and
#: is none of the figures'; here it is that of the candidate.
_KERNELS = {
    "input": ([[1.0, 0.5], [1.0, 0.3], [0.5, 0.2]], [0.2, 0.1], [[2.0, 0.5], [1.0, 0.8]], [0.32, 0.15]),
    "forget": ([[0.8, 0.3], [0.6, 0.5], [0.4, 0.7]], [0.1, 0.05], [[1.5, 0.7], [0.9, 1.2]], [0.25, 0.18]),
    "candidate": ([[1.2, 0.4], [0.9, 0.8], [0.6, 1.0]], [0.15, 0.08], [[1.8, 0.9], [1.1, 1.3]], [0.28, 0.12]),
}
_GATES = ("input", "forget", "candidate", "candidate")

#: Input, hidden state and cell state before the step: of the sequence, and of the baseline.
TEST = np.array([[0.1, 0.2, 0.3, 0.0, 0.1, 0.5, 0.3]], np.float32)
BASELINE = np.array([[0.01, 0.02, 0.03, 0.0, 0.01, 0.1, 0.05]], np.float32)

#: The three steps: every value of the sequence, and of the baseline.
LEVEL, BASELINE_LEVEL = 0.5, 0.0
SEED, SEEDS = 0, 20


def weights() -> dict[str, np.ndarray]:
    """The single step's weights by the names of ``nn.LSTMCell``."""
    columns = [np.concatenate([np.array(_KERNELS[gate][i], np.float32).T for gate in _GATES]) for i in (0, 2)]
    biases = [np.concatenate([np.array(_KERNELS[gate][i], np.float32) for gate in _GATES]) for i in (1, 3)]
    return {"weight_ih": columns[0], "weight_hh": columns[1], "bias_ih": biases[0], "bias_hh": biases[1]}


def sequence() -> tuple[np.ndarray, np.ndarray]:
    """The single step's input at each of three steps, and the baseline's: both (1, 3, 3)."""
    test, baseline = (np.repeat(row[:, None, :INPUTS], STEPS, 1) for row in (TEST, BASELINE))
    return test, baseline


@dataclass(frozen=True)
class Published:
    """What was printed of one experiment and model: the sum of the attributions and the sum that it should be."""

    attributed: float
    expected: float
    error: float


ONE_STEP = "One step, known weights"
THREE_STEPS = "Three steps, weights without a seed"
ONE_OF_THREE = "One step of that cell"
KNOWN_THREE = "Three steps, known weights"

#: By experiment, framework, model and method.
PUBLISHED = {
    (ONE_STEP, "tensorflow", "written out", "deep_explainer"): Published(1.0129283741, 1.0129282475, 1.267e-7),
    (ONE_STEP, "torch", "nn.LSTMCell", "deep_explainer"): Published(1.0314924326, 1.0129281282, 0.0185643043),
    (THREE_STEPS, "torch", "nn.LSTMCell in a loop", "deep_explainer"): Published(-0.037127, -0.053324, 0.016196),
    (ONE_OF_THREE, "torch", "nn.LSTMCell", "deep_explainer"): Published(-0.102077, -0.102077, 0.0),
}
#: Largest difference between the two frameworks' cell states after the single step.
PUBLISHED_STATES = 1.192e-7


def row(experiment: str, framework: str, model: str, method: str, found: Measured) -> dict[str, Any]:
    """A measurement in plain values."""
    return {
        "experiment": experiment,
        "framework": framework,
        "model": model,
        "method": method,
        "attributions": found.size,
        "outputs": found.outputs,
        "attributed": float(found.attributed[0]),
        "expected": float(found.expected[0]),
        "error": float(found.error[0]),
        "says": found.says,
    }
