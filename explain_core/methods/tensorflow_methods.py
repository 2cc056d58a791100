"""Methods for TensorFlow models: through shap where it has them; slopes and their integral are PairLift's own code,
since captum is for PyTorch. Each returns (K, ...) for every explained input; several baselines are averaged over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from explain_core.errors import MethodError
from explain_core.methods.sample import Sample, seeded
from explain_core.methods.shap_values import from_shap
from explain_core.methods.tensorflow_model import TensorFlowModel


def integrated_gradients(model: TensorFlowModel, sample: Sample, steps: int) -> list[np.ndarray]:
    """Sundararajan et al. 2017, with the Gauss-Legendre points that captum takes."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    way, weights = 0.5 * (points + 1.0), 0.5 * weights
    return _along_the_way(model, sample, way, weights)


def gradient_difference(model: TensorFlowModel, sample: Sample) -> list[np.ndarray]:
    """The slope at the input times the difference."""
    return _along_the_way(model, sample, np.ones(1), np.ones(1))


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


def _along_the_way(model: TensorFlowModel, sample: Sample, way: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """The weighted sum of the slopes at parts ``way`` of the straight way from each baseline, times the difference."""
    _require_floats(sample)
    test, count = sample.test, len(sample.base[0])
    outputs = model.predict(test).shape[1]
    found = [np.zeros((outputs, *leaf.shape[1:])) for leaf in test]
    for b in range(count):
        change = [leaf[0] - base[b] for leaf, base in zip(test, sample.base, strict=True)]
        for first in range(0, len(way), sample.rows_at_once):
            here, weight = (each[first : first + sample.rows_at_once] for each in (way, weights))
            rows = [
                (base[b] + here.reshape(-1, *(1,) * delta.ndim) * delta).astype(delta.dtype)
                for base, delta in zip(sample.base, change, strict=True)
            ]
            for k in range(outputs):
                for total, slopes, delta in zip(found, model.gradients(rows, k), change, strict=True):
                    total[k] += np.tensordot(weight, slopes, 1) * delta / count
    return found


@contextmanager
def _recording_restored() -> Iterator[None]:
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
