"""The shapes that shap gives its values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explain_core.methods.sample import Sample


def from_shap(values: np.ndarray | Sequence[np.ndarray], sample: Sample) -> list[np.ndarray]:
    """shap's (1, ..., K) as (K, ...), for each input."""
    arrays = values if isinstance(values, list) else [values]
    return [
        np.moveaxis(np.asarray(array).reshape(*leaf.shape[1:], -1), -1, 0)
        for array, leaf in zip(arrays, sample.test, strict=True)
    ]
