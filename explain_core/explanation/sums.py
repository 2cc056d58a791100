"""Sums over labelled arrays as plain numbers: for a few samples, labels would cost more than all the adding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from explain_core.explanation.arrays import Arrays, by_name


def by_sample(prediction: xr.DataArray) -> np.ndarray:
    """Predictions as (sample, output) in float64."""
    return prediction.transpose("sample", "output").values.astype(np.float64)


def summed(attributions: Arrays, of: Callable[[np.ndarray], np.ndarray] = np.asarray) -> np.ndarray:
    """The sum over everything but samples and outputs, of all inputs together, (sample, output) in float64.

    Args:
        of: what is summed of the attributions, such as their size.
    """
    total = np.zeros(())
    for part in by_name(attributions).values():
        values = part.values if "output" in part.dims else part.values[None]
        dims = part.dims if "output" in part.dims else ("output", *part.dims)
        values = np.moveaxis(values, (dims.index("sample"), dims.index("output")), (0, 1))
        total = total + of(values.astype(np.float64)).sum(tuple(range(2, values.ndim)))
    return total
