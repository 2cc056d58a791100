"""What arrays such as images in time are compared with, and how many there are."""

from __future__ import annotations

import numpy as np
import xarray as xr

from explain_core.words import counted
from ui.baselines import Baseline


def grid_baselines(sequences: xr.DataArray, fitted: xr.DataArray) -> list[Baseline]:
    """Zeros, the average of the file where it has several samples, and the first step where there is time."""
    found = [Baseline("Zeros", "an array of zeros", "zeros")]
    if sequences.sizes["sample"] > 1:
        mean = sequences.values.mean(axis=0, keepdims=True).astype(fitted.dtype)
        found.append(Baseline("Average of my samples", "the average of your samples", mean))
    if "time" in fitted.dims:
        first = np.broadcast_to(fitted.isel(time=slice(0, 1)).values, fitted.shape)
        found.append(Baseline("First step, held", "its own first step, held to the end", np.array(first)))
    return found


def in_words(sequences: xr.DataArray) -> str:
    """How many samples and of what size, e.g. "2 samples · 8 timesteps · 3 × 16 × 16 numbers each"."""
    parts = [counted(sequences.sizes["sample"], "sample")]
    if "time" in sequences.dims:
        parts.append(counted(sequences.sizes["time"], "timestep"))
    sizes = [str(size) for dim, size in sequences.sizes.items() if dim not in ("sample", "time")]
    return " · ".join([*parts, f"{' × '.join(sizes)} numbers each"])
