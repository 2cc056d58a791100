"""Methods for TensorFlow models: through shap where it has them; slopes and their integral are PairLift's own code,
since captum is for PyTorch. Each returns (K, ...) for every explained input; several baselines are averaged over.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np

from explain_core.errors import MethodError
from explain_core.methods.sample import Sample, seeded
from explain_core.methods.shap_values import from_shap
from explain_core.methods.tensorflow_model import TensorFlowModel


def integrated_gradients(model: TensorFlowModel, sample: Sample, steps: int) -> list[np.ndarray]:
    """Sundararajan et al. 2017, with the Gauss-Legendre points that captum takes."""
    _require_floats(sample)
    points, weights = np.polynomial.legendre.leggauss(steps)
    way, weights = 0.5 * (points + 1.0), 0.5 * weights
    count = len(sample.base[0])
    change = [test - base for test, base in zip(sample.test, sample.base, strict=True)]  # (B, ...)

    def slopes(output: int) -> list[np.ndarray]:
        """Weighted sums over the points, (B, ...)."""
        total = [np.zeros(delta.shape) for delta in change]
        for first in range(0, steps * count, sample.rows_at_once):
            point, baseline = np.divmod(np.arange(first, min(first + sample.rows_at_once, steps * count)), count)
            rows = [
                (base[baseline] + way[point].reshape(-1, *(1,) * (delta.ndim - 1)) * delta[baseline]).astype(
                    delta.dtype
                )
                for base, delta in zip(sample.base, change, strict=True)
            ]
            for sums, found in zip(total, model.gradients(rows, output), strict=True):
                np.add.at(sums, baseline, weights[point].reshape(-1, *(1,) * (found.ndim - 1)) * found)
        return total

    return _times_difference([slopes(k) for k in range(_outputs(model, sample))], change)


def gradient_difference(model: TensorFlowModel, sample: Sample) -> list[np.ndarray]:
    """The slope at the input times the difference."""
    _require_floats(sample)
    change = [test - base for test, base in zip(sample.test, sample.base, strict=True)]
    return _times_difference([model.gradients(sample.test, k) for k in range(_outputs(model, sample))], change)


def deep_explainer(model: TensorFlowModel, sample: Sample) -> list[np.ndarray]:
    """Lundberg & Lee 2017, by ``shap.DeepExplainer``, without its check that the sum is right to 0.01."""
    import shap

    _require_floats(sample)
    with _recording_restored():
        explainer = shap.DeepExplainer(model.as_keras(sample), _one_or_list(sample.base))
        values = explainer.shap_values(_one_or_list(sample.test), check_additivity=False)
    return from_shap(values, sample)


def gradient_shap(model: TensorFlowModel, sample: Sample, points: int) -> list[np.ndarray]:
    """Expected gradients (Erion et al. 2021), by ``shap.GradientExplainer``."""
    import shap

    _require_floats(sample)
    with seeded(sample.seed):
        explainer = shap.GradientExplainer(model.as_keras(sample), _one_or_list(sample.base))
        values = explainer.shap_values(_one_or_list(sample.test), nsamples=points, rseed=sample.seed)
    return from_shap(values, sample)


def _times_difference(slopes: list[list[np.ndarray]], change: list[np.ndarray]) -> list[np.ndarray]:
    """Slopes (B or 1, ...) of each output and input times the differences (B, ...), averaged over B: (K, ...)."""
    return [
        np.stack([(of_output[i] * delta).mean(0, dtype=np.float64) for of_output in slopes])
        for i, delta in enumerate(change)
    ]


def _for_rows(numbers: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """One number for each row, in as many axes as the rows have."""
    return numbers.reshape(-1, *(1,) * (rows.ndim - 1))


def _outputs(model: TensorFlowModel, sample: Sample) -> int:
    return model.predict(sample.test).shape[1]


@contextmanager
def _recording_restored() -> Generator[None]:
    """Undo what shap's DeepExplainer leaves behind when it fails: its own function for recording operations.

    Every later gradient in the process would fail of it, PairLift's own included.
    """
    from tensorflow.python.eager import execute

    record = execute.record_gradient
    try:
        yield
    finally:
        execute.record_gradient = record


def _one_or_list(leaves: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    return leaves if len(leaves) > 1 else leaves[0]


def _require_floats(sample: Sample) -> None:
    if not sample.takes_gradients:
        raise MethodError(
            "Token ids are whole numbers, of which this method can take no slope.",
            hint="Use occlusion or sampled_shapley.",
        )
