"""How many arrays there are, such as images in time."""

from __future__ import annotations

import xarray as xr

from explain_core.words import counted


def in_words(sequences: xr.DataArray) -> str:
    """How many samples and of what size, e.g. "2 samples · 8 timesteps · 3 × 16 × 16 numbers each"."""
    parts = [counted(sequences.sizes["sample"], "sample")]
    if "time" in sequences.dims:
        parts.append(counted(sequences.sizes["time"], "timestep"))
    sizes = [str(size) for dim, size in sequences.sizes.items() if dim not in ("sample", "time")]
    return " · ".join([*parts, f"{' × '.join(sizes)} numbers each"])
