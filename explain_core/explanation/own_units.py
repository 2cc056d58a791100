"""Values that a model got scaled, in the units that people know them in."""

from __future__ import annotations

import numpy as np
import xarray as xr

OFFSET, SCALE = "add_offset", "scale_factor"
"""Coordinates along ``feature`` of a scaled array, as CF names them: own = value * scale_factor + add_offset."""


def in_own_units(array: xr.DataArray) -> xr.DataArray:
    """Values of a scaled array in the units of the file, in float64; others as they are."""
    if OFFSET not in array.coords or SCALE not in array.coords:
        return array
    own = array.astype(np.float64) * array[SCALE] + array[OFFSET]
    return own.transpose(*array.dims)
